"""In which layers a fact is looked up: causal tracing of its prompt.

The subject's embeddings are drowned in noise, and the MLP's output at the subject's last token is put back, one layer
at a time: the rise of the old answer's probability is the layer's indirect effect (Meng et al. 2022, §2.1). It is a
cheap screen: where a fact is looked up does not foretell well where an edit works best (Hase et al. 2023,
arXiv:2301.04213), so the layers can be given instead.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from limpide.adapt.correct.edit_keys import Contexts
from limpide.models.families.registry import plain
from limpide.models.row import Row, embed, target_log_likelihoods
from limpide.models.stacks import Stack
from limpide.models.trace import Patch, record, run_patched

if TYPE_CHECKING:
    from limpide.models.model import Model

NOISE = 3.0  # standard deviations of the prompt's embeddings
DRAWS = 6
LATE = 0.5  # share of the stream's greatest effect, below which the subject has been read already
SHARE = 6  # one layer in so many is edited by the form of several layers


@dataclass(frozen=True, eq=False)
class Effects:
    """Rise of the probability of the answer's first token when what is at the subject's last token is put back,
    float[layers] each: mlp, what the layer's MLP adds; stream, the whole stream after the layer."""

    mlp: Tensor
    stream: Tensor

    @staticmethod
    def mean(several: Sequence["Effects"]) -> "Effects":
        return Effects(torch.stack([e.mlp for e in several]).mean(0), torch.stack([e.stream for e in several]).mean(0))


def indirect_effects(model: "Model", stack: Stack, contexts: Contexts, seed: int) -> Effects:
    """Means over draws of noise. contexts: of one prompt, without a beginning, with the old answer."""
    row, subject = _row(model, contexts), list(contexts.subject[0])
    given, draws = embed(model, row.ids), torch.Generator().manual_seed(seed)
    clean = record(model, row)[stack.name]
    places, layers = tuple(subject[-1:]), len(stack)
    patches = [Patch(layer, "mlp", places, clean.at("mlp", layer, places)) for layer in range(layers)]
    patches += [Patch(layer, "residual", places, clean.at("residual", layer, places)) for layer in range(1, layers)]
    total = torch.zeros(len(patches))
    for _ in range(DRAWS):
        noisy = given.clone()
        noise = torch.randn(len(subject), given.shape[1], generator=draws)
        noisy[subject] += (NOISE * given.float().std() * noise).to(given.dtype)
        drowned = record(model, row, noisy)[stack.name]
        with torch.inference_mode():
            hidden = torch.cat([drowned.hidden[None], run_patched(model, drowned, stack, patches)])
            chance = target_log_likelihoods(model, row, hidden)[:, 0].exp()
        total += chance[1:] - chance[0]
    effects = total / DRAWS
    return Effects(effects[:layers], torch.cat([effects[layers:], effects.new_zeros(1)]))


def _row(model: "Model", contexts: Contexts) -> Row:
    """The prompt, read where the answer's first token is predicted."""
    item, tokenizer = contexts.items[0], model.tokenizer
    if model.kind == "encoder":
        masks = (tokenizer.mask_token_id,) * len(item.continuation)
        ids = (tokenizer.cls_token_id, *item.context, *masks, tokenizer.sep_token_id)
        return Row(ids, (1 + len(item.context),), item.continuation[:1])
    if model.kind == "encoder-decoder":
        start = int(plain(model.network).config.decoder_start_token_id)
        return Row(item.context, (0,), item.continuation[:1], (start,))
    return Row(item.context, (len(item.context) - 1,), item.continuation[:1])


def chosen_layers(effects: Effects, several: bool) -> tuple[int, ...]:
    """The layer of the greatest effect, or the run of consecutive ones whose effects sum to most.

    The effect of one layer is smoothed by its neighbours'. Layers after which the stream does less than half of what
    it does anywhere are left out: what is written there is read too late. So is the first of many layers: what it adds
    says which word stands there, whatever is asked about it.
    """
    stream = effects.stream.abs()
    last = int((stream >= LATE * stream.max()).nonzero().max()) + 1
    begin = int(len(stream) >= SHARE and last > 1)
    mlp = effects.mlp[begin:last]
    if not several:
        smooth = torch.nn.functional.avg_pool1d(mlp[None], 3, 1, 1, count_include_pad=False)[0]
        return (begin + int(smooth.argmax()),)
    long = min(len(mlp), max(2, round(len(stream) / SHARE)))
    first = begin + int(mlp.unfold(0, long, 1).sum(1).argmax())
    return tuple(range(first, first + long))
