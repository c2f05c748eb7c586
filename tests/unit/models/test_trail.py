"""The states of an adapter that training keeps: which, whole or not at all, and never another's."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch

from limpide.core.errors import IntegrityError, MissingError
from limpide.models import trail
from limpide.models.trail import Trail, kept_steps

FACTS: dict[str, Any] = {
    "examples": ("a", "b"),
    "kept_aside": (),
    "data": "d",
    "base": "base",
    "base_digest": "b",
    "settings": {"rank": 2},
    "seed": 1,
}


def state(step: int) -> Mapping[str, torch.Tensor]:
    return {"x.lora_A.default.weight": torch.full((2, 3), float(step))}


def run(folder: Path, updates: int, keep: int, kept: int | None = None) -> Trail:
    """A training of so many updates, of which the first `kept` are behind the adapter."""
    for step in range(updates):
        trail.keep_state(folder, step, state(step), keep)
    rates = [1.0 / (1 + step) for step in range(updates if kept is None else kept)]
    return trail.close(folder, kept_steps(updates, keep), rates, **FACTS)


@pytest.mark.parametrize("keep", [1, 2, 3, 4, 7])
def test_states_are_evenly_spaced_and_what_was_dropped_is_never_wanted_again(keep: int) -> None:
    before = set(kept_steps(1, keep))
    for done in range(1, 300):
        steps = kept_steps(done, keep)
        assert min(done, (keep + 1) // 2) <= len(steps) <= keep
        assert steps[0] == 0
        assert set(steps) - {done - 1} <= before
        before = set(steps)
    assert list(kept_steps(300, 0)) == []


@pytest.mark.parametrize(("updates", "keep"), [(1, 4), (4, 4), (9, 4), (33, 4), (50, 1)])
def test_every_update_is_counted_once_and_the_states_are_those_of_their_steps(
    tmp_path: Path, updates: int, keep: int
) -> None:
    made = run(tmp_path, updates, keep)
    assert trail.load_trail(tmp_path) == made
    assert sum(c.rates for c in made.checkpoints) == pytest.approx(sum(1 / (1 + step) for step in range(updates)))
    for checkpoint in made.checkpoints:
        assert checkpoint.rate == 1 / (1 + checkpoint.step)
        found = trail.load_state(tmp_path, checkpoint)
        assert torch.equal(found["x.lora_A.default.weight"], state(checkpoint.step)["x.lora_A.default.weight"])
    names = {path.name for path in (tmp_path / "checkpoints").iterdir()}
    assert names == {"index.json", *(c.file for c in made.checkpoints)}


def test_states_after_the_best_one_are_not_on_its_way(tmp_path: Path) -> None:
    made = run(tmp_path, 12, 4, kept=5)
    assert [c.step for c in made.checkpoints] == [0, 4]
    assert sum(c.rates for c in made.checkpoints) == pytest.approx(sum(1 / (1 + step) for step in range(5)))
    assert run(tmp_path / "none", 12, 4, kept=0).checkpoints == ()


def test_nothing_was_kept(tmp_path: Path) -> None:
    with pytest.raises(MissingError, match=r"(?s)kept no state.*index\.json.*adapt\.keep"):
        trail.load_trail(tmp_path)


@pytest.mark.parametrize("damage", ["flip", "remove", "index"])
def test_a_damaged_state_is_refused(tmp_path: Path, damage: str) -> None:
    made = run(tmp_path, 4, 4)
    folder = tmp_path / "checkpoints"
    if damage == "flip":
        content = bytearray((folder / "000002.safetensors").read_bytes())
        content[-1] ^= 1
        (folder / "000002.safetensors").write_bytes(content)
    elif damage == "remove":
        (folder / "000002.safetensors").unlink()
    else:
        (folder / "index.json").write_text('{"checkpoints": 3')
    with pytest.raises(IntegrityError, match=r"(?s)checkpoint of the training is damaged.*limpide run recipe\.yaml"):
        trail.load_state(tmp_path, (trail.load_trail(tmp_path) and made).checkpoints[2])
