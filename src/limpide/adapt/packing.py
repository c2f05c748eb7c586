"""Short conversations in one row, each seeing only itself; what they begin with in common is held once.

A pack is a prefix tree: every place sees its ancestors and stands at its depth, so a packed conversation gives the
same logits as one alone (tests/parity/test_packing.py). Conversations that share nothing make the usual
block-diagonal mask; those that share a system message compute it, and learn through it, once a pack.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import torch

from limpide.models.prompt import Rendered
from limpide.models.tree import ancestors


@dataclass
class Pack:
    """ids, positions, parents: one entry a place; parent −1 where a conversation begins.

    learnt: (place, token to predict there), one for each trained token of each conversation. ends: last place of each
    conversation. tokens: of the conversations, before sharing.
    """

    ids: list[int] = field(default_factory=list)
    positions: list[int] = field(default_factory=list)
    parents: list[int] = field(default_factory=list)
    learnt: list[tuple[int, int]] = field(default_factory=list)
    ends: list[int] = field(default_factory=list)
    tokens: int = 0

    def __len__(self) -> int:
        return len(self.ids)


@dataclass(frozen=True)
class Batch:
    """ids, positions: long[packs, width]. seen: bool[packs, width, width].

    rows, columns, targets: long[trained tokens], where each is predicted and which it is.
    """

    ids: torch.Tensor
    positions: torch.Tensor
    seen: torch.Tensor
    rows: torch.Tensor
    columns: torch.Tensor
    targets: torch.Tensor

    @property
    def trained_tokens(self) -> int:
        return len(self.targets)


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


def conversations(packs: Sequence[Pack]) -> Iterator[tuple[int, ...]]:
    """The ids of each conversation in the packs, taken apart again."""
    for item in packs:
        for place in item.ends:
            ids = []
            while place >= 0:
                ids.append(item.ids[place])
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
    return Batch(ids, positions, torch.stack([ancestors(p.parents, width) for p in packs]), rows, columns, targets)
