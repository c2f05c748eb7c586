from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from limpide.core import files
from limpide.core.errors import ModelError
from limpide.models.encoding import encode_requests
from limpide.models.families.registry import logits_from_hidden
from limpide.models.likelihood import read
from limpide.models.model import Model, open_model
from limpide.models.requests import Request
from limpide.models.stacks import stacks
from limpide.models.update import (
    FILE,
    Affine,
    Update,
    applied,
    fold,
    load_update,
    save_maps,
    update_digest,
)
from limpide.models.writes import block_name, writes
from tiny import FAMILY_NAMES, tiny_folder

WIDTH = 32
DOWN = "model.layers.1.mlp.down_proj.weight"


def logits(model: Any) -> torch.Tensor:
    """Of two texts at the places of their continuations, float[places, vocabulary]."""
    texts = (("The nurse said that", " she was late."), ("Le médecin a dit", " non"))
    items = encode_requests(model, [Request(a, a, b) for a, b in texts])
    with torch.no_grad():
        return logits_from_hidden(model.network, model.family, read(model, items).hidden)


def state(model: Any) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in model.network.state_dict().items()}


def update_for(model: Any, maps: bool = True, seed: int = 0) -> Update:
    """Something of every sort, everywhere that the family allows."""
    rng = torch.Generator().manual_seed(seed)

    def random(*size: int) -> torch.Tensor:
        return torch.randn(*size, generator=rng) / 8

    factors, vectors, after = {}, {}, {}
    for stack in stacks(model):
        for layer in range(len(stack)):
            for site in ("attention", "mlp"):
                for write in writes(model, stack, layer, site):
                    *experts, rows, columns = model.network.get_parameter(write.name).shape
                    experts = experts if layer else []  # in the first layer one product for all experts
                    factors[write.name] = random(*experts, rows, 2), random(*experts, 2, columns)
                    if write.bias:
                        vectors[write.bias] = random(WIDTH)
        after[block_name(model, stack, 0)] = Affine(random(WIDTH, 1), random(1, WIDTH), random(WIDTH))
    return Update(factors, vectors, after if maps else {})


@pytest.mark.parametrize("name", FAMILY_NAMES)
def test_applied_changes_the_model_and_takes_it_back(tiny_model: Callable[[str], Any], name: str) -> None:
    model = tiny_model(name)
    update, before, said = update_for(model), state(model), logits(model)
    with applied(model, update, 0.7) as changed:
        assert not torch.allclose(logits(changed), said, atol=1e-2)
        for weight, (left, right) in update.factors.items():
            wanted = before[weight] + 0.7 * (left @ right)
            assert torch.allclose(changed.network.get_parameter(weight), wanted, atol=1e-6), weight
        for bias, vector in update.vectors.items():
            wanted = before[bias] + 0.7 * vector if bias in before else 0.7 * vector
            assert torch.allclose(changed.network.get_parameter(bias), wanted, atol=1e-6), bias
        half = logits(changed)
    with applied(model, update.scaled(0.7)) as changed:
        assert torch.allclose(logits(changed), half, atol=1e-4 * float(half.abs().max()))
    after = state(model)
    assert after.keys() == before.keys()
    assert all(torch.equal(after[key], before[key]) for key in before)
    assert torch.equal(logits(model), said)


@pytest.mark.parametrize("name", FAMILY_NAMES)
def test_folded_saved_and_opened_again_it_is_what_was_tried(tmp_path: Path, name: str) -> None:
    model = open_model(tiny_folder(name, tmp_path))
    update = update_for(model)
    with applied(model, update, 0.5) as changed:
        tried = logits(changed)
    left_over = fold(model, update, 0.5)
    assert torch.allclose(logits(model), tried, atol=1e-5 * float(tried.abs().max()))
    assert left_over.maps.keys() == update.maps.keys()
    assert not left_over.factors
    assert not left_over.vectors
    model.network.save_pretrained(tmp_path / "new")
    model.tokenizer.save_pretrained(tmp_path / "new")
    save_maps(tmp_path / "new", left_over)
    again = open_model(tmp_path / "new")
    assert torch.allclose(logits(again), tried, atol=1e-5 * float(tried.abs().max()))


def test_biases_opened_for_a_correction_are_in_the_config(tmp_path: Path) -> None:
    model = open_model(tiny_folder("llama", tmp_path))
    said = logits(model)
    fold(model, Update(vectors={"model.layers.1.mlp.down_proj.bias": torch.zeros(WIDTH)}))
    assert torch.equal(logits(model), said), "biases of 0 change nothing"
    model.network.save_pretrained(tmp_path / "new")
    config = files.read_json(tmp_path / "new" / "config.json")
    assert (config["attention_bias"], config["mlp_bias"]) == (False, True)
    assert {"model.layers.0.mlp.up_proj.bias", "model.layers.1.mlp.down_proj.bias"} < set(state(model))


