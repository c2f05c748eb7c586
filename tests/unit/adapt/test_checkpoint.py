"""Equal seeds give equal bytes, and so does a run killed anywhere and begun again."""

import json
import signal
from collections.abc import Callable
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from limpide.adapt import checkpoint, train, training
from limpide.adapt.settings import TrainSettings
from limpide.core.operation import Subject
from limpide.core.progress import Quiet
from limpide.data.examples import save_examples
from limpide.models import trail
from tiny_training import Stops, adapt, examples, written


class Killed(BaseException):
    """The end of a process that nobody could prepare for."""


class Dies(Stops):
    """A run that is killed when `at` of its steps are done, before their checkpoint."""

    def advance(self, by: float = 1, **facts: Any) -> None:
        self.steps += 1
        if self.steps == self.at:
            raise Killed


KEPT = ("000000.safetensors", "000002.safetensors", "000004.safetensors", "index.json")  # of 6 updates, at most 4


def test_equal_seeds_give_equal_bytes(subject: Callable[..., Subject]) -> None:
    runs = {}
    for drawn, (name, seed) in enumerate((("one", 0), ("two", 0), ("three", 1))):
        torch.manual_seed(drawn)  # whatever was drawn before must not matter
        adapt(given := subject(name, seed=seed))
        runs[name] = written(given.out)
    assert runs["one"] == runs["two"]
    assert sorted(runs["one"]) == [
        "adapter/adapter_config.json",
        "adapter/adapter_model.safetensors",
        *(f"checkpoints/{name}" for name in KEPT),
        "losses.jsonl",
    ]
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
        with pytest.raises(Killed):
            adapt(given, Dies(at), epochs=3, validation=0.2, checkpoint_seconds=0.0)
        torch.rand(7)  # a new process has another random state
    last = Stops(0)
    adapt(given, last, epochs=3, validation=0.2, checkpoint_seconds=0.0)
    assert last.resumed_at == sum(at - 1 for at in kills), "it began again instead of going on"
    assert written(given.out) == unbroken


@pytest.mark.parametrize("stops", [(1,), (5, 2), (6,)])
def test_ctrl_c_loses_no_step(
    subject: Callable[..., Subject], unbroken: dict[str, bytes], stops: tuple[int, ...]
) -> None:
    """Whatever the time between two checkpoints, also right before the held-out rows are looked at."""
    given, last = subject("broken", rows=examples(24)), Stops(0)
    for at in stops:
        with pytest.raises(KeyboardInterrupt):
            adapt(given, Stops(at), epochs=3, validation=0.2)
    adapt(given, last, epochs=3, validation=0.2)
    assert last.resumed_at == sum(stops)
    assert written(given.out) == unbroken


def test_ctrl_c_in_the_middle_of_a_step_leaves_the_step_before(
    subject: Callable[..., Subject], unbroken: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    real, calls = training._update, iter(range(99))

    def pressed(state: training.Trainer) -> None:
        if next(calls) == 3:
            signal.raise_signal(signal.SIGINT)  # while the weights are being moved
        real(state)

    given, last = subject("broken", rows=examples(24)), Stops(0)
    with monkeypatch.context() as patch:
        patch.setattr(training, "_update", pressed)
        with pytest.raises(KeyboardInterrupt):
            adapt(given, epochs=3, validation=0.2)
    adapt(given, last, epochs=3, validation=0.2)
    assert last.resumed_at == 4, "the step was finished first"
    assert written(given.out) == unbroken


def test_a_kill_between_the_two_renames_loses_nothing(
    subject: Callable[..., Subject], unbroken: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    given, options = subject("broken", rows=examples(24)), {"epochs": 3, "validation": 0.2, "checkpoint_seconds": 0.0}
    with pytest.raises(Killed):
        adapt(given, Dies(4), **options)
    (given.out / "checkpoint").rename(given.out / "checkpoint.old")

    def killed(*_: Any) -> None:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, "save_file", killed)
        with pytest.raises(Killed):
            adapt(given, **options)
    last = Stops(0)
    adapt(given, last, **options)
    assert last.resumed_at == 3
    assert written(given.out) == unbroken


def test_a_checkpoint_is_safetensors_and_json(subject: Callable[..., Subject]) -> None:
    given = subject()
    with pytest.raises(Killed):
        adapt(given, Dies(2), checkpoint_seconds=0.0, keep=0)
    assert sorted(written(given.out)) == ["checkpoint/state.json", "checkpoint/state.safetensors"]
    tensors = load_file(given.out / "checkpoint" / "state.safetensors")
    assert {name.split("/")[0] for name in tensors} == {"master", "optimiser", "random"}
    state = json.loads((given.out / "checkpoint" / "state.json").read_text())
    assert (state["step"], state["best_loss"], state["precision"]) == (1, None, "float32")


def test_no_checkpoint_before_its_time(subject: Callable[..., Subject]) -> None:
    given = subject()
    with pytest.raises(Killed):
        adapt(given, Dies(4), keep=0)
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


def test_keeping_states_changes_nothing_else(subject: Callable[..., Subject]) -> None:
    adapt(with_states := subject("with"), keep=3)
    adapt(without := subject("without"), keep=0)
    kept = {name: data for name, data in written(with_states.out).items() if not name.startswith("checkpoints/")}
    assert kept == written(without.out)


def test_the_states_kept_are_those_before_their_updates(
    subject: Callable[..., Subject], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[dict[str, torch.Tensor]] = []
    real = training.take_step

    def look(state: training.Trainer, packs: Any) -> None:
        seen.append({name: weight.detach().clone() for name, weight in state.weights.items()})
        real(state, packs)

    monkeypatch.setattr(training, "take_step", look)
    result = adapt(given := subject(rows=examples(24)), validation=0.2, canary=True, epochs=3)
    made = trail.load_trail(given.out)
    assert len(made.checkpoints) > 1
    for kept in made.checkpoints:
        found = trail.load_state(given.out, kept)
        assert found.keys() == seen[kept.step].keys()
        assert all(torch.equal(found[name], weight) for name, weight in seen[kept.step].items())
    assert made.steps == result.facts["best_step"]
    assert (len(made.examples), len(made.kept_aside)) == (20, 5)
    assert {*made.examples, *made.kept_aside} == {*(row.id for row in examples(24)), "canary/canary"}
    assert result.facts["checkpoint_bytes"] == sum(
        path.stat().st_size for path in (given.out / "checkpoints").glob("*.safetensors")
    )


def test_training_again_from_what_was_written_down_gives_the_same_bytes(subject: Callable[..., Subject]) -> None:
    """The rows kept aside, given as a file, are not drawn again from the others."""
    adapt(first := subject("first", rows=examples(24)), validation=0.2, canary=True)
    made = trail.load_trail(first.out)
    rows = {row.id: row for row in examples(24)}
    again = subject("again", rows=[rows[id] for id in made.examples if id in rows])
    save_examples(again.input("data") / "validation.jsonl", [rows[id] for id in made.kept_aside])
    train.run(again, TrainSettings(**made.settings), Quiet())
    ours, theirs = written(again.out), written(first.out)
    assert {name for name in theirs if ours[name] != theirs[name]} == {"checkpoints/index.json"}  # another data file
