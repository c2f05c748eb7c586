"""Run a plan: each step into its own folder, once. What is there is kept, what was interrupted goes on."""

import ctypes
import gc
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

from limpide.core import digests, files
from limpide.core.errors import UsageError, nearest
from limpide.core.operation import Result, Subject
from limpide.core.progress import Progress
from limpide.recipe.plan import Plan, Step


@dataclass(frozen=True)
class Workspace:
    """Where a recipe's steps live: `<folder>/.limpide/<name>/`, and its releases: `<folder>/releases/`."""

    folder: Path
    name: str

    @property
    def root(self) -> Path:
        return self.folder / ".limpide" / self.name

    @property
    def releases(self) -> Path:
        return self.folder / "releases"

    def done(self, step: Step) -> Path:
        return self.root / "steps" / step.folder

    def partial(self, step: Step) -> Path:
        return self.root / "partial" / step.folder

    def documents(self, plan: Plan) -> Path:
        return self.root / "documents" / plan.key[: digests.SHORT]

    def release(self, plan: Plan) -> Path:
        return self.releases / f"{plan.recipe.name}-{plan.recipe.version}"

    def finished(self, step: Step) -> bool:
        return (self.done(step) / "result.json").is_file()


@dataclass(frozen=True)
class Ran:
    """Seconds of each step that ran now; kept: steps that were there already."""

    seconds: dict[str, float]
    kept: tuple[str, ...]


def run_steps(plan: Plan, workspace: Workspace, progress: Progress, from_step: str | None = None) -> Ran:
    """Bring every step's folder into being. from_step: forget this step and all after it first."""
    seconds: dict[str, float] = {}
    kept: list[str] = []
    with only_one(workspace):
        if from_step is not None:
            forget(plan, workspace, from_step)
        for number, step in enumerate(plan.steps, start=1):
            if workspace.finished(step):
                kept.append(step.name)
                continue
            progress.say(f"[{number}/{len(plan.steps)}] {step.name}: {step.operation.summary}")
            started = time.monotonic()
            run_step(step, plan, workspace, progress)
            seconds[step.name] = time.monotonic() - started
    return Ran(seconds, tuple(kept))


def run_step(step: Step, plan: Plan, workspace: Workspace, progress: Progress) -> Result:
    """Run one step in its partial folder, then rename the folder: a finished step is whole."""
    partial = workspace.partial(step)
    if not step.operation.resumes:
        shutil.rmtree(partial, ignore_errors=True)
    with files.clear_write_errors(partial):
        partial.mkdir(parents=True, exist_ok=True)
    subject = Subject(
        out=partial,
        inputs={name: workspace.done(plan.step(of)) for name, of in step.inputs.items()},
        model=model_folder(step, plan, workspace),
        label=step.label,
        seed=plan.recipe.seed,
    )
    with files.clear_write_errors(partial, files.FULL):
        result = step.operation.run(subject, step.settings, progress)
    for warning in result.warnings:
        progress.warn(warning)
    result.save(partial)
    done = workspace.done(step)
    with files.clear_write_errors(done):
        done.parent.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(done, ignore_errors=True)
        partial.rename(done)
    _give_memory_back()
    return result


def _give_memory_back() -> None:
    """What a step freed goes back to the system, so that the next one's peak does not stand on it (Linux's glibc)."""
    gc.collect()
    with suppress(OSError, AttributeError):
        ctypes.CDLL("libc.so.6").malloc_trim(0)


def model_folder(step: Step, plan: Plan, workspace: Workspace) -> Path | None:
    if step.model is None:
        return None
    if step.model == "base":
        return plan.source.folder
    name, _, folder = step.model.partition("/")
    return Path(workspace.done(plan.step(name)) / folder)


def forget(plan: Plan, workspace: Workspace, from_step: str) -> None:
    """Remove the folders of `from_step`, of every later step, and the documents that rest on them.

    Raises UsageError naming the nearest step.
    """
    names = [s.name for s in plan.steps]
    if from_step not in names:
        raise UsageError(f"There is no step '{from_step}'.{nearest(from_step, names)}", expected=", ".join(names))
    for step in plan.steps[names.index(from_step) :]:
        shutil.rmtree(workspace.done(step), ignore_errors=True)
        shutil.rmtree(workspace.partial(step), ignore_errors=True)
    shutil.rmtree(workspace.documents(plan), ignore_errors=True)


@contextmanager
def only_one(workspace: Workspace) -> Iterator[None]:
    """Hold the workspace: two runs of one recipe would write into each other's folders."""
    lock = workspace.root / "running"
    with files.clear_write_errors(lock):
        workspace.root.mkdir(parents=True, exist_ok=True)
        _take(lock)
    try:
        yield
    finally:
        if lock.is_file() and lock.read_text().split()[:1] == [str(os.getpid())]:
            lock.unlink(missing_ok=True)


def _me() -> str:
    return f"{os.getpid()} {psutil.Process().create_time()}"


def _take(lock: Path) -> None:
    """Linking a written file makes the lock whole or not at all; renaming a dead one lets one process take over."""
    written = lock.with_name(f"running.{os.getpid()}")
    written.write_text(_me())
    try:
        try:
            os.link(written, lock)
        except FileExistsError:
            if _alive(lock):
                raise UsageError(
                    "Another run of this recipe is at work here.",
                    received=f"process {lock.read_text().split()[0]}",
                    remedy="wait for it to end, or stop it",
                ) from None
            written.replace(lock)  # its owner was killed
    finally:
        written.unlink(missing_ok=True)


def _alive(lock: Path) -> bool:
    """Is the process that wrote the lock still the one with that number? A number alone may have been given again."""
    try:
        number, created = lock.read_text().split()
        return abs(psutil.Process(int(number)).create_time() - float(created)) < 1
    except (OSError, ValueError, psutil.Error):
        return False
