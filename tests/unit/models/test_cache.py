"""Where fetched models go, and how they get there whole."""

import sys
from pathlib import Path

import pytest

from limpide.core import digests
from limpide.models import cache


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LIMPIDE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_the_cache_follows_its_variable_and_the_platform(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert cache.cache_folder() == tmp_path / "cache"
    monkeypatch.delenv("LIMPIDE_CACHE")
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(Path, "home", lambda: Path("/home/me"))
    monkeypatch.setattr(sys, "platform", "linux")
    assert cache.cache_folder() == Path("/home/me/.cache/limpide")
    monkeypatch.setattr(sys, "platform", "darwin")
    assert cache.cache_folder() == Path("/home/me/Library/Caches/limpide")
    monkeypatch.setattr(sys, "platform", "win32")
    monkeypatch.setenv("LOCALAPPDATA", "/users/me/AppData/Local")
    assert cache.cache_folder() == Path("/users/me/AppData/Local/limpide/cache")


def test_a_remembered_digest_follows_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache, "LARGE", 0)
    path = tmp_path / "big"
    path.write_bytes(b"one")
    assert cache.file_digest(path) == cache.file_digest(path) == digests.of_bytes(b"one")
    path.write_bytes(b"two")
    assert cache.file_digest(path) == digests.of_bytes(b"two")


def test_a_folder_that_fails_leaves_nothing(tmp_path: Path) -> None:
    def interrupted() -> None:
        with cache.new_folder(tmp_path / "made") as folder:
            (folder / "half").write_text("x")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert list(tmp_path.iterdir()) == []
