"""Files that strangers send: whole or not at all, never over another, never outside."""

import asyncio
import errno
from collections.abc import AsyncIterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from limpide.core.errors import UsageError
from limpide.studio import uploads as module
from limpide.studio.project import Project
from limpide.studio.uploads import receive


async def pieces(*data: bytes) -> AsyncIterator[bytes]:
    for piece in data:
        yield piece


async def broken() -> AsyncIterator[bytes]:
    yield b"half"
    raise ConnectionResetError


def put(tmp_path: Path, name: str, *data: bytes, declared: int | None = None, largest: int = 1000) -> Path:
    declared = sum(map(len, data)) if declared is None else declared
    return asyncio.run(receive(Project(tmp_path), name, declared, pieces(*data), largest))


def everything(tmp_path: Path) -> list[str]:
    return sorted(path.name for path in (tmp_path / "data").iterdir()) if (tmp_path / "data").exists() else []


def test_a_file_is_kept_as_it_came(tmp_path: Path) -> None:
    place = put(tmp_path, "../../données.csv", b"a,b\n", b"1,2\n")
    assert place == tmp_path / "data" / "données.csv"
    assert place.read_bytes() == b"a,b\n1,2\n"
    assert everything(tmp_path) == ["données.csv"]


def test_one_of_the_same_name_is_kept_beside(tmp_path: Path) -> None:
    names = [put(tmp_path, "a.csv", text).name for text in (b"1", b"2", b"3")]
    assert names == ["a.csv", "a-2.csv", "a-3.csv"]
    assert (tmp_path / "data" / "a.csv").read_bytes() == b"1"


def test_three_gigabytes_are_refused_before_a_byte_is_read(tmp_path: Path) -> None:
    async def never() -> AsyncIterator[bytes]:
        raise AssertionError("it was read")
        yield b""

    with pytest.raises(UsageError, match="larger than the studio accepts") as raised:
        asyncio.run(receive(Project(tmp_path), "big.csv", 3 * 10**9, never(), 512 * 10**6))
    assert raised.value.expected == "at most 512 MB"
    assert "--largest-upload" in str(raised.value.remedy)
    assert everything(tmp_path) == []


def test_a_length_that_lies_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="than was announced"):
        put(tmp_path, "big.csv", b"x" * 8, b"x" * 8, declared=10)
    with pytest.raises(UsageError, match="came without its size"):
        asyncio.run(receive(Project(tmp_path), "a.csv", None, pieces(b"x"), 1000))
    assert everything(tmp_path) == []


def test_a_connection_that_breaks_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(ConnectionResetError):
        asyncio.run(receive(Project(tmp_path), "a.csv", 900, broken(), 1000))
    assert everything(tmp_path) == []


def test_a_disk_that_is_nearly_full_says_so_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module.os, "statvfs", lambda _: SimpleNamespace(f_bavail=100, f_frsize=1_000_000))
    with pytest.raises(UsageError, match="nearly full") as raised:
        put(tmp_path, "a.csv", b"x", declared=5)
    assert (raised.value.received, raised.value.remedy) == ("100 MB free", "free some space and drop the file again")


def test_a_disk_that_fills_meanwhile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def full() -> AsyncIterator[bytes]:
        yield b"x"
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(UsageError, match="is full"):
        asyncio.run(receive(Project(tmp_path), "a.csv", 900, full(), 1000))
    assert everything(tmp_path) == []


def test_a_link_under_the_files_name_is_not_followed(tmp_path: Path) -> None:
    outside = tmp_path / "outside.txt"
    outside.write_text("mine")
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "a.csv").symlink_to(outside)
    assert put(tmp_path, "a.csv", b"theirs").name == "a-2.csv"
    assert outside.read_text() == "mine"


def test_a_name_of_nothing(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no name"):
        put(tmp_path, "..", b"x")
    assert everything(tmp_path) == []
