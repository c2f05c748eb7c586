"""Equal seeds give equal bytes, and so does a run killed anywhere and begun again."""

import json
from collections.abc import Callable
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from limpide.adapt import checkpoint
from limpide.core.operation import Subject
from tiny_training import Stops, adapt, examples, written


def test_equal_seeds_give_equal_bytes(subject: Callable[..., Subject]) -> None:
    runs = {}
    for drawn, (name, seed) in enumerate((("one", 0), ("two", 0), ("three", 1))):
        torch.manual_seed(drawn)  # whatever was drawn before must not matter
        adapt(given := subject(name, seed=seed))
        runs[name] = written(given.out)
    assert runs["one"] == runs["two"]
    assert sorted(runs["one"]) == ["adapter/adapter_config.json", "adapter/adapter_model.safetensors", "losses.jsonl"]
    assert runs["one"]["adapter/adapter_model.safetensors"] != runs["three"]["adapter/adapter_model.safetensors"]


@pytest.fixture
def unbroken(subject: Callable[..., Subject]) -> dict[str, bytes]:
    adapt(given := subject("unbroken", rows=examples(24)), epochs=3, validation=0.2)
    return written(given.out)


@pytest.mark.parametrize("kills", [(1,), (2, 1), (5,), (3, 3), (9, 1, 2)])
def test_a_killed_run_ends_with_the_bytes_of_an_unbroken_one(
    subject: Callable[..., Subject], unbroken: dict[str, bytes], kills: tuple[int, ...]
) -> None:
    given = subject("broken", rows=examples(24))
    for at in kills:
        with pytest.raises(KeyboardInterrupt):
            adapt(given, Stops(at), epochs=3, validation=0.2, checkpoint_seconds=0.0)
        torch.rand(7)  # a new process has another random state
    last = Stops(0)
    adapt(given, last, epochs=3, validation=0.2, checkpoint_seconds=0.0)
    assert last.resumed_at == sum(at - 1 for at in kills), "it began again instead of going on"
    assert written(given.out) == unbroken


def test_a_kill_between_the_two_renames_loses_nothing(
    subject: Callable[..., Subject], unbroken: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    given, options = subject("broken", rows=examples(24)), {"epochs": 3, "validation": 0.2, "checkpoint_seconds": 0.0}
    with pytest.raises(KeyboardInterrupt):
        adapt(given, Stops(4), **options)
    (given.out / "checkpoint").rename(given.out / "checkpoint.old")

    def killed(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, "save_file", killed)
        with pytest.raises(KeyboardInterrupt):
            adapt(given, **options)
    last = Stops(0)
    adapt(given, last, **options)
    assert last.resumed_at == 3
    assert written(given.out) == unbroken


def test_a_checkpoint_is_safetensors_and_json(subject: Callable[..., Subject]) -> None:
    given = subject()
    with pytest.raises(KeyboardInterrupt):
        adapt(given, Stops(2), checkpoint_seconds=0.0)
    assert sorted(written(given.out)) == ["checkpoint/state.json", "checkpoint/state.safetensors"]
    tensors = load_file(given.out / "checkpoint" / "state.safetensors")
    assert {name.split("/")[0] for name in tensors} == {"master", "optimiser", "random"}
    state = json.loads((given.out / "checkpoint" / "state.json").read_text())
    assert (state["step"], state["best_loss"], state["precision"]) == (1, None, "float32")


def test_no_checkpoint_before_its_time(subject: Callable[..., Subject]) -> None:
    given = subject()
    with pytest.raises(KeyboardInterrupt):
        adapt(given, Stops(4))
    assert written(given.out) == {}


def test_a_run_goes_on_in_the_precision_it_began_in(
    subject: Callable[..., Subject], monkeypatch: pytest.MonkeyPatch
) -> None:
    """'auto' measures the machine; a busy moment must not change what a run computes halfway."""
    from limpide.models import model

    given = subject()
    monkeypatch.setattr(model, "faster_precision", lambda: "bfloat16")
    with pytest.raises(KeyboardInterrupt):
        adapt(given, Stops(2), precision="auto", checkpoint_seconds=0.0)
    monkeypatch.setattr(model, "faster_precision", lambda: "float32")
    assert adapt(given, precision="auto").facts["precision"] == "bfloat16"
    assert adapt(subject("new"), precision="auto").facts["precision"] == "float32"
