"""Adapters on the upper blocks alone: which ones, whole names on disk, and what a trial says of them."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from pydantic import ValidationError

from limpide.adapt import layers
from limpide.adapt.adapters import targets_of
from limpide.adapt.layers import Trial, difference
from limpide.adapt.loss import estimate
from limpide.adapt.settings import TrainSettings
from limpide.core import files
from limpide.core.operation import Subject
from limpide.models.families.registry import blocks
from limpide.models.model import open_model
from tiny import FAMILY_NAMES
from tiny_training import adapt, examples


@pytest.mark.parametrize("name", FAMILY_NAMES)
def test_only_the_upper_blocks_are_named(tiny_model: Callable[..., object], name: str) -> None:
    model = tiny_model(name)
    family, last = model.family, len(blocks(model.network, model.family)) - 1  # type: ignore[attr-defined] # of a Model
    found = targets_of(model, TrainSettings(layers=1))  # type: ignore[arg-type]
    names = (*found.modules, *found.parameters)
    assert names
    assert all(name.startswith(f"{family.blocks}.{last}.") for name in names)
    everywhere = targets_of(model, TrainSettings(layers=last + 1))  # type: ignore[arg-type]
    assert len(everywhere.modules) > len(found.modules)


def test_the_adapter_on_disk_names_its_blocks_and_the_run_keeps_the_rest(subject: Callable[..., Subject]) -> None:
    given = subject(rows=examples(24))
    result = adapt(given, layers=1, validation=0.2)
    config = json.loads((given.out / "adapter" / "adapter_config.json").read_text())
    assert config["target_modules"]
    assert all(name.startswith("model.layers.1.") for name in config["target_modules"])
    assert result.facts["layers"] == 1
    assert not (given.out / "trunk").exists(), "only a run that goes on needs it"


def test_a_network_that_is_trained_whole_can_be_so_from_above(subject: Callable[..., Subject]) -> None:
    given = subject()
    adapt(given, method="full", layers=1, learning_rate=0.01)
    base, after = (open_model(folder).network.state_dict() for folder in (given.the_model(), given.out / "model"))
    changed = {name for name, weight in after.items() if not weight.equal(base[name])}
    assert changed
    assert all(name.startswith("model.layers.1.") for name in changed)


def test_auto_tries_both_once_and_leaves_the_base_as_it_was(subject: Callable[..., Subject]) -> None:
    given = subject(rows=examples(30))
    result = adapt(given, layers="auto", validation=0.2)
    facts = result.facts
    assert facts["layers_chosen_by"] == "measurement"
    assert [trial["layers"] for trial in facts["layers_trials"]] == [2, 1]
    assert facts["layers_cost"]["low"] < facts["layers_cost"]["nats"] < facts["layers_cost"]["high"]
    chosen = files.read_json(given.out / "layers.json")["layers"]
    assert facts["layers"] == chosen
    straight = subject("straight", rows=examples(30))
    adapt(straight, layers=chosen, validation=0.2)
    name = "adapter/adapter_model.safetensors"
    assert (given.out / name).read_bytes() == (straight.out / name).read_bytes()


def test_a_run_that_goes_on_does_not_measure_again(
    subject: Callable[..., Subject], monkeypatch: pytest.MonkeyPatch
) -> None:
    given = subject(rows=examples(30))
    files.write_json(given.out / "layers.json", {"layers": 1, "facts": {"layers_chosen_by": "measurement"}})
    monkeypatch.setattr(layers, "choose", None)
    assert adapt(given, layers="auto", validation=0.2).facts["layers"] == 1


def test_auto_without_rows_kept_aside_takes_all_and_says_so(subject: Callable[..., Subject]) -> None:
    facts = adapt(subject(), layers="auto", validation=0).facts
    assert (facts["layers"], facts["layers_chosen_by"]) == ("all", "insufficient evidence")


@pytest.mark.parametrize("asked", [{"layers": "auto"}, {"search": {}}])
def test_what_compares_adapters_needs_one(asked: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match="compares adapters, and method: full has none"):
        TrainSettings(method="full", **asked)


def test_the_cost_is_told_on_the_same_conversations() -> None:
    """Conversations differ far more from each other than the two sides do: pairing takes that out."""
    tokens, easy = (10,) * 6, (5.0, 50.0, 20.0, 80.0, 10.0, 40.0)
    every = Trial(6, estimate(easy, tokens), easy, tokens, 1.0)
    worse = tuple(nats + 1.0 + 0.1 * (k % 2) for k, nats in enumerate(easy))
    cost = difference(Trial(2, estimate(worse, tokens), worse, tokens, 1.0), every)
    assert cost.mean == pytest.approx(0.105)
    assert cost.low is not None
    assert cost.high is not None
    assert 0.09 < cost.low < 0.105 < cost.high < 0.12
    assert every.held_out.low is not None
    assert every.held_out.mean - every.held_out.low > 1
