"""How each kind of model is run over many requests: prefix trees, masked copies, contexts encoded once."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import torch

from limpide.models.encoding import Encoded
from limpide.models.families.registry import backbone, logits_from_hidden, plain
from limpide.models.linear import torch_rows
from limpide.models.masks import attention_mask
from limpide.models.tree import TreePack, tree_packs

if TYPE_CHECKING:
    from limpide.models.model import Model

TOKEN_BUDGET = 2048  # padded tokens a batch, where no tree is used
FIRST = 2  # tokens of a text that are multiplied as torch does by itself: float32 is least sure there (linear.py)
HEAD_BYTES = 64 * 2**20  # logits held at once: [rows, vocabulary] in float32

Values = tuple[list[float], bool]  # nats of each token of a continuation; whether each was the most likely one
Scored = Iterator[list[tuple[Encoded, Values]]]


def score_trees(model: "Model", items: Sequence[Encoded], budget: int) -> Scored:
    """Decoders: requests as one prefix tree, `budget` tokens at a time. Yields the requests each pack ends."""
    row = _Row(model)
    for pack in tree_packs([(item.ids, len(item.context)) for item in items], budget):
        hidden = row.run(pack)
        if not pack.scored:
            continue
        values = log_likelihoods(model, hidden, [(place, token) for _, place, token in pack.scored])
        chosen = [items[i] for i in dict.fromkeys(index for index, _, _ in pack.scored)]
        yield list(zip(chosen, _split(chosen, values), strict=True))


class _Row:
    """The running row: keys and values of the path that the next pack carries on, and its final hidden states."""

    def __init__(self, model: "Model") -> None:
        self.model = model
        self.body = backbone(model.network, model.family)
        self.config = plain(model.network).config
        self.cache: Any = None
        self.hidden: torch.Tensor | None = None

    def run(self, pack: TreePack) -> torch.Tensor:
        """Final hidden states of every place of the pack's row, float[places, width]."""
        before = self._carry(pack.kept)
        positions = torch.tensor([pack.row_depths])
        seen = pack.seen()[None]
        with torch_rows([node for node, depth in enumerate(pack.depths) if depth < FIRST]):
            output = self.body(
                input_ids=torch.tensor([pack.tokens]),
                attention_mask=attention_mask(seen, positions, self.config, self.model.network.dtype),
                position_ids=positions[:, len(pack.kept) :],
                past_key_values=self.cache,
                use_cache=True,
            )
        new = output.last_hidden_state[0]
        self.hidden = new if before is None else torch.cat([before, new])
        return self.hidden

    def _carry(self, kept: Sequence[int]) -> torch.Tensor | None:
        """Drop what the next row does not begin with. Returns the hidden states of what stays."""
        from transformers import DynamicCache

        if not kept or self.hidden is None:
            self.cache = DynamicCache()
            return None
        places = torch.tensor(kept)
        for layer in self.cache.layers:
            layer.keys = layer.keys.index_select(2, places)
            layer.values = layer.values.index_select(2, places)
        return self.hidden.index_select(0, places)


def score_padded(model: "Model", items: Sequence[Encoded]) -> Scored:
    """Decoders whose attention cannot take a tree: neighbours in length, padded on the right."""
    body = backbone(model.network, model.family)
    for batch in _batches(sorted(items, key=len), len):
        width = max(map(len, batch)) - 1
        ids = torch.zeros(len(batch), width, dtype=torch.long)
        seen = torch.zeros_like(ids)
        wanted = []
        for row, item in enumerate(batch):
            ids[row, : len(item) - 1] = torch.tensor(item.ids[:-1])
            seen[row, : len(item) - 1] = 1
            first = row * width + len(item.context) - 1
            wanted += [(first + at, token) for at, token in enumerate(item.continuation)]
        hidden = body(input_ids=ids, attention_mask=seen, use_cache=False).last_hidden_state
        yield list(zip(batch, _split(batch, log_likelihoods(model, hidden.flatten(0, 1), wanted)), strict=True))


