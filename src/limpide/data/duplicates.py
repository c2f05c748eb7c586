"""Questions asked twice: word for word, nearly, or with another answer.

Two questions are nearly the same when their sets of character 5-grams are, and no number or code differs.
"""

import re
import unicodedata
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise

from limpide.data.examples import Example

GRAM = 5  # characters
KEPT_PUNCTUATION = frozenset("#%&@*")  # 'C#' is not 'C', '50 %' is not '50'
DECIMAL_COMMA = re.compile(r"(?<=\d),(?=\d)")
NO_NUMBER_SIGN = re.compile(r"(?<=\S)-|-(?!\d)|(?<!\d)\.|\.(?!\d)")  # a dash that is no minus, a dot that is no point
NUMBER = re.compile(r"\d+(?:[.,:/]\d+)*")


class _Spaced(dict[int, str]):
    """For str.translate: a punctuation mark is a space, any other character itself; filled as characters are met."""

    def __missing__(self, code: int) -> str:
        char = chr(code)
        marks = unicodedata.category(char).startswith("P") and char not in KEPT_PUNCTUATION | {"-", "."}
        return self.setdefault(code, " " if marks else char)


SPACED = _Spaced()


@dataclass(frozen=True)
class Duplicates:
    """Groups of positions in the list of examples, each in increasing order.

    exact: same system message, question and answer. near: questions alike but not the same. conflicts: same
    question, different answers. together: rows that a split must keep on one side (same or nearly the same question).
    """

    exact: tuple[tuple[int, ...], ...]
    near: tuple[tuple[int, ...], ...]
    conflicts: tuple[tuple[int, ...], ...]
    together: tuple[tuple[int, ...], ...]


class Links:
    """Union-find over 0 … n−1; the smallest position of a set stands for it."""

    def __init__(self, n: int) -> None:
        self.parent = list(range(n))

    def find(self, x: int) -> int:
        while self.parent[x] != x:
            self.parent[x] = self.parent[self.parent[x]]
            x = self.parent[x]
        return x

    def join(self, x: int, y: int) -> None:
        low, high = sorted((self.find(x), self.find(y)))
        self.parent[high] = low

    def join_all(self, members: Sequence[int]) -> None:
        for before, after in pairwise(members):
            self.join(before, after)

    def groups(self) -> tuple[tuple[int, ...], ...]:
        """Every set, singletons included, by its smallest member."""
        found: dict[int, list[int]] = defaultdict(list)
        for x in range(len(self.parent)):
            found[self.find(x)].append(x)
        return tuple(tuple(members) for members in found.values())


def normalise(text: str) -> str:
    """The text without what does not change a question: form of characters, case, spaces, sentence punctuation.

    Numbers keep their sign and decimal point: '-5 °C' is not '5 °C', and '3,6 V' is '3.6 v'.
    """
    text = unicodedata.normalize("NFKC", text).casefold().replace("\u2212", "-")
    text = DECIMAL_COMMA.sub(".", text)
    return " ".join(NO_NUMBER_SIGN.sub(" ", text).translate(SPACED).split())


def codes(text: str) -> tuple[tuple[str, str], ...]:
    """Words with a digit as sorted (numbers, letters): 'E-104 at 5,5 bar' → (('104', 'e'), ('5.5', ''))."""
    found = []
    for word in unicodedata.normalize("NFKC", text).casefold().split():
        numbers = "|".join(NUMBER.findall(word)).replace(",", ".")
        if numbers:
            found.append((numbers, "".join(c for c in word if c.isalpha())))
    return tuple(sorted(found))


def same_codes(first: Sequence[tuple[str, str]], second: Sequence[tuple[str, str]]) -> bool:
    """Whether two lists of codes name the same things; '104' agrees with 'E-104', 'F-104' does not."""
    return len(first) == len(second) and all(
        n1 == n2 and (l1 == l2 or not l1 or not l2) for (n1, l1), (n2, l2) in zip(first, second, strict=True)
    )


def shingles(text: str) -> frozenset[str]:
    """Character 5-grams of a normalised text; the text itself when it is shorter."""
    return frozenset(text[i : i + GRAM] for i in range(max(1, len(text) - GRAM + 1)))


def similarity(first: str, second: str) -> float:
    """Jaccard similarity of the 5-grams of two texts, normalised first: 0 nothing shared, 1 the same."""
    a, b = shingles(normalise(first)), shingles(normalise(second))
    return len(a & b) / len(a | b)


def near_pairs(texts: Sequence[str], threshold: float) -> list[tuple[int, int]]:
    """Pairs of positions that link near duplicates: similarity ≥ `threshold` and the same codes.

    Texts whose numbers differ are never compared: they ask about different things.
    """
    from limpide.data.near import similar_pairs  # needs numpy, which the command line's help does without

    once: dict[str, str] = {}  # each 5-gram is kept once, however many texts have it
    grams = [frozenset(once.setdefault(gram, gram) for gram in shingles(normalise(text))) for text in texts]
    named = [codes(text) for text in texts]
    blocks: dict[tuple[str, ...], list[int]] = defaultdict(list)
    for i, found in enumerate(named):
        blocks[tuple(numbers for numbers, _ in found)].append(i)
    pairs: list[tuple[int, int]] = []
    for block in blocks.values():
        if len(block) > 1:
            kept = [named[i] for i in block]
            alike = similar_pairs([grams[i] for i in block], threshold, partial(_same_codes_at, kept))
            pairs.extend((block[a], block[b]) for a, b in alike)
    return pairs


def _same_codes_at(named: Sequence[Sequence[tuple[str, str]]], a: int, b: int) -> bool:
    return same_codes(named[a], named[b])


def find_duplicates(examples: Sequence[Example], threshold: float = 0.8) -> Duplicates:
    """Groups of rows with the same question, nearly the same, or contradictory answers.

    threshold: smallest Jaccard similarity of 5-grams of a near duplicate, 0 to 1. What it does not see:
    the same question in quite other words.
    """
    question = [normalise(example.question) for example in examples]
    answer = [normalise(example.answer) for example in examples]
    shared = {said: normalise(said) for said in {example.system for example in examples}}
    system = [shared[example.system] for example in examples]
    asked: dict[str, list[int]] = defaultdict(list)
    for i, key in enumerate(question):
        asked[key].append(i)
    same: dict[tuple[str, str, str], list[int]] = defaultdict(list)
    answers: dict[tuple[str, str], list[int]] = defaultdict(list)
    for i, key in enumerate(question):
        same[system[i], key, answer[i]].append(i)
        answers[system[i], key].append(i)
    links = Links(len(examples))
    for members in asked.values():
        links.join_all(members)
    first = [members[0] for members in asked.values()]
    for a, b in near_pairs([examples[i].question for i in first], threshold):
        links.join(first[a], first[b])
    together = tuple(group for group in links.groups() if len(group) > 1)
    return Duplicates(
        exact=tuple(tuple(members) for members in same.values() if len(members) > 1),
        near=tuple(group for group in together if len({question[i] for i in group}) > 1),
        conflicts=tuple(tuple(m) for m in answers.values() if len({answer[i] for i in m}) > 1),
        together=together,
    )
