from collections.abc import Callable
from typing import Any

import pytest
import torch

from limpide.models.encoding import Encoded, encode_requests
from limpide.models.families.registry import get
from limpide.models.likelihood import layouts, read
from limpide.models.naive import naive_log_likelihoods
from limpide.models.requests import Request
from limpide.models.stacks import stacks
from tiny import FAMILY_NAMES

TEXTS = [
    ("The operator stops the press and", " reads the fault code."),
    ("La valve", " se ferme"),
    ("When the pressure drops below the threshold, the light turns red until the pump is", " checked"),
]


def items_of(model: Any) -> list[Encoded]:
    return encode_requests(model, [Request(str(n), *texts) for n, texts in enumerate(TEXTS)])


@pytest.mark.parametrize("name", FAMILY_NAMES)
def test_a_padded_batch_gives_what_each_text_gives_alone(tiny_model: Callable[[str], Any], name: str) -> None:
    model = tiny_model(name)
    items = items_of(model)
    with torch.no_grad():
        found = read(model, items).log_likelihoods(model)
    wanted = [sum(naive_log_likelihoods(model, item)) for item in items]
    assert found.tolist() == pytest.approx(wanted, abs=2e-4)


@pytest.mark.parametrize("name", FAMILY_NAMES)
def test_its_gradient_is_the_slope(tiny_model: Callable[[str], Any], name: str) -> None:
    """Of the first text, with regard to one weight of the last norm or embedding, by central differences."""
    model = tiny_model(name)
    items = items_of(model)[:1]
    weight = get(model.network, model.family.embedding).weight
    place = items[0].context[1], 3

    def nats() -> torch.Tensor:
        return read(model, items).log_likelihoods(model).sum()

    weight.requires_grad_(True)
    try:
        (slopes,) = torch.autograd.grad(nats(), weight)
        before, step = weight[place].item(), 1e-2
        ends = []
        for value in (before + step, before - step, before):
            with torch.no_grad():
                weight[place] = value
                ends.append(float(nats()))
    finally:
        weight.requires_grad_(False)
    assert float(slopes[place]) == pytest.approx((ends[0] - ends[1]) / (2 * step), rel=0.05, abs=5e-3)


@pytest.mark.parametrize("name", FAMILY_NAMES)
def test_layouts_are_those_of_the_activations(tiny_model: Callable[[str], Any], name: str) -> None:
    model = tiny_model(name)
    items = items_of(model)
    found = layouts(model, items)
    assert list(found) == [stack.name for stack in stacks(model)]
    given: dict[str, torch.Size] = {}

    def keep(stack: str) -> Callable[..., None]:
        def hook(_: Any, __: Any, output: Any) -> None:
            given[stack] = (output[0] if isinstance(output, tuple) else output).shape[:2]

        return hook

    handles = [stack.blocks[0].register_forward_hook(keep(stack.name)) for stack in stacks(model)]
    try:
        with torch.no_grad():
            read(model, items)
    finally:
        for handle in handles:
            handle.remove()
    for stack, layout in found.items():
        assert given[stack] == (len(layout.owner), max(layout.lengths))
        assert len(layout.lengths) == len(layout.owner)
    assert sorted(set(found[stacks(model)[0].name].owner)) == [0, 1, 2]


def test_what_an_encoder_reads_is_one_copy_a_token(tiny_model: Callable[[str], Any]) -> None:
    model = tiny_model("bert")
    items = items_of(model)
    layout = layouts(model, items)["text"]
    assert [layout.owner.count(n) for n in range(3)] == [len(item.continuation) for item in items]
    assert layout.context == 1