def score_masked(model: "Model", items: Sequence[Encoded]) -> Scored:
    """Encoders: pseudo-log-likelihood (Salazar et al. 2020), each continuation token masked alone, the rest in sight.

    The masked copies of all the requests fill batches together, neighbours in length.
    """
    tokenizer, body = model.tokenizer, backbone(model.network, model.family)
    pad = tokenizer.pad_token_id or 0
    left = [len(item.continuation) for item in items]
    values: list[list[tuple[float, bool]]] = [[] for _ in items]
    order = sorted(range(len(items)), key=lambda k: len(items[k]))
    copies = [(k, 1 + len(items[k].context) + at) for k in order for at in range(left[k])]
    for batch in _batches(copies, lambda copy: len(items[copy[0]]) + 2):
        width = len(items[batch[-1][0]]) + 2
        ids = torch.full((len(batch), width), pad)
        seen = torch.zeros_like(ids)
        for row, (k, place) in enumerate(batch):
            tokens = [tokenizer.cls_token_id, *items[k].ids, tokenizer.sep_token_id]
            tokens[place] = tokenizer.mask_token_id
            ids[row, : len(tokens)] = torch.tensor(tokens)
            seen[row, : len(tokens)] = 1
        hidden = body(input_ids=ids, attention_mask=seen).last_hidden_state
        at_mask = hidden[range(len(batch)), [place for _, place in batch]]  # [copies, width]
        wanted = [(row, items[k].ids[place - 1]) for row, (k, place) in enumerate(batch)]
        for (k, _), found in zip(batch, log_likelihoods(model, at_mask, wanted), strict=True):
            values[k].append(found)
        done = [k for k in dict.fromkeys(k for k, _ in batch) if len(values[k]) == left[k]]
        yield [(items[k], _joined(values[k])) for k in done]


def score_pairs(model: "Model", items: Sequence[Encoded]) -> Scored:
    """Encoder–decoders: each context is encoded once, with the decoder's start, whatever the number of its options."""
    groups: dict[tuple[int, ...], list[Encoded]] = {}
    for item in items:
        groups.setdefault(item.context, []).append(item)
    contexts = sorted(groups, key=len)
    for batch in _batches(contexts, len):
        yield from _score_sources(model, batch, groups)


def _score_sources(
    model: "Model", contexts: Sequence[tuple[int, ...]], groups: dict[tuple[int, ...], list[Encoded]]
) -> Scored:
    from transformers import DynamicCache, EncoderDecoderCache

    network, pad = model.network, model.tokenizer.pad_token_id or 0
    source, seen = _padded(contexts, pad)
    encoded = network.get_encoder()(input_ids=source, attention_mask=seen).last_hidden_state
    decoder = backbone(network, model.family)
    start = torch.full((len(contexts), 1), network.config.decoder_start_token_id)
    cache = EncoderDecoderCache(DynamicCache(), DynamicCache())
    shared = {"encoder_hidden_states": encoded, "encoder_attention_mask": seen}
    first = decoder(input_ids=start, past_key_values=cache, use_cache=True, **shared).last_hidden_state
    waiting = sorted(
        ((row, item) for row, context in enumerate(contexts) for item in groups[context]),
        key=lambda pair: len(pair[1].continuation),
    )
    for batch in _batches(waiting, lambda pair: len(pair[1].continuation) + source.shape[1]):
        rows, options = torch.tensor([row for row, _ in batch]), [item for _, item in batch]
        hidden = first.index_select(0, rows)
        written, written_seen = _padded([item.continuation[:-1] for item in options], pad)
        if written.shape[1]:
            rest = decoder(
                input_ids=written,
                attention_mask=torch.cat([torch.ones(len(options), 1, dtype=torch.long), written_seen], 1),
                past_key_values=_of_rows(cache, rows),
                use_cache=True,
                encoder_hidden_states=encoded.index_select(0, rows),
                encoder_attention_mask=seen.index_select(0, rows),
            ).last_hidden_state
            hidden = torch.cat([hidden, rest], 1)
        width = hidden.shape[1]
        wanted = [(r * width + at, t) for r, item in enumerate(options) for at, t in enumerate(item.continuation)]
        yield list(zip(options, _split(options, log_likelihoods(model, hidden.flatten(0, 1), wanted)), strict=True))


