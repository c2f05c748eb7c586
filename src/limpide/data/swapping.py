"""One expression of a text put in the place of another, with what grammar asks of the words around it.

English: the plural, and a or an. French: the plural of one word, the article cut before a vowel, and never a word of
the other gender, which its articles and adjectives would show. Where that is not certain there is no swap.
"""

import re
from collections.abc import Mapping

from limpide.data import french, terms
from limpide.data.french import Gender
from limpide.data.terms import Found, Term

_ARTICLE = re.compile(r"\b(an?)( +)$", re.IGNORECASE)
_VOWEL_SOUND = re.compile(r"[ai]|e(?!u|we)|o(?!ne\b)|u(?!ni|s|ti|k)|hour|heir|honest|honou?r", re.IGNORECASE)
_CUTTABLE = re.compile(r"\b(le|la|de|que|jusque|ne|se|me|te|je|ce)( +)$", re.IGNORECASE)
_CUT = re.compile(r"\b(l|d|qu|n|s|m|t|j|c)'$", re.IGNORECASE)
_UNCUTTABLE = re.compile(r"\b(?:du|au|un|une|ma|ta|sa|cette)( +)$", re.IGNORECASE)


def swap_all(text: str, old: Term, new: str, language: str | None, gender: Mapping[str, Gender] | None) -> str | None:
    """Every `old` made `new`. None where one cannot be, or where there is none.

    gender: of French words; None where a wrong gender does no harm, as in an answer to be rejected.
    """
    found = terms.find(old, terms.cut(text))
    for place in reversed(found):
        swapped = _swap(text, place, new, language, gender)
        if swapped is None:
            return None
        text = swapped
    return text if found else None


def _swap(text: str, place: Found, new: str, language: str | None, gender: Mapping[str, Gender] | None) -> str | None:
    apart = terms.cut(text)
    if len(apart.text) != len(text):
        return None  # written with accents apart: places would not fit
    start, end = apart.places[place.start][0], apart.places[place.end - 1][1]
    before, written, after = text[:start], text[start:end], text[end:]
    numbered = _in_number(written, place.term.text, new, language)
    if numbered is None:
        return None
    if gender is not None and language == "fr" and not _same_gender(place.term.text, new, gender):
        return None
    fitted = _fit(before, numbered, language, gender or {})
    if fitted is None:
        return None
    word = numbered if place.term.exact else french.like(numbered, written)
    return fitted + word + after


def _in_number(written: str, old: str, new: str, language: str | None) -> str | None:
    """`new` in the number that `written`, a form of `old`, is in. None for what is no plain singular or plural."""
    if written.casefold().replace("’", "'") == old.casefold().replace("’", "'"):
        return new
    if not language or len(written) <= len(old):
        return None  # `old` is a plural itself
    return plural(new, language)


def plural(expression: str, language: str) -> str | None:
    """The regular plural. English: of the last word; French: of one word alone, as others may agree or not."""
    if language == "fr":
        if re.search(r"[\s'-]", expression):
            return None
        if expression.endswith("al"):
            return expression[:-2] + "aux"
        ending = "" if expression.endswith(("s", "x", "z")) else "x" if expression.endswith(("au", "eu")) else "s"
        return expression + ending
    if expression.endswith("y") and expression[-2:-1] not in tuple("aeiou"):
        return expression[:-1] + "ies"
    return expression + ("es" if expression.endswith(("s", "x", "z", "ch", "sh")) else "s")


def _same_gender(old: str, new: str, gender: Mapping[str, Gender]) -> bool:
    first, second = (gender.get(_head(text)) for text in (old, new))
    return first is not None and first == second


def _head(expression: str) -> str:
    return re.split(r"[\s-]", expression.casefold())[0]


def _fit(before: str, word: str, language: str | None, gender: Mapping[str, Gender]) -> str | None:
    """What stands before, as it must be before `word`."""
    if language == "fr":
        return _fit_french(before, word, gender)
    return _fit_english(before, word) if language == "en" else before


def _fit_english(before: str, word: str) -> str | None:
    match = _ARTICLE.search(before)
    if match is None:
        return before
    if word.isupper() or not word[:1].isalpha():
        return None  # an HP-80, a NATO: how it is read does not show
    article = "an" if _VOWEL_SOUND.match(word) else "a"
    return before[: match.start()] + french.like(article, match[1]) + match[2]


def _fit_french(before: str, word: str, gender: Mapping[str, Gender]) -> str | None:
    before_sign = before.replace("’", "'")
    vowel = french.begins_with_vowel(word)
    cut, cuttable = _CUT.search(before_sign), _CUTTABLE.search(before)
    if vowel is None:
        return None if cut or cuttable or _UNCUTTABLE.search(before) else before
    if cut and not vowel:
        whole = {"d": "de", "qu": "que", "l": {"m": "le", "f": "la"}.get(gender.get(_head(word), ""))}.get(
            cut[1].casefold()
        )
        return None if whole is None else before[: cut.start()] + french.like(whole, cut[1]) + " "
    if cuttable and vowel:
        return before[: cuttable.start()] + cuttable[1][:-1] + "'"
    return None if vowel and _UNCUTTABLE.search(before) and not before.casefold().rstrip().endswith("un") else before
