"""A recipe on a tiny model whose steps are small stand-ins: planning, running and finishing take milliseconds."""

import json
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from limpide.core import catalogue, digests, files
from limpide.core.measure import Change, Measure
from limpide.core.operation import Operation, Result, Subject
from limpide.models.sources import Source, resolve
from limpide.recipe.load import load_recipe
from limpide.recipe.plan import Plan, make_plan
from limpide.recipe.run import Workspace
from limpide.release.keys import new_keys
from tiny import tiny_folder

RECIPE = """\
name: press
version: 1.0.0
purpose: {intended: Answer questions.}
base: BASE
data: {examples: examples.jsonl}
audit: {suites: [domain, retention], languages: [en]}
adapt: {epochs: 2}
gates:
  - retention.loss worsens by less than 5%
release: {sign_with: keys/release.pem}
"""

# operation → its step; audits are named by what they look at too
NAMES = {
    "data.prepare": "data",
    "adapt.train": "adapt",
    "optimise.export": "export",
    "optimise.parity": "parity",
    "audit.compare": "compare",
    "audit.served": "audit-served",
}


@dataclass
class Bench:
    """The stand-ins. ran: steps in the order they ran. before, after: called with a step's subject, when it has one."""

    ran: list[str] = field(default_factory=list)
    before: dict[str, Callable[[Subject], None]] = field(default_factory=dict)
    after: dict[str, Callable[[Subject], None]] = field(default_factory=dict)
    change: float = 0.01
    certified: bool = True

    def run(self, name: str, work: Callable[[Subject, Any], Result]) -> Callable[..., Result]:
        def run(subject: Subject, settings: Any, progress: Any) -> Result:
            step = NAMES.get(name) or name.replace(".", f"-{subject.label}-")
            self.ran.append(step)
            self.before.get(step, lambda _: None)(subject)
            read = {of: digests.of_file(folder / "read.json") for of, folder in subject.inputs.items()}
            files.write_json(subject.out / "read.json", {"inputs": read, "settings": settings.model_dump(mode="json")})
            result = work(subject, settings)
            self.after.get(step, lambda _: None)(subject)
            return result

        return run

    def parity(self, subject: Subject, settings: Any) -> Result:
        check = {"name": "stop ids", "target": "merged", "passed": self.certified, "sentence": "Stop ids compared."}
        return Result(facts={"passed": self.certified, "checks": [check | {"value": None, "limit": None}]})

    def compare(self, subject: Subject, settings: Any) -> Result:
        change = Change(
            name="retention.loss",
            unit="nats per token",
            better="lower",
            before=2.0,
            after=2.0 + self.change,
            difference=self.change,
            low=self.change - 0.001,
            high=self.change + 0.001,
            n=20,
            test="paired",
            p_value=0.5,
            smallest_detectable=0.01,
            verdict="no detectable change",
            sentence="It hardly moved.",
        )
        files.write_jsonl(subject.out / "changes.jsonl", [change.model_dump(mode="json")])
        return Result()


def prepare(subject: Subject, settings: Any) -> Result:
    for path in settings.examples:
        files.write_bytes(subject.out / "train.jsonl", path.read_bytes())
    facts = dict.fromkeys(("rows", "train", "held_out", "unseen"), 4)
    sources = [{"file": p.name, "digest": digests.of_file(p), "rows": 4} for p in settings.examples]
    repeated = {"exact_duplicates": {"rows": 0}, "near_duplicates": {"rows": 0}, "topics": {"count": 2}}
    more = {"personal_data": {}, "policy": "refuse", "languages": {"en": 4}, "sources": sources}
    return Result(facts=facts | repeated | more)


