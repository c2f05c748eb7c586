"""Files that people drop: hostile names, hostile sizes, a disk that fills. Nothing is unpacked or read here."""

import os
import secrets
from collections.abc import AsyncIterator
from pathlib import Path

from limpide.core import files
from limpide.core.errors import UsageError
from limpide.studio.project import Project

MEGABYTE = 1_000_000
KEPT_FREE = 200 * MEGABYTE  # of the disk, so that a job can still write


async def receive(
    project: Project, name: str, declared: int | None, pieces: AsyncIterator[bytes], largest: int
) -> Path:
    """Write what comes to `data/`, whole or not at all; an existing file of that name is kept and the new one renamed.

    declared: the length the browser announced. largest: bytes. Raises UsageError (name, size, full disk).
    """
    place = project.place_for_upload(name)
    if declared is None:
        raise UsageError(f"'{place.name}' came without its size.", remedy="drop the file on the studio's page")
    if declared > largest:
        raise too_large(place.name, largest)
    with files.clear_write_errors(place):
        place.parent.mkdir(parents=True, exist_ok=True)
        _check_space(place, declared)
        beside = place.with_name(f".{secrets.token_hex(8)}.part")
        try:
            with os.fdopen(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as stream:
                size = 0
                async for piece in pieces:
                    size += len(piece)
                    if size > declared:
                        raise UsageError(f"More came of '{place.name}' than was announced.", remedy="drop it again")
                    stream.write(piece)
            return _put(beside, place)
        finally:
            beside.unlink(missing_ok=True)


def too_large(name: str, largest: int) -> UsageError:
    return UsageError(
        f"'{name}' is larger than the studio accepts.",
        expected=f"at most {largest // MEGABYTE} MB",
        remedy="put it in the project's data folder by hand, or start the studio with a higher --largest-upload",
    )


def _check_space(place: Path, size: int) -> None:
    disk = os.statvfs(place.parent)
    free = disk.f_bavail * disk.f_frsize
    if free < size + KEPT_FREE:
        raise UsageError(
            f"The disk that holds {place.parent} is nearly full.",
            received=f"{free // MEGABYTE} MB free",
            expected=f"{(size + KEPT_FREE) // MEGABYTE} MB",
            remedy="free some space and drop the file again",
        )


def _put(beside: Path, place: Path) -> Path:
    """Give the file its name; `name-2.csv` and so on when that one is taken by another file."""
    target, number = place, 1
    while True:
        try:
            os.close(
                os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
            )  # the name is ours: no upload writes over another
            return beside.replace(target)
        except FileExistsError:
            number += 1
            target = place.with_stem(f"{place.stem}-{number}")
