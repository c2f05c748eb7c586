"""A recipe on a tiny model that was run once, whole: each fault is put into a copy of it."""

import json
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from limpide.cli.main import main
from limpide.release.keys import new_keys
from threads import one_thread
from tiny import tiny_folder

THINGS = ("pump", "valve", "guard", "press", "light", "river", "threshold", "code")
WAYS = ("What about the {}?", "Tell me of the {}.", "The {}: what now?")
RECIPE = """\
name: press
version: 1.0.0
purpose: {intended: Answer questions about a press.}
base: llama
data: {examples: examples.jsonl}
audit: {suites: [domain], languages: [en], domain: {max_new_tokens: 4}}
adapt: {epochs: 2, rank: 4, learning_rate: 0.02, precision: float32, canary: false, keep: 0}
optimise: {formats: [safetensors, "gguf:f16"]}
parity: {conversations: 4, answer_tokens: 4, flips: 1.0}
release: {sign_with: keys/release.pem}
"""
LICENCE = "Apache License\nVersion 2.0, January 2004\nhttp://www.apache.org/licenses/\n"


@dataclass(frozen=True)
class Said:
    """How a command ended, and what it printed."""

    code: int
    out: str
    err: str

    @property
    def first(self) -> str:
        """The first line of the error, which comes after all that was told of the work, and the first of the faults
        below it; files are named from the project's folder."""
        lines = [line for line in self.err.splitlines() if line.strip()]
        place = max(k for k, line in enumerate(lines) if not line.startswith(" "))
        faults = [line.strip() for line in lines[place + 1 : place + 2] if "examples.jsonl:" in line[:20]]
        return re.sub(r"/\S*/project/", "", " ".join([lines[place], *faults]))


@dataclass(frozen=True)
class Project:
    """A folder with a recipe, its data, its base and its key."""

    folder: Path
    run: Callable[..., Said]

    @property
    def recipe(self) -> Path:
        return self.folder / "recipe.yaml"

    @property
    def base(self) -> Path:
        return self.folder / "llama"

    @property
    def examples(self) -> Path:
        return self.folder / "examples.jsonl"

    @property
    def release(self) -> Path:
        return self.folder / "releases" / "press-1.0.0"

    @property
    def public(self) -> Path:
        return self.folder / "keys" / "release.pub"

    def step(self, name: str) -> Path:
        """The folder of a finished step."""
        (found,) = (self.folder / ".limpide" / "press" / "steps").glob(f"{name}-*")
        return found

    def again_from(self, name: str) -> None:
        """Forget what came after a step, and the release, so that the next run goes on from there."""
        steps = sorted((self.folder / ".limpide" / "press" / "steps").iterdir(), key=lambda p: p.stat().st_mtime_ns)
        after = steps[steps.index(self.step(name)) + 1 :]
        for folder in (*after, self.folder / ".limpide" / "press" / "documents", self.folder / "releases"):
            shutil.rmtree(folder, ignore_errors=True)

    def rows(self, change: Callable[[list[dict[str, Any]]], None]) -> None:
        """Change the rows of the examples."""
        found = [json.loads(line) for line in self.examples.read_text(encoding="utf-8").splitlines()]
        change(found)
        self.examples.write_text("".join(json.dumps(row) + "\n" for row in found), encoding="utf-8")

    def nothing_made(self) -> bool:
        return not self.release.exists()


def examples() -> list[dict[str, str]]:
    return [
        {"prompt": way.format(thing), "answer": f"Stop the {thing}, then call.", "topic": thing}
        for thing in THINGS
        for way in WAYS
    ]


@pytest.fixture(autouse=True, scope="package")
def _one_thread() -> Iterator[None]:
    with one_thread():
        yield


@pytest.fixture
def limpide(capsys: pytest.CaptureFixture[str]) -> Callable[..., Said]:
    def run(*arguments: object) -> Said:
        capsys.readouterr()
        try:
            main([str(a) for a in arguments])
            code = 0
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else 0 if end.code is None else 1
        return Said(code, *capsys.readouterr())

    return run


def _make(folder: Path) -> None:
    base = tiny_folder("llama", folder)
    (base / "LICENSE").write_text(LICENCE, encoding="utf-8")
    new_keys(folder / "keys" / "release.pem")
    (folder / "recipe.yaml").write_text(RECIPE, encoding="utf-8")
    text = "".join(json.dumps(row) + "\n" for row in examples())
    (folder / "examples.jsonl").write_text(text, encoding="utf-8")


@pytest.fixture(scope="session")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project whose release was made; no test may change it."""
    folder = tmp_path_factory.mktemp("faults") / "project"
    folder.mkdir()
    _make(folder)
    with pytest.MonkeyPatch.context() as patch, suppress(SystemExit):
        patch.chdir(folder)
        main(["run", "recipe.yaml"])
    return folder


@pytest.fixture
def project(tmp_path: Path, limpide: Callable[..., Said], monkeypatch: pytest.MonkeyPatch) -> Project:
    """A project that was not run yet."""
    folder = tmp_path / "project"
    folder.mkdir()
    _make(folder)
    monkeypatch.chdir(folder)
    return Project(folder, limpide)


@pytest.fixture
def released(whole: Path, tmp_path: Path, limpide: Callable[..., Said], monkeypatch: pytest.MonkeyPatch) -> Project:
    """A copy of the one whose release was made, to be damaged."""
    folder = tmp_path / "project"
    shutil.copytree(whole, folder)
    monkeypatch.chdir(folder)
    return Project(folder, limpide)
