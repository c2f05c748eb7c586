"""Experts one by one, against what the whole MLP gives."""

from collections.abc import Callable
from typing import Any

import pytest
import torch

from limpide.models.experts import expert_contributions, mlp_inputs, routing, shared_contribution
from limpide.models.row import Row
from limpide.models.stacks import stacks
from limpide.models.trace import record
from tiny import tiny_network

MIXTURES = ("deepseek_v2", "deepseek_v3", "gpt_oss")
ROW = Row((300, 41, 77, 320, 12, 9, 260), (6,), (5,))


@pytest.mark.parametrize("name", MIXTURES)
def test_experts_sum_to_what_the_mlp_gives(tiny_model: Callable[[str], Any], name: str) -> None:
    model = tiny_model(name)
    stack = stacks(model)[0]
    given, outputs = mlp_inputs(model, stack, ROW), record(model, ROW)[stack.name].mlp
    for layer in range(len(stack)):
        experts = expert_contributions(model, stack, layer, given[layer])
        if name != "gpt_oss" and layer == 0:  # first_k_dense_replace = 1
            assert experts is None
            assert routing(model, stack, layer, given[layer]) is None
            assert shared_contribution(model, stack, layer, given[layer]) is None
            continue
        assert experts is not None
        assert experts.shape == (4, len(ROW), 32)
        shared = shared_contribution(model, stack, layer, given[layer])
        assert (shared is None) == (name == "gpt_oss")
        total = experts.sum(0) + (0 if shared is None else shared)
        torch.testing.assert_close(total, outputs[layer], atol=1e-5, rtol=0)


@pytest.mark.parametrize("name", MIXTURES)
def test_an_expert_that_is_not_chosen_adds_nothing(tiny_model: Callable[[str], Any], name: str) -> None:
    model = tiny_model(name)
    stack = stacks(model)[0]
    given = mlp_inputs(model, stack, ROW)[1]
    routed, experts = routing(model, stack, 1, given), expert_contributions(model, stack, 1, given)
    assert routed is not None
    assert experts is not None
    ids, weights = routed
    assert ids.shape == weights.shape == (len(ROW), 2)
    assert bool((weights[:, 0] >= weights[:, 1]).all())
    for place in range(len(ROW)):
        heard = {expert for expert in range(4) if experts[expert, place].abs().sum() > 0}
        assert heard == set(ids[place].tolist())
    if name == "gpt_oss":
        torch.testing.assert_close(weights.sum(1), torch.ones(len(ROW)))


def test_deepseek_weights_include_the_scaling_factor(tiny_model: Callable[[str], Any]) -> None:
    model = tiny_model("deepseek_v3")
    stack = stacks(model)[0]
    routed = routing(model, stack, 1, mlp_inputs(model, stack, ROW)[1])
    assert routed is not None
    torch.testing.assert_close(routed[1].sum(1), torch.full((len(ROW),), model.network.config.routed_scaling_factor))


@pytest.mark.parametrize("name", ["llama", "t5", "bert"])
def test_families_without_experts(tiny_model: Callable[[str], Any], name: str) -> None:
    model = tiny_model(name)
    stack = stacks(model)[-1]
    given = torch.zeros(3, 32)
    assert routing(model, stack, 0, given) is None
    assert expert_contributions(model, stack, 0, given) is None
    assert shared_contribution(model, stack, 0, given) is None


def test_the_number_of_chosen_experts_is_the_networks(tiny_model: Callable[[str], Any]) -> None:
    from dataclasses import replace

    model = replace(tiny_model("gpt_oss"), network=tiny_network("gpt_oss", num_experts_per_tok=3))
    stack = stacks(model)[0]
    given = mlp_inputs(model, stack, ROW)
    routed, experts = routing(model, stack, 0, given[0]), expert_contributions(model, stack, 0, given[0])
    assert routed is not None
    assert experts is not None
    assert routed[0].shape == (len(ROW), 3)
    torch.testing.assert_close(experts.sum(0), record(model, ROW)[stack.name].mlp[0], atol=1e-5, rtol=0)
