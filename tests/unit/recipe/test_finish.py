import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from limpide.core import digests, files
from limpide.core.errors import ApprovalNeeded, GateFailed, UsageError
from limpide.core.progress import Quiet
from limpide.models.sources import Source
from limpide.recipe import finish as finishing
from limpide.recipe.finish import Finished, finish, refuse_remade
from limpide.recipe.run import only_one, run_steps
from limpide.release.approve import approve
from limpide.release.verify import verify_folder
from stand_ins import Bench, edit, plan_of, workspace_of


@pytest.fixture(autouse=True)
def plain_documents(monkeypatch: pytest.MonkeyPatch) -> None:
    """The real card and report are tested in their own room, and take a second to draw."""
    from limpide.document import write

    monkeypatch.setattr(
        write, "write_documents", lambda evidence, folder: files.write_text(folder / "README.md", "card")
    )


def run(recipe: Path, source: Source) -> Finished:
    plan, workspace = plan_of(recipe, source), workspace_of(recipe)
    run_steps(plan, workspace, Quiet())
    return finish(plan, workspace)


def leftovers(recipe: Path) -> list[str]:
    return [p.name for p in recipe.parent.rglob("*") if p.name.endswith(".tmp") or p.name == "running"]


def public(recipe: Path) -> Path:
    return recipe.parent / "keys" / "release.pub"


def test_ship_makes_a_signed_release(bench: Bench, recipe: Path, source: Source) -> None:
    finished = run(recipe, source)
    assert finished.made
    assert finished.release == recipe.parent / "releases" / "press-1.0.0"
    names = set(verify_folder(finished.release, public(recipe)).files)
    assert {"README.md", "config.json", "model.safetensors", "adapter/adapter_config.json", "recipe.yaml"} <= names
    assert {"recipe.lock.json", "evidence/evidence.json", "evidence/measures.jsonl", "evidence/parity.json"} <= names
    assert {"evidence/items/base-domain.jsonl", "evidence/items/result-domain.jsonl"} <= names
    assert "evidence/items/result-domain.specs.json" in names  # with the items, enough to compare releases
    assert {suite.name: suite.rerun for suite in finished.evidence.suites}["domain"] == "limpide run recipe.yaml"
    assert leftovers(recipe) == []


def test_again_makes_nothing(bench: Bench, recipe: Path, source: Source) -> None:
    first = run(recipe, source)
    before = {p: p.stat().st_mtime_ns for p in first.release.rglob("*")}
    assert not run(recipe, source).made
    assert {p: p.stat().st_mtime_ns for p in first.release.rglob("*")} == before


@pytest.mark.parametrize(("change", "verdict"), [(0.2, "hold"), (0.0995, "insufficient evidence")])
def test_a_gate_that_does_not_pass_makes_no_release(
    bench: Bench, recipe: Path, source: Source, change: float, verdict: str
) -> None:
    bench.change = change
    with pytest.raises(GateFailed, match=f"Verdict: {verdict}.*retention.loss worsens by less than 5%") as caught:
        run(recipe, source)
    assert not (recipe.parent / "releases").exists()
    assert "report.html" in str(caught.value.remedy)
    with pytest.raises(GateFailed):  # again, from the documents that are there
        run(recipe, source)


def test_a_failed_certificate_blocks_the_release(bench: Bench, recipe: Path, source: Source) -> None:
    bench.certified = False
    with pytest.raises(GateFailed, match=r"Verdict: hold.*parity, merged: Stop ids compared"):
        run(recipe, source)
    assert not (recipe.parent / "releases").exists()


def test_waiting_for_a_named_person_then_going_on(bench: Bench, recipe: Path, source: Source) -> None:
    edit(recipe, "{sign_with", "{approval: required, sign_with")
    with pytest.raises(ApprovalNeeded):
        run(recipe, source)
    release = recipe.parent / "releases" / "press-1.0.0"
    approve(release, "Ada Martin", recipe.parent / "keys" / "release.pem")
    assert not run(recipe, source).made


