"""Digests: of a value, a file, a folder. SHA-256, written as lowercase hex."""

import hashlib
import json
import re
import unicodedata
from collections.abc import Iterable
from pathlib import Path
from typing import Any

SHORT = 12  # hex digits shown to people and used in folder names


def of_value(value: Any) -> str:
    """Digest of a JSON value in canonical form: sorted keys, no spaces, UTF-8."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return of_bytes(text.encode())


def of_bytes(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def of_file(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def of_files(folder: Path, names: Iterable[str] | None = None) -> dict[str, str]:
    """{relative POSIX name: digest} of every regular file under `folder`, sorted by name."""
    if names is None:
        names = (p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())
    return {name: of_file(folder / name) for name in sorted(names)}


def of_folder(folder: Path) -> str:
    """Digest of a folder: of its sorted (name, digest) pairs."""
    return of_value(of_files(folder))


def of_code(*packages: Path) -> str:
    """Digest of the Python sources and data of whole packages; `__pycache__` does not count."""
    files = {
        f"{package.name}/{path.relative_to(package).as_posix()}": of_file(path)
        for package in packages
        for path in sorted(package.rglob("*"))
        if path.is_file() and "__pycache__" not in path.parts
    }
    return of_value(files)


def slug(text: str) -> str:
    """A name safe in a file system: lowercase letters, digits, dot, dash."""
    plain = unicodedata.normalize("NFKD", text.lower()).encode("ascii", "ignore").decode()  # é → e
    return re.sub(r"[^a-z0-9.]+", "-", plain).strip("-.") or "unnamed"
