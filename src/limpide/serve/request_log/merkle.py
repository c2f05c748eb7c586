"""The Merkle tree over the entries' hashes, of RFC 9162 §2.1: n leaves split at the largest power of two below n.

A leaf is SHA-256(0x00 ‖ hash of the entry, 32 bytes), a node SHA-256(0x01 ‖ left ‖ right), the empty tree SHA-256("").
Subtrees are named by the leaves they cover, [start, end).
"""

import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

EMPTY = hashlib.sha256(b"").digest()
Known = Callable[[int, int], bytes | None]  # digest of the subtree over [start, end), where it is known


def leaf(digest: str) -> bytes:
    """digest: an entry's hash, hex."""
    return hashlib.sha256(b"\0" + bytes.fromhex(digest)).digest()


def node(left: bytes, right: bytes) -> bytes:
    return hashlib.sha256(b"\1" + left + right).digest()


@dataclass
class Peaks:
    """A tree that grows at its end, kept as its whole subtrees from the largest to the smallest: one a set bit of
    `size`. An append costs one node on average."""

    size: int = 0
    peaks: list[bytes] = field(default_factory=list)

    def append(self, new: bytes) -> None:
        """new: a leaf, bytes[32]."""
        size = self.size
        while size & 1:
            new = node(self.peaks.pop(), new)
            size >>= 1
        self.peaks.append(new)
        self.size += 1

    def root(self) -> bytes:
        if not self.peaks:
            return EMPTY
        root = self.peaks[-1]
        for peak in reversed(self.peaks[:-1]):
            root = node(peak, root)
        return root


def cover(start: int, end: int) -> list[tuple[int, int]]:
    """[start, end) as the fewest whole subtrees of the tree, in order: what stands for a purged day."""
    found = []
    while start < end:
        width = 1 << (end - start).bit_length() - 1
        if start:
            width = min(width, start & -start)
        found.append((start, start + width))
        start += width
    return found


class Tree:
    """Digests of subtrees, from leaves that are still there and from whole subtrees of those that are not.

    leaves: from number `first` on. nodes: (start, end, digest) of what stands for the leaves before, which were purged.
    """

    def __init__(self, first: int, leaves: Sequence[bytes], nodes: Iterable[tuple[int, int, bytes]] = ()) -> None:
        self.first, self.leaves = first, leaves
        self.known = {(start, end): digest for start, end, digest in nodes}

    def digest(self, start: int, end: int) -> bytes:
        """Digest of [start, end). Raises KeyError when it lies inside what was purged."""
        known = self.known.get((start, end))
        if known is not None:
            return known
        if end - start == 1:
            if start < self.first:
                raise KeyError(start)
            return self.leaves[start - self.first]
        middle = start + split(end - start)
        return self.known.setdefault((start, end), node(self.digest(start, middle), self.digest(middle, end)))

    def inclusion(self, index: int, size: int) -> list[bytes]:
        """The path that shows leaf `index` in the tree of `size` leaves (RFC 9162 §2.1.3.1), from the leaf up."""
        return self._path(index, 0, size)

    def _path(self, index: int, start: int, end: int) -> list[bytes]:
        if end - start == 1:
            return []
        middle = start + split(end - start)
        if index < middle:
            return [*self._path(index, start, middle), self.digest(middle, end)]
        return [*self._path(index, middle, end), self.digest(start, middle)]

    def consistency(self, old: int, size: int) -> list[bytes]:
        """What shows that the tree of `old` leaves is the beginning of the one of `size` (RFC 9162 §2.1.4.1)."""
        return [] if old in (0, size) else self._since(old, 0, size, whole=True)

    def _since(self, old: int, start: int, end: int, whole: bool) -> list[bytes]:
        """whole: [start, old) is the old tree itself, whose root the reader has."""
        if old == end:
            return [] if whole else [self.digest(start, end)]
        middle = start + split(end - start)
        if old <= middle:
            return [*self._since(old, start, middle, whole), self.digest(middle, end)]
        return [*self._since(old, middle, end, False), self.digest(start, middle)]


def split(size: int) -> int:
    """The largest power of two below `size`, which is at least 2."""
    return 1 << (size - 1).bit_length() - 1


def root_of_inclusion(new: bytes, index: int, size: int, path: Sequence[bytes]) -> bytes | None:
    """The root that a leaf and its path make (RFC 9162 §2.1.3.2); None when the path does not fit such a tree."""
    if not 0 <= index < size:
        return None
    place, last, root = index, size - 1, new
    for sibling in path:
        if last == 0:
            return None
        if place & 1 or place == last:
            root = node(sibling, root)
            while not place & 1 and place:
                place, last = place >> 1, last >> 1
        else:
            root = node(root, sibling)
        place, last = place >> 1, last >> 1
    return root if last == 0 else None


def is_consistent(old: int, old_root: bytes, size: int, root: bytes, proof: Sequence[bytes]) -> bool:
    """Is the tree of `old` leaves the beginning of the one of `size`, by this proof (RFC 9162 §2.1.4.2)?"""
    if old == size:
        return not proof and old_root == root
    if old == 0:
        return not proof and old_root == EMPTY
    if not 0 < old < size:
        return False
    path = list(proof) if old & (old - 1) else [old_root, *proof]
    if not path:
        return False
    place, last = old - 1, size - 1
    while place & 1:
        place, last = place >> 1, last >> 1
    before = after = path[0]
    for sibling in path[1:]:
        if last == 0:
            return False
        if place & 1 or place == last:
            before, after = node(sibling, before), node(sibling, after)
            while not place & 1 and place:
                place, last = place >> 1, last >> 1
        else:
            after = node(after, sibling)
        place, last = place >> 1, last >> 1
    return last == 0 and before == old_root and after == root
