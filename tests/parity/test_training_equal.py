"""One training, five ways: the same losses for every family.

Alone: each conversation in a row of its own, by the network's own modules. The others: packed, in micro-batches,
stopped and begun again, and with the frozen trunk kept.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from limpide.adapt import fused, training
from limpide.adapt.adapters import trained_network
from limpide.adapt.packing import Pack, conversations, packs_for
from limpide.adapt.settings import TrainSettings
from limpide.adapt.training import Plan, Trainer
from limpide.core.progress import Quiet
from limpide.models.model import open_model
from limpide.models.prompt import Rendered
from tiny import FAMILY_NAMES
from tiny_training import Stops

SAME = 1e-4  # nats a token


def row(seed: int, size: int) -> Rendered:
    """Random ids; the second half is learnt, or may be masked, or is the target."""
    ids = tuple(torch.randint(6, 400, (size,), generator=torch.Generator().manual_seed(seed)).tolist())
    return Rendered("", ids, tuple(size // 2 <= i for i in range(size)), ("",) * size, size // 2)


# Longer than every tiny window (6 and 8), of unlike lengths, so that packs have padding.
ROWS = [row(seed, size) for seed, size in enumerate((17, 9, 24, 13, 30))]
ASIDE = [row(seed, size) for seed, size in enumerate((11, 20), start=50)]


def learn(
    model: Any, folder: Path, width: int, micro: int | None = None, layers: int = 1, stop: int = 0, kept: bool = True
) -> tuple[list[float], Trainer]:
    """Two epochs of one step each. Returns the training loss of each step and the held-out loss after each epoch."""
    network = trained_network(model, TrainSettings(rank=2, alpha=3, layers=layers), 0)
    packs, aside = (packs_for(model, rows, width, 0) for rows in (ROWS, ASIDE))
    plan = Plan(2, len(packs), 1, 0.02, 0.0, 0.0, 9, 0, 1e9, trunk_bytes=None if kept else 0)

    def start() -> Trainer:
        return training.trainer(network, model.family, plan, 0, micro)

    state = start()
    if stop:
        with pytest.raises(KeyboardInterrupt):
            training.train(state, order(packs), aside, folder, Stops(stop))
        with torch.no_grad():
            for weight in state.weights.values():
                weight.zero_()
        state = start()
    training.train(state, order(packs), aside, folder, Quiet())
    found = [x for row in state.losses for x in (row["train"], row["held_out"]) if x is not None]
    network.unload()
    return found, state


def order(packs: list[Pack]) -> Callable[[int], Sequence[Pack]]:
    return lambda epoch: packs if epoch % 2 == 0 else packs[::-1]


@pytest.mark.parametrize("name", FAMILY_NAMES)
def test_one_training_five_ways(
    tiny_path: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    model = open_model(tiny_path(name))
    places = [tmp_path / str(k) for k in range(6)]
    for place in places:
        place.mkdir()
    with monkeypatch.context() as patch:
        patch.setattr(fused, "_known", lambda module: None)
        alone, _ = learn(model, places[0], width=1, micro=1, kept=False)
    packed, _ = learn(model, places[1], width=64)
    pieces, _ = learn(model, places[2], width=40, micro=1)
    resumed, _ = learn(model, places[3], width=64, stop=1)
    kept, state = learn(model, places[4], width=64)
    again, _ = learn(model, places[5], width=64, kept=False)
    assert len(alone) == 5
    assert alone[1] - alone[3] > 50 * SAME, "nothing was learnt, so nothing was compared"
    for way in (packed, pieces, resumed, kept):
        assert way == pytest.approx(alone, abs=SAME)
    assert packed == resumed
    assert kept == again, "keeping what the frozen layers give changes no bit"
    assert state.trunk is not None
    assert (places[4] / "trunk" / "states.bin").stat().st_size > 0
    assert not (places[5] / "trunk").exists()


@pytest.mark.parametrize("name", FAMILY_NAMES)
def test_all_layers_packed_learn_as_alone(
    tiny_path: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    model = open_model(tiny_path(name))
    with monkeypatch.context() as patch:
        patch.setattr(fused, "_known", lambda module: None)
        alone, _ = learn(model, tmp_path / "a", width=1, micro=2, layers=2)
    packed, state = learn(model, tmp_path / "b", width=64, layers=2)
    assert packed == pytest.approx(alone, abs=SAME)
    assert (state.trunk is None) == (name != "t5"), "of T5 the encoder stays as it is"


@pytest.mark.parametrize("name", ["llama", "t5", "bert"])
def test_packs_give_back_the_rows_they_were_made_of(tiny_model: Callable[[str], Any], name: str) -> None:
    packs = packs_for(tiny_model(name), ROWS, 64, 0)
    assert len(packs) < len(ROWS)
    assert sorted(conversations(packs)) == sorted(item.ids for item in ROWS)
    assert sum(pack.tokens for pack in packs) == sum(len(item.ids) for item in ROWS)
