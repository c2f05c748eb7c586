"""The tree against the definition of RFC 9162 written naively, and against the published vectors of its predecessor."""

import hashlib

import pytest

from limpide.serve.request_log.merkle import (
    EMPTY,
    Peaks,
    Tree,
    cover,
    is_consistent,
    leaf,
    node,
    root_of_inclusion,
    split,
)

# Inputs and roots of the reference implementation of Certificate Transparency (RFC 6962, the same tree).
INPUTS = ["", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f"]
ROOTS = [
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]
SIZE = 21
LEAVES = [leaf(hashlib.sha256(bytes([i])).hexdigest()) for i in range(SIZE)]


def naive(leaves: list[bytes]) -> bytes:
    """MTH of RFC 9162 §2.1.1, of leaves that are hashed already."""
    if len(leaves) < 2:
        return leaves[0] if leaves else EMPTY
    middle = max(1 << k for k in range(len(leaves).bit_length()) if 1 << k < len(leaves))
    return node(naive(leaves[:middle]), naive(leaves[middle:]))


def naive_path(index: int, leaves: list[bytes]) -> list[bytes]:
    """PATH of §2.1.3.1."""
    if len(leaves) == 1:
        return []
    middle = split(len(leaves))
    if index < middle:
        return [*naive_path(index, leaves[:middle]), naive(leaves[middle:])]
    return [*naive_path(index - middle, leaves[middle:]), naive(leaves[:middle])]


def naive_proof(old: int, leaves: list[bytes], whole: bool = True) -> list[bytes]:
    """SUBPROOF of §2.1.4.1."""
    if old == len(leaves):
        return [] if whole else [naive(leaves)]
    middle = split(len(leaves))
    if old <= middle:
        return [*naive_proof(old, leaves[:middle], whole), naive(leaves[middle:])]
    return [*naive_proof(old - middle, leaves[middle:], False), naive(leaves[:middle])]


@pytest.mark.parametrize("size", range(1, 9))
def test_roots_are_those_of_certificate_transparency(size: int) -> None:
    peaks = Peaks()
    for data in INPUTS[:size]:
        peaks.append(leaf(data))
    assert peaks.root().hex() == ROOTS[size - 1]


def test_roots_paths_and_proofs_are_the_naive_ones_and_are_accepted() -> None:
    peaks = Peaks()
    for size in range(SIZE + 1):
        leaves = LEAVES[:size]
        root, tree = naive(leaves), Tree(0, LEAVES)
        assert peaks.root() == root
        for index in range(size):
            path = tree.inclusion(index, size)
            assert path == naive_path(index, leaves)
            assert root_of_inclusion(LEAVES[index], index, size, path) == root
        for old in range(1, size + 1):
            proof = tree.consistency(old, size)
            assert proof == naive_proof(old, leaves)
            assert is_consistent(old, naive(LEAVES[:old]), size, root, proof)
        if size < SIZE:
            peaks.append(LEAVES[size])


def test_wrong_paths_and_proofs_are_refused() -> None:
    tree, size = Tree(0, LEAVES), 13
    root = naive(LEAVES[:size])
    path = tree.inclusion(6, size)
    assert root_of_inclusion(LEAVES[6], 7, size, path) != root
    assert root_of_inclusion(LEAVES[6], 6, size, path[:-1]) is None
    assert root_of_inclusion(LEAVES[6], 6, size, [*path, path[0]]) is None
    assert root_of_inclusion(LEAVES[6], 13, size, path) is None
    old = naive(LEAVES[:6])
    proof = tree.consistency(6, size)
    assert not is_consistent(6, root, size, root, proof)
    assert not is_consistent(7, old, size, root, proof)
    assert not is_consistent(6, old, size, old, proof)
    for wrong in (proof[:-1], [*proof, proof[0]], [], proof[::-1]):
        assert not is_consistent(6, old, size, root, wrong)
    assert not is_consistent(14, old, size, root, proof)
    assert is_consistent(0, EMPTY, size, root, [])
    assert not is_consistent(0, root, size, root, [])
    assert is_consistent(size, root, size, root, [])
    assert not is_consistent(size, old, size, root, [])


def test_what_is_left_of_purged_leaves_is_enough_for_the_rest() -> None:
    for first in range(SIZE):
        for cut in range(first, SIZE):
            ranges = cover(0, first) + cover(first, cut)
            assert [i for start, end in ranges for i in range(start, end)] == list(range(cut))
            tree = Tree(cut, LEAVES[cut:], [(start, end, naive(LEAVES[start:end])) for start, end in ranges])
            assert tree.digest(0, SIZE) == naive(LEAVES)
            assert tree.inclusion(SIZE - 1, SIZE) == naive_path(SIZE - 1, LEAVES)
            for old in {first, cut} - {0}:
                assert tree.consistency(old, SIZE) == naive_proof(old, LEAVES)


def test_a_path_from_a_purged_leaf_cannot_be_made() -> None:
    tree = Tree(8, LEAVES[8:], [(0, 8, naive(LEAVES[:8]))])
    with pytest.raises(KeyError):
        tree.inclusion(3, SIZE)
