"""Insults and slurs in text, by a short list of whole words: data/lists/toxic.tsv.

It counts words, not meaning: an insult quoted, studied or forbidden is counted as one that is meant, and hatred in
polite words is not seen. What it finds is for a person to read; it is never printed whole.
"""

from collections.abc import Collection
from functools import cache

from limpide.data.shipped import read_list
from limpide.data.terms import Cut, Found, Term, cut, find, term

OF_BOTH = "*"  # marks a word that is an ordinary one of the other language


@cache
def expressions(language: str | None) -> tuple[Term, ...]:
    """What is looked for in a text of this language; of both languages, without words that one of them has for
    something else, where it is not known."""
    found = []
    for line in read_list("toxic.tsv").splitlines():
        its, _, listed = line.partition("\t")
        if listed and language in (its, None):
            found += [text for text in listed.split(" | ") if language or not text.endswith(OF_BOTH)]
    return tuple(term(text.removesuffix(OF_BOTH)) for text in found)


@cache
def _beginnings(language: str | None) -> frozenset[str]:
    """The first word of each expression, in every form: a text without any of them is done with at once."""
    return frozenset(form for wanted in expressions(language) for form in wanted.forms[0])


def find_toxic(text: str, words: Collection[str], language: str | None) -> list[Found]:
    """Insults and slurs in `text`, by place. words: of the text, in lower case. language: 'en', 'fr' or None."""
    language = language if language in ("en", "fr") else None
    if _beginnings(language).isdisjoint(words):
        return []
    apart: Cut = cut(text)
    found = [place for wanted in expressions(language) for place in find(wanted, apart)]
    inside = {p for p in found for q in found if q.start <= p.start and p.end <= q.end and q.words != p.words}
    return sorted((place for place in found if place not in inside), key=lambda place: place.start)


def shortened(found: Found) -> str:
    """The first letter of each word: 's… of a b…' says enough to find it."""
    return " ".join(f"{word[0]}…" for word in found.words.split())