def audit(name: str) -> Callable[[Subject, Any], Result]:
    def work(subject: Subject, settings: Any) -> Result:
        assert name == "audit.served" or subject.the_model().is_dir()
        files.write_jsonl(subject.out / "items.jsonl", [])
        files.write_json(subject.out / "specs.json", [])
        value = {"subject": subject.label, "value": 2.0, "unit": "nats", "better": "lower", "n": 20, "method": "m"}
        return Result((Measure.model_validate({"name": f"{name.split('.')[1]}.loss", **value}),))

    return work


def adapt(subject: Subject, settings: Any) -> Result:
    files.write_text(subject.out / "adapter" / "adapter_config.json", "{}")
    row = {"step": 2, "epoch": 1, "train": 1.0, "held_out": None, "stage": "answers"}
    files.write_jsonl(subject.out / "losses.jsonl", [row])
    names = "steps_planned epochs_planned epochs_done tokens_seen trainable_parameters packs_per_step packs_at_once"
    numbers = dict.fromkeys((*names.split(), "rows", "validation_rows", "row_tokens", "best_step"), 2)
    more = {
        "method": "lora",
        "stage": "answers",
        "rank": 4,
        "alpha": 4,
        "learning_rate": 0.1,
        "seconds": 1.0,
        "tokens_per_second": 2.0,
    }
    return Result(facts=numbers | more | {"precision": "float32", "flops_upper_bound": 1.0, "truncated_rows": 0})


def export(subject: Subject, settings: Any) -> Result:
    files.write_text(subject.out / "merged" / "config.json", "{}")
    files.write_bytes(subject.out / "merged" / "model.safetensors", bytes(64))
    written = digests.of_files(subject.out / "merged")
    merged = {f"merged/{name}": digest for name, digest in written.items()}
    return Result(facts={"files": merged, "bytes": {name: (subject.out / name).stat().st_size for name in merged}})


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    """Every operation of the catalogue replaced; their settings, and so the recipe's schema, are the real ones."""
    bench = Bench()
    works = {"data.prepare": prepare, "adapt.train": adapt, "optimise.export": export}
    works |= {"audit.compare": bench.compare, "optimise.parity": bench.parity}
    real = {operation.name: operation for operation in catalogue.every()}
    for name, operation in real.items():
        fake: Any = ModuleType(f"stand_in.{name}")
        run = bench.run(name, works.get(name) or audit(name))
        fake.operation = Operation(name, operation.verb, "stand-in", operation.settings, run, resumes=operation.resumes)
        monkeypatch.setitem(sys.modules, fake.__name__, fake)
        monkeypatch.setitem(catalogue.CATALOGUE, name, fake.__name__)
    catalogue.find.cache_clear()
    yield bench
    catalogue.find.cache_clear()


@pytest.fixture(scope="session")
def tiny_base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_folder("llama", tmp_path_factory.mktemp("base"))


@pytest.fixture(scope="session")
def source(tiny_base: Path) -> Source:
    return resolve(str(tiny_base))


@pytest.fixture(scope="session")
def key_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return new_keys(tmp_path_factory.mktemp("keys") / "release.pem").private.parent


@pytest.fixture
def recipe(tmp_path: Path, tiny_base: Path, key_folder: Path) -> Path:
    """A folder with a recipe, four examples and a key."""
    folder = tmp_path / "project"
    (folder / "keys").mkdir(parents=True)
    for key in key_folder.iterdir():
        (folder / "keys" / key.name).write_bytes(key.read_bytes())
    rows = [{"prompt": f"Question {i}?", "answer": f"Answer {i}."} for i in range(4)]
    (folder / "examples.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    path = folder / "recipe.yaml"
    path.write_text(RECIPE.replace("BASE", str(tiny_base)))
    return path


def plan_of(path: Path, source: Source) -> Plan:
    return make_plan(load_recipe(path), path, source)


def workspace_of(path: Path) -> Workspace:
    return Workspace(path.parent, "press")


def edit(path: Path, before: str, after: str) -> None:
    text = path.read_text()
    assert before in text
    path.write_text(text.replace(before, after))
