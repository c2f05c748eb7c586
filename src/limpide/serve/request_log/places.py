"""Where a log lies on disk.

log/2026-11-23.jsonl      the entries of a day (UTC), a line each        log/keys/2026-11-23.jsonl   keys of its texts
log/purged.jsonl          signed records of days that were removed       log/torn/                   half-written ends
log/tree.json             where a writer may start to read on            log/lock                    held to append
log/heads-at.txt          where the heads are, when elsewhere
heads/heads.jsonl         signed tree heads: better on another disk      log.pem, log.pub            sign and verify
"""

import fcntl
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from limpide.core.errors import MissingError
from limpide.core.files import write_text

HEADS_AT = "heads-at.txt"
DAY_FILE = re.compile(r"(\d{4}-\d{2}-\d{2})\.jsonl")
CHUNK = 1 << 16  # bytes read at once, from the end of a file


@dataclass(frozen=True)
class Places:
    """folder: of the entries. heads: folder of the heads. key, public: files of the keys."""

    folder: Path
    heads: Path
    key: Path
    public: Path


def places(state: Path, heads: Path | None = None) -> Places:
    """The places of the log of a service whose state folder is `state`. heads: default, where they went last, which is
    in the state folder unless a writer was told otherwise."""
    told = state / "log" / HEADS_AT
    if heads is None:
        heads = Path(told.read_text(encoding="utf-8")) if told.exists() else state / "heads"
    return Places(state / "log", heads, state / "log.pem", state / "log.pub")


def remember_heads(where: Places) -> None:
    """So that a command that is not told where the heads go finds them."""
    own = where.folder.parent / "heads"
    told = where.folder / HEADS_AT
    if where.heads.resolve() == own.resolve():
        told.unlink(missing_ok=True)
    else:
        write_text(told, str(where.heads.resolve()))


def heads_path(heads: Path) -> Path:
    return heads / "heads.jsonl"


def day_path(folder: Path, day: str) -> Path:
    return folder / f"{day}.jsonl"


def days(folder: Path) -> list[str]:
    """The days whose files are there, the oldest first."""
    if not folder.is_dir():
        return []
    return sorted(found[1] for name in os.listdir(folder) if (found := DAY_FILE.fullmatch(name)))


def require_log(folder: Path) -> None:
    """Raises MissingError where no log was ever begun."""
    if not days(folder) and not (folder / "purged.jsonl").exists():
        raise MissingError(
            f"There is no request log in {folder}.",
            remedy="give the state folder of the service: limpide log verify --state FOLDER",
        )


@contextmanager
def held(folder: Path) -> Iterator[None]:
    """No process appends meanwhile. A copy of a log that nobody writes to has no lock, and needs none."""
    try:
        handle = os.open(folder / "lock", os.O_RDONLY)
    except FileNotFoundError:
        yield
        return
    try:
        fcntl.flock(handle, fcntl.LOCK_SH)
        yield
    finally:
        os.close(handle)  # which lets go of the lock


def sizes(folder: Path) -> dict[str, int]:
    """{day: bytes of its file}, at one moment at which nobody is in the middle of a line."""
    with held(folder):
        return {day: day_path(folder, day).stat().st_size for day in days(folder)}


def forwards(path: Path, size: int, start: int = 0) -> Iterator[tuple[int, bytes]]:
    """(offset, line) of the whole lines from byte `start` up to byte `size`; the lines without their newline. What
    follows the last newline is not given."""
    with path.open("rb", buffering=1 << 20) as file:
        file.seek(start)
        for line in file:
            if start + len(line) > size or not line.endswith(b"\n"):
                return
            yield start, line[:-1]
            start += len(line)


def backwards(path: Path, size: int) -> Iterator[bytes]:
    """The whole lines up to byte `size`, the last first, without reading more of the file than is asked for."""
    with path.open("rb") as file:
        rest, place = b"", size
        ended = False  # has a newline been met: what follows the last one is not a whole line
        while place:
            start = max(0, place - CHUNK)
            file.seek(start)
            parts = (file.read(place - start) + rest).split(b"\n")
            rest, place = parts[0], start
            for line in reversed(parts[1:]):
                if ended:
                    yield line
                ended = True
        if ended:
            yield rest


def ends_in_half(path: Path) -> bool:
    """Is there something after the last newline?"""
    if not path.exists() or not path.stat().st_size:
        return False
    with path.open("rb") as file:
        file.seek(-1, os.SEEK_END)
        return file.read() != b"\n"


def sync_folder(folder: Path) -> None:
    """Wait until the disk knows which files the folder holds."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
