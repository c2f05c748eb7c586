import errno
import json
import os
from pathlib import Path
from typing import Any

import psutil
import pytest

from limpide.core import digests
from limpide.core.errors import UsageError
from limpide.core.operation import Subject
from limpide.core.progress import Quiet
from limpide.models.sources import Source
from limpide.recipe.run import only_one, run_steps
from stand_ins import Bench, edit, plan_of, workspace_of

STEPS = [
    "data",
    "audit-base-domain",
    "audit-base-retention",
    "adapt",
    "export",
    "parity",
    "audit-result-domain",
    "audit-result-retention",
    "audit-served",
    "compare",
]


def tree(folder: Path) -> dict[str, str]:
    """{file: digest}, and {folder: ""} so that leftovers that are empty show too."""
    found = {p.relative_to(folder).as_posix(): "" for p in folder.rglob("*") if p.is_dir()}
    return found | digests.of_files(folder)


def run(recipe: Path, source: Source, from_step: str | None = None) -> Any:
    return run_steps(plan_of(recipe, source), workspace_of(recipe), Quiet(), from_step)


def interrupt(subject: Subject) -> None:
    (subject.out / "half.txt").write_text("half")
    raise KeyboardInterrupt


def test_steps_run_once_in_order(bench: Bench, recipe: Path, source: Source) -> None:
    first = run(recipe, source)
    assert bench.ran == STEPS == list(first.seconds)
    assert first.kept == ()
    before = tree(recipe.parent)
    second = run(recipe, source)
    assert bench.ran == STEPS
    assert (second.seconds, second.kept) == ({}, tuple(STEPS))
    assert tree(recipe.parent) == before


def test_only_what_depends_on_a_change_runs_again(bench: Bench, recipe: Path, source: Source) -> None:
    run(recipe, source)
    bench.ran.clear()
    edit(recipe, "epochs: 2", "epochs: 3")
    assert run(recipe, source).kept == tuple(STEPS[:3])
    assert bench.ran == STEPS[3:]
    bench.ran.clear()
    edit(recipe, "epochs: 3", "epochs: 2")  # the earlier results are still there
    run(recipe, source)
    assert bench.ran == []


def test_gates_and_purpose_cost_no_step(bench: Bench, recipe: Path, source: Source) -> None:
    run(recipe, source)
    bench.ran.clear()
    edit(recipe, "less than 5%", "less than 4%")
    edit(recipe, "Answer questions.", "Answer every question.")
    run(recipe, source)
    assert bench.ran == []


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("step", STEPS)
def test_interrupted_anywhere_then_run_again_ends_the_same(
    bench: Bench, recipe: Path, source: Source, step: str, when: str
) -> None:
    getattr(bench, when)[step] = interrupt
    with pytest.raises(KeyboardInterrupt):
        run(recipe, source)
    workspace = workspace_of(recipe)
    done = [p.name.rpartition("-")[0] for p in (workspace.root / "steps").glob("*")]
    assert sorted(done) == sorted(STEPS[: STEPS.index(step)])  # nothing half-done has a step's name
    assert not (workspace.root / "running").exists()
    getattr(bench, when).clear()
    run(recipe, source)
    resumed = tree(workspace.root)
    workspace.root.rename(workspace.root.with_name("aside"))
    run(recipe, source)
    kept = {name for name in resumed if step == "adapt" and name.endswith("half.txt")}  # it goes on in its folder
    assert {name: digest for name, digest in resumed.items() if name not in kept} == tree(workspace.root)


def test_a_step_that_resumes_finds_its_folder_and_others_start_clean(
    bench: Bench, recipe: Path, source: Source
) -> None:
    found: dict[str, list[str]] = {}
    for step in ("adapt", "export"):
        bench.before = {step: interrupt}
        with pytest.raises(KeyboardInterrupt):
            run(recipe, source)
        bench.before = {step: lambda s, step=step: found.update({step: [p.name for p in s.out.iterdir()]})}
        bench.after = {step: interrupt}
        with pytest.raises(KeyboardInterrupt):
            run(recipe, source)
        bench.after = {}
    assert found == {"adapt": ["half.txt"], "export": []}


def test_an_error_leaves_the_steps_before_it(bench: Bench, recipe: Path, source: Source) -> None:
    def fail(subject: Subject) -> None:
        raise UsageError("no")

    bench.before["export"] = fail
    with pytest.raises(UsageError):
        run(recipe, source)
    bench.before.clear()
    assert run(recipe, source).kept == tuple(STEPS[:4])


