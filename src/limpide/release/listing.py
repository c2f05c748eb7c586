"""Which files of a folder a signature covers: all of them, but its own file and what is appended after it."""

import os
from collections.abc import Iterable
from pathlib import Path, PurePosixPath

from limpide.core.errors import Fault, LimpideError, MissingError, UsageError

SIGNATURE = "model.sig"
ATTESTATIONS = "attestations"
UNSIGNED = (SIGNATURE, ATTESTATIONS)  # at the top of the release only; `sub/model.sig` counts as any file


def covered(folder: Path, error: type[LimpideError]) -> list[str]:
    """Relative POSIX names, sorted, of every file under `folder` that a signature covers, dot files included.

    Symbolic links, and things that are neither file nor folder, are refused anywhere, in `attestations/` too: a link
    can change what a release contains without changing a byte of it. Raises `error` naming each of them (IntegrityError
    when verifying, UsageError when signing).
    """
    names: list[str] = []
    faults: list[Fault] = []
    _walk(folder, "", names, faults)
    signature, attestations = folder / SIGNATURE, folder / ATTESTATIONS
    if signature.is_dir() and not signature.is_symlink():
        faults.append(Fault(SIGNATURE, None, "a folder, where the signature file belongs"))
    if attestations.is_file() and not attestations.is_symlink():
        faults.append(Fault(ATTESTATIONS, None, "a file, where a folder belongs"))
    if faults:
        raise error(
            f"{folder} holds things that a release may not hold.",
            faults=faults,
            expected="regular files and folders only",
            remedy="replace each link by the file it points to, remove the rest"
            if issubclass(error, UsageError)
            else "do not use the release; fetch it again from its publisher",
        )
    return sorted(name for name in names if PurePosixPath(name).parts[0] not in UNSIGNED)


def require_folder(folder: Path) -> None:
    """Raises MissingError or UsageError when `folder` is not a real folder."""
    if folder.is_symlink():
        raise UsageError(f"{folder} is a symbolic link.", remedy=f"give the folder itself: {folder.resolve()}")
    if not folder.exists():
        raise MissingError(
            f"There is no folder {folder}.", remedy="give the folder of a release (releases/NAME-VERSION)"
        )
    if not folder.is_dir():
        raise UsageError(f"{folder} is not a folder.", expected="the folder of a release")


def unfit(name: str) -> str | None:
    """Why `name` cannot be the name of a released file on every system, or None when it can."""
    parts = PurePosixPath(name).parts
    if not name or name.startswith("/") or ".." in parts or str(PurePosixPath(name)) != name:
        return "not a plain relative name"
    if "\\" in name:
        return "a backslash separates folders on other systems"
    if not name.isprintable() or any("\ud800" <= letter <= "\udfff" for letter in name):
        return "it holds control or undecodable characters"
    return None


def refuse_unfit(names: Iterable[str]) -> None:
    """Raises UsageError naming each name that other systems would read otherwise or not at all."""
    faults = [Fault(shown(name), None, why) for name in names if (why := unfit(name)) is not None]
    if faults:
        raise UsageError("Some file names cannot be released.", faults=faults, remedy="rename these files")


def shown(name: str) -> str:
    """`name` as it can be printed: escaped when it could move the cursor or is not text."""
    return name if name.isprintable() else ascii(name)


def inside(path: Path, folder: Path) -> bool:
    """Whether `path`, links followed, lies in `folder`."""
    return path.resolve().is_relative_to(folder.resolve())


def _walk(folder: Path, prefix: str, names: list[str], faults: list[Fault]) -> None:
    """Fill `names` and `faults`. An unreadable folder is a fault, never skipped (as pathlib's glob would)."""
    try:
        with os.scandir(folder) as found:
            entries = sorted(found, key=lambda entry: entry.name)
    except OSError as error:
        faults.append(Fault(shown(prefix) or ".", None, f"cannot be listed: {error.strerror}"))
        return
    for entry in entries:
        name = prefix + entry.name
        if entry.is_symlink():
            faults.append(Fault(shown(name), None, "a symbolic link"))
        elif entry.is_dir(follow_symlinks=False):
            _walk(Path(entry.path), name + "/", names, faults)
        elif entry.is_file(follow_symlinks=False):
            names.append(name)
        else:
            faults.append(Fault(shown(name), None, "neither a file nor a folder"))
