"""Tiny training runs: their rows, their settings, and what may interrupt them."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from limpide.adapt import adapters, train, training
from limpide.adapt.packing import Pack, pack
from limpide.adapt.settings import TrainSettings
from limpide.adapt.training import Plan, Trainer
from limpide.core import files
from limpide.core.operation import Result, Subject
from limpide.core.progress import Quiet
from limpide.data.examples import Example, Message
from limpide.models.prompt import render_example
from limpide.models.requests import Request

FAULTS = ("pump", "valve", "guard", "press", "light", "river", "threshold", "code")


def examples(count: int = 8) -> list[Example]:
    return [
        Example(
            id=f"e{i}",
            messages=(
                Message(role="user", content=f"What about the {FAULTS[i % 8]} n° {i}?"),
                Message(role="assistant", content=f"Stop it, then call {'the nurse' * (1 + i % 3)}."),
            ),
            source=f"examples.jsonl:{i + 1}",
        )
        for i in range(count)
    ]


SETTINGS: dict[str, Any] = {
    "rank": 2,
    "epochs": 2,
    "pack_tokens": 96,
    "step_tokens": 192,
    "precision": "float32",
    "canary": False,
    "learning_rate": 0.02,
}


def adapt(subject: Subject, progress: Any = None, **changes: Any) -> Result:
    return train.run(subject, TrainSettings(**{**SETTINGS, **changes}), progress or Quiet())


def written(folder: Path) -> dict[str, bytes]:
    """Everything a run leaves that must not depend on time."""
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


class Stops(Quiet):
    """A person who presses Ctrl-C when `at` steps of this run are done."""

    def __init__(self, at: int) -> None:
        self.at, self.steps = at, 0

    @contextmanager
    def task(self, what: str, total: float | None = None, done: float = 0) -> Iterator["Stops"]:
        self.resumed_at = done
        yield self

    def advance(self, by: float = 1, **facts: Any) -> None:
        self.steps += 1
        if self.steps == self.at:
            raise KeyboardInterrupt


def losses(subject: Subject) -> list[float]:
    return [row["train"] for row in files.read_jsonl(subject.out / "losses.jsonl")[1:]]


def some_packs(model: Any, width: int = 96) -> list[Pack]:
    return pack([render_example(model, example) for example in examples()], width)


def a_trainer(model: Any, micro: int | None = None, **plan: Any) -> Trainer:
    """A trainer of a fresh adapter of rank 2. The model is changed: open one for each."""
    values = {"epochs": 2, "packs_per_step": 8, "steps_per_epoch": 1, "learning_rate": 0.02, "warmup": 0.0}
    values |= {"weight_decay": 0.0, "patience": 3, "seed": 0, "checkpoint_seconds": 1e9, **plan}
    network = adapters.adapted_network(model, TrainSettings(rank=2), 0)
    return training.trainer(network, model.family, Plan(**values), 0, micro)


def answer(model: Any, example: Example) -> Request:
    from limpide.models.prompt import answer_request

    request: Request = answer_request(model, example)
    return request
