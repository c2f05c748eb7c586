"""Words and expressions found in a text as whole words: what a glossary needs, and no more.

How a term is compared with a text:
- whole words: 'press' is not in 'pressure'; what an apostrophe cuts off is a word (l'aspiration holds 'aspiration'),
  and a hyphen must be there ('light-curtain' is not 'light curtain');
- capitals do not count, but a term written in capitals alone (US, IA) is found in capitals alone;
- accents count: 'pêche' is not 'peche';
- each word may be in the regular plural or singular of French and English (valve, valves; journal, journaux; tuyau,
  tuyaux; body, bodies). Feminines, irregular plurals and conjugated verbs are other words.
"""

import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

Place = Literal["anywhere", "start", "end"]

_SIGNS_AROUND = " .!?…\"'«»“”()*_"
_TOKEN = re.compile(r"[^\W_]+|[^\w\s]|_")
SHORTEST_PLURAL = 3  # letters: below, 'a' would be found in 'as'


@dataclass(frozen=True)
class Cut:
    """A text cut into words and signs. written, folded: each as it stands and as it is compared. places: of each."""

    text: str
    written: tuple[str, ...]
    folded: tuple[str, ...]
    places: tuple[tuple[int, int], ...]
    known: frozenset[str]


@dataclass(frozen=True)
class Term:
    """An expression to look for. forms: the spellings allowed for each of its words; as written when `exact`."""

    text: str
    forms: tuple[frozenset[str], ...]
    exact: bool


@dataclass(frozen=True)
class Found:
    """One place of a term: from word `start` until before word `end`. words: as the text has them."""

    term: Term
    start: int
    end: int
    words: str


def cut(text: str) -> Cut:
    plain = _plain(text)
    found = list(_TOKEN.finditer(plain))
    written = tuple(m[0] for m in found)
    folded = tuple(word.casefold() for word in written)
    return Cut(plain, written, folded, tuple(m.span() for m in found), frozenset({*written, *folded}))


def term(text: str) -> Term:
    """Raises ValueError for an expression without any letter or digit."""
    apart = cut(text)
    if not any(word.isalnum() for word in apart.written):
        raise ValueError("a term needs at least one letter or digit")
    letters = [c for c in text if c.isalpha()]
    exact = len(letters) > 1 and all(c.isupper() for c in letters)
    made = map(_exact_forms, apart.written) if exact else map(forms, apart.folded)
    return Term(text, tuple(made), exact)


def forms(word: str) -> frozenset[str]:
    """A lowercase word with its regular plurals and singulars, some of which no dictionary has."""
    if not word.isalpha() or len(word) < SHORTEST_PLURAL:
        return frozenset({word})
    found = {word, *_plurals(word)}
    for ending, singular in (("ies", "y"), ("aux", "al"), ("es", ""), ("s", ""), ("x", "")):
        stem = word.removesuffix(ending) + singular
        if word.endswith(ending) and len(stem) >= SHORTEST_PLURAL and word in _plurals(stem):
            found.add(stem)
    return frozenset(found)


def _plurals(word: str) -> set[str]:
    if word.endswith(("s", "x", "z", "ch", "sh")):
        return {word + "es"}
    made = {word + "s"}
    if word.endswith(("au", "eu", "ou")):
        made.add(word + "x")
    if word.endswith("al"):
        made.add(word[:-2] + "aux")
    if word.endswith("y"):
        made.add(word[:-1] + "ies")
    return made


def _exact_forms(word: str) -> frozenset[str]:
    return frozenset({word, f"{word}s"}) if word.isalpha() and len(word) > 1 else frozenset({word})


def find(wanted: Term, text: Cut) -> list[Found]:
    """Every place of the term in the text."""
    if wanted.forms[0].isdisjoint(text.known):
        return []
    size, words = len(wanted.forms), text.written if wanted.exact else text.folded
    return [
        Found(wanted, at, at + size, text.text[text.places[at][0] : text.places[at + size - 1][1]])
        for at in range(len(words) - size + 1)
        if all(word in forms for word, forms in zip(words[at : at + size], wanted.forms, strict=True))
    ]


def find_apart(unwanted: Iterable[Term], wanted: Iterable[Term], text: Cut) -> list[Found]:
    """Places of unwanted terms that are not part of a longer wanted one: 'filter' is none in 'return filter'."""
    bad = [place for one in unwanted for place in find(one, text)]
    good = [place for one in wanted for place in find(one, text)] if bad else []
    return [place for place in bad if not any(_is_inside(place, other) for other in good)]


def _is_inside(place: Found, other: Found) -> bool:
    return other.start <= place.start and place.end <= other.end and other.end - other.start > place.end - place.start


def holds_text(text: str, wanted: str, at: Place = "anywhere") -> bool:
    """Is `wanted` a piece of `text`, words cut or not, or its start or end? Capitals, forms of apostrophe and repeated
    spaces do not count; nor do signs around it where it starts or ends the text."""
    text, wanted = _squeezed(text), _squeezed(wanted)
    if at == "start":
        return text.lstrip(_SIGNS_AROUND).startswith(wanted.lstrip(_SIGNS_AROUND))
    if at == "end":
        return text.rstrip(_SIGNS_AROUND).endswith(wanted.rstrip(_SIGNS_AROUND))
    return wanted in text


def _squeezed(text: str) -> str:
    return " ".join(_plain(text).casefold().split())


def _plain(text: str) -> str:
    """One way to write what looks the same: composed accents, straight apostrophes, plain hyphens."""
    return unicodedata.normalize("NFC", text).replace("’", "'").replace("\u2011", "-").replace("\u2010", "-")
