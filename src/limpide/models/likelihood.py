"""How likely continuations are, as something to differentiate: what corrections train on.

The scoring engine (scoring.py) is many times faster and gives the same numbers without gradients.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from limpide.models.encoding import Encoded
from limpide.models.families.registry import backbone, logits_from_hidden, plain

if TYPE_CHECKING:
    from limpide.models.model import Model


@dataclass(frozen=True, eq=False)
class Places:
    """The places of a batch that predict a token asked about. hidden: float[places, width], final hidden states.
    targets: long[places]. owner: long[places], which item of the batch each belongs to."""

    hidden: Tensor
    targets: Tensor
    owner: Tensor
    items: int

    def log_likelihoods(self, model: "Model") -> Tensor:
        """Nats of each item's continuation, float[items]; of an encoder's its pseudo-log-likelihood."""
        logits = logits_from_hidden(model.network, model.family, self.hidden).float()  # [places, vocabulary]
        nats = logits.gather(1, self.targets[:, None])[:, 0] - logits.logsumexp(1)
        return nats.new_zeros(self.items).index_add(0, self.owner, nats)


def read(model: "Model", items: Sequence[Encoded]) -> Places:
    """One forward pass over a batch; differentiable wherever weights of the network are.

    Decoders: padded on the right. Encoders: one copy a continuation token, masked there. Encoder–decoders: the context
    is the source. The caller chooses batches that fit in memory.
    """
    ways = {"decoder": _decoder, "encoder": _encoder, "encoder-decoder": _encoder_decoder}
    return ways[model.kind](model, items)


@dataclass(frozen=True)
class Layout:
    """How `read` lays a batch out in one stack. owner: which item each row is of. lengths: how many tokens a row has,
    before padding. context: where in a row the context of its item starts; None where it is in another stack."""

    owner: tuple[int, ...]
    lengths: tuple[int, ...]
    context: int | None


def layouts(model: "Model", items: Sequence[Encoded]) -> dict[str, Layout]:
    """{stack name: Layout} of what `read` runs for these items, to find a token again in activations."""
    owner = tuple(range(len(items)))
    if model.kind == "encoder":
        copies = tuple(index for index, item in enumerate(items) for _ in _tokens(item))
        return {"text": Layout(copies, tuple(len(items[index]) + 2 for index in copies), 1)}
    if model.kind == "encoder-decoder":
        return {
            "encoder": Layout(owner, tuple(len(item.context) for item in items), 0),
            "decoder": Layout(owner, tuple(len(item.continuation) for item in items), None),
        }
    return {"text": Layout(owner, tuple(len(item) - 1 for item in items), 0)}


def _decoder(model: "Model", items: Sequence[Encoded]) -> Places:
    ids, seen = padded([item.ids[:-1] for item in items], 0)
    hidden = backbone(model.network, model.family)(input_ids=ids, attention_mask=seen, use_cache=False)
    rows, columns = _at((row, len(item.context) - 1 + k) for row, item in enumerate(items) for k in _tokens(item))
    return Places(hidden.last_hidden_state[rows, columns], _targets(items), rows, len(items))


def _encoder(model: "Model", items: Sequence[Encoded]) -> Places:
    tokenizer = model.tokenizer
    copies, at, owner = [], [], []
    for index, item in enumerate(items):
        whole = [tokenizer.cls_token_id, *item.ids, tokenizer.sep_token_id]
        for k in _tokens(item):
            place = 1 + len(item.context) + k
            copies.append([*whole[:place], tokenizer.mask_token_id, *whole[place + 1 :]])
            at.append(place)
            owner.append(index)
    ids, seen = padded(copies, tokenizer.pad_token_id or 0)
    hidden = backbone(model.network, model.family)(input_ids=ids, attention_mask=seen).last_hidden_state
    return Places(hidden[range(len(copies)), at], _targets(items), torch.tensor(owner), len(items))


def _encoder_decoder(model: "Model", items: Sequence[Encoded]) -> Places:
    pad = model.tokenizer.pad_token_id or 0
    source, seen = padded([item.context for item in items], pad)
    start = int(plain(model.network).config.decoder_start_token_id)
    written, written_seen = padded([(start, *item.continuation[:-1]) for item in items], pad)
    encoded = plain(model.network).get_encoder()(input_ids=source, attention_mask=seen).last_hidden_state
    hidden = backbone(model.network, model.family)(
        input_ids=written,
        attention_mask=written_seen,
        encoder_hidden_states=encoded,
        encoder_attention_mask=seen,
        use_cache=False,
    ).last_hidden_state
    rows, columns = _at((row, k) for row, item in enumerate(items) for k in _tokens(item))
    return Places(hidden[rows, columns], _targets(items), rows, len(items))


def _tokens(item: Encoded) -> range:
    return range(len(item.continuation))


def _targets(items: Sequence[Encoded]) -> Tensor:
    return torch.tensor([token for item in items for token in item.continuation])


def _at(places: Iterable[tuple[int, int]]) -> tuple[Tensor, Tensor]:
    rows, columns = zip(*places, strict=True)
    return torch.tensor(rows), torch.tensor(columns)


def padded(rows: Sequence[Sequence[int]], pad: int) -> tuple[Tensor, Tensor]:
    """(ids, 1 where there is one), long[rows, longest], padded on the right."""
    width = max(map(len, rows))
    ids = torch.full((len(rows), width), pad)
    seen = torch.zeros_like(ids)
    for row, tokens in enumerate(rows):
        ids[row, : len(tokens)] = torch.tensor(tokens)
        seen[row, : len(tokens)] = 1
    return ids, seen