def _of_rows(cache: Any, rows: torch.Tensor) -> Any:
    """A copy of the cache that holds these rows of it."""
    from transformers import DynamicCache, EncoderDecoderCache

    halves = []
    for half in (cache.self_attention_cache, cache.cross_attention_cache):
        data = [(layer.keys.index_select(0, rows), layer.values.index_select(0, rows)) for layer in half.layers]
        halves.append(DynamicCache(data))
    return EncoderDecoderCache(*halves)


def _padded(rows: Sequence[Sequence[int]], pad: int) -> tuple[torch.Tensor, torch.Tensor]:
    """(ids, seen): long[rows, longest], padded on the right."""
    ids = torch.full((len(rows), max(map(len, rows))), pad)
    seen = torch.zeros_like(ids)
    for row, tokens in enumerate(rows):
        ids[row, : len(tokens)] = torch.tensor(tokens, dtype=torch.long)
        seen[row, : len(tokens)] = 1
    return ids, seen


def _batches(items: Sequence[Any], length: Any) -> Iterator[list[Any]]:
    """Neighbours in length (ascending), as many as keep the padded size within the budget."""
    batch: list[Any] = []
    for item in items:  # the newest is the longest
        if batch and (len(batch) + 1) * length(item) > TOKEN_BUDGET:
            yield batch
            batch = []
        batch.append(item)
    if batch:
        yield batch


def log_likelihoods(
    model: "Model", hidden: torch.Tensor, wanted: Sequence[tuple[int, int]]
) -> list[tuple[float, bool]]:
    """(nats, greedy) of each wanted (place, next token). hidden: float[places, width].

    The vocabulary is projected once a place, a few at a time; its log-sum-exp is taken in place.
    """
    places = sorted({place for place, _ in wanted})
    row_of = {place: row for row, place in enumerate(places)}
    order = sorted(range(len(wanted)), key=lambda k: wanted[k][0])
    rows = torch.tensor([row_of[wanted[k][0]] for k in order])
    tokens = torch.tensor([wanted[k][1] for k in order])
    values, greedy = torch.empty(len(wanted)), torch.empty(len(wanted), dtype=torch.bool)
    at_once = max(16, HEAD_BYTES // (4 * int(plain(model.network).config.vocab_size)))
    for first in range(0, len(places), at_once):
        chosen = hidden[places[first : first + at_once]]
        logits = logits_from_hidden(model.network, model.family, chosen).float()  # [rows, vocabulary]
        a, b = torch.searchsorted(rows, torch.tensor([first, first + at_once])).tolist()
        inside = rows[a:b] - first
        picked = logits[inside, tokens[a:b]]
        top = logits.amax(1)
        normaliser = logits.sub_(top[:, None]).exp_().sum(1).log_().add_(top)
        values[a:b] = picked - normaliser[inside]
        greedy[a:b] = picked >= top[inside]
    found: list[tuple[float, bool]] = [(0.0, False)] * len(wanted)
    for k, value, best in zip(order, values.tolist(), greedy.tolist(), strict=True):
        found[k] = (value, best)
    return found


def _split(batch: Sequence[Encoded], found: Sequence[tuple[float, bool]]) -> list[Values]:
    split, at = [], 0
    for item in batch:
        end = at + len(item.continuation)
        split.append(_joined(found[at:end]))
        at = end
    return split


def _joined(found: Sequence[tuple[float, bool]]) -> Values:
    return [value for value, _ in found], all(greedy for _, greedy in found)
