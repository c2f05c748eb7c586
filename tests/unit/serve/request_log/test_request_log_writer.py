"""Appending: by threads and processes, through kills, full disks and clocks that jump."""

import errno
import os
import stat
import threading
from pathlib import Path

import pytest

from limpide.core.errors import IntegrityError, LimpideError, MissingError
from limpide.serve.request_log import tail, writer
from limpide.serve.request_log.entry import FIRST_PREV, Entry
from limpide.serve.request_log.places import Places, day_path, days, heads_path, places
from limpide.serve.request_log.read import read
from limpide.serve.request_log.writer import CannotLog, RequestLog
from request_logs import DAY, Clock, in_process, lines_of, path_of, told, verdict, written

ONE_DAY = "2026-11-23"


def entries(where: Places) -> list[Entry]:
    return list(read(where.folder))


def test_a_log_begins_with_its_name_and_its_key_and_each_entry_follows_the_one_before(tmp_path: Path) -> None:
    with Clock().open(tmp_path) as log:
        given = log.append("answer", tokens=3, model="press")
    first, second = entries(log.places)
    assert (first.event, first.seq, first.prev) == ("log.start", 0, FIRST_PREV)
    assert (first.facts["log"], first.facts["key_id"]) == log.names
    assert second == given
    assert (second.seq, second.prev, second.at) == (1, first.hash, "2026-11-23T12:00:00.000Z")
    assert second.facts == {"tokens": 3, "model": "press"}
    assert verdict(log.places).intact


def test_only_the_owner_can_read_it(tmp_path: Path) -> None:
    with Clock().open(tmp_path) as log:
        log.append("answer", texts={"prompt": "a"})
    modes = {path.relative_to(tmp_path).as_posix(): stat.S_IMODE(path.stat().st_mode) for path in tmp_path.rglob("*")}
    assert {name: mode for name, mode in modes.items() if name.endswith(".jsonl")} == {
        "heads/heads.jsonl": 0o600,
        f"log/{ONE_DAY}.jsonl": 0o600,
        f"log/keys/{ONE_DAY}.jsonl": 0o600,
    }
    assert (modes["log"], modes["log/keys"], modes["heads"], modes["log.pem"]) == (0o700, 0o700, 0o700, 0o600)


