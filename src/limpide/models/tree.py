"""Texts that begin alike, laid out as a prefix tree: what they share is computed once.

A row holds a path carried over from the row before (its keys and values are kept) and new tokens after it. Each
token sees its ancestors only and stands at its depth, so that every text gets the logits it would get alone
(tests/parity/test_families.py).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch


@dataclass
class TreePack:
    """One row. Places are counted from the row's start, the carried path first.

    kept: places in the row before that begin this row, a path from a root. tokens, depths, parents: one entry a new
    node; parent −1 at a root. scored: (text, place, next token) triples, given with the pack that ends the text.
    """

    kept: tuple[int, ...] = ()
    tokens: list[int] = field(default_factory=list)
    depths: list[int] = field(default_factory=list)
    parents: list[int] = field(default_factory=list)
    scored: list[tuple[int, int, int]] = field(default_factory=list)

    def __len__(self) -> int:
        """Length of the row."""
        return len(self.kept) + len(self.tokens)

    def seen(self) -> torch.Tensor:
        """bool[new nodes, row]: True where a place of the row is the node or an ancestor of it."""
        carried = len(self.kept)
        seen = np.zeros((len(self.tokens), len(self)), dtype=bool)
        for node, parent in enumerate(self.parents):
            if parent >= carried:
                seen[node] = seen[parent - carried]
            else:
                seen[node, : parent + 1] = True  # the carried path is a line
            seen[node, carried + node] = True
        return torch.from_numpy(seen)

    @property
    def row_depths(self) -> list[int]:
        return [*range(len(self.kept)), *self.depths]


def ancestors(parents: Sequence[int], width: int) -> torch.Tensor:
    """bool[width, width]: True where the second place is the first or an ancestor of it; padding sees itself.

    parents: of each place, an earlier one, or −1 at a root.
    """
    seen = np.eye(width, dtype=bool)
    for place, parent in enumerate(parents):
        if parent >= 0:
            seen[place] |= seen[parent]
    return torch.from_numpy(seen)


def tree_packs(texts: Sequence[tuple[Sequence[int], int]], budget: int) -> Iterator[TreePack]:
    """Packs of `budget` new nodes (the last one fewer), covering every text once and computing no beginning twice.

    texts: (ids, first scored index ≥ 1). Sorted by their ids, neighbours share the longest beginnings, so the path
    of the text before is all that needs to be remembered, within a pack and from one to the next.
    """
    order = sorted(range(len(texts)), key=lambda i: tuple(texts[i][0]))
    pack, path, row = TreePack(), list[int](), list[int]()  # path: places of the text at hand; row: its tokens
    for index in order:
        ids, first = texts[index]
        path = path[: _shared(row, path, ids)]
        for depth in range(len(path), len(ids) - 1):  # the last token predicts nothing that is scored
            if len(pack.tokens) == budget:
                yield pack
                pack, row = TreePack(kept=tuple(path)), [row[place] for place in path]
                path = list(range(len(path)))
            pack.tokens.append(ids[depth])
            pack.depths.append(depth)
            pack.parents.append(path[-1] if path else -1)
            path.append(len(row))
            row.append(ids[depth])
        pack.scored += [(index, path[at - 1], ids[at]) for at in range(first, len(ids))]
    if pack.scored:
        yield pack


def tree_size(texts: Sequence[Sequence[int]]) -> int:
    """Nodes that must be computed for all the texts."""
    return sum(len(pack.tokens) for pack in tree_packs([(ids, 1) for ids in texts], 1024))


def _shared(row: Sequence[int], path: Sequence[int], ids: Sequence[int]) -> int:
    """How many of the first tokens of `ids` (its last aside) the path holds already."""
    known = 0
    for place, token in zip(path, ids[:-1], strict=False):
        if row[place] != token:
            break
        known += 1
    return known
