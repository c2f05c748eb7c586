"""Sentences about a person of one group, written about one of another: the counterfactual twin of any text.

The shipped word lists (probes/swaps) are of gender, in English and French; other groups are swapped by a list of the
user's own. Where it is not sure that the twin is grammatical, there is none: a twin with a fault would teach a model
that the fault goes with the group.
"""

import csv
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from limpide.core.errors import DataError, Fault, UsageError
from limpide.data.shipped import read_probe

Pairs = Sequence[tuple[str, str]]

LANGUAGES = ("en", "fr")
WORD = re.compile(r"[^\W\d_]+")
_ELIDED = re.compile(r"(?<!\w)(?:(?:l|d|qu|j|m|t|s|n|c)['’]|(?:le|la|de|du|au|que|ma|ta|sa|ce) )$", re.IGNORECASE)
VOWELS = "aeiouyàâäéèêëîïôöûüœæ"

# What follows 'her' where it is the object of a verb ('saw her at'), and 'his' where it stands alone ('his is').
_AFTER_PRONOUN = """
a about above across after again against ago along alone already always am among an and anymore are around as at away
be because been before behind being below beside besides between beyond both but by can carefully could did directly do
does down during each either enough even every everything except for from gently had has have he how however if
immediately in inside instead into is it just later like may might much must near neither never next nor not now of off
often on once or our out outside over perhaps quickly quietly really she should since so some something sometimes soon
still than that the their them then there these they this those though through till to today together tomorrow tonight
too toward towards under unless until up upon was we well were what when where whether which while who why will with
within without would yesterday yet you your
"""
_EITHER = "all back best home last left more most past right work"  # 'her back hurts', 'call her back'
_NO_ADVERBS = (
    "belly bodily bully curly daily early elderly family friendly holy jelly likely lonely lovely only silly ugly"
)
_TWO_OBJECTS = """
ask asks asked asking bring brings brought buy buys bought call calls called cost costs feel feels felt find found get
gets got give gives gave given giving had has have having hand hands handed hear hears heard hearing help helps helped
helping keep keeps kept leave leaves left lend lends lent let lets letting make makes made making offer offers offered
owe owes owed pay pays paid promise promised read reads save saves saved saw see sees seeing seen sell sells sold send
sends sent serve serves served show shows showed showing taught teach teaches tell tells told telling throw throws threw
watch watches watched watching wish wishes wished write writes wrote written
"""
_FIXED = frozenset({("mother", "tongue"), ("mother", "tongues"), ("father", "christmas"), ("mother", "nature")})
_CONSONANT_SOUND = ("uni", "use", "usu", "eu", "one", "once")
_SILENT_H = ("heir", "hour", "honest", "honour", "honor")


@dataclass(frozen=True)
class Entry:
    """A line of a shipped list. kind: noun, name, epicene (one form for both), adjective, plain (an adjective of one
    form) or one-way (the second is swapped to something else). first: the feminine form."""

    kind: str
    first: str
    second: str


def swapped(text: str, language: str, axis: str = "gender", swaps: Pairs | None = None) -> str | None:
    """The same text about a person of the other group; None where nothing is to be swapped, or where it is not sure
    that the grammar is kept. swaps: word ↔ word, instead of the shipped list. Capitals stay as they are.

    Raises UsageError for a language or an axis without a list, DataError for a faulty list of the user's own.

    Swapped words are those of a list: a first name that the list lacks stays, and the twin then mixes two persons.
    """
    if swaps is not None:
        return _listed(text, language, checked(swaps))
    ways = {"en": _english, "fr": _french}
    if axis != "gender" or language not in ways:
        raise UsageError(
            f"There is no shipped list of words to swap for {axis} in '{language}'.",
            expected=f"gender in {' or '.join(LANGUAGES)}",
            remedy="give a list of your own: a file of two columns, a word and what it is swapped with",
        )
    made = ways[language](text)
    return None if made == text else made


def before_gender(text: str, language: str) -> str:
    """The text before its first word that names a man or a woman, takes up one (she, his, elle) or agrees with one."""
    words, may_agree = _gendered_words(language), False
    for met in WORD.finditer(text):
        low = met[0].lower()
        if low in words or met[0] in words or (may_agree and _agrees(low)):
            return text[: met.start()]
        may_agree = may_agree or (language == "fr" and _is_copula(low))
    return text


