"""Items of the shipped audits found in the examples: a model that has learnt the questions is no longer measured.

An item is in a text when all its words are there in a row, or 13 in a row of a long one (the size of Brown et al.
2020, appendix C); a question also when its set of character 5-grams is nearly the same and no number differs. Items of
fewer than five words are compared whole. What it does not say: the same item in quite other words is not seen.
"""

import json
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import chain
from math import ceil

from limpide.data.duplicates import codes, normalise, same_codes, shingles
from limpide.data.shipped import read_probe

ANCHOR = 5  # words in a row by which an item is looked up
RUN = 13  # words in a row that are enough of a long item
AXES = ("gender", "origin", "age", "disability", "religion", "social_class")
LANGUAGES = ("en", "fr")
TINY = 1e-9  # so that 0.8 of 5 is 4 and not a hair more


@dataclass(frozen=True)
class AuditItem:
    """One text that an audit asks or scores. suite: the audit. asked: is it a question, which may come reworded?"""

    suite: str
    id: str
    text: str
    asked: bool = True


@cache
def shipped_items() -> tuple[AuditItem, ...]:
    """The items of the suites truth, refusal, bias and retention, in both languages.

    Left out: the sentences on pronouns, which are four common words ('The nurse said that').
    """
    found = []
    for language in LANGUAGES:
        for kind in ("short", "options", "unanswerable"):
            found += [("truth", row, row["question"]) for row in _rows(f"truth/{kind}.{language}.jsonl")]
        found += [("refusal", row, row["request"]) for row in _rows(f"refusal/requests.{language}.jsonl")]
    items = [AuditItem(suite, str(row["id"]), str(text)) for suite, row, text in found]
    items += [AuditItem("retention", str(r["id"]), str(r["text"]), asked=False) for r in _rows("retention.jsonl")]
    for axis in AXES:
        for row in _rows(f"bias/{axis}.templates.jsonl"):
            said = f"{str(row['context']).removeprefix('{person}')}{row['outcome']}"
            items.append(AuditItem("bias", str(row["id"]), said, asked=False))
    return tuple(items)


def _rows(probe: str) -> list[dict[str, object]]:
    return [json.loads(line) for line in read_probe(probe).splitlines() if line.strip()]


class Items:
    """Items made ready to be looked for in many texts, each in time proportional to its length."""

    def __init__(self, items: Iterable[AuditItem], threshold: float = 0.8) -> None:
        """threshold: smallest Jaccard similarity of the 5-grams of two questions that are nearly the same."""
        self.items = tuple(items)
        self.threshold = threshold
        self.whole: dict[str, int] = {}
        self.runs: dict[tuple[str, ...], list[tuple[int, tuple[str, ...]]]] = defaultdict(list)
        self.grams: list[frozenset[str]] = []
        said = [normalise(item.text) for item in self.items]
        for i, text in enumerate(said):
            words = tuple(text.split())
            self.whole.setdefault(text, i)
            self.grams.append(shingles(text))
            for at in range(max(0, len(words) - RUN) + 1 if len(words) >= ANCHOR else 0):
                run = words[at : at + RUN]
                self.runs[run[:ANCHOR]].append((i, run))
        self.codes = [codes(item.text) for item in self.items]
        self.rare = self._rare_grams()

    def _rare_grams(self) -> dict[str, list[int]]:
        """gram → questions it is among the rarest of: a similar text shares one of them (Bayardo et al. 2007)."""
        asked = [i for i, item in enumerate(self.items) if item.asked]
        often: dict[str, int] = defaultdict(int)
        for gram in chain.from_iterable(self.grams[i] for i in asked):
            often[gram] += 1
        rare: dict[str, list[int]] = defaultdict(list)
        for i in asked:
            size = len(self.grams[i])
            kept = sorted(self.grams[i], key=lambda gram: (often[gram], gram))
            for gram in kept[: size - ceil(self.threshold * size - TINY) + 1]:
                rare[gram].append(i)
        return dict(rare)

    def inside(self, text: str) -> set[int]:
        """Items whose words are in a normalised text, in a row."""
        words = text.split()
        found = {self.whole[text]} if text in self.whole else set()
        anchors = list(zip(*(words[k:] for k in range(ANCHOR)), strict=False))
        if self.runs.keys().isdisjoint(anchors):
            return found
        for at, anchor in enumerate(anchors):
            for i, run in self.runs.get(anchor, ()):
                if tuple(words[at : at + len(run)]) == run:
                    found.add(i)
        return found

    def near(self, question: str, text: str) -> set[int]:
        """Questions that are nearly the one asked. question: as it was written. text: the same, normalised."""
        grams = shingles(text)
        met = chain.from_iterable(self.rare[gram] for gram in self.rare.keys() & grams)
        least, most = self.threshold * len(grams) - TINY, len(grams) / self.threshold + TINY
        alike = {i for i in met if least <= len(self.grams[i]) <= most}
        asked = codes(question) if alike else ()
        return {
            i
            for i in alike
            if len(grams & self.grams[i]) >= self.threshold * len(grams | self.grams[i]) - TINY
            and same_codes(asked, self.codes[i])
        }


@cache
def shipped(threshold: float) -> Items:
    """The shipped items, made ready once."""
    return Items(shipped_items(), threshold)


def describe(items: Sequence[AuditItem], found: Iterable[int]) -> str:
    """'item truth-short-en-001 of the suite truth, and 2 more'."""
    first, *others = sorted(found)
    more = f", and {len(others)} more" if others else ""
    return f"item {items[first].id} of the suite {items[first].suite}{more}"
