"""What the run page shows: the plan, the steps as the events tell them, the curve, and how it ended."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from limpide.models.sources import Source, resolve
from limpide.recipe.load import load_recipe
from limpide.recipe.plan import make_plan
from limpide.recipe.run import Workspace
from limpide.release.keys import new_keys
from limpide.studio.jobs import Job
from limpide.studio.pages.run_curve import picture
from limpide.studio.pages.run_ends import last_evidence
from limpide.studio.pages.run_live import MOST_POINTS, Curve, Followed, thinned
from limpide.studio.pages.run_plan import Planned, keep_steps, kept_steps, plan_of, planned_name
from limpide.studio.project import Project
from limpide.studio.words import language
from tiny import tiny_folder
from tiny_gguf import write_gguf

PLANNED = [("data", True), ("audit-base-domain", False), ("adapt", False), ("export", False)]
RECIPE = """\
name: press
version: 1.0.0
purpose: {intended: Answer questions.}
base: BASE
data: {examples: examples.jsonl}
audit: {suites: [domain], languages: [en]}
adapt: {epochs: 2}
optimise: {formats: [safetensors]}
gates: [domain.accuracy improves]
release: {sign_with: keys/release.pem, approval: required}
"""


class Said:
    """What a picture needs of a visit."""

    words = language("fr")


def message(step: str, number: int) -> dict[str, Any]:
    return {"event": "message", "text": f"[{number}/4] {step}: what it does"}


def followed(*events: dict[str, Any], planned: Sequence[tuple[str, bool]] = PLANNED) -> Followed:
    made = Followed(planned)
    made.feed(events)
    return made


# ---- steps ----------------------------------------------------------------------------------------------------------


def test_steps_stand_as_the_events_say() -> None:
    live = followed(message("audit-base-domain", 2), {"event": "message", "text": "a sentence"}, message("adapt", 3))
    running = [state for _, state in live.steps("running", None)]
    assert running == ["kept", "done", "now", "todo"]
    assert [state for _, state in live.steps("failed", 2)] == ["kept", "done", "halted", "todo"]
    assert [state for _, state in live.steps("stopped", 130)] == ["kept", "done", "halted", "todo"]
    assert live.lines() == [(False, "a sentence")]


@pytest.mark.parametrize(("state", "code"), [("done", 0), ("failed", 3), ("failed", 4)])
def test_after_the_last_step_all_are_done_whatever_the_verdict(state: str, code: int) -> None:
    live = followed(message("audit-base-domain", 2), message("adapt", 3), message("export", 4))
    assert [stands for _, stands in live.steps(state, code)] == ["kept", "done", "done", "done"]


def test_steps_that_were_not_planned_are_those_that_were_said() -> None:
    live = followed(message("data", 1), message("adapt", 2), planned=[])
    assert live.steps("running", None) == [("data", "done"), ("adapt", "now")]
    assert followed(planned=[]).steps("running", None) == []


def test_a_step_that_was_kept_and_runs_again_is_under_way() -> None:
    assert followed(message("data", 1)).steps("running", None)[0] == ("data", "now")


def test_the_work_under_way_has_its_place() -> None:
    start = {"event": "start", "task": "answering", "total": 4, "done": 0}
    live = followed(message("adapt", 3), start, {"event": "move", "task": "answering", "done": 1, "total": 4})
    assert live.now is not None
    assert live.now.share == 0.25
    live.feed([{"event": "end", "task": "answering", "seconds": 2}])
    assert live.now is None


# ---- losses ---------------------------------------------------------------------------------------------------------


def move(done: float, loss: float, **facts: Any) -> dict[str, Any]:
    return {"event": "move", "task": "training", "done": done, "total": 9, "loss": loss, **facts}


def test_losses_make_a_curve_and_the_held_out_one_is_kept_where_it_was_measured() -> None:
    said = "0.512 (0.400 to 0.600)"
    live = followed(
        message("adapt", 3), move(1, 3.0), move(2, 2.0, held_out=said), move(3, 1.5, held_out=said), move(4, 1.0)
    )
    (curve,) = live.curves.values()
    assert curve.train == [(1, 3.0), (2, 2.0), (3, 1.5), (4, 1.0)]
    assert curve.held == [(2, 0.512)]


def test_a_run_that_goes_on_from_a_checkpoint_does_not_run_backwards() -> None:
    curve = Curve("training")
    for done, loss in [(1, 3.0), (2, 2.0), (3, 1.0), (2, 2.5), (3, 1.5)]:
        curve.add(done, loss, None)
    assert curve.train == [(1, 3.0), (2, 2.5), (3, 1.5)]


def test_each_training_has_its_own_curve() -> None:
    live = followed(message("adapt", 3), move(1, 3.0), {**move(1, 0.7), "task": "learning preferences"})
    assert [curve.task for curve in live.curves.values()] == ["training", "learning preferences"]


@pytest.mark.parametrize("event", [{"event": "move"}, {"event": "move", "task": 3, "loss": "x"}, {"event": "start"}])
def test_an_event_of_another_form_is_no_trouble(event: dict[str, Any]) -> None:
    assert followed(event).curves == {}


def test_a_long_curve_is_thinned_to_means_and_keeps_its_end() -> None:
    points = [(float(x), float(x % 2)) for x in range(10 * MOST_POINTS)]
    thin = thinned(points)
    assert len(thin) <= MOST_POINTS + 1
    assert thin[-1] == points[-1]
    assert all(0.4 < y < 0.6 for _, y in thin[:-1])
    assert thinned(points[:3]) == points[:3]


def test_the_picture_stays_inside_and_writes_numbers_as_the_language_does() -> None:
    curve = Curve("training", [(1.0, 3.2), (2000.0, 0.4)], [(1000.0, 1.1)])
    svg = picture(Said(), curve, 'a "title" & <more>')  # type: ignore[arg-type]
    assert 'aria-label="a &quot;title&quot; &amp; &lt;more&gt;"' in svg
    assert "2\u202f000" in svg
    places = [float(n) for part in svg.split('points="')[1:] for n in part.split('"')[0].replace(",", " ").split()]
    assert min(places) >= 0
    assert max(places) <= 640


@pytest.mark.parametrize("train", [[(1.0, 0.0), (2.0, 0.0)], [(0.0, 1.0)], [(1.0, float("nan")), (2.0, 1e9)]])
def test_any_losses_make_a_picture(train: list[tuple[float, float]]) -> None:
    assert picture(Said(), Curve("training", train), "t").count("<polyline") == 2  # type: ignore[arg-type]


# ---- the plan -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Source:
    return resolve(str(tiny_folder("llama", tmp_path_factory.mktemp("base"))))


@pytest.fixture(scope="module")
def tiny_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_gguf(tmp_path_factory.mktemp("gguf") / "tiny.gguf")


@pytest.fixture
def project(tmp_path: Path, base: Source) -> Project:
    folder = tmp_path / "project"
    folder.mkdir()
    (folder / "recipe.yaml").write_text(RECIPE.replace("BASE", str(base.folder)))
    rows = [{"prompt": f"Question {i}?", "answer": f"Answer {i}."} for i in range(4)]
    (folder / "examples.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return Project(folder)


def test_a_plan_says_what_is_kept(project: Project, base: Source) -> None:
    new_keys(project.keys / "release.pem")
    planned = plan_of(project)
    assert [kept for _, kept in planned.steps] == [False] * len(planned.steps)
    assert [name for name, _ in planned.steps][:2] == ["data", "audit-base-domain"]
    assert (planned.stops, planned.key, planned.remade, planned.locked, planned.missing) == (
        None,
        None,
        None,
        None,
        [],
    )
    assert planned.approval
    plan = make_plan(load_recipe(project.recipe), project.recipe, base)
    done = Workspace(project.folder, "press").done(plan.step("data"))
    done.mkdir(parents=True)
    (done / "result.json").write_text("{}")
    assert dict(plan_of(project).steps)["data"]


def test_a_plan_says_what_would_stop_it(project: Project) -> None:
    planned = plan_of(project)
    assert planned.key == project.keys / "release.pem", "no key yet"
    new_keys(planned.key, password="a long password")
    assert plan_of(project).locked == project.keys / "release.pem"
    (project.folder / "examples.jsonl").unlink()
    assert plan_of(project).missing == ["examples.jsonl"]
    release = project.folder / "releases" / "press-1.0.0"
    release.mkdir(parents=True)
    (release / "README.md").write_text("made before")
    assert plan_of(project).remade == release


def test_a_recipe_without_a_key_is_told_with_its_remedy(project: Project) -> None:
    project.recipe.write_text(project.recipe.read_text().replace("sign_with: keys/release.pem, ", ""))
    stops = plan_of(project).stops
    assert stops is not None
    assert "names no key" in str(stops["what"])


def test_a_base_on_a_hub_is_not_fetched_by_a_page(project: Project) -> None:
    text = project.recipe.read_text()
    start = text.index("base:")
    project.recipe.write_text(text[:start] + "base: hub:owner/name@" + "0" * 40 + text[text.index("\n", start) :])
    planned = plan_of(project)
    assert planned.unknown
    assert planned.steps == ()


def test_a_base_that_must_be_converted_is_not_converted_by_a_page(
    project: Project, tiny_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LIMPIDE_CACHE", str(project.folder / "cache"))
    text = project.recipe.read_text()
    start = text.index("base:")
    project.recipe.write_text(text[:start] + f"base: {tiny_file}" + text[text.index("\n", start) :])
    assert plan_of(project).unknown
    assert not (project.folder / "cache" / "models").exists()


def test_steps_stay_beside_their_job(tmp_path: Path) -> None:
    job = Job("x", "run", tmp_path / "job", (), 0.0)
    assert kept_steps(job) == []
    assert planned_name(job) == ("", "")
    keep_steps(job, Planned("press", "1.0.0", "base", steps=PLANNED))
    assert kept_steps(job) == PLANNED
    assert planned_name(job) == ("press", "1.0.0")
    (job.folder / "steps.json").write_text('{"steps": 3}')
    assert kept_steps(job) == []


@pytest.mark.parametrize("name", ["", "..", "../x", "a/b", "press"])
def test_evidence_is_looked_for_inside_the_project_alone(tmp_path: Path, name: str) -> None:
    assert last_evidence(Project(tmp_path), name) is None
