"""Jobs are read from files: whoever looks, whenever, sees the same."""

import json
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from limpide.core.errors import MissingError, UsageError
from limpide.studio import jobs as module
from limpide.studio.jobs import Job, Jobs, command_of, require_none_running
from limpide.studio.live import Live

STAND_IN = """
import json, sys, time
def tell(**event): print(json.dumps(event), file=sys.stderr, flush=True)
what = sys.argv[1]
tell(event="start", task="counting", total=4, done=0)
tell(event="move", task="counting", done=2, total=4, seconds_left=1.5, loss=0.25)
tell(event="warning", text="one row is odd")
print("not an event", file=sys.stderr, flush=True)
if what == "fail":
    tell(error="DataError", exit_code=2, what="The file is empty.", to_do="give another", faults=[])
    sys.exit(2)
if what == "wait":
    try:
        time.sleep(60)
    except KeyboardInterrupt:
        tell(error="Interrupted", exit_code=130, what="Stopped.")
        sys.exit(130)
if what == "deaf":
    import signal
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    tell(event="message", text="deaf")
    time.sleep(60)
tell(event="end", task="counting", seconds=0.5)
print(json.dumps({"verdict": "pass", "argv": sys.argv[1:]}))
"""


@pytest.fixture
def jobs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Jobs]:
    script = tmp_path / "stand_in.py"
    script.write_text(STAND_IN)
    monkeypatch.setattr(module, "COMMAND", (sys.executable, str(script)))
    made = Jobs(tmp_path / "jobs", tmp_path)
    yield made
    for job in made.all():
        made.stop(job, grace=0)
    until(lambda: all(child.poll() is not None for child in made._children))


def until(true: Callable[[], bool]) -> None:
    for _ in range(1000):
        if true():
            return
        time.sleep(0.01)
    raise AssertionError("it did not happen")


def ended(jobs: Jobs, job: Job) -> Job:
    until(lambda: jobs.state(job) != "running")
    return job


def seen(jobs: Jobs, job: Job, count: int) -> None:
    until(lambda: len(jobs.events(job)) >= count)


def again_from_files(jobs: Jobs) -> Jobs:
    """What a studio that was started again knows."""
    return Jobs(jobs.root, jobs.home)


def test_a_job_is_done_and_its_result_is_read(jobs: Jobs) -> None:
    job = ended(jobs, jobs.start("prepare", ["check", "é x"], who="ada"))
    for looking in (jobs, again_from_files(jobs)):
        assert (looking.state(job), looking.code(job)) == ("done", 0)
        assert looking.result(job) == {"verdict": "pass", "argv": ["check", "é x", "--json"]}
        kinds = [event["event"] for event in looking.events(job)]
        assert kinds == ["start", "move", "warning", "text", "end"]
        assert looking.events(job, since=4)[0]["seconds"] == 0.5
        assert looking.error(job) is None
        assert looking.last("prepare") == job == looking.get(job.id)
        assert (looking.last("run"), job.who) == (None, "ada")


def test_a_failure_gives_its_record(jobs: Jobs) -> None:
    job = ended(jobs, jobs.start("run", ["fail"]))
    error = jobs.error(job)
    assert (jobs.state(job), jobs.code(job)) == ("failed", 2)
    assert error is not None
    assert (error["what"], error["to_do"]) == ("The file is empty.", "give another")
    assert jobs.result(job) is None


def test_the_order_to_stop_is_that_of_the_keyboard(jobs: Jobs) -> None:
    job = jobs.start("run", ["wait"])
    seen(jobs, job, 4)
    assert again_from_files(jobs).state(job) == "running"
    again_from_files(jobs).stop(job, who="ada")  # another studio than the one that started it
    ended(jobs, job)
    assert (jobs.state(job), jobs.code(job)) == ("stopped", 130)
    assert json.loads((job.folder / "stop.json").read_text())["who"] == "ada"


def test_one_that_does_not_listen_is_killed_after_its_grace(jobs: Jobs) -> None:
    job = jobs.start("run", ["deaf"])
    seen(jobs, job, 5)
    jobs.stop(job, grace=0.05)
    ended(jobs, job)
    assert (jobs.state(job), jobs.code(job)) == ("stopped", None)


def test_a_killed_process_is_told_from_a_running_one(jobs: Jobs) -> None:
    job = jobs.start("run", ["wait"])
    seen(jobs, job, 4)
    os.killpg(json.loads((job.folder / "process.json").read_text())["pid"], signal.SIGKILL)
    ended(jobs, job)
    assert jobs.state(job) == "killed"
    following = jobs.again(job, who="bob")
    assert (following.argv, following.kind, following.who) == (job.argv, "run", "bob")
    assert following.id != job.id


def test_a_number_that_another_program_was_given_is_not_the_job(jobs: Jobs) -> None:
    job = ended(jobs, jobs.start("run", ["check"]))
    (job.folder / "ended.json").unlink()
    mine = {"pid": os.getpid(), "created": psutil.Process().create_time() - 3600}
    (job.folder / "process.json").write_text(json.dumps(mine))
    assert jobs.state(job) == "killed"
    jobs.stop(job)  # and it is not told to stop: this test would be
    assert not (job.folder / "stop.json").exists()