def test_a_text_is_not_in_any_file(tmp_path: Path) -> None:
    with Clock().open(tmp_path) as log:
        log.append("answer", texts={"prompt": "the secret question", "output": "the secret question"})
    assert not any(b"secret" in path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    committed = entries(log.places)[1].texts
    assert committed["prompt"] != committed["output"]


def test_a_log_that_is_opened_again_goes_on(tmp_path: Path) -> None:
    clock = Clock()
    with clock.open(tmp_path) as log:
        log.append("answer")
    heads = told(heads_path(log.places.heads))
    with clock.open(tmp_path) as again:
        assert again.names == log.names
        assert told(heads_path(log.places.heads)) == heads, "nothing new, and no new head"
        assert again.append("answer").seq == 2


@pytest.mark.parametrize("harm", ["none", "gone", "not json", "of another size", "of another log"])
def test_opening_does_not_rely_on_where_a_writer_may_start(tmp_path: Path, harm: str) -> None:
    where = written(tmp_path / "a")
    start = where.folder / "tree.json"
    if harm == "gone":
        start.unlink()
    elif harm == "not json":
        start.write_text("{")
    elif harm == "of another size":
        start.write_text(start.read_text().replace('"size": 36', '"size": 35'))
    elif harm == "of another log":
        start.write_bytes((written(tmp_path / "b", 1).folder / "tree.json").read_bytes())
    clock = Clock()
    clock.pass_(5 * DAY)
    with clock.open(tmp_path / "a") as log:
        assert log.append("answer").seq == 36
    assert verdict(where).intact


def test_a_long_log_is_not_read_again_to_open_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    where, looked = written(tmp_path), []
    true = tail.parsed
    monkeypatch.setattr(tail, "parsed", lambda line: looked.append(line) or true(line))
    with Clock().open(tmp_path):
        assert looked == []
    (where.folder / "tree.json").unlink()
    with Clock().open(tmp_path):
        assert len(looked) == 36


def test_threads_share_one_log(tmp_path: Path) -> None:
    with RequestLog(places(tmp_path)) as log:

        def work(name: int) -> None:
            for number in range(100):
                log.append("answer", thread=name, number=number)

        threads = [threading.Thread(target=work, args=(name,)) for name in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    found = entries(log.places)
    assert [entry.seq for entry in found] == list(range(601))
    for name in range(6):
        assert [e.facts["number"] for e in found if e.facts.get("thread") == name] == list(range(100))
    assert verdict(log.places).covered == 601


TWO = """
import os, sys
from pathlib import Path
from limpide.serve.request_log.places import places
from limpide.serve.request_log.writer import RequestLog
children = []
for name in "ab":
    child = os.fork()
    if not child:
        with RequestLog(places(Path(sys.argv[1]))) as log:
            for number in range(2000):
                log.append("answer", texts={"prompt": "x"} if number % 500 == 0 else None, process=name, number=number)
                if number % 700 == 0:
                    log.head()
        os._exit(0)
    children.append(child)
for child in children:
    assert os.waitpid(child, 0)[1] == 0
"""


def test_two_processes_append_to_one_log(tmp_path: Path) -> None:
    in_process(TWO, tmp_path)
    where = places(tmp_path)
    found = entries(where)
    assert [entry.seq for entry in found] == list(range(4001))
    for name in "ab":
        assert [e.facts["number"] for e in found if e.facts.get("process") == name] == list(range(2000))
    judged = verdict(where)
    assert (judged.damage, judged.covered) == (None, 4001)


def test_a_day_that_another_process_began_is_read_before_it_is_gone_on_with(tmp_path: Path) -> None:
    clock = Clock()
    with clock.open(tmp_path) as one, clock.open(tmp_path) as two:
        one.append("answer")
        clock.pass_(DAY)
        assert [two.append("answer").seq, one.append("answer").seq, two.append("answer").seq] == [2, 3, 4]
    assert [len(lines_of(one.places, day)) for day in (0, 1)] == [2, 3]
    assert verdict(one.places).intact


KILLED = """
import os, random, signal, sys, time
from pathlib import Path
from limpide.serve.request_log.places import places
from limpide.serve.request_log.writer import RequestLog
random.seed(1)
for _ in range(30):
    out, into = os.pipe()
    child = os.fork()
    if not child:
        with RequestLog(places(Path(sys.argv[1]))) as log:
            while True:
                os.write(into, b"%d\\n" % log.append("answer", texts={"prompt": "x"}).seq)
    os.close(into)
    first = os.read(out, 1 << 16)
    time.sleep(random.random() * 0.02)
    os.kill(child, signal.SIGKILL)
    while part := os.read(out, 1 << 16):
        first += part
    os.close(out)
    os.waitpid(child, 0)
    sys.stdout.write(first[: first.rfind(b"\\n") + 1].decode())
"""


def test_what_was_appended_survives_kill_9(tmp_path: Path) -> None:
    acknowledged = [int(line) for line in in_process(KILLED, tmp_path)]
    assert len(acknowledged) >= 30
    with RequestLog(places(tmp_path)) as log:
        log.append("service.start")
    found = {entry.seq: entry for entry in entries(log.places)}
    assert {found[seq].event for seq in acknowledged} == {"answer"}
    assert len(acknowledged) == len(set(acknowledged))
    assert verdict(log.places).intact


TORN = """
import os, signal, sys
from pathlib import Path
from limpide.serve.request_log import writer
from limpide.serve.request_log.places import places
log = writer.RequestLog(places(Path(sys.argv[1])))
log.append("answer", number=1)
child = os.fork()
if not child:
    other = writer.RequestLog(places(Path(sys.argv[1])))
    def half(file, data):
        os.write(file, data[:len(data) // 2])
        os.kill(os.getpid(), signal.SIGKILL)
    writer._write_all = half
    other.append("answer", texts={"prompt": "x"} if sys.argv[2] == "text" else None, number=2)
os.waitpid(child, 0)
if sys.argv[3] == "goes on":
    log.append("answer", texts={"prompt": "the question"}, number=3)
    log.close()
os._exit(0)
"""


@pytest.mark.parametrize("killed_at", ["text", "entry"])
@pytest.mark.parametrize("who", ["goes on", "opens again"])
def test_the_half_line_of_a_kill_is_set_aside_and_the_log_says_so(tmp_path: Path, killed_at: str, who: str) -> None:
    in_process(TORN, tmp_path, killed_at, who)
    where = places(tmp_path)
    before = verdict(where)
    assert before.intact
    if who == "opens again":
        assert len(before.notes) == (killed_at == "entry")
        with RequestLog(where) as log:
            log.append("answer", texts={"prompt": "the question"}, number=3)
    events = [(e.event, e.facts.get("number")) for e in entries(where)]
    if killed_at == "text":  # the key of a text was cut, before its entry
        assert events == [("log.start", None), ("answer", 1), ("answer", 3)]
    else:
        assert events == [("log.start", None), ("answer", 1), ("recovered", None), ("answer", 3)]
        facts = entries(where)[2].facts
        torn = (where.folder / str(facts["kept"])).read_bytes()
        assert len(torn) == facts["bytes"]
        assert b'"number":2' in torn or torn.startswith(b'{"at"')
    assert verdict(where).intact
    from limpide.serve.request_log.retention import match

    assert match(where.folder, entries(where)[-1].seq, "the question").state == "matches"


def test_a_log_whose_first_line_was_cut_begins_all_the_same(tmp_path: Path) -> None:
    with Clock().open(tmp_path) as log:
        pass
    os.truncate(path_of(log.places, 0), 50)
    heads_path(log.places.heads).unlink()
    with Clock().open(tmp_path) as log:
        log.append("answer")
    assert [e.event for e in entries(log.places)] == ["log.start", "recovered", "answer"]
    assert verdict(log.places).intact


def test_heads_that_are_gone_are_told(tmp_path: Path) -> None:
    where = written(tmp_path, 1)
    heads_path(where.heads).unlink()
    with Clock().open(tmp_path):
        pass
    last = entries(where)[-1]
    assert (last.event, last.facts["what"]) == ("error", "no earlier signed head was found")


def test_heads_are_found_where_they_were_last_written(tmp_path: Path) -> None:
    state, elsewhere = tmp_path / "state", tmp_path / "other disk"
    with Clock().open(state, elsewhere):
        pass
    assert places(state).heads == elsewhere
    with Clock().open(state) as log:
        log.append("answer")
    assert [head["tree_size"] for head in told(heads_path(elsewhere))] == [1, 2]
    assert not (state / "heads").exists()
    assert verdict(places(state)).covered == 2
    with Clock().open(state, state / "heads"):
        pass
    assert places(state).heads == state / "heads"


def test_zeros_that_a_power_cut_left_are_set_aside(tmp_path: Path) -> None:
    where = written(tmp_path, 1)
    path = path_of(where, 0)
    with path.open("ab") as file:
        file.write(b"\0" * 300 + b"\n" + b"\0" * 20)
    with Clock().open(tmp_path) as log:
        log.append("answer")
    recovered = entries(where)[-2]
    assert (recovered.event, recovered.facts["bytes"]) == ("recovered", 321)
    assert verdict(where).intact


FULL = """
import resource, sys
from pathlib import Path
from limpide.serve.request_log.places import places
from limpide.serve.request_log.writer import CannotLog, RequestLog
log = RequestLog(places(Path(sys.argv[1])), minutes=1000)
_, most = resource.getrlimit(resource.RLIMIT_FSIZE)
resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, most))
kept = 0
try:
    while True:
        log.append("answer", padding="x" * 300)
        kept += 1
except CannotLog as error:
    print(kept, error.exit_code)
try:
    log.append("answer", padding="x" * 300)
except CannotLog:
    print("again")
resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))
log.append("answer", padding="after")
log.close()
"""


def test_a_full_disk_refuses_and_leaves_no_half_line(tmp_path: Path) -> None:
    first, second = in_process(FULL, tmp_path)
    kept = int(first.split()[0])
    assert 25 < kept < 60
    assert (first.split()[1], second) == ("2", "again")
    found = entries(places(tmp_path))
    assert [e.event for e in found] == ["log.start", *["answer"] * (kept + 1)]
    assert found[-1].facts["padding"] == "after"
    assert verdict(places(tmp_path)).intact


def no_space(file: int, data: bytes) -> None:
    os.write(file, data[: len(data) // 2])
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_the_message_of_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Clock().open(tmp_path) as log:
        with monkeypatch.context() as patch:
            patch.setattr(writer, "_write_all", no_space)
            with pytest.raises(CannotLog) as error:
                log.append("answer")
        assert "cannot be written, so nothing is answered" in error.value.what
        assert error.value.received == "No space left on device"
        assert "free some space" in str(error.value)
        assert log.append("answer").seq == 1
    assert verdict(log.places).intact


def test_a_half_line_that_cannot_even_be_cut_off_is_set_aside_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stuck(*_: object) -> None:
        raise OSError(errno.EIO, "stuck")

    with Clock().open(tmp_path) as log:
        with monkeypatch.context() as patch:
            patch.setattr(writer, "_write_all", no_space)
            patch.setattr(os, "ftruncate", stuck)
            with pytest.raises(CannotLog):
                log.append("answer")
        assert log.append("answer").seq == 2
    assert [e.event for e in entries(log.places)] == ["log.start", "recovered", "answer"]
    assert verdict(log.places).intact


def test_a_disk_that_loses_what_it_was_given_ends_the_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def lost(*_: object) -> None:
        raise OSError(errno.EIO, "Input/output error")

    with Clock().open(tmp_path) as log:
        log.append("answer")
        with monkeypatch.context() as patch:
            patch.setattr(os, "fsync", lost)
            with pytest.raises(CannotLog, match="did not keep"):
                log.head()
        with pytest.raises(CannotLog, match="lost a part of it"):
            log.append("answer")
    with Clock().open(tmp_path) as again:
        again.append("answer")
    assert verdict(log.places).intact


def test_days_have_their_files_and_never_go_back(tmp_path: Path) -> None:
    clock = Clock()
    with clock.open(tmp_path) as log:
        clock.pass_(DAY)
        log.append("answer")
        clock.pass_(DAY)
        log.append("answer")
        clock.now -= 2 * DAY
        log.append("answer")
        clock.pass_(1)
        log.append("answer")
    assert [len(lines_of(log.places, i)) for i in range(3)] == [1, 1, 4]
    back = entries(log.places)[3]
    assert (back.event, back.facts) == ("clock.jump", {"seconds": -2 * DAY, "before": "2026-11-25T12:00:00.000Z"})
    assert [e.event for e in entries(log.places)][4:] == ["answer", "answer"]
    assert verdict(log.places).intact


@pytest.mark.parametrize(("seconds", "jumps"), [(-0.5, 0), (-2, 1), (100, 0), (180, 1)])
def test_a_jump_is_told_when_it_is_more_than_clocks_do(tmp_path: Path, seconds: float, jumps: int) -> None:
    clock = Clock()
    with clock.open(tmp_path) as log:
        clock.pass_(3000)
        log.append("answer")
        clock.now += seconds
        log.append("answer")
        log.append("answer")
    told_of = [e.facts["seconds"] for e in entries(log.places) if e.event == "clock.jump"]
    assert told_of == [seconds] * jumps


def test_a_clock_that_went_back_while_the_service_was_stopped_is_told(tmp_path: Path) -> None:
    with Clock().open(tmp_path) as log:
        log.append("answer")
    with Clock(now=Clock().now - 3600).open(tmp_path) as log:
        log.append("answer")
    assert [e.event for e in entries(log.places)] == ["log.start", "answer", "clock.jump", "answer"]


def test_heads_are_signed_when_so_many_entries_or_minutes_have_passed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer, "SYNC_EVERY", 0.005)
    clock = Clock()
    with clock.open(tmp_path) as log:
        log.every = 3

        def sizes() -> list[object]:
            return [head["tree_size"] for head in told(heads_path(log.places.heads))]

        def wait_for(expected: list[int], minutes: int = 0) -> None:
            for _ in range(2000):
                clock.steady += minutes * 60
                if sizes() == expected:
                    return
                threading.Event().wait(0.005)
            pytest.fail(f"{sizes()} is not {expected}")

        log.append("answer")
        log.append("answer")
        threading.Event().wait(0.05)
        assert sizes() == [1]
        log.append("answer")
        wait_for([1, 4])
        log.append("answer")
        threading.Event().wait(0.05)
        assert sizes() == [1, 4]
        wait_for([1, 4, 5], minutes=5)


def test_heads_that_cannot_be_written_are_told_and_stop_no_answer(tmp_path: Path) -> None:
    elsewhere = tmp_path / "usb"
    with Clock().open(tmp_path / "state", elsewhere) as log:
        log.append("answer")
        elsewhere.rename(tmp_path / "pulled out")
        elsewhere.write_text("not a folder")
        for _ in range(2):
            with pytest.raises(CannotLog, match="No signed head can be written") as error:
                log.head()
        assert "--heads FOLDER" in str(error.value)
        assert log.trouble is not None
        log.append("answer")
        assert [e.event for e in entries(log.places)] == ["log.start", "answer", "error", "answer"]
        elsewhere.unlink()
        (tmp_path / "pulled out").rename(elsewhere)
        log.head()
        assert log.trouble is None
    assert verdict(log.places).intact


def test_half_a_head_is_written_anew(tmp_path: Path) -> None:
    where = written(tmp_path, 1)
    path = heads_path(where.heads)
    path.write_bytes(path.read_bytes()[:-40])
    assert "does not end in a whole line" in verdict(where).notes[0]
    with Clock().open(tmp_path) as log:
        log.append("answer")
    judged = verdict(where)
    assert (judged.damage, judged.notes, judged.covered) == (None, (), 14)


@pytest.mark.parametrize("harm", ["removed", "cut"])
def test_a_file_that_is_removed_or_cut_while_it_is_written_is_noticed(tmp_path: Path, harm: str) -> None:
    with Clock().open(tmp_path) as log:
        log.append("answer")
        path = path_of(log.places, 0)
        if harm == "removed":
            path.unlink()
        else:
            os.truncate(path, 100)
        with pytest.raises(CannotLog, match="was removed or cut"):
            log.append("answer")


def test_a_line_of_somebody_else_is_noticed(tmp_path: Path) -> None:
    with Clock().open(tmp_path) as log:
        log.append("answer")
        with path_of(log.places, 0).open("ab") as file:
            file.write(b'{"event":"forged"}\n')
        with pytest.raises(CannotLog, match=f"damaged: {ONE_DAY}.jsonl at byte"):
            log.append("answer")


def test_a_log_that_a_head_knows_to_be_longer_is_not_gone_on_with(tmp_path: Path) -> None:
    where = written(tmp_path, 2)
    day_path(where.folder, days(where.folder)[1]).unlink()
    with pytest.raises(IntegrityError, match="was cut: it ends after 12 entries") as error:
        RequestLog(where)
    assert "at least 24" in str(error.value)
    assert "move the folder of the log aside" in str(error.value)
    where.folder.rename(tmp_path / "aside")
    with RequestLog(where) as log:
        assert log.append("answer").seq == 1
    judged = verdict(where)
    assert judged.intact
    assert "heads are of another log" in judged.notes[0]


def test_a_log_without_its_key_is_not_gone_on_with(tmp_path: Path) -> None:
    where = written(tmp_path, 1)
    where.key.unlink()
    with pytest.raises(MissingError, match="has lost its key"):
        RequestLog(where)


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(LimpideError, match="Nothing can be written at"):
        RequestLog(places(tmp_path / "file"))
