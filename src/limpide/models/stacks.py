"""The stacks of layers of a network, with the places in a layer where activations are read and replaced."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from limpide.core.errors import UsageError
from limpide.models.families.registry import blocks, get

if TYPE_CHECKING:
    from limpide.models.model import Model

Site = Literal["residual", "attention", "mlp"]


@dataclass(frozen=True, eq=False)
class Stack:
    """Layers that one text runs through, in order.

    name: 'text' where there is one stack, else 'encoder' or 'decoder'. causal: does a place see only what is before
    it. blocks: the layers. attention, mlp, mix: paths in a block: the modules whose outputs join the residual stream,
    and the linear layer that mixes attention heads, whose input holds them side by side, float[…, heads · head width].
    """

    name: str
    causal: bool
    blocks: list[Any]
    attention: str
    mlp: str
    mix: str

    def __len__(self) -> int:
        return len(self.blocks)

    def module(self, layer: int, path: str) -> Any:
        """A part of a block, by its path there. Raises UsageError for a layer that does not exist."""
        if not 0 <= layer < len(self.blocks):
            raise UsageError(
                "There is no such layer.", received=layer, expected=f"0 to {len(self.blocks) - 1} ({self.name})"
            )
        return self.blocks[layer].get_submodule(path)


def stacks(model: "Model") -> list[Stack]:
    """The stack that reads the prompt first; then, in an encoder–decoder, the one that writes."""
    network, family = model.network, model.family
    own = Stack(
        "decoder" if family.encoder_blocks else "text",
        family.kind != "encoder",
        blocks(network, family),
        family.attention,
        family.mlp,
        family.head_mix,
    )
    if not family.encoder_blocks:
        return [own]
    assert family.encoder_mlp is not None
    reading = list(get(network, family.encoder_blocks))
    return [Stack("encoder", False, reading, family.attention, family.encoder_mlp, family.head_mix), own]
