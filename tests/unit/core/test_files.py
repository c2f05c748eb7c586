import errno
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from limpide.core import files
from limpide.core.errors import DataError, UsageError


def contents(folder: Path) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in folder.iterdir()}


def failing(error: BaseException) -> Any:
    def fail(*_: Any, **__: Any) -> None:
        raise error

    return fail


def test_writes_make_the_folders_above(tmp_path: Path) -> None:
    files.write_text(tmp_path / "a" / "b" / "c.txt", "é")
    assert contents(tmp_path / "a" / "b") == {"c.txt": "é".encode()}


@pytest.mark.parametrize("where", ["write_bytes", "replace"])
@pytest.mark.parametrize("error", [KeyboardInterrupt(), OSError(errno.EIO, "input/output error"), MemoryError()])
def test_a_write_that_stops_leaves_what_was_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str, error: BaseException
) -> None:
    files.write_text(tmp_path / "a.txt", "before")
    monkeypatch.setattr(Path, where, failing(error))
    with pytest.raises(type(error)):
        files.write_text(tmp_path / "a.txt", "after")
    assert contents(tmp_path) == {"a.txt": b"before"}


@pytest.mark.parametrize(
    ("number", "said", "to_do"),
    [
        (errno.EACCES, "may not write", "choose another folder"),
        (errno.EPERM, "may not write", "choose another folder"),
        (errno.EROFS, "may not write", "choose another folder"),
        (errno.ENOSPC, "is full", "free some space"),
        (errno.EDQUOT, "is full", "free some space"),
    ],
)
def test_no_permission_and_disk_full_are_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, said: str, to_do: str
) -> None:
    monkeypatch.setattr(Path, "write_bytes", failing(OSError(number, os.strerror(number))))
    with pytest.raises(UsageError) as caught:
        files.write_text(tmp_path / "a.txt", "x")
    assert said in caught.value.what
    assert str(tmp_path) in caught.value.what
    assert to_do in str(caught.value.remedy)
    assert contents(tmp_path) == {}


def test_disk_full_told_by_a_library_in_words() -> None:
    with pytest.raises(UsageError, match="is full"), files.clear_write_errors(Path("/nowhere/x")):
        raise RuntimeError("Error while serializing: I/O error: No space left on device (os error 28)")


def test_a_file_in_the_place_of_a_folder(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(UsageError, match="Nothing can be written"):
        files.write_text(tmp_path / "file" / "a.txt", "x")
    assert contents(tmp_path) == {"file": b"x"}


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="root may write anywhere")
def test_a_real_folder_without_permission(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(UsageError, match="may not write"):
            files.write_text(tmp_path / "a.txt", "x")
    finally:
        tmp_path.chmod(0o700)


@pytest.mark.parametrize("error", [OSError(errno.EIO, "x"), ValueError("y"), DataError("z"), KeyboardInterrupt()])
def test_other_errors_pass_unchanged(error: BaseException) -> None:
    with pytest.raises(type(error)) as caught, files.clear_write_errors(Path("x")):
        raise error
    assert caught.value is error


def test_only_the_errors_asked_for_are_turned() -> None:
    with pytest.raises(PermissionError), files.clear_write_errors(Path("x"), files.FULL):
        raise PermissionError(errno.EACCES, "no")


ROW = st.dictionaries(
    st.text(st.characters(exclude_categories=["Cs"])), st.text(st.characters(exclude_categories=["Cs"]))
)


@given(st.lists(ROW, max_size=4))
def test_jsonl_round_trip(tmp_path_factory: pytest.TempPathFactory, rows: list[dict[str, str]]) -> None:
    path = tmp_path_factory.getbasetemp() / "rows.jsonl"
    files.write_jsonl(path, rows)
    assert files.read_jsonl(path) == rows


def test_json_round_trip_and_no_nan(tmp_path: Path) -> None:
    files.write_json(tmp_path / "a.json", {"é": [1, None]})
    assert files.read_json(tmp_path / "a.json") == {"é": [1, None]}
    with pytest.raises(ValueError, match="JSON"):
        files.write_json(tmp_path / "b.json", float("nan"))
    assert list(contents(tmp_path)) == ["a.json"]