def test_from_a_step_runs_it_and_all_after_it(bench: Bench, recipe: Path, source: Source) -> None:
    run(recipe, source)
    bench.ran.clear()
    assert run(recipe, source, "parity").kept == tuple(STEPS[:5])
    assert bench.ran == STEPS[5:]


def test_from_an_unknown_step_suggests_the_nearest_and_forgets_nothing(
    bench: Bench, recipe: Path, source: Source
) -> None:
    run(recipe, source)
    before = tree(recipe.parent)
    with pytest.raises(UsageError, match=r"'exprt'.*Did you mean 'export'\?"):
        run(recipe, source, "exprt")
    assert tree(recipe.parent) == before


def test_two_runs_at_once_are_refused(bench: Bench, recipe: Path, source: Source) -> None:
    run(recipe, source)
    before = tree(recipe.parent)
    with only_one(workspace_of(recipe)):
        with pytest.raises(UsageError, match="Another run") as caught:
            run(recipe, source, "data")
        assert str(os.getpid()) in str(caught.value.received)
        assert (workspace_of(recipe).root / "running").exists()  # the other's lock is not removed
    assert tree(recipe.parent) == before  # and nothing is forgotten


@pytest.mark.parametrize(
    "lock",
    [
        "",
        "rubbish",
        "1 2 3",
        "x y",
        "999999999 1.0",
        f"{os.getpid()} 1.0",
        f"-1 {psutil.Process().create_time()}",
    ],
    ids=["empty", "rubbish", "three", "words", "no process", "older process", "no number"],
)
def test_the_lock_of_a_killed_run_is_taken_over(bench: Bench, recipe: Path, source: Source, lock: str) -> None:
    path = workspace_of(recipe).root / "running"
    path.parent.mkdir(parents=True)
    path.write_text(lock)
    run(recipe, source)
    assert bench.ran == STEPS
    assert not path.exists()


def test_no_permission_is_told_and_nothing_is_left(
    bench: Bench, recipe: Path, source: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(self: Path, *_: Any, **__: Any) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(Path, "mkdir", refuse)
    with pytest.raises(UsageError, match="may not write"):
        run(recipe, source)
    assert not (recipe.parent / ".limpide").exists()
    assert bench.ran == []


@pytest.mark.parametrize(
    "error", [OSError(errno.ENOSPC, "No space left on device"), RuntimeError("I/O error: full (os error 28)")]
)
def test_a_full_disk_is_told_and_the_run_goes_on_once_there_is_room(
    bench: Bench, recipe: Path, source: Source, error: Exception
) -> None:
    def full(subject: Subject) -> None:
        raise error

    bench.before["export"] = full
    with pytest.raises(UsageError, match="is full") as caught:
        run(recipe, source)
    assert "finished steps are kept" in str(caught.value.remedy)
    bench.before.clear()
    assert run(recipe, source).kept == tuple(STEPS[:4])


def test_a_file_in_the_place_of_the_folder(bench: Bench, recipe: Path, source: Source) -> None:
    (recipe.parent / ".limpide").write_text("x")
    with pytest.raises(UsageError, match="Nothing can be written"):
        run(recipe, source)


def test_a_recipe_without_adaptation_compares_the_base_with_itself(bench: Bench, recipe: Path, source: Source) -> None:
    edit(recipe, "adapt: {epochs: 2}\n", "")
    run(recipe, source)
    assert bench.ran == [step for step in STEPS if step != "adapt"]


def test_a_suite_named_twice_is_measured_once(bench: Bench, recipe: Path, source: Source) -> None:
    edit(recipe, "[domain, retention]", "[domain, retention, domain]")
    run(recipe, source)
    assert bench.ran == STEPS


def test_each_step_reads_what_it_should(bench: Bench, recipe: Path, source: Source) -> None:
    seen: dict[str, Subject] = {}
    bench.before = {step: lambda s, step=step: seen.update({step: s}) for step in STEPS}
    run(recipe, source)
    plan, workspace = plan_of(recipe, source), workspace_of(recipe)
    done = {step: workspace.done(plan.step(step)) for step in STEPS}
    assert seen["adapt"].inputs == {"data": done["data"]}
    assert seen["adapt"].model == seen["audit-base-domain"].model == source.folder
    assert seen["audit-result-domain"].model == done["export"] / "merged"
    assert seen["export"].inputs == {"data": done["data"], "adapt": done["adapt"]}
    assert seen["parity"].inputs == {"data": done["data"], "adapt": done["adapt"], "export": done["export"]}
    assert seen["compare"].inputs["base:domain"] == done["audit-base-domain"]
    assert {seen[f"audit-{side}-domain"].label for side in ("base", "result")} == {"base", "result"}
    assert json.loads((done["data"] / "read.json").read_text())["inputs"] == {}
