"""Texts that begin alike, laid out as a prefix tree: what they share is computed once.

A pack is one row of tokens in which each token sees its ancestors only and stands at its depth, so that every text
gets the logits it would get alone (tests/parity/test_families.py).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch


@dataclass
class TreePack:
    """tokens, depths, parents: one entry a node; parent −1 at a root. scored: (text, node, next token) triples."""

    tokens: list[int] = field(default_factory=list)
    depths: list[int] = field(default_factory=list)
    parents: list[int] = field(default_factory=list)
    scored: list[tuple[int, int, int]] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.tokens)


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
    """Packs of at most `budget` nodes (one text alone may be longer), covering every text once.

    texts: (ids, first scored index ≥ 1). Sorted by their ids, neighbours share the longest beginnings, so the path
    of the text before is all that needs to be remembered.
    """
    order = sorted(range(len(texts)), key=lambda i: tuple(texts[i][0]))
    pack, path = TreePack(), list[int]()
    for index in order:
        ids, first = texts[index]
        known = _shared(pack, path, ids)
        if len(pack) and len(pack) + len(ids) - 1 - known > budget:
            yield pack
            pack, path, known = TreePack(), [], 0
        path = path[:known]
        for depth in range(known, len(ids) - 1):  # the last token predicts nothing that is scored
            path.append(len(pack))
            pack.tokens.append(ids[depth])
            pack.depths.append(depth)
            pack.parents.append(path[-2] if depth else -1)
        pack.scored += [(index, path[at - 1], ids[at]) for at in range(first, len(ids))]
    if pack.scored:
        yield pack


def _shared(pack: TreePack, path: list[int], ids: Sequence[int]) -> int:
    """How many of the first tokens of `ids` (its last aside) the path holds already."""
    known = 0
    for node, token in zip(path, ids[:-1], strict=False):
        if pack.tokens[node] != token:
            break
        known += 1
    return known