def test_biases_that_are_there_stay(tmp_path: Path) -> None:
    model = open_model(tiny_folder("llama", tmp_path, attention_bias=True))
    fold(model, Update(vectors={"model.layers.0.mlp.down_proj.bias": torch.ones(WIDTH)}))
    assert model.network.config.attention_bias
    assert model.network.config.mlp_bias
    model.network.save_pretrained(tmp_path / "new")
    model.tokenizer.save_pretrained(tmp_path / "new")
    assert torch.allclose(logits(open_model(tmp_path / "new")), logits(model), atol=1e-5)


@pytest.mark.parametrize("name", ["mistral", "t5"])
def test_a_bias_that_no_config_can_open_is_refused(tmp_path: Path, name: str) -> None:
    model = open_model(tiny_folder(name, tmp_path))
    stack = stacks(model)[-1]
    bias = writes(model, stack, 0, "attention")[0].name.replace("weight", "bias")
    with pytest.raises(ModelError, match="has no place for this correction") as caught:
        fold(model, Update(vectors={bias: torch.zeros(WIDTH)}))
    assert "another method" in str(caught.value)


def test_an_update_is_kept_whole(tmp_path: Path, tiny_model: Callable[[str], Any]) -> None:
    update = update_for(tiny_model("gpt_oss"))
    update.save(tmp_path)
    again = load_update(tmp_path)
    assert again.tensors().keys() == update.tensors().keys()
    assert all(torch.equal(again.tensors()[name], tensor) for name, tensor in update.tensors().items())
    assert update_digest(again) == update_digest(update)
    assert bool(again)
    assert not Update()
    vector = next(iter(again.vectors.values()))
    vector[0] += 1
    assert update_digest(again) != update_digest(update)


def test_every_strength_has_its_own_digest(tiny_model: Callable[[str], Any]) -> None:
    """Results kept of one are not taken for another's."""
    model = tiny_model("llama")
    seen = {model.digest}
    for update, strength in ((update_for(model), 0.5), (update_for(model), 1.0), (update_for(model, seed=1), 1.0)):
        with applied(model, update, strength) as changed:
            seen.add(changed.digest)
    assert len(seen) == 4


def test_a_fault_inside_takes_it_back_too(tiny_model: Callable[[str], Any]) -> None:
    model = tiny_model("llama")
    before = state(model)
    with pytest.raises(ZeroDivisionError), applied(model, update_for(model)):
        raise ZeroDivisionError
    whole = update_for(model)
    faulty = Update(whole.factors, whole.vectors, {"model.layers.9": next(iter(whole.maps.values()))})
    with pytest.raises(ModelError, match=r"names 'model\.layers\.9'"), applied(model, faulty):
        pass
    assert all(torch.equal(tensor, before[name]) for name, tensor in state(model).items())


@pytest.mark.parametrize(
    ("update", "said"),
    [
        (Update({DOWN: (torch.ones(WIDTH, 1), torch.ones(1, 7))}), "does not fit this model"),
        (Update({"model.layers.1.mlp.wo.weight": (torch.ones(WIDTH, 1), torch.ones(1, 48))}), "does not have"),
        (Update(vectors={"model.layers.1.mlp.wo.bias": torch.ones(WIDTH)}), "does not have"),
        (Update(vectors={"model.norm.bias": torch.ones(WIDTH)}), "does not have"),
        (Update(maps={"model.layers.7": Affine(torch.ones(WIDTH, 1), torch.ones(1, WIDTH), torch.ones(WIDTH))}), "not"),
        (Update(vectors={"model.layers.1.mlp.down_proj.bias": torch.ones(7)}), "does not fit this model"),
    ],
)
def test_an_update_of_another_network_is_refused(tmp_path: Path, update: Update, said: str) -> None:
    for put in (lambda model: applied(model, update).__enter__(), lambda model: fold(model, update)):
        model: Model = open_model(tiny_folder("llama", tmp_path))
        before = state(model)
        with pytest.raises(ModelError, match=said) as caught:
            put(model)
        assert caught.value.remedy
        after = state(model)
        assert all(torch.equal(after[name], tensor) for name, tensor in before.items())


def test_what_is_no_update_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="There is no whole correction"):
        load_update(tmp_path)
    (tmp_path / FILE).write_bytes(b"nothing")
    with pytest.raises(ModelError, match="There is no whole correction"):
        load_update(tmp_path)
    half = Update({"a": (torch.ones(2, 1), torch.ones(1, 2))}).tensors()
    from safetensors.torch import save_file

    save_file({"factors/a/left": half["factors/a/left"]}, tmp_path / FILE)
    with pytest.raises(ModelError, match="is not a whole correction"):
        load_update(tmp_path)


def test_a_shift_has_no_rank(tiny_model: Callable[[str], Any]) -> None:
    model = tiny_model("gpt2")
    shift = Affine(torch.zeros(WIDTH, 0), torch.zeros(0, WIDTH), torch.arange(float(WIDTH)))
    y = torch.randn(2, 3, WIDTH)
    assert torch.equal(shift(y, 0.5), y + 0.5 * torch.arange(float(WIDTH)))
    with applied(model, Update(maps={"transformer.h.0": shift})) as changed:
        shifted = logits(changed)
    assert not torch.allclose(shifted, logits(model), atol=1e-3)
