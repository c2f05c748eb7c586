"""A French sentence as words and what is between them, the lists its words are looked up in, and its elisions."""

import re
from dataclasses import dataclass, field
from functools import cache

from limpide.data.swaps import VOWELS, cased, entries
from limpide.data.swaps_french_words import H_ASPIRE

FEMININE, MASCULINE = "f", "m"
MELTED = "\0"  # a word that has become part of the next one: 'de' of 'du'


class Unsure(Exception):
    """It cannot be told how the sentence goes on agreeing."""


@dataclass(frozen=True)
class Lists:
    """nouns, adjectives, names: {form: (its gender, the other form)}. plurals: the same of masculine plurals that are
    also singulars (heureux). same: adjectives of one form; epicene: nouns of one form."""

    nouns: dict[str, tuple[str, str]]
    adjectives: dict[str, tuple[str, str]]
    names: dict[str, tuple[str, str]]
    plurals: dict[str, str]
    same: frozenset[str]
    epicene: frozenset[str]


@dataclass
class Sentence:
    """words, gaps: gaps[i] stands before words[i], and the last one at the end. low: words in lower case. new: what
    words become. person: {place of a noun or pronoun of a person: its gender}.
    placed: words whose agreement is settled."""

    words: list[str]
    gaps: list[str]
    new: dict[int, str] = field(default_factory=dict)
    person: dict[int, str] = field(default_factory=dict)
    placed: set[int] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.low = [word.lower().replace("’", "'") for word in self.words]

    def at(self, place: int) -> str:
        return self.low[place] if 0 <= place < len(self.low) else ""

    def joined(self, place: int) -> bool:
        """Is only a space, or an apostrophe, between this word and the one before?"""
        return 0 < place < len(self.low) and self.gaps[place] in (" ", "")

    def become(self, place: int, word: str) -> None:
        self.new[place] = word
        self.placed.add(place)

    def now(self, place: int) -> str:
        return self.new.get(place, self.at(place))


@cache
def known_words() -> Lists:
    nouns: dict[str, tuple[str, str]] = {}
    adjectives: dict[str, tuple[str, str]] = {}
    names: dict[str, tuple[str, str]] = {}
    plurals: dict[str, str] = {}
    for entry in entries("fr"):
        into = {"noun": nouns, "one-way": nouns, "adjective": adjectives, "name": names}.get(entry.kind)
        if into is None:
            continue
        both = [(entry.first, entry.second)]
        if entry.kind in ("noun", "adjective") and "-" not in entry.first:
            both.append((_plural(entry.first), _plural(entry.second)))
        for first, second in both:
            into.setdefault(first, (FEMININE, second))
            if entry.kind != "one-way":
                if second in into:
                    plurals.setdefault(second, first)
                into.setdefault(second, (MASCULINE, first))
    for masculine, feminine in (("fils", "fille"), ("mari", "femme"), ("maris", "femmes")):
        nouns[masculine] = (MASCULINE, feminine)
    for masculine, feminine in (("bel", "belle"), ("vieil", "vieille"), ("nouvel", "nouvelle")):
        adjectives[masculine] = (MASCULINE, feminine)
    kinds = {kind: [e.first for e in entries("fr") if e.kind == kind] for kind in ("plain", "epicene")}
    same = frozenset(form for word in kinds["plain"] for form in (word, _plural(word)))
    epicene = frozenset(form for word in kinds["epicene"] for form in (word, _plural(word)))
    return Lists(nouns, adjectives, names, plurals, same, epicene)


def _plural(word: str) -> str:
    if word[-1] in "sxz":
        return word
    if word.endswith("al"):
        return word[:-2] + "aux"
    return word + ("x" if word.endswith("eau") else "s")


@cache
def _pattern() -> re.Pattern[str]:
    compounds = sorted((word for word in known_words().nouns if "-" in word), key=len, reverse=True)
    return re.compile(rf"(?:{'|'.join(compounds)})(?!\w)|aujourd['’]hui|[^\W\d_]+['’]?", re.IGNORECASE)


def split(text: str) -> Sentence:
    words, gaps, end = [], [], 0
    for met in _pattern().finditer(text):
        words.append(met[0])
        gaps.append(text[end : met.start()])
        end = met.end()
    return Sentence(words, [*gaps, text[end:]])


def written(sentence: Sentence) -> str:
    """The twin, with elisions as its words ask for them."""
    made: list[str] = []
    for place, word in enumerate(sentence.words):
        new = sentence.now(place)
        gap = sentence.gaps[place]
        changed = place in sentence.new
        if changed and place and place - 1 not in sentence.new and gap in ("", " "):
            shown = _elided(sentence.words[place - 1], new, sentence.at(place))
            if shown is not None:
                made[-1], gap = shown
        elif gap in ("", " ") and place and place - 1 in sentence.new and not made[-1].endswith("'"):
            gap = " "
        if place and made and made[-1].endswith("'") and place - 1 in sentence.new and gap == " ":
            gap = ""
        made += [gap, cased(word, new) if changed else word]
    return "".join([*made, sentence.gaps[-1]]).replace(f"{MELTED} ", "").replace(MELTED, "")


def _elided(before: str, new: str, old: str) -> tuple[str, str] | None:
    """(the word before, the gap after it) where a swapped word begins with another kind of sound; None to leave it."""
    low, vowel = before.lower().replace("’", "'"), begins_with_vowel(new)
    if low.endswith("'") and not vowel and re.fullmatch(r"(?:d|(?:\w*q)u)'", low):
        return before[:-1] + "e", " "
    if low == "s'" and old in ("il", "ils"):
        return before[:-1] + "i", " "
    if low == "si" and new in ("il", "ils"):
        return before[:-1] + "'", ""
    if vowel and re.fullmatch(r"de|\w*que", low):
        return before[:-1] + "'", ""
    return None


def begins_with_vowel(word: str) -> bool:
    """Would 'le' be elided before it?"""
    low = word.lower()
    return low[:1] in VOWELS or (low.startswith("h") and not low.startswith(H_ASPIRE))
