from collections.abc import Callable
from typing import Any

import pytest
import torch

from limpide.core.errors import UsageError
from limpide.models.encoding import encode_requests
from limpide.models.families.registry import logits_from_hidden
from limpide.models.likelihood import read
from limpide.models.requests import Request
from limpide.models.stacks import Site, Stack, stacks
from limpide.models.update import Affine, Update, applied
from limpide.models.writes import block_name, folded, joined, writes
from tiny import FAMILY_NAMES

SITES: tuple[Site, ...] = ("attention", "mlp")
WIDTH = 32


def logits(model: Any) -> torch.Tensor:
    """Of two texts at the places of their continuations, float[places, vocabulary]."""
    texts = (("The nurse said that", " she was late."), ("Le médecin a dit", " non"))
    items = encode_requests(model, [Request(a, a, b) for a, b in texts])
    with torch.no_grad():
        return logits_from_hidden(model.network, model.family, read(model, items).hidden)


def affine(offset: bool = True, seed: int = 0) -> Affine:
    rng = torch.Generator().manual_seed(seed)
    left, right = torch.randn(WIDTH, 2, generator=rng) / 4, torch.randn(2, WIDTH, generator=rng) / 4
    return Affine(left, right, torch.randn(WIDTH, generator=rng) * offset)


def spots(model: Any) -> list[tuple[Stack, int, Site]]:
    return [(stack, layer, site) for stack in stacks(model) for layer in range(len(stack)) for site in SITES]


def hooked(model: Any, stack: Stack, layer: int, site: Site, change: Affine) -> Update:
    """The same change as a module after the attention or the MLP."""
    path = {"attention": stack.attention, "mlp": stack.mlp}[site]
    return Update(maps={f"{block_name(model, stack, layer)}.{path}": change})


@pytest.mark.parametrize("name", FAMILY_NAMES)
def test_a_folded_change_is_the_change_of_what_the_module_gives(tiny_model: Callable[[str], Any], name: str) -> None:
    model = tiny_model(name)
    before = logits(model)
    for stack, layer, site in spots(model):
        made = writes(model, stack, layer, site)
        has_bias = any(write.bias for write in made)
        change = affine()
        inside = joined(*(folded(model, write, change) for write in made))
        assert bool(inside.vectors) == has_bias
        with applied(model, hooked(model, stack, layer, site, affine(offset=has_bias))) as other:
            wanted = logits(other)
        for strength in (1.0, 0.5):
            with applied(model, inside, strength) as other:
                found = logits(other)
            if strength == 1.0:
                assert torch.allclose(found, wanted, atol=1e-4 * float(wanted.abs().max())), (stack.name, layer, site)
                assert not torch.allclose(found, before, atol=1e-2), (stack.name, layer, site)
            else:
                with applied(model, hooked(model, stack, layer, site, affine(offset=has_bias)), strength) as other:
                    assert torch.allclose(found, logits(other), atol=1e-4 * float(wanted.abs().max()))


@pytest.mark.parametrize("name", FAMILY_NAMES)
def test_without_its_weights_a_site_adds_nothing(tiny_model: Callable[[str], Any], name: str) -> None:
    """All that a site adds comes from the weights that are named, and from their biases."""
    model = tiny_model(name)
    minus = Affine(-torch.eye(WIDTH), torch.eye(WIDTH), torch.zeros(WIDTH))
    for stack, layer, site in spots(model):
        given: list[torch.Tensor] = []
        path = {"attention": stack.attention, "mlp": stack.mlp}[site]

        def keep(_: Any, __: Any, output: Any, given: list[torch.Tensor] = given) -> None:
            given.append(output[0] if isinstance(output, tuple) else output)

        handle = stack.module(layer, path).register_forward_hook(keep)
        inside = joined(*(folded(model, write, minus) for write in writes(model, stack, layer, site)))
        try:
            logits(model)
            with applied(model, inside) as other:
                logits(other)
        finally:
            handle.remove()
        assert float(given[0].abs().max()) > 0.01
        assert float(given[-1].abs().max()) < 1e-5


@pytest.mark.parametrize(
    ("name", "layer", "names"),
    [
        ("llama", 1, ["model.layers.1.mlp.down_proj.weight"]),
        ("gpt2", 0, ["transformer.h.0.mlp.c_proj.weight"]),
        ("bert", 1, ["bert.encoder.layer.1.output.dense.weight"]),
        ("deepseek_v3", 0, ["model.layers.0.mlp.down_proj.weight"]),
        (
            "deepseek_v3",
            1,
            ["model.layers.1.mlp.experts.down_proj", "model.layers.1.mlp.shared_experts.down_proj.weight"],
        ),
        ("gpt_oss", 0, ["model.layers.0.mlp.experts.down_proj"]),
        ("t5", 0, ["encoder.block.0.layer.1.DenseReluDense.wo.weight"]),
    ],
)
def test_the_weights_of_an_mlp(tiny_model: Callable[[str], Any], name: str, layer: int, names: list[str]) -> None:
    model = tiny_model(name)
    found = writes(model, stacks(model)[0], layer, "mlp")
    assert [write.name for write in found] == names
    assert [write.fused for write in found] == [".experts." in each for each in names]


@pytest.mark.parametrize(
    ("name", "able"),
    [
        ("llama", {"attention", "mlp"}),
        ("gpt2", {"attention", "mlp"}),
        ("bert", {"attention", "mlp"}),
        ("gpt_oss", {"attention", "mlp"}),
        ("gemma", {"attention"}),
        ("deepseek_v3", {"attention"}),
        ("mistral", set()),
        ("qwen2", set()),
        ("t5", set()),
    ],
)
def test_where_a_mean_can_be_kept(tiny_model: Callable[[str], Any], name: str, able: set[str]) -> None:
    model = tiny_model(name)
    stack = stacks(model)[-1]
    assert {site for site in SITES for write in writes(model, stack, 1, site) if write.bias} == able


def test_the_stream_itself_is_written_by_no_weight(tiny_model: Callable[[str], Any]) -> None:
    model = tiny_model("t5")
    encoder, decoder = stacks(model)
    assert writes(model, encoder, 0, "residual") == []
    assert block_name(model, encoder, 1) == "encoder.block.1"
    assert block_name(model, decoder, 0) == "decoder.block.0"
    assert model.network.get_submodule("decoder.block.0") is decoder.blocks[0]


def test_a_layer_that_does_not_exist_is_refused(tiny_model: Callable[[str], Any]) -> None:
    model = tiny_model("llama")
    (stack,) = stacks(model)
    for refused in (lambda: writes(model, stack, 2, "mlp"), lambda: block_name(model, stack, -1)):
        with pytest.raises(UsageError, match="There is no such layer") as caught:
            refused()
        assert caught.value.expected == "0 to 1 (text)"


def test_joined_updates_hold_all_parts() -> None:
    one = Update({"a": (torch.ones(2, 1), torch.ones(1, 2))}, {"b": torch.ones(2)})
    two = Update(maps={"c": affine()})
    whole = joined(one, two)
    assert (set(whole.factors), set(whole.vectors), set(whole.maps)) == ({"a"}, {"b"}, {"c"})
    assert not joined()
