"""What a run would do: its steps, which of them are kept, and what would stop it. Read from files, without torch."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from limpide.core import files
from limpide.core.errors import LimpideError
from limpide.core.progress import Quiet
from limpide.models.sources import resolve
from limpide.recipe.finish import refuse_remade
from limpide.recipe.load import load_recipe
from limpide.recipe.plan import check_ready, make_plan, signing_key
from limpide.recipe.run import Workspace
from limpide.studio.jobs import Job
from limpide.studio.project import Project

STEPS = "steps.json"  # in the folder of a job: the steps as they were planned when it was started
ENCRYPTED = b"ENCRYPTED PRIVATE KEY"
HUB = "hub:"


@dataclass(frozen=True)
class Planned:
    """steps: (name, is it kept), in their order. missing: files of the data that are not there.

    stops: the record of an error that would end it. remade: the release that is there already, made from something
    else. locked: the signing key, if it has a password. key: where the signing key would be, where there is none yet.
    unknown: the base is not on this machine as it is needed, and the steps are only known when it is.
    """

    name: str
    version: str
    base: str
    gates: Sequence[str] = ()
    steps: Sequence[tuple[str, bool]] = ()
    missing: Sequence[str] = ()
    stops: Mapping[str, Any] | None = None
    remade: Path | None = None
    locked: Path | None = None
    key: Path | None = None
    approval: bool = False
    unknown: bool = False


def plan_of(project: Project) -> Planned:
    """The plan of the project's recipe. Raises RecipeError with all its faults, ModelError for a base that is none."""
    recipe = load_recipe(project.recipe)
    said = {"name": recipe.name, "version": recipe.version, "base": recipe.base, "gates": tuple(recipe.gates)}
    approval = recipe.release.approval == "required"
    if recipe.base.startswith(HUB):  # looking at it would fetch it, which a page does not do
        return Planned(**said, approval=approval, unknown=True)
    beside = project.folder / recipe.base
    try:
        source = resolve(str(beside) if beside.exists() else recipe.base, _AtOnce())
    except _TakesLong:
        return Planned(**said, approval=approval, unknown=True)
    plan = make_plan(recipe, project.recipe, source)
    workspace = Workspace(project.folder.absolute(), recipe.name)
    key = signing_key(plan)
    locked = key if key.is_file() and ENCRYPTED in key.read_bytes()[:200] else None
    release = workspace.release(plan)
    remade = _stop(lambda: refuse_remade(plan, workspace)) is not None
    return Planned(
        **said,
        steps=[(step.name, workspace.finished(step)) for step in plan.steps],
        missing=[Path(name).name for name in plan.data_files if not Path(name).exists()],
        stops=None if locked else _stop(lambda: check_ready(plan)),
        remade=release if remade else None,
        locked=locked,
        key=key if recipe.release.sign_with and not key.exists() else None,
        approval=approval,
    )


class _TakesLong(Exception):
    """The base must be fetched or converted first, which is for the run."""


class _AtOnce(Quiet):
    """Stops what announces work: a page is drawn at once or says that it cannot tell."""

    @contextmanager
    def task(self, what: str, total: float | None = None, done: float = 0) -> Iterator[Quiet]:
        raise _TakesLong(what)
        yield self


def _stop(check: Any) -> Mapping[str, Any] | None:
    try:
        check()
    except LimpideError as error:
        return error.record()
    return None


def keep_steps(job: Job, planned: Planned) -> None:
    """Write beside the job what was planned, so that any browser shows its steps, whatever becomes of the recipe."""
    files.write_json(job.folder / STEPS, {"name": planned.name, "version": planned.version, "steps": planned.steps})


def kept_steps(job: Job) -> list[tuple[str, bool]]:
    try:
        return [(str(name), bool(kept)) for name, kept in files.read_json(job.folder / STEPS)["steps"]]
    except (OSError, ValueError, TypeError, KeyError):
        return []


def planned_name(job: Job) -> tuple[str, str]:
    """Name and version of the recipe that a job runs, as they were planned."""
    try:
        record = files.read_json(job.folder / STEPS)
        return str(record["name"]), str(record["version"])
    except (OSError, ValueError, TypeError, KeyError):
        return "", ""
