"""The frozen trunk: where it ends, what is kept of it, and that nothing stale is ever read."""

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from limpide.adapt import trunk
from limpide.adapt.adapters import trained_network
from limpide.adapt.packing import Batch, Pack
from limpide.adapt.settings import TrainSettings
from limpide.adapt.trunk import Trunk, first_trained
from limpide.models.model import open_model
from tiny_training import some_packs


@pytest.mark.parametrize(("name", "layers", "first"), [("llama", 1, 1), ("llama", 2, 0), ("bert", 1, 1), ("t5", 2, 1)])
def test_where_the_trunk_ends(tiny_path: Callable[[str], Path], name: str, layers: int, first: int) -> None:
    model = open_model(tiny_path(name))
    assert first_trained(model.network, model.family) == 0, "nothing is trained"
    network = trained_network(model, TrainSettings(rank=2, layers=layers), 0)
    assert first_trained(network, model.family) == first


def test_no_trunk_below_a_trained_embedding_or_encoder(tiny_path: Callable[[str], Path]) -> None:
    for name in ("llama", "t5"):
        model = open_model(tiny_path(name))
        network = trained_network(model, TrainSettings(rank=2, layers=1), 0)
        network.get_input_embeddings().weight.requires_grad_(True)
        assert first_trained(network, model.family) == 0


class Counting:
    """A trunk that adds one to each token's number, and counts."""

    def __init__(self, add: float = 1.0) -> None:
        self.calls, self.add = 0, add

    def __call__(self, batch: Batch) -> torch.Tensor:
        self.calls += 1
        return (batch.ids[..., None] + self.add).expand(-1, -1, 3).float()


@pytest.fixture
def packs(tiny_model: Callable[[str], Any]) -> list[Pack]:
    return some_packs(tiny_model("llama"))


def read(below: Trunk, packs: list[Pack]) -> list[float]:
    return [float(below.entered([pack]).states[0, 0, 0]) for pack in packs]


def test_each_pack_is_computed_once_also_by_a_run_that_goes_on(packs: list[Pack], tmp_path: Path) -> None:
    compute = Counting()
    below = Trunk(1, 0, compute)
    said = below.keep(tmp_path, packs, None)
    size = sum(map(len, packs)) * 3 * 4
    assert (
        said
        == f"the frozen layers' output for {len(packs)} packs is {size / 1e6:.1f} MB, kept on disk and computed once"
    )
    assert (tmp_path / "trunk" / "states.bin").stat().st_size == size
    first = read(below, packs)
    assert read(below, packs[::-1]) == first[::-1]
    assert compute.calls == 1 + len(packs), "one more to know the size"
    again = Counting()
    resumed = Trunk(1, 0, again)
    resumed.keep(tmp_path, packs, None)
    assert read(resumed, packs) == first
    assert again.calls == 1, "one to know that what was kept is still true"


def test_packs_beside_each_other_are_padded_with_nothing(packs: list[Pack], tmp_path: Path) -> None:
    below = Trunk(1, 0, Counting())
    below.keep(tmp_path, packs, None)
    states = below.entered(packs).states
    assert states.shape == (len(packs), max(map(len, packs)), 3)
    for pack, own in zip(packs, states, strict=True):
        assert own[: len(pack), 0].tolist() == [token + 1 for token in pack.ids]
        assert not own[len(pack) :].any()


def test_what_another_model_gave_is_never_read(packs: list[Pack], tmp_path: Path) -> None:
    for add in (1.0, 2.0):
        below = Trunk(1, 0, Counting(add))
        below.keep(tmp_path, packs, None)
        assert read(below, packs) == [pack.ids[0] + add for pack in packs]


def test_other_packs_begin_a_new_file(packs: list[Pack], tmp_path: Path) -> None:
    whole = Trunk(1, 0, Counting())
    whole.keep(tmp_path, packs, None)
    read(whole, packs)
    compute = Counting()
    part = Trunk(1, 0, compute)
    part.keep(tmp_path, packs[:2], None)
    read(part, packs[:2])
    assert compute.calls == 3
    assert (tmp_path / "trunk" / "states.bin").stat().st_size == sum(map(len, packs[:2])) * 12


def test_more_than_is_allowed_is_computed_again_and_said(packs: list[Pack], tmp_path: Path) -> None:
    compute = Counting()
    below = Trunk(1, 0, compute)
    assert "more than the 0.0 MB allowed: it is computed again in each epoch" in below.keep(tmp_path, packs, 7)
    assert read(below, packs) == read(below, packs)
    assert compute.calls == 1 + 2 * len(packs)
    assert not (tmp_path / "trunk").exists()


def test_a_full_disk_is_said_and_stops_nothing(
    packs: list[Pack], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(trunk, "_mapped", full)
    below = Trunk(1, 0, Counting())
    assert "cannot be kept on disk (No space left on device)" in below.keep(tmp_path, packs, None)
    assert read(below, packs) == [pack.ids[0] + 1 for pack in packs]
    assert not (tmp_path / "trunk").exists()
