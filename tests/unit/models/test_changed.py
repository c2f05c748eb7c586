"""A model with an adapter merged and corrections folded in is the one with both applied."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from limpide.core.errors import ModelError
from limpide.core.operation import Subject
from limpide.models.changed import KEPT, of_steps, one_after_another, open_changed
from limpide.models.model import Model, open_model
from limpide.models.update import Affine, Update, applied, save_maps

IDS = torch.tensor([[5, 17, 90, 31, 200, 8]])
Q, DOWN = "model.layers.0.self_attn.q_proj.weight", "model.layers.1.mlp.down_proj.weight"


def logits(model: Model) -> torch.Tensor:
    with torch.inference_mode():
        return model.network(input_ids=IDS).logits


def low_rank(model: Model, name: str, rank: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    random = torch.Generator().manual_seed(seed)
    rows, columns = model.network.get_parameter(name).shape
    return tuple(0.3 * torch.randn(shape, generator=random) for shape in ((rows, rank), (rank, columns)))


def two(model: Model) -> tuple[Update, Update]:
    width = int(model.network.config.hidden_size)
    shift = Affine(torch.zeros(width, 0), torch.zeros(0, width), torch.ones(width))
    first = Update({Q: low_rank(model, Q, 2, 0), DOWN: low_rank(model, DOWN, 1, 1)})
    return first, Update({Q: low_rank(model, Q, 3, 2)}, maps={"model.layers.1": shift})


def test_two_updates_as_one_are_one_in_the_other(tiny_model: Callable[[str], Any]) -> None:
    model = tiny_model("llama")
    first, second = two(model)
    with applied(model, first) as one, applied(one, second) as both:
        wanted = logits(both)
    with applied(model, one_after_another(first, second)) as joined:
        torch.testing.assert_close(logits(joined), wanted)
    assert not torch.allclose(logits(model), wanted, atol=1e-2)


def test_two_maps_of_one_module_are_refused(tiny_model: Callable[[str], Any]) -> None:
    second = two(tiny_model("llama"))[1]
    with pytest.raises(ModelError, match="one module"):
        one_after_another(second, second)


def test_what_no_weight_can_hold_is_applied_when_the_folder_is_opened(
    tiny_path: Callable[[str], Path], tmp_path: Path
) -> None:
    import shutil

    folder = tmp_path / "model"
    shutil.copytree(tiny_path("llama"), folder)
    before = open_model(folder)
    update = two(before)[1]
    save_maps(folder, update)
    with applied(before, Update(maps=update.maps)) as mapped:
        wanted = logits(mapped)
    after = open_model(folder)
    torch.testing.assert_close(logits(after), wanted)
    assert after.digest != before.digest


def test_the_corrections_of_an_earlier_step_are_in_the_model(
    tiny_path: Callable[[str], Path], tiny_model: Callable[[str], Any], tmp_path: Path
) -> None:
    base, update = tiny_path("llama"), two(tiny_model("llama"))[0]
    update.save(tmp_path / KEPT)
    with applied(tiny_model("llama"), update) as changed:
        wanted = logits(changed)
    found = of_steps(Subject(tmp_path, {"correct": tmp_path}, base))
    torch.testing.assert_close(logits(found), wanted)
    assert found.digest == open_changed(base, correction=tmp_path / KEPT).digest != open_changed(base).digest
    refused = of_steps(Subject(tmp_path, {"correct": tmp_path / "nothing"}, base))
    torch.testing.assert_close(logits(refused), logits(tiny_model("llama")))
