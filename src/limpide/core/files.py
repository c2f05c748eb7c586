"""Writing so that a reader never meets half a file: write beside, then rename."""

import errno
import json
import os
import re
import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from limpide.core.errors import LimpideError, UsageError

DENIED = (errno.EACCES, errno.EPERM, errno.EROFS)
FULL = (errno.ENOSPC, errno.EDQUOT)
UNFIT = (errno.ENOTDIR, errno.EEXIST, errno.EISDIR, errno.ENAMETOOLONG)


@contextmanager
def clear_write_errors(path: Path, numbers: tuple[int, ...] = (*DENIED, *FULL, *UNFIT)) -> Iterator[None]:
    """Turn 'no permission', 'disk full' and 'no such place' into a message that names the folder and what to do.

    numbers: the errnos that are turned; others pass through.
    """
    try:
        yield
    except LimpideError:
        raise
    except Exception as error:
        number = _errno(error)
        if number not in numbers:
            raise
        if number in DENIED:
            raise UsageError(
                f"Limpide may not write in {path.parent}.",
                received=os.strerror(number),
                remedy="choose another folder, or give yourself the right to write there",
            ) from error
        if number in FULL:
            free = shutil.disk_usage(path.parent).free / 1e6 if path.parent.exists() else 0
            raise UsageError(
                f"The disk that holds {path.parent} is full.",
                received=f"{free:.0f} MB free",
                remedy="free some space and run the same command again: finished steps are kept",
            ) from error
        raise UsageError(
            f"Nothing can be written at {path}.", received=os.strerror(number), remedy="choose another place"
        ) from error


def _errno(error: Exception) -> int | None:
    """The system's number of an error; safetensors, written in Rust, tells it in words: `(os error 28)`."""
    if isinstance(error, OSError):
        return error.errno
    found = re.search(r"\(os error (\d+)\)", str(error))
    return int(found[1]) if found else None


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text to `path`, whole or not at all."""
    write_bytes(path, text.encode())


def write_bytes(path: Path, data: bytes) -> None:
    with clear_write_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        beside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
        try:
            beside.write_bytes(data)
            beside.replace(path)
        finally:
            beside.unlink(missing_ok=True)


def write_json(path: Path, value: Any) -> None:
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def write_jsonl(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    write_text(path, "".join(json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n" for row in rows))


def read_json(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def read_jsonl(path: Path) -> list[dict[str, Any]]:
    # Not splitlines: it also cuts at U+0085, U+2028 and U+2029, which JSON text may hold.
    return [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n") if line.strip()]
