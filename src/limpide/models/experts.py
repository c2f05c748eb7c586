"""Mixtures of experts: which experts a layer sends each place to, and what each of them adds to its MLP's output.

What the MLP gives at a place is the sum of its chosen experts, each times its weight, and of the shared experts
where there are some (DeepSeek). The network's own router and experts do the arithmetic, so quantised and fused
weights need nothing here. Every function gives None for a family, or a layer, without experts: DeepSeek's first
`first_k_dense_replace` layers are ordinary MLPs.
"""

from typing import TYPE_CHECKING, Any

import torch

from limpide.models.row import Row, embed, final_hidden
from limpide.models.stacks import Stack

if TYPE_CHECKING:
    from limpide.models.model import Model

SHARED = "shared_experts"  # in an MLP, the experts that every place goes through


def mlp_inputs(model: "Model", stack: Stack, row: Row) -> torch.Tensor:
    """What the MLP of each layer is given in one run of a row, float[layers, places, width]."""
    kept: list[torch.Tensor] = []
    handles = [
        stack.module(layer, stack.mlp).register_forward_pre_hook(lambda _, args: kept.append(args[0][0].clone()))
        for layer in range(len(stack))
    ]
    try:
        with torch.inference_mode():
            final_hidden(model, row, embed(model, row.ids)[None])
    finally:
        for handle in handles:
            handle.remove()
    return torch.stack(kept)


def routing(
    model: "Model", stack: Stack, layer: int, mlp_input: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor] | None:
    """The experts that a layer chooses, and the weights by which it multiplies their outputs.

    mlp_input: float[places, width], as `mlp_inputs` gives it. Returns (ids long[places, chosen], weights
    float[places, chosen]), the heaviest first; DeepSeek's weights include its routed scaling factor, so they need not
    sum to 1. None where the layer has no experts.
    """
    router = _part(model, stack, layer, model.family.router)
    if router is None:
        return None
    with torch.inference_mode():
        _, weights, ids = router(mlp_input)  # the three families' routers give (logits, weights, ids)
        order = weights.argsort(dim=1, descending=True, stable=True)
        return ids.gather(1, order), weights.gather(1, order)


def expert_contributions(model: "Model", stack: Stack, layer: int, mlp_input: torch.Tensor) -> torch.Tensor | None:
    """What each routed expert adds to the output of the MLP, float[experts, places, width]; 0 where it is not chosen.

    mlp_input: float[places, width]. Their sum, with `shared_contribution`, is what the MLP gives. None where the
    layer has no experts.
    """
    routed = routing(model, stack, layer, mlp_input)
    if routed is None:
        return None
    ids, weights = routed
    router = _part(model, stack, layer, model.family.router)
    experts = _part(model, stack, layer, model.family.experts_module)
    places = torch.arange(len(mlp_input))
    with torch.inference_mode():
        found = mlp_input.new_zeros(router.num_experts, *mlp_input.shape)  # [experts, places, width]
        for rank in range(ids.shape[1]):  # each place's first expert, then its second …
            alone = experts(mlp_input, ids[:, rank : rank + 1], weights[:, rank : rank + 1])
            found[ids[:, rank], places] = alone
    return found


def shared_contribution(model: "Model", stack: Stack, layer: int, mlp_input: torch.Tensor) -> torch.Tensor | None:
    """What the experts that every place goes through add, float[places, width]; None where there are none.

    mlp_input: float[places, width].
    """
    shared = _part(model, stack, layer, f"{stack.mlp}.{SHARED}")
    if shared is None:
        return None
    with torch.inference_mode():
        found: torch.Tensor = shared(mlp_input)
        return found


def _part(model: "Model", stack: Stack, layer: int, path: str | None) -> Any:
    """A module of a layer that has experts, None where it has none."""
    if path is None or not model.family.experts:
        return None
    try:
        return stack.module(layer, path)
    except AttributeError:  # how torch says that a block has no such module
        return None
