"""Short conversations laid end to end, each seeing only itself.

A pack is one row of the batch. Its attention mask is block-diagonal and its positions start again at 0 in each
conversation, so a packed conversation gives the same logits as one alone (tests/parity/test_packing.py).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

import torch

from limpide.models.prompt import Rendered

PADDING = -1  # segment number of padded places


@dataclass(frozen=True)
class Pack:
    """ids, positions, segments, trained: one entry a token; `segments` numbers the conversations from 0."""

    ids: tuple[int, ...]
    positions: tuple[int, ...]
    segments: tuple[int, ...]
    trained: tuple[bool, ...]

    def __len__(self) -> int:
        return len(self.ids)


@dataclass(frozen=True)
class Batch:
    """ids, positions, segments: long[packs, width]. targets: long[packs, width], −100 where nothing is learnt."""

    ids: torch.Tensor
    positions: torch.Tensor
    segments: torch.Tensor
    targets: torch.Tensor

    @property
    def trained_tokens(self) -> int:
        return int((self.targets != -100).sum())


def pack(conversations: Sequence[Rendered], width: int) -> list[Pack]:
    """First fit, in the order given: each conversation goes whole into the first open pack with room.

    width: tokens a pack; a longer conversation gets a pack of its own length.
    """
    rows: list[list[Rendered]] = []
    room: list[int] = []
    for conversation in conversations:
        size = len(conversation.ids)
        at = next((i for i, left in enumerate(room) if left >= size), None)
        if at is None:
            rows.append([])
            room.append(max(width, size))
            at = len(rows) - 1
        rows[at].append(conversation)
        room[at] -= size
    return [_join(row) for row in rows]


def _join(conversations: Sequence[Rendered]) -> Pack:
    ids: list[int] = []
    positions: list[int] = []
    segments: list[int] = []
    trained: list[bool] = []
    for number, conversation in enumerate(conversations):
        size = len(conversation.ids)
        ids += conversation.ids
        positions += range(size)
        segments += [number] * size
        trained += conversation.trained
    return Pack(tuple(ids), tuple(positions), tuple(segments), tuple(trained))


def conversations(packs: Sequence[Pack]) -> Iterator[tuple[int, ...]]:
    """The ids of each conversation in the packs, taken apart again."""
    for item in packs:
        for _, places in groupby(range(len(item)), key=item.segments.__getitem__):
            yield tuple(item.ids[place] for place in places)


def collate(packs: Sequence[Pack], pad: int) -> Batch:
    """Stack packs, padded on the right. The target at a place is the next token of the same conversation."""
    shape = (len(packs), max(map(len, packs)))
    ids = torch.full(shape, pad)
    positions = torch.zeros(shape, dtype=torch.long)
    segments = torch.full(shape, PADDING)
    targets = torch.full(shape, -100)
    for row, item in enumerate(packs):
        size = len(item)
        ids[row, :size] = torch.tensor(item.ids)
        positions[row, :size] = torch.tensor(item.positions)
        segments[row, :size] = torch.tensor(item.segments)
        learnt = torch.tensor(item.trained[1:]) & (segments[row, 1:size] == segments[row, : size - 1])
        targets[row, : size - 1][learnt] = ids[row, 1:size][learnt]
    return Batch(ids, positions, segments, targets)


def seen(batch: Batch) -> torch.Tensor:
    """bool[packs, width, width]: each place sees its own conversation up to itself; padding sees padding."""
    place = torch.arange(batch.ids.shape[1])
    return (batch.segments[:, :, None] == batch.segments[:, None, :]) & (place[None, :] <= place[:, None])