def test_it_leads_a_group_of_its_own(jobs: Jobs) -> None:
    job = jobs.start("run", ["wait"])
    seen(jobs, job, 4)
    pid = json.loads((job.folder / "process.json").read_text())["pid"]
    assert os.getpgid(pid) == pid == os.getsid(pid) != os.getpgid(0)


@pytest.mark.parametrize("id", ["../x", "20260101-000000-run-abcdef", "", "a" * 500, "20260101-000000-run-abcdef/.."])
def test_an_address_that_names_no_job(jobs: Jobs, id: str) -> None:
    with pytest.raises(MissingError, match="no such job"):
        jobs.get(id)


def test_broken_files_are_no_jobs(jobs: Jobs) -> None:
    for number, text in enumerate(["", "[]", '{"kind": "run"}', '{"kind": 1, "argv": 2, "started": "x", "who": ""}']):
        folder = jobs.root / f"20260101-00000{number}-run-abcdef"
        folder.mkdir(parents=True)
        (folder / "job.json").write_text(text)
    (jobs.root / "notes.txt").write_text("x")
    assert jobs.all() == []


def test_a_half_written_line_waits_for_its_end(jobs: Jobs) -> None:
    job = ended(jobs, jobs.start("run", ["check"]))
    before = len(jobs.events(job))
    with (job.folder / "stderr").open("a") as stream:
        stream.write('{"event": "mess')
        stream.flush()
        assert len(jobs.events(job)) == before
        stream.write('age", "text": "whole"}\n')
        stream.flush()
        assert jobs.events(job, before) == [{"event": "message", "text": "whole"}]


def test_two_of_a_kind_would_write_the_same_files(jobs: Jobs) -> None:
    job = jobs.start("run", ["wait"])
    with pytest.raises(UsageError, match="under way already") as raised:
        require_none_running(jobs, "run")
    assert raised.value.remedy == "wait for it, or stop it first"
    require_none_running(jobs, "prepare")
    assert job.id == raised.value.received


def test_a_kind_is_one_short_word(jobs: Jobs) -> None:
    with pytest.raises(ValueError, match="short word"):
        jobs.start("../run", [])


def test_jobs_of_one_kind_are_found_by_their_name_and_nobody_else_may_read_them(jobs: Jobs) -> None:
    run, other = jobs.start("run", ["check"]), jobs.start("log-verify", ["check"])
    (other.folder / "job.json").unlink()  # would be missed, were it read
    assert [job.id for job in jobs.all("run")] == [run.id]
    assert jobs._folders("log-verify") == [other.folder]
    assert jobs._folders("verify") == []
    assert jobs.root.stat().st_mode & 0o077 == 0


def test_the_command_can_be_typed() -> None:
    job = Job("id", "run", Path(), ("run", "my recipe.yaml", "it's", "--rank=4", "--json"), 0.0)
    assert command_of(job) == "limpide run 'my recipe.yaml' 'it'\\''s' --rank=4"


def test_events_are_put_together(jobs: Jobs) -> None:
    job, live = ended(jobs, jobs.start("run", ["check"])), Live()
    events = jobs.events(job)
    live.feed(events[:2])
    task = live.tasks["counting"]
    assert (task.share, task.left, task.facts, task.over) == (0.5, 1.5, {"loss": 0.25}, False)
    live.feed(events[2:])
    assert (task.share, task.over, live.read) == (1.0, True, len(events))
    assert live.lines == [(True, "one row is odd")]


def test_nothing_in_the_folder_of_a_project_is_run(tmp_path: Path) -> None:
    (tmp_path / "json.py").write_text("open('ran', 'w').close()")
    jobs = Jobs(tmp_path / "jobs", tmp_path)
    job = ended(jobs, jobs.start("look", ["--version"]))
    assert (jobs.state(job), (tmp_path / "ran").exists()) == ("done", False)
    until(lambda: all(child.poll() is not None for child in jobs._children))


@pytest.mark.parametrize(
    ("kind", "needed"), [("serve", "serve"), ("explain", "ask"), ("verify", "look"), ("run", "change")]
)
def test_who_may_not_start_such_a_job_may_not_stop_it_either(jobs: Jobs, kind: str, needed: str) -> None:
    from limpide.studio.parts import _JobPanel

    class Reader:
        asked: list[str] = []  # noqa: RUF012

        def __init__(self) -> None:
            self.jobs = jobs

        def may(self, action: str) -> bool:
            self.asked.append(action)
            return False

        def say(self, key: str) -> str:
            return key

    job, visit = jobs.start(kind, ["wait"]), Reader()
    panel = _JobPanel(visit, job, None, None, None)  # type: ignore[arg-type]
    for act in (panel._stop, panel._again):
        with pytest.raises(UsageError, match="not_yours"):
            act()
    assert set(visit.asked) == {needed}
    assert len(jobs.all()) == 1
    assert jobs.state(job) == "running"
