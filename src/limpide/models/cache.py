"""Where Limpide keeps models that it fetched or converted, and how a folder gets there whole or not at all."""

import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from limpide.core import digests, files
from limpide.core.errors import UsageError

LARGE = 50_000_000  # bytes above which the digest of a file is remembered


def cache_folder() -> Path:
    """$LIMPIDE_CACHE, or the platform's folder for what can be fetched again."""
    chosen = os.environ.get("LIMPIDE_CACHE")
    if chosen:
        return Path(chosen).expanduser().absolute()
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "limpide"
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local") / "limpide" / "cache"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "limpide"


def model_folder(name: str, digest: str) -> Path:
    """Where the model `name` made from something with this digest is kept."""
    return cache_folder() / "models" / f"{digests.slug(name)}-{digest[: digests.SHORT]}"


@contextmanager
def new_folder(target: Path) -> Iterator[Path]:
    """An empty folder beside `target`, which takes its name if the block ends well and disappears otherwise."""
    beside = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    with files.clear_write_errors(target):
        shutil.rmtree(beside, ignore_errors=True)
        beside.mkdir(parents=True)
        try:
            yield beside
            if not target.exists():  # another process may have made the same folder meanwhile
                beside.rename(target)
        finally:
            shutil.rmtree(beside, ignore_errors=True)


def require_space(where: Path, size: int, what: str) -> None:
    """Raise UsageError when the disk of `where` has no room for `size` bytes."""
    existing = next(folder for folder in (where, *where.parents) if folder.exists())
    free = shutil.disk_usage(existing).free
    if free < size:
        raise UsageError(
            f"Not enough room for {what} in {where}.",
            received=f"{free / 1e9:.1f} GB free",
            expected=f"{size / 1e9:.1f} GB",
            remedy="free some space, or set LIMPIDE_CACHE to a folder on a larger disk",
        )


def file_digest(path: Path) -> str:
    """SHA-256 of a file. For large files it is remembered by path, size, and times of change."""
    facts = path.stat()
    if facts.st_size < LARGE:
        return digests.of_file(path)
    key = digests.of_value([str(path.resolve()), facts.st_size, facts.st_mtime_ns, facts.st_ctime_ns, facts.st_ino])
    note = cache_folder() / "digests" / key
    if note.is_file():
        remembered = note.read_text().strip()
        if len(remembered) == 64:
            return remembered
    digest = digests.of_file(path)
    files.write_text(note, digest + "\n")
    return digest
