"""Short conversations in one row, each seeing only itself; what they begin with in common is held once.

A pack is a prefix tree: every place sees its ancestors and stands at its depth, so a packed conversation gives the
same logits as one alone (tests/parity/test_packing.py). Conversations that share nothing make the usual
block-diagonal mask; those that share a system message compute it, and learn through it, once a pack.

An encoder–decoder's targets, each with its source beside, and an encoder's texts lie end to end and share nothing: the
one counts positions by place, the other lets a token see what comes after it.
"""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch

from limpide.models.prompt import Rendered
from limpide.models.tree import ancestors

if TYPE_CHECKING:
    from limpide.models.model import Model

MASKED = 0.15  # of the tokens of a text that an encoder learns; Devlin et al. 2019, §3.1
SHOWN_MASK, SHOWN_OTHER = 0.8, 0.1  # of those, shown as the mask token, and as a token drawn at random


@dataclass
class Pack:
    """ids, positions, parents: one entry a place; parent −1 where a conversation begins.

    learnt: (place, token to predict there), one for each trained token of each conversation, in their order; counts:
    how many each has. ends: last place of each conversation. tokens: of the conversations, before sharing. sources:
    what an encoder reads before each conversation is written. both_ways: does a place see what comes after it too.
    """

    ids: list[int] = field(default_factory=list)
    positions: list[int] = field(default_factory=list)
    parents: list[int] = field(default_factory=list)
    learnt: list[tuple[int, int]] = field(default_factory=list)
    counts: list[int] = field(default_factory=list)
    ends: list[int] = field(default_factory=list)
    tokens: int = 0
    sources: list[tuple[int, ...]] = field(default_factory=list)
    both_ways: bool = False

    def __len__(self) -> int:
        return len(self.ids)


@dataclass(frozen=True)
class Reading:
    """What an encoder reads. ids: long[packs, sources]. seen: bool[packs, sources, sources].

    crossed: bool[packs, width, sources]: which source places a written place may look at.
    """

    ids: torch.Tensor
    seen: torch.Tensor
    crossed: torch.Tensor


@dataclass(frozen=True)
class Batch:
    """ids, positions: long[packs, width]. seen: bool[packs, width, width].

    rows, columns, targets: long[trained tokens], where each is predicted and which it is. read: of encoder–decoders.
    """

    ids: torch.Tensor
    positions: torch.Tensor
    seen: torch.Tensor
    rows: torch.Tensor
    columns: torch.Tensor
    targets: torch.Tensor
    read: Reading | None = None

    @property
    def trained_tokens(self) -> int:
        return len(self.targets)


def packs_for(model: "Model", rows: Sequence[Rendered], width: int, seed: int) -> list[Pack]:
    """The rows, shuffled, in packs of the kind this model takes. An encoder's rows are texts whose `trained` tokens may
    be masked; which of them are is drawn here, once for all epochs."""
    rows = random.Random(seed).sample(rows, len(rows))
    if model.kind == "encoder-decoder":
        return pack_pairs(rows, width, int(model.network.config.decoder_start_token_id))
    if model.kind == "encoder":
        return pack_masked(rows, width, int(model.tokenizer.mask_token_id), len(model.tokenizer), seed)
    return pack(rows, width)


def pack(conversations: Sequence[Rendered], width: int) -> list[Pack]:
    """First fit, in the order given: each conversation goes whole into the first pack with room for what it adds.

    width: places a pack; a longer conversation gets a pack of its own length.
    """
    packs: list[Pack] = []
    places: list[dict[tuple[int, int], int]] = []  # of each pack: (parent, token) → place
    for conversation in conversations:
        for item, known in zip(packs, places, strict=True):
            if len(item) + _added(conversation.ids, known) <= width:
                _add(conversation, item, known)
                break
        else:
            packs.append(Pack())
            places.append({})
            _add(conversation, packs[-1], places[-1])
    return packs


def _added(ids: Sequence[int], known: dict[tuple[int, int], int]) -> int:
    """Places that a conversation would add to a pack."""
    parent = -1
    for shared, token in enumerate(ids):
        place = known.get((parent, token))
        if place is None:
            return len(ids) - shared
        parent = place
    return 0


def _add(conversation: Rendered, item: Pack, known: dict[tuple[int, int], int]) -> None:
    parent = -1
    item.counts.append(sum(conversation.trained[1:]))
    for position, (token, trained) in enumerate(zip(conversation.ids, conversation.trained, strict=True)):
        if trained and position:
            item.learnt.append((parent, token))
        place = known.get((parent, token))
        if place is None:
            place = known[parent, token] = len(item)
            item.ids.append(token)
            item.positions.append(position)
            item.parents.append(parent)
        parent = place
    item.ends.append(parent)
    item.tokens += len(conversation.ids)


