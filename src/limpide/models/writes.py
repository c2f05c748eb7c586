"""The weights whose products join the residual stream, and how a change of what a module gives is put into them."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from limpide.models.families.registry import plain
from limpide.models.stacks import Site, Stack
from limpide.models.update import Affine, Update

if TYPE_CHECKING:
    from limpide.models.model import Model


@dataclass(frozen=True)
class Write:
    """name: of a weight, float[out, in], float[in, out] when `transposed`; of all experts at once when `fused`, with
    a leading size. bias: its name, whether or not the network has it now; None where it can have none."""

    name: str
    bias: str | None
    transposed: bool
    fused: bool


def writes(model: "Model", stack: Stack, layer: int, site: Site) -> list[Write]:
    """The weights that make up what the attention, or the MLP, of a layer adds to the stream.

    One, except in a mixture of experts: all the experts' and the shared ones'. The site 'residual' has none of its own.
    Raises UsageError for a layer that does not exist.
    """
    block, prefix = stack.module(layer, ""), f"{block_name(model, stack, layer)}."
    if site == "attention":
        return [_linear(model, block, prefix, stack.mix)]
    if site == "residual":
        return []
    last = model.family.mlp_out
    if last is None:
        return [_linear(model, block, prefix, stack.mlp)]
    found = []
    for inside in ("", "experts.", "shared_experts."):
        path = f"{stack.mlp}.{inside}{last}"
        part = _part(block, path)
        if isinstance(part, torch.nn.Parameter):
            bias = f"{prefix}{path}_bias" if _part(block, f"{path}_bias") is not None else None
            found.append(Write(f"{prefix}{path}", bias, model.family.experts_transposed, True))
        elif part is not None:
            found.append(_linear(model, block, prefix, path))
    return found


def folded(model: "Model", write: Write, affine: Affine) -> Update:
    """The update of a weight after which what it gives, y, is y + left · (right · y) + offset.

    Exact for one linear layer. For experts, whose outputs are summed with weights, the linear part is exact and the
    offset is when these weights sum to 1. The offset is dropped where there is no bias to hold it: covariances of the
    output are as if it were there, only its mean is not.
    """
    network: Any = plain(model.network)
    weight = network.get_parameter(write.name).detach().float()
    if write.transposed:  # yᵀ = xᵀW: W + (W · rightᵀ) · leftᵀ
        factors = weight @ affine.right.T, affine.left.T.expand(*weight.shape[:-2], -1, -1)
    else:
        factors = affine.left.expand(*weight.shape[:-2], -1, -1), affine.right @ weight
    pair = tuple(part.contiguous() for part in factors)
    if write.bias is None:
        return Update({write.name: (pair[0], pair[1])})
    module, _, last = write.bias.rpartition(".")
    own = getattr(network.get_submodule(module), last)
    shift = affine.offset if own is None else affine.offset + (own.detach().float() @ affine.right.T) @ affine.left.T
    return Update({write.name: (pair[0], pair[1])}, {write.bias: shift})


def joined(*updates: Update) -> Update:
    """Updates of different weights as one."""
    whole = Update()
    for update in updates:
        whole = Update(
            {**whole.factors, **update.factors}, {**whole.vectors, **update.vectors}, {**whole.maps, **update.maps}
        )
    return whole


def block_name(model: "Model", stack: Stack, layer: int) -> str:
    """The dotted name of a block, for `Update.maps`. Raises UsageError for a layer that does not exist."""
    stack.module(layer, "")
    blocks = model.family.encoder_blocks if stack.name == "encoder" else model.family.blocks
    return f"{blocks}.{layer}"


def _linear(model: "Model", block: Any, prefix: str, path: str) -> Write:
    """A layer without a bias can be given one where the family's config has a key that makes it."""
    has = block.get_submodule(path).bias is not None
    able = has or any(_opens(key, path) for key in model.family.biases)
    return Write(f"{prefix}{path}.weight", f"{prefix}{path}.bias" if able else None, model.family.transposed, False)


def _opens(key: str, path: str) -> bool:
    """Does the config's key, 'attention_bias' or 'mlp_bias', give this layer a bias? Experts never have one."""
    return path.startswith("self_attn") if key == "attention_bias" else path.startswith("mlp.")


def _part(block: Any, path: str) -> Any:
    """A module or a parameter of a block, None where there is none."""
    found = block
    for name in path.split("."):
        found = getattr(found, name, None)
        if found is None:
            return None
    return found