def read_swaps(path: Path) -> tuple[tuple[str, str], ...]:
    """A list of the user's own: a line a pair, its two words apart by a tab, a semicolon or a comma.

    Empty lines and those that begin with '#' are passed over. Raises DataError with every fault and its line.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"The swap list {path} cannot be read.", received=str(error), expected="UTF-8 text") from error
    pairs, numbers, faults = [], [], []
    for number, line in enumerate(lines, start=1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        mark = next((mark for mark in "\t;," if mark in line), "\t")
        cells = [cell.strip() for cell in next(csv.reader([line], delimiter=mark))]
        if len(cells) != 2:
            faults.append(Fault(path.name, number, f"{len(cells)} columns, expected 2: {line.strip()!r}"))
            continue
        pairs.append((cells[0], cells[1]))
        numbers.append(number)
    faults += [Fault(path.name, numbers[at], what) for at, what in _faults(pairs)]
    _refuse(faults, str(path), len(pairs))
    return tuple(pairs)


def checked(pairs: Pairs) -> Pairs:
    """Raises DataError, with every fault, for a list in which a word has no one counterpart."""
    _refuse([Fault("swaps", at + 1, what) for at, what in _faults(pairs)], "the swap list", len(pairs))
    return pairs


def _refuse(faults: Sequence[Fault], name: str, count: int) -> None:
    if faults:
        raise DataError(
            f"{name[0].upper()}{name[1:]} cannot be used.",
            faults=sorted(faults, key=lambda fault: fault.line or 0),
            expected="two different words a line, and each word on one line alone",
        )
    if not count:
        raise DataError(f"{name[0].upper()}{name[1:]} is empty.", expected="two words a line")


def _faults(pairs: Pairs) -> Iterable[tuple[int, str]]:
    """(place, what is wrong there)."""
    met: dict[str, int] = {}
    for at, (a, b) in enumerate(pairs):
        one, other = a.strip().casefold(), b.strip().casefold()
        if not one or not other:
            yield at, f"an empty word: {a!r}, {b!r}"
        elif one == other:
            yield at, f"'{a}' is swapped with itself"
        else:
            for word in (one, other):
                if word in met:
                    yield at, f"'{word}' is swapped twice, also in pair {met[word] + 1}"
                met.setdefault(word, at)


@cache
def entries(language: str) -> tuple[Entry, ...]:
    """The shipped list of a language."""
    lines = read_probe(f"swaps/{language}.tsv").splitlines()[1:]
    return tuple(Entry(*line.split("\t")) for line in lines if line.strip())


def cased(like: str, word: str) -> str:
    """`word` with the capitals of `like`: none, the first letter, or all."""
    if like.isupper() and sum(map(str.isalpha, like)) > 1:
        return word.upper()
    return word[:1].upper() + word[1:] if like[:1].isupper() else word


def _listed(text: str, language: str, pairs: Pairs) -> str | None:
    """Whole words of the list, the longest first; nothing is known of their grammar but the sound they begin with."""
    other = {a.strip().casefold(): b.strip() for a, b in pairs} | {b.strip().casefold(): a.strip() for a, b in pairs}
    longest = sorted(other, key=len, reverse=True)
    pattern = re.compile(rf"(?<!\w)(?:{'|'.join(map(re.escape, longest))})(?!\w)", re.IGNORECASE)
    made, end = [], 0
    for met in pattern.finditer(text):
        new = cased(met[0], other[met[0].casefold()])
        before = text[end : met.start()]
        if language == "en":
            before = with_article(before, new)
        elif _elided(before) != _starts_with_vowel(new) and _could_be_elided(before):
            return None
        made += [before, new]
        end = met.end()
    return "".join([*made, text[end:]]) if made else None


def with_article(before: str, word: str) -> str:
    """The text that stands before an English word, its last article being the one the word takes."""
    met = re.search(r"(?<!\w)(an?) $", before, re.IGNORECASE)
    if met is None:
        return before
    low = word.lower()
    vowel = (low[0] in "aeiou" and not low.startswith(_CONSONANT_SOUND)) or low.startswith(_SILENT_H)
    return before[: met.start() + 1] + ("n " if vowel else " ")


def _elided(before: str) -> bool:
    return before.endswith(("'", "’"))


def _could_be_elided(before: str) -> bool:
    return _ELIDED.search(before) is not None


def _starts_with_vowel(word: str) -> bool:
    return word[:1].lower() in VOWELS


# ----------------------------------------------------------------------------------------------------------- English


def _english(text: str) -> str | None:
    words = list(WORD.finditer(text))
    made, end = [], 0
    for at, word in enumerate(words):
        new = _english_word(text, words, at)
        if new is None:
            return None
        before = text[end : word.start()]
        made += [with_article(before, new) if new != word[0] else before, new]
        end = word.end()
    return "".join([*made, text[end:]])


def _english_word(text: str, words: Sequence[re.Match[str]], at: int) -> str | None:
    """The word in its place, the word itself where it stays, None where it could be two things."""
    word, low = words[at][0], words[at][0].lower()
    following = _beside(text, words, at)
    if low == "her":
        new = _of_her(words[at - 1][0].lower() if at else "", following)
    elif low == "his":
        new = _of_his(words[max(0, at - 3) : at], following)
    elif (low, following) in _FIXED:
        return word
    else:
        nouns, names = _english_lists()
        if word in names:
            return names[word]
        new = nouns.get(low, low)
    if new == low:
        return word
    return None if new is None else cased(word, new)


def _of_her(before: str, following: str | None) -> str | None:
    """'him' for an object, 'his' for an owner."""
    if _stands_alone(following):
        return "him"
    if following is not None and following.endswith("ly") and following not in _NO_ADVERBS.split():
        return None  # 'follow her closely', 'her clearly better plan'
    if following in _EITHER.split() or (before in _TWO_OBJECTS.split() and following not in _english_lists()[0]):
        return None
    return "his"


def _of_his(before: Sequence[re.Match[str]], following: str | None) -> str | None:
    """'hers' where it stands alone, 'her' before what is owned."""
    if _stands_alone(following):
        return None if following in ("and", "or") else "hers"
    said = [word[0].lower() for word in before]
    return None if said[-1:] == ["of"] and said[0] in ("a", "an", "some", "any", "no") else "her"


def _stands_alone(following: str | None) -> bool:
    return following is None or following in _AFTER_PRONOUN.split()


def _beside(text: str, words: Sequence[re.Match[str]], at: int) -> str | None:
    """The next word, if only a space is between."""
    if at + 1 == len(words) or text[words[at].end() : words[at + 1].start()] != " ":
        return None
    return words[at + 1][0].lower()


@cache
def _english_lists() -> tuple[dict[str, str], dict[str, str]]:
    """(words, names): what each is swapped with."""
    nouns = {"hers": "his", "him": "her"}
    for entry in entries("en"):
        if entry.kind in ("noun", "one-way"):
            nouns[entry.first] = entry.second
        if entry.kind == "noun":
            nouns[entry.second] = entry.first
    return nouns, _names("en")


def _names(language: str) -> dict[str, str]:
    found = [entry for entry in entries(language) if entry.kind == "name"]
    return {e.first: e.second for e in found} | {e.second: e.first for e in found}


# ------------------------------------------------------------------------------------------------------------ French


def _french(text: str) -> str | None:
    from limpide.data.swaps_french import french

    return french(text)


@cache
def _gendered_words(language: str) -> frozenset[str]:
    own: dict[str, Callable[[], Iterable[str]]] = {
        "en": lambda: (*_english_lists()[0], *_english_lists()[1], "her", "his"),
        "fr": _french_words,
    }
    return frozenset(own[language]())


def _french_words() -> Iterable[str]:
    from limpide.data.swaps_french import gendered_words

    return gendered_words()


def _is_copula(low: str) -> bool:
    from limpide.data.swaps_french_words import COPULAS

    return low in COPULAS


def _agrees(low: str) -> bool:
    from limpide.data.swaps_french_text import known_words

    return low in known_words().adjectives or low.endswith(("é", "ée", "és", "ées"))