def pack_pairs(rows: Sequence[Rendered], width: int, start: int) -> list[Pack]:
    """Sources and targets of an encoder–decoder, first fit: neither side of a pack is wider than `width`, but for a row
    that is so alone. start: the token that the decoder begins with."""
    packs: list[Pack] = []
    for row in rows:
        source, target = row.ids[: row.answer_start], row.ids[row.answer_start :]
        item = _with_room(packs, width, len(target), len(source))
        item.sources.append(source)
        _lay(item, (start, *target[:-1]), [(k, token) for k, token in enumerate(target)])
        item.tokens += len(source)
    return packs


def pack_masked(rows: Sequence[Rendered], width: int, mask: int, vocabulary: int, seed: int) -> list[Pack]:
    """Texts for an encoder, a part of their tokens masked (at least one), first fit. Devlin et al. 2019, §3.1."""
    packs: list[Pack] = []
    for row in rows:
        drawn = random.Random(f"{seed}/{row.ids}")
        able = [k for k, trained in enumerate(row.trained) if trained]
        shown = list(row.ids)
        chosen = sorted(drawn.sample(able, max(1, round(MASKED * len(able)))))
        for place in chosen:
            fate = drawn.random()
            if fate < SHOWN_MASK:
                shown[place] = mask
            elif fate < SHOWN_MASK + SHOWN_OTHER:
                shown[place] = drawn.randrange(vocabulary)
        item = _with_room(packs, width, len(shown))
        item.both_ways = True
        _lay(item, shown, [(place, row.ids[place]) for place in chosen])
    return packs


def _with_room(packs: list[Pack], width: int, added: int, read: int = 0) -> Pack:
    """The first pack with room for a text, or a new one. read: tokens of its source."""
    for item in packs:
        if len(item) + added <= width and sum(map(len, item.sources)) + read <= width:
            return item
    packs.append(Pack())
    return packs[-1]


def _lay(item: Pack, ids: Sequence[int], learnt: Sequence[tuple[int, int]]) -> None:
    """Put a text at the end of a pack. learnt: (place in the text, token to predict there)."""
    start = len(item)
    item.ids += ids
    item.positions += range(len(ids))
    item.parents += [-1, *range(start, start + len(ids) - 1)]
    item.learnt += [(start + place, token) for place, token in learnt]
    item.counts.append(len(learnt))
    item.ends.append(len(item) - 1)
    item.tokens += len(ids)


def conversations(packs: Sequence[Pack]) -> Iterator[tuple[int, ...]]:
    """The ids of each conversation in the packs, taken apart again; sources before their targets, masks undone."""
    for item in packs:
        learnt = iter(item.learnt)
        for k, (place, count) in enumerate(zip(item.ends, item.counts, strict=True)):
            taught = dict(next(learnt) for _ in range(count))
            if item.sources:
                yield (*item.sources[k], *taught.values())
                continue
            ids = []
            while place >= 0:
                ids.append(taught.get(place, item.ids[place]) if item.both_ways else item.ids[place])
                place = item.parents[place]
            yield tuple(reversed(ids))


def collate(packs: Sequence[Pack], pad: int) -> Batch:
    """Stack packs, padded on the right."""
    width = max(map(len, packs))
    ids = torch.full((len(packs), width), pad)
    positions = torch.zeros(len(packs), width, dtype=torch.long)
    for row, item in enumerate(packs):
        ids[row, : len(item)] = torch.tensor(item.ids)
        positions[row, : len(item)] = torch.tensor(item.positions)
    learnt = [(row, place, token) for row, item in enumerate(packs) for place, token in item.learnt]
    rows, columns, targets = torch.tensor(learnt, dtype=torch.long).reshape(-1, 3).unbind(1)
    seen = torch.stack([_seen(item, width) for item in packs])
    return Batch(ids, positions, seen, rows, columns, targets, _reading(packs, width, pad))


def _seen(item: Pack, width: int) -> torch.Tensor:
    """bool[width, width]."""
    before = ancestors(item.parents, width)
    return before | before.T if item.both_ways else before


def _reading(packs: Sequence[Pack], width: int, pad: int) -> Reading | None:
    if not any(item.sources for item in packs):
        return None
    wide = max(sum(map(len, item.sources)) for item in packs)
    ids = torch.full((len(packs), wide), pad)
    seen = torch.eye(wide, dtype=torch.bool).repeat(len(packs), 1, 1)
    crossed = torch.zeros(len(packs), width, wide, dtype=torch.bool)
    for row, item in enumerate(packs):
        start, written = 0, 0
        for source, end in zip(item.sources, item.ends, strict=True):
            own = slice(start, start + len(source))
            ids[row, own] = torch.tensor(source)
            seen[row, own, own] = True
            crossed[row, written : end + 1, own] = True
            start, written = own.stop, end + 1
    return Reading(ids, seen, crossed)
