"""The rules of a charter, checked on one answer. A break names its rule, its entry and the words found."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

from limpide.data import terms, writing
from limpide.data.charter import Charter, Entry, Required
from limpide.data.terms import Cut

MOST_SHOWN = 5  # words found for one break


@dataclass(frozen=True)
class Said:
    """One answer to check. language: of its question, None when not known. entries: terms that it asks for."""

    question: str
    answer: str
    language: str | None = None
    entries: tuple[Entry, ...] = ()

    @cached_property
    def spoken(self) -> str | None:
        """Language of the answer, or of its question where the answer does not tell."""
        return writing.language_of(self.answer) or self.language


@dataclass(frozen=True)
class Break:
    """rule: term, instead_of, forbidden, required, no_answer, or a style rule. entry: which of the charter's."""

    rule: str
    entry: str
    found: tuple[str, ...] = ()

    def record(self) -> dict[str, object]:
        return {"rule": self.rule, "entry": self.entry, "found": list(self.found[:MOST_SHOWN])}


def breaks(charter: Charter, said: Said) -> list[Break]:
    """Every rule that an answer breaks. An answer without any word breaks one of its own."""
    text = terms.cut(said.answer)
    silent = [] if writing.words(said.answer) else [Break("no_answer", "an answer")]
    return [
        *silent,
        *_missing(charter, said, text),
        *_deprecated(charter, said, text),
        *_forbidden(charter, said, text),
        *_required(charter, said),
        *_style(charter, said),
    ]


def asked_to_say(charter: Charter, said: Said) -> list[Required]:
    """The rules `required` that hold for this question. Its language counts where a rule has one, and that of the
    answer where the question's is not known."""
    asked = said.language or said.spoken
    return [
        rule
        for rule in charter.required
        if rule.language in (None, asked)
        and (not rule.when or any(terms.holds_text(said.question, piece) for piece in rule.when))
    ]


def _missing(charter: Charter, said: Said, text: Cut) -> Iterator[Break]:
    for entry in said.entries:
        if not terms.find(charter.cut[entry.term], text):
            yield Break("term", entry.term)


def _deprecated(charter: Charter, said: Said, text: Cut) -> Iterator[Break]:
    """Words that the glossary replaces; a question that asks for the term wants it in any language."""
    for entry in charter.glossary:
        if entry.language in (None, said.spoken) or entry in said.entries:
            unwanted = [charter.cut[word] for word in entry.instead_of]
            if found := terms.find_apart(unwanted, [charter.cut[entry.term]], text):
                yield Break("instead_of", entry.term, tuple(place.words for place in found))


def _forbidden(charter: Charter, said: Said, text: Cut) -> Iterator[Break]:
    for ban in charter.forbidden:
        if ban.language in (None, said.spoken):
            allowed = [charter.cut[word] for word in ban.allowed]
            if found := terms.find_apart([charter.cut[ban.term]], allowed, text):
                yield Break("forbidden", ban.term, tuple(place.words for place in found))


def _required(charter: Charter, said: Said) -> Iterator[Break]:
    for rule in asked_to_say(charter, said):
        if not terms.holds_text(said.answer, rule.say, rule.at):
            yield Break("required", rule.say)


def _style(charter: Charter, said: Said) -> Iterator[Break]:
    for rule in charter.style_rules:
        if found := STYLE[rule](charter, said):
            yield Break(rule, rule, tuple(found))


# ------------------------------------------------------------------------------------- style: what breaks each rule


def _address(charter: Charter, said: Said) -> Sequence[str]:
    if said.spoken != "fr":
        return []
    return writing.says_tu(said.answer) if charter.tone.address == "vous" else writing.says_vous(said.answer)


def _person(charter: Charter, said: Said) -> Sequence[str]:
    return writing.other_persons(said.answer, said.spoken, charter.tone.person) if charter.tone.person else []


def _language(charter: Charter, said: Said) -> Sequence[str]:
    return _other_language(said, charter.style.language)


def _same_language(charter: Charter, said: Said) -> Sequence[str]:
    return _other_language(said, said.language)


def _other_language(said: Said, wanted: str | None) -> list[str]:
    spoken = writing.language_of(said.answer)
    return [] if None in (spoken, wanted) or spoken == wanted else [str(spoken)]


def _min_words(charter: Charter, said: Said) -> Sequence[str]:
    count = len(writing.words(said.answer))
    return [f"{count} words"] if count < (charter.style.min_words or 0) else []


def _max_words(charter: Charter, said: Said) -> Sequence[str]:
    count = len(writing.words(said.answer))
    return [f"{count} words"] if count > (charter.style.max_words or count) else []


def _max_words_per_sentence(charter: Charter, said: Said) -> Sequence[str]:
    most = charter.style.max_words_per_sentence
    return [piece for piece in writing.sentences(said.answer) if most and len(writing.words(piece)) > most]


def _signs(rule: str) -> Callable[[Charter, Said], Sequence[str]]:
    return lambda charter, said: writing.SIGNS[rule](said.answer)


STYLE: dict[str, Callable[[Charter, Said], Sequence[str]]] = {
    "address": _address,
    "person": _person,
    "language": _language,
    "same_language": _same_language,
    "min_words": _min_words,
    "max_words": _max_words,
    "max_words_per_sentence": _max_words_per_sentence,
    **{rule: _signs(rule) for rule in writing.SIGNS},
}