@pytest.mark.parametrize(
    "where", ["gather", "save_evidence", "write_documents", "assemble", "sign_folder", "require_approval"]
)
def test_interrupted_anywhere_then_run_again(
    bench: Bench, recipe: Path, source: Source, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    from limpide.document import write
    from limpide.release import approve as approving
    from limpide.release import assemble, sign

    def stop(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    edit(recipe, "{sign_with", "{approval: required, sign_with")
    modules = {"write_documents": write, "assemble": assemble, "sign_folder": sign, "require_approval": approving}
    with monkeypatch.context() as patch:
        patch.setattr(modules.get(where, finishing), where, stop)
        with pytest.raises(KeyboardInterrupt):
            run(recipe, source)
    release = recipe.parent / "releases" / "press-1.0.0"
    if release.exists():
        verify_folder(release, public(recipe))
    assert leftovers(recipe) == []
    with pytest.raises(ApprovalNeeded):
        run(recipe, source)
    verify_folder(release, public(recipe))
    assert leftovers(recipe) == []


def test_finishing_while_another_run_is_at_work_is_refused(bench: Bench, recipe: Path, source: Source) -> None:
    plan, workspace = plan_of(recipe, source), workspace_of(recipe)
    run_steps(plan, workspace, Quiet())
    with only_one(workspace), pytest.raises(UsageError, match="Another run"):
        finish(plan, workspace)


def test_a_release_of_another_recipe_is_told_before_the_work(bench: Bench, recipe: Path, source: Source) -> None:
    release = run(recipe, source).release
    refuse_remade(plan_of(recipe, source), workspace_of(recipe))  # the very same
    with pytest.raises(UsageError, match="never changes"):
        refuse_remade(plan_of(recipe, source), workspace_of(recipe), from_step="parity")
    edit(recipe, "epochs: 2", "epochs: 3")
    with pytest.raises(UsageError, match="never changes") as caught:
        refuse_remade(plan_of(recipe, source), workspace_of(recipe))
    assert "raise `version`" in str(caught.value.remedy)
    edit(recipe, "version: 1.0.0", "version: 1.1.0")
    refuse_remade(plan_of(recipe, source), workspace_of(recipe))
    run(recipe, source)
    assert release.is_dir()
    assert (recipe.parent / "releases" / "press-1.1.0").is_dir()


def test_a_step_run_again_by_name_makes_new_documents(bench: Bench, recipe: Path, source: Source) -> None:
    bench.change = 0.2
    with pytest.raises(GateFailed):
        run(recipe, source)
    bench.change = 0.0
    plan, workspace = plan_of(recipe, source), workspace_of(recipe)
    run_steps(plan, workspace, Quiet(), from_step="compare")
    assert finish(plan, workspace).made


def test_the_lock_tells_every_version_seed_and_digest(bench: Bench, recipe: Path, source: Source) -> None:
    release = run(recipe, source).release
    lock = json.loads((release / "recipe.lock.json").read_text())
    plan = plan_of(recipe, source)
    assert lock["steps"] == {step.name: step.key for step in plan.steps}
    assert lock["base"]["digest"] == source.digest
    assert [row["file"] for row in lock["data"]] == ["examples.jsonl"]
    assert lock["code"] == dict(plan.code)
    assert lock["installed"]["torch"].startswith("2.")
    assert lock["approval"] == "none"
    assert lock["environment"] == dict(plan.environment)
    assert lock["seed"] == 0


def test_the_recipe_in_the_release_is_the_one_that_ran(bench: Bench, recipe: Path, source: Source) -> None:
    ran = recipe.read_bytes()
    bench.before["compare"] = lambda _: edit(recipe, "epochs: 2", "epochs: 9")
    release = run(recipe, source).release
    assert (release / "recipe.yaml").read_bytes() == ran
    assert json.loads((release / "recipe.lock.json").read_text())["recipe"] == digests.of_bytes(ran)


def test_without_its_steps_a_release_still_verifies(bench: Bench, recipe: Path, source: Source) -> None:
    release = run(recipe, source).release
    shutil.rmtree(recipe.parent / ".limpide")
    verify_folder(release, public(recipe))
    with pytest.raises(UsageError, match="never changes"):
        refuse_remade(plan_of(recipe, source), workspace_of(recipe))
