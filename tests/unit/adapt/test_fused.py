"""Fewer passes over memory, the same numbers: each fused formula against the plain one, in float32 and its gradient."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn.functional import cross_entropy

from limpide.adapt.adapters import trained_network
from limpide.adapt.fused import fused, negative_log_likelihood
from limpide.adapt.loss import summed_loss
from limpide.adapt.packing import collate
from limpide.adapt.settings import TrainSettings
from limpide.models.model import open_model
from tiny_training import some_packs

ALL = ["adapter", "attention", "norm"]
FOUND = {"llama": ALL, "mistral": ALL, "qwen2": ALL, "gemma": ["adapter", "attention"], "gpt_oss": ["adapter"]}


def slopes(model: Any, network: Any, within: Any) -> tuple[float, dict[str, torch.Tensor], list[str]]:
    """Loss of a padded batch, and its gradient for each trained weight."""
    batch = collate(some_packs(model), 0)
    with within as found:
        loss = summed_loss(network, model.family, batch)
        loss.backward()
    made = {name: p.grad for name, p in network.named_parameters() if p.requires_grad}
    network.zero_grad()
    return loss.item(), {name: gradient for name, gradient in made.items() if gradient is not None}, found


class Nothing:
    def __enter__(self) -> list[str]:
        return []

    def __exit__(self, *_: object) -> None:
        pass


@pytest.mark.parametrize("name", ["llama", "mistral", "qwen2", "gemma", "gpt_oss", "gpt2", "deepseek_v3"])
@pytest.mark.parametrize("alpha", [2, 5])
def test_loss_and_gradients_are_those_of_the_plain_modules(
    tiny_path: Callable[[str], Path], name: str, alpha: int
) -> None:
    model = open_model(tiny_path(name))
    network = trained_network(model, TrainSettings(rank=2, alpha=alpha), 0)
    with torch.no_grad():  # B starts at zero, which would hide A's gradient
        for weight in network.parameters():
            if weight.requires_grad:
                weight += 0.05 * torch.randn(weight.shape, generator=torch.Generator().manual_seed(weight.numel()))
    loss, plain, _ = slopes(model, network, Nothing())
    again, ours, found = slopes(model, network, fused(network))
    assert found == FOUND.get(name, ["adapter"])
    assert again == pytest.approx(loss, rel=1e-6)
    assert ours.keys() == plain.keys()
    for key, gradient in plain.items():
        assert gradient.abs().max() > 0
        torch.testing.assert_close(ours[key], gradient, rtol=1e-4, atol=1e-4 * float(gradient.abs().max()))
    assert not any("forward" in vars(module) for module in network.modules()), "all is as it was"


def test_it_computes_in_bfloat16_as_near_as_the_plain_modules(tiny_path: Callable[[str], Path]) -> None:
    exact = open_model(tiny_path("llama"))
    _, wanted, _ = slopes(exact, trained_network(exact, TrainSettings(rank=2), 0), Nothing())
    off = []
    for within in (lambda network: Nothing(), fused):
        model = open_model(tiny_path("llama"), precision="bfloat16")
        network = trained_network(model, TrainSettings(rank=2), 0)
        found = slopes(model, network, within(network))[1]
        off.append(sum(float((found[k].float() - g).square().sum()) for k, g in wanted.items()) ** 0.5)
    size = sum(float(g.square().sum()) for g in wanted.values()) ** 0.5
    assert off[0] / size < 0.1
    assert off[1] < 1.3 * off[0]


def test_what_is_not_plain_stays_as_it_is(tiny_path: Callable[[str], Path]) -> None:
    model = open_model(tiny_path("llama"))
    network = trained_network(model, TrainSettings(rank=2, method="dora"), 0)
    with fused(network) as found:
        assert found == ["attention", "norm"]


def test_an_adapter_switched_off_is_off(tiny_path: Callable[[str], Path]) -> None:
    """The reference of preferences is the same network without its adapter."""
    model = open_model(tiny_path("llama"))
    packs = some_packs(model)
    with torch.no_grad():
        base = float(summed_loss(model.network, model.family, collate(packs, 0)))
        network = trained_network(model, TrainSettings(rank=2), 0)
        for weight in network.parameters():
            if weight.requires_grad:
                weight.fill_(0.1)
        with fused(network):
            assert float(summed_loss(network, model.family, collate(packs, 0))) != pytest.approx(base, abs=1e-2)
            with network.disable_adapter():
                assert float(summed_loss(network, model.family, collate(packs, 0))) == pytest.approx(base, abs=1e-3)


def test_the_likelihood_and_its_slope_are_torch_s() -> None:
    generator = torch.Generator().manual_seed(0)
    logits = (30 * torch.randn(21, 50, generator=generator)).requires_grad_()  # rows that do not fill the last piece
    targets = torch.randint(50, (21,), generator=generator)
    weights = torch.rand(21, generator=generator)
    expected = cross_entropy(logits, targets, reduction="none")
    (wanted,) = torch.autograd.grad((expected * weights).sum(), logits)
    found = negative_log_likelihood(logits, targets)
    (slope,) = torch.autograd.grad((found * weights).sum(), logits)
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(slope, wanted)
    with torch.no_grad():
        torch.testing.assert_close(negative_log_likelihood(logits, targets), expected)
