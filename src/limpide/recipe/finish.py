"""The end of a run: evidence, documents, and when the verdict is ship, a signed release."""

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

from limpide.core import digests, files
from limpide.core.errors import GateFailed, UsageError
from limpide.core.measure import save_measures
from limpide.document.evidence import Evidence, load_evidence, save_evidence
from limpide.recipe.gather import gather
from limpide.recipe.plan import Plan, signing_key
from limpide.recipe.run import Workspace, only_one

WRITTEN = "evidence/evidence.json"


@dataclass(frozen=True)
class Finished:
    """release: the signed folder. made: False when it was there already, unchanged."""

    evidence: Evidence
    documents: Path
    release: Path
    made: bool


def write_evidence(plan: Plan, workspace: Workspace) -> Path:
    """The folder of documents of this plan: card, reports, evidence. Written once for a plan's key."""
    folder = workspace.documents(plan)
    if (folder / WRITTEN).is_file():
        return folder
    building = folder.with_name(f"{folder.name}.tmp")
    shutil.rmtree(building, ignore_errors=True)
    try:
        with files.clear_write_errors(building):
            _write_evidence(building, plan, workspace)
            shutil.rmtree(folder, ignore_errors=True)
            building.rename(folder)
    finally:
        shutil.rmtree(building, ignore_errors=True)
    return folder


def _write_evidence(building: Path, plan: Plan, workspace: Workspace) -> None:
    from limpide.document.write import write_documents

    evidence = gather(plan, workspace)
    write_documents(evidence, building)
    save_measures(building / "evidence" / "measures.jsonl", evidence.measures)
    files.write_jsonl(building / "evidence" / "changes.jsonl", (c.model_dump(mode="json") for c in evidence.changes))
    files.write_json(building / "evidence" / "parity.json", evidence.parity.model_dump(mode="json"))
    files.write_json(building / "recipe.lock.json", lock(plan, evidence))
    files.write_bytes(building / "recipe.yaml", plan.text)
    for step in plan.steps:  # specs too: with both, `limpide compare` computes changes between releases
        for kept, suffix in (("items.jsonl", ".jsonl"), ("specs.json", ".specs.json")):
            file = workspace.done(step) / kept
            if file.is_file():
                name = step.name.removeprefix("audit-")
                files.write_bytes(building / "evidence" / "items" / f"{name}{suffix}", file.read_bytes())
    save_evidence(building / WRITTEN, evidence)


def lock(plan: Plan, evidence: Evidence) -> dict[str, Any]:
    """Every version, seed and digest that the release rests on."""
    return {
        "recipe": digests.of_bytes(plan.text),
        "seed": plan.recipe.seed,
        "approval": plan.recipe.release.approval,
        "code": dict(plan.code),
        "installed": {d.name: d.version for d in sorted(distributions(), key=lambda d: d.name.lower())},
        "base": {"ref": plan.source.ref, "digest": plan.source.digest},
        "data": [{"file": Path(name).name, "sha256": digest} for name, digest in plan.data_files.items()],
        "environment": dict(plan.environment),
        "steps": {step.name: step.key for step in plan.steps},
        "files": {file.name: file.digest for file in evidence.files},
    }


def finish(plan: Plan, workspace: Workspace, password: str | None = None) -> Finished:
    """Documents always; the release only on 'ship'. Raises GateFailed, ApprovalNeeded (exit 4), UsageError."""
    with only_one(workspace):
        return _finish(plan, workspace, password)


def refuse_remade(plan: Plan, workspace: Workspace, from_step: str | None = None) -> None:
    """Say before the work what would stop it at its end: a release that is there never changes.

    Its documents tell dates, durations and digests, so a release without the documents of this very plan is another.
    """
    release = workspace.release(plan)
    same = (workspace.documents(plan) / WRITTEN).is_file() and from_step is None
    if not same and release.is_dir() and any(release.iterdir()):
        raise UsageError(
            f"{release} is already there, made from another recipe, data or program: a release never changes.",
            remedy=f"raise `version` in the recipe; or remove {release}, if nobody was given it, and run again",
        )


def _finish(plan: Plan, workspace: Workspace, password: str | None) -> Finished:
    documents = write_evidence(plan, workspace)
    evidence = load_evidence(documents / WRITTEN)
    if evidence.verdict != "ship":
        raise GateFailed(
            f"Verdict: {evidence.verdict}. The release is not made: " + " ".join(map(str, evidence.reasons)),
            remedy=f"read {documents / 'evidence' / 'report.html'}, change the recipe or the data, and run again",
        )
    release = workspace.release(plan)
    made = _make_release(release, plan, workspace, documents, password)
    finished = Finished(evidence, documents, release, made)
    _require_approval(finished, plan)
    return finished


def _make_release(release: Path, plan: Plan, workspace: Workspace, documents: Path, password: str | None) -> bool:
    from limpide.release.assemble import assemble
    from limpide.release.sign import sign_folder

    key = signing_key(plan)
    return assemble(release, release_parts(plan, workspace, documents), lambda built: sign_folder(built, key, password))


def release_parts(plan: Plan, workspace: Workspace, documents: Path) -> Mapping[str, Path]:
    """{place in the release: source}. The merged folder is the top, so that any tool loads the release as it is."""
    export = workspace.done(plan.step("export"))
    parts: dict[str, Path] = {}
    for source in (export / "merged", documents):
        parts |= {p.relative_to(source).as_posix(): p for p in sorted(source.rglob("*")) if p.is_file()}
    if (export / "gguf").is_dir():
        parts["gguf"] = export / "gguf"
    tuned = plan.recipe.adapt is not None or plan.recipe.imported is not None
    if tuned and (adapter := workspace.done(plan.step("adapt")) / "adapter").is_dir():
        parts["adapter"] = adapter
    return parts


def _require_approval(finished: Finished, plan: Plan) -> None:
    if plan.recipe.release.approval == "required":
        from limpide.release.approve import require_approval

        others = [plan.path.parent / key for key in plan.recipe.release.approvers]
        require_approval(finished.release, public_key(plan), others)


def public_key(plan: Plan) -> Path:
    from limpide.release.keys import public_path

    return public_path(signing_key(plan))
