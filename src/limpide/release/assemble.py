"""Put a release folder together from its parts: whole or not at all, and never over another release."""

import os
import shutil
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path, PurePosixPath

from limpide.core import digests
from limpide.core.errors import Fault, MissingError, UsageError
from limpide.core.files import clear_write_errors
from limpide.release.listing import UNSIGNED, covered, refuse_unfit, shown


def assemble(folder: Path, parts: Mapping[str, Path], finish: Callable[[Path], object] = lambda built: None) -> bool:
    """Make the release `folder` from {relative target: source file or folder}; "" puts a source folder at the top.

    Files are copied, never hard-linked: a link shares its bytes with the source, so that a later change of the source
    (a step run again, an editor that writes in place) would change a release already signed.
    All is built in a hidden folder beside and renamed when complete; `finish(built)` (sign it, for instance) runs
    before the renaming, in a folder that already has its final name.
    Where `folder` exists with the same files it is kept, `finish` runs on it again, and False is returned.
    Raises MissingError for a source that is not there, UsageError for links, unfit or clashing names, and for a
    different release of the same name and version.
    """
    plan = _plan(parts)
    if folder.is_symlink() or (folder.exists() and not folder.is_dir()):
        raise UsageError(
            f"{folder} exists and is not a folder.", remedy="move it away, then run the same command again"
        )
    if folder.is_dir() and any(folder.iterdir()):
        _refuse_other(folder, plan)
        finish(folder)
        return False
    with clear_write_errors(folder):
        folder.parent.mkdir(parents=True, exist_ok=True)
        beside = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", suffix=".tmp", dir=folder.parent))
        try:
            built = beside / folder.name
            built.mkdir()
            for name, source in plan.items():
                target = built / name
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(source, target)  # bytes only: the source's owner and rights stay with the source
            finish(built)
            _rename(built, folder)
        finally:
            shutil.rmtree(beside, ignore_errors=True)
    return True


def _plan(parts: Mapping[str, Path]) -> dict[str, Path]:
    """{name in the release: source file}, checked."""
    plan: dict[str, Path] = {}
    faults: list[Fault] = []
    for target, source in parts.items():
        if source.is_symlink():
            faults.append(Fault(shown(str(source)), None, "a symbolic link"))
        elif source.is_dir():
            # The source's own model.sig and attestations/ speak of the source: they are not part of a new release.
            found = {str(PurePosixPath(target) / name): source / name for name in covered(source, UsageError)}
            faults += [Fault(shown(name), None, "given by two parts") for name in found if name in plan]
            plan.update(found)
        elif source.is_file():
            if target in plan:
                faults.append(Fault(shown(target), None, "given by two parts"))
            plan[target] = source
        elif source.exists():
            faults.append(Fault(shown(str(source)), None, "neither a file nor a folder"))
        else:
            raise MissingError(
                f"A part of the release is not there: {source}.", remedy="run the step that makes it again"
            )
    refuse_unfit(plan)
    faults += _clashes(plan)
    faults += [
        Fault(shown(str(path)), None, "cannot be read") for path in plan.values() if not os.access(path, os.R_OK)
    ]
    if faults:
        raise UsageError(
            "The parts do not make a release.",
            faults=faults,
            remedy="replace links by the files they point to, give each part its own place, and make all readable",
        )
    if not plan:
        raise UsageError("The release has no file.", remedy="name at least one part")
    return plan


def _clashes(plan: Mapping[str, Path]) -> list[Fault]:
    """Names kept for the signature, a file where another needs a folder, and names that differ by case only."""
    faults = []
    by_case: dict[str, str] = {}
    for name in plan:
        parts = PurePosixPath(name).parts
        if parts[0].lower() in UNSIGNED:
            faults.append(Fault(name, None, "kept for the signature and what is appended after it"))
        if any("/".join(parts[:depth]) in plan for depth in range(1, len(parts))):
            faults.append(Fault(name, None, "lies below a name that is a file"))
        other = by_case.setdefault(name.casefold(), name)
        if other != name:
            faults.append(Fault(name, None, f"differs from {other} by case only: one file on some systems"))
    return faults


def _refuse_other(folder: Path, plan: Mapping[str, Path]) -> None:
    planned = {name: digests.of_file(source) for name, source in plan.items()}
    present = set(covered(folder, UsageError))
    faults = []
    for name in sorted(present | set(planned)):
        if name not in planned:
            faults.append(Fault(shown(name), None, "only in the release already there"))
        elif name not in present:
            faults.append(Fault(name, None, "only in the new one"))
        elif digests.of_file(folder / name) != planned[name]:
            faults.append(Fault(name, None, "other bytes"))
    if faults:
        raise UsageError(
            f"{folder} is already there, with other files: a release never changes once it is made.",
            faults=faults,
            received=f"{len(present)} files there, {len(planned)} now",
            remedy=f"raise `version` in the recipe; or, if it was never given to anyone, remove {folder} and run again",
        )


def _rename(built: Path, folder: Path) -> None:
    try:
        if folder.is_dir():
            folder.rmdir()
        built.rename(folder)
    except OSError as error:
        if folder.exists():
            raise UsageError(
                f"{folder} appeared while it was being made.", remedy="run one Limpide at a time on a release"
            ) from error
        raise
