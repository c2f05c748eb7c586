"""Texts with labels that a tiny model learns in a second: one word of each text decides its class."""

from pathlib import Path
from typing import Any

from limpide.adapt import head
from limpide.adapt.settings import TrainSettings
from limpide.core.operation import Result, Subject
from limpide.core.progress import Quiet
from limpide.data.examples import Example, Message, save_examples

WORDS = {
    "water": ("river", "pump", "valve", "pressure"),
    "people": ("doctor", "nurse", "operator", "team"),
    "time": ("late", "until", "before", "when"),
}
LABELS = tuple(sorted(WORDS))


def row(number: int, label: str, word: str = "") -> Example:
    text = f"The {word or WORDS[label][number % 4]} is number {number}."
    messages = (Message(role="user", content=text), Message(role="assistant", content=label))
    return Example(id=f"e{number}", messages=messages, source=f"rows.csv:{number + 2}", label=label)


def rows(count: int, first: int = 0) -> list[Example]:
    """In turn of each class."""
    return [row(k, LABELS[k % 3]) for k in range(first, first + count)]


def write(folder: Path, train: list[Example], held_out: list[Example] | None = None) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, chosen in (("train", train), ("held_out", held_out or []), ("unseen", [])):
        save_examples(folder / f"{name}.jsonl", chosen)
    return folder


def learn(base: Path, data: Path, out: Path, **settings: Any) -> Result:
    """Train a head for a few epochs."""
    out.mkdir(parents=True, exist_ok=True)
    given = {"rank": 4, "epochs": 4, "learning_rate": 1e-2, "validation": 0.1} | settings
    return head.run(Subject(out=out, inputs={"data": data}, model=base, seed=3), TrainSettings(**given), Quiet())
