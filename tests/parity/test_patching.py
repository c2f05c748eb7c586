"""The patching engine against one plain forward pass a replacement, on every family's tiny model."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch

from limpide.models.row import embed, final_hidden
from limpide.models.stacks import Stack, stacks
from limpide.models.trace import Patch, Trace, record, run_patched
from limpide.understand.question import Question, ask
from tiny import FAMILY_NAMES

CLEAN = {"bert": "The doctor said that he was [MASK] because"}
ANSWER = {"bert": "e"}


def questions(model: Any, name: str) -> tuple[Question, Question]:
    """(clean, corrupted): the same tokens but for one."""
    clean = ask(model, CLEAN.get(name, "The valve closes and the light turns"), answer=ANSWER.get(name, "red"))
    ids = list(clean.decision.row.ids)
    near = len(ids) // 2 if model.kind != "decoder" else len(ids) - 3  # within every window
    ids[near] = 301 if ids[near] == 300 else 300
    decision = replace(clean.decision, row=replace(clean.decision.row, ids=tuple(ids)))
    return clean, replace(clean, decision=decision)


def plainly(model: Any, base: Trace, stack: Stack, patch: Patch) -> torch.Tensor:
    """One whole forward pass, the values put in by a hook that is nobody else's."""
    place = list(patch.places)

    def before(_: Any, args: Any, kwargs: Any) -> Any:
        hidden = (args[0] if args else kwargs["hidden_states"]).clone()
        hidden[:, place] = patch.values
        return ((hidden, *args[1:]), kwargs) if args else (args, kwargs | {"hidden_states": hidden})

    def after(_: Any, __: Any, output: Any) -> Any:
        hidden = (output[0] if isinstance(output, tuple) else output).clone()
        hidden[:, place] = patch.values
        return (hidden, *output[1:]) if isinstance(output, tuple) else hidden

    block = stack.blocks[patch.layer]
    if patch.site == "residual":
        handle = block.register_forward_pre_hook(before, with_kwargs=True)
    else:
        path = stack.attention if patch.site == "attention" else stack.mlp
        handle = block.get_submodule(path).register_forward_hook(after)
    try:
        with torch.inference_mode():
            return final_hidden(model, base.row, embed(model, base.row.ids)[None])[0]
    finally:
        handle.remove()


def patches(stack: Stack, clean: Trace) -> Sequence[Patch]:
    sites = ("residual", "attention", "mlp")
    cells = [(layer, site, (p,)) for layer in range(len(stack)) for site in sites for p in range(len(clean.mlp[0]))]
    cells += [(layer, site, (1, 3, 4)) for layer in range(len(stack)) for site in sites if len(clean.mlp[0]) > 4]
    return [Patch(layer, site, places, clean.at(site, layer, places)) for layer, site, places in cells]


@pytest.mark.parametrize("name", FAMILY_NAMES)
def test_every_cell_is_what_a_plain_run_gives(tiny_model: Callable[[str], Any], name: str) -> None:
    model = tiny_model(name)
    clean, other = questions(model, name)
    kept, base = record(model, clean.decision.row), record(model, other.decision.row)
    for stack in stacks(model):
        wanted = patches(stack, kept[stack.name])
        found = run_patched(model, base[stack.name], stack, wanted)
        for patch, hidden in zip(wanted, found, strict=True):
            torch.testing.assert_close(hidden, plainly(model, base[stack.name], stack, patch), atol=1e-4, rtol=0)


@pytest.mark.parametrize("name", FAMILY_NAMES)
def test_everything_patched_is_the_clean_run_and_nothing_the_other(tiny_model: Callable[[str], Any], name: str) -> None:
    model = tiny_model(name)
    clean, other = questions(model, name)
    kept, base = record(model, clean.decision.row), record(model, other.decision.row)
    stack = stacks(model)[0]
    own, places = base[stack.name], tuple(range(len(kept[stack.name].row)))
    whole = Patch(0, "residual", places, kept[stack.name].residual[0])
    none = Patch(1, "residual", places, own.residual[1])
    found = run_patched(model, own, stack, [whole, none])
    torch.testing.assert_close(found[0], kept[stack.name].hidden, atol=1e-4, rtol=0)
    torch.testing.assert_close(found[1], own.hidden, atol=1e-4, rtol=0)
    assert not torch.allclose(found[0], found[1], atol=1e-3)


@pytest.mark.parametrize("name", FAMILY_NAMES)
def test_a_trace_is_what_transformers_returns(tiny_model: Callable[[str], Any], name: str) -> None:
    model = tiny_model(name)
    if model.kind == "encoder-decoder":
        pytest.skip("its two stacks return their states under names of their own")
    clean, _ = questions(model, name)
    trace = record(model, clean.row)["text"]
    with torch.inference_mode():
        states = model.network(input_ids=torch.tensor([clean.row.ids]), output_hidden_states=True).hidden_states
    for layer in range(len(trace.mlp)):  # the last of theirs is normalised
        torch.testing.assert_close(trace.residual[layer], states[layer][0], atol=1e-5, rtol=0)
