"""Divide passages into those to learn from and those held out, so that no text stands on both sides."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from limpide.core import digests
from limpide.data.duplicates import Links, normalise
from limpide.data.passages import Passage
from limpide.data.writing import words

BY_DOCUMENT = 5  # documents from which whole documents are held out; with fewer, places of them
WORDS_TOGETHER = 3  # passages are compared by their runs of so many words
MOST_HELD_OUT = 0.5  # of the words, where the smallest part is larger than the share asked for


@dataclass(frozen=True)
class PassageParts:
    """by: what was kept whole, 'document' or 'place'. near: groups of passages that say nearly the same."""

    train: tuple[Passage, ...]
    held_out: tuple[Passage, ...]
    by: str
    near: tuple[tuple[int, ...], ...]
    warnings: tuple[str, ...] = ()


def divide(passages: Sequence[Passage], share: float, seed: int, near_duplicate: float = 0.8) -> PassageParts:
    """Hold out about `share` of the words: whole documents where there are enough, else whole places.

    What says nearly the same stays on one side. The division depends on the seed and on what the passages say, not on
    their order. Where all of it hangs together nothing is held out, and a warning says so.
    """
    by = "document" if len({passage.document for passage in passages}) >= BY_DOCUMENT else "place"
    near = near_passages(passages, near_duplicate)
    links = Links(len(passages))
    for group in near:
        links.join_all(group)
    units: dict[tuple[str, str | None], list[int]] = defaultdict(list)
    for i, passage in enumerate(passages):
        place = None if by == "document" else passage.place or passage.id
        units[passage.document, place].append(i)
    for members in units.values():
        links.join_all(members)
    size = [len(words(passage.text)) for passage in passages]
    blocks = [(sum(size[i] for i in block), block) for block in links.groups()]
    drawn = sorted(blocks, key=lambda b: min(digests.of_value([seed, "held out", passages[i].text]) for i in b[1]))
    total = sum(size)
    out: list[int] = []
    taken = 0
    for count, block in drawn:
        if taken + count <= share * total:
            out += block
            taken += count
    if not out and len(blocks) > 1:
        count, block = min(drawn, key=lambda one: one[0])
        out = list(block) if count <= MOST_HELD_OUT * total else []
    held = set(out)
    warnings = () if out else (_nothing(len(passages), len(blocks), by),)
    return PassageParts(
        tuple(p for i, p in enumerate(passages) if i not in held),
        tuple(p for i, p in enumerate(passages) if i in held),
        by,
        near,
        warnings,
    )


def near_passages(passages: Sequence[Passage], threshold: float) -> tuple[tuple[int, ...], ...]:
    """Groups of passages whose sets of word triples have a Jaccard similarity of at least `threshold`."""
    from limpide.data.near import similar_pairs  # needs numpy, which the command line's help does without

    links = Links(len(passages))
    for a, b in similar_pairs([_triples(passage.text) for passage in passages], threshold):
        links.join(a, b)
    return tuple(group for group in links.groups() if len(group) > 1)


def _triples(text: str) -> frozenset[str]:
    found = normalise(text).split()
    return frozenset(" ".join(found[i : i + WORDS_TOGETHER]) for i in range(max(1, len(found) - WORDS_TOGETHER + 1)))


def _nothing(passages: int, blocks: int, by: str) -> str:
    return (
        f"No passage is held out: the {passages} passages hang together in {blocks} part{'s' * (blocks > 1)} by {by}, "
        "so the training on texts cannot be tested. Give more documents."
    )
