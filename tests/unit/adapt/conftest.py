"""What the tests of training share: a model and rows to train it on."""

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from limpide.core.operation import Subject
from limpide.data.examples import Example, save_examples
from tiny_training import examples


@pytest.fixture
def subject(tiny_path: Callable[[str], Path], tmp_path: Path) -> Callable[..., Subject]:
    """A subject with its own output folder; `model` and `rows` may be given."""

    def make(name: str = "out", rows: Sequence[Example] | None = None, seed: int = 0, model: str = "llama") -> Subject:
        data = tmp_path / f"data-{name}"
        data.mkdir(exist_ok=True)
        (tmp_path / name).mkdir(exist_ok=True)
        save_examples(data / "train.jsonl", examples() if rows is None else rows)
        return Subject(out=tmp_path / name, inputs={"data": data}, model=tiny_path(model), seed=seed)

    return make
