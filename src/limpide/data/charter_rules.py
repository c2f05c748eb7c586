"""The rules of a charter, checked on one answer. A break names its rule, its entry and the words found."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from limpide.data import terms, writing
from limpide.data.charter import Charter, Entry
from limpide.data.terms import Cut

MOST_SHOWN = 5  # words found for one break


@dataclass(frozen=True)
class Said:
    """One answer to check. language: of its question, None when not known. entries: terms that it asks for."""

    question: str
    answer: str
    language: str | None = None
    entries: tuple[Entry, ...] = ()

    @property
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


def asked_to_say(charter: Charter, question: str) -> list[str]:
    """What the rules `required` want in the answer to this question."""
    return [rule.say for rule in charter.required if any(terms.contains_text(question, piece) for piece in rule.when)]


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
    for wanted in asked_to_say(charter, said.question):
        if not terms.contains_text(said.answer, wanted):
            yield Break("required", wanted)


def _style(charter: Charter, said: Said) -> Iterator[Break]:
    for rule in charter.style_rules:
        if found := STYLE[rule](charter, said):
            yield Break(rule, rule, tuple(found))


# ------------------------------------------------------------------------------------- style: what breaks each rule


def _address(charter: Charter, said: Said) -> Sequence[str]:
    if said.spoken != "fr":
        return []
    return writing.says_tu(said.answer) if charter.tone.address == "vous" else writing.says_vous(said.answer)


def _language(charter: Charter, said: Said) -> Sequence[str]:
    return _other_language(said, charter.style.language)


def _same_language(charter: Charter, said: Said) -> Sequence[str]:
    return _other_language(said, said.language)


def _other_language(said: Said, wanted: str | None) -> list[str]:
    spoken = writing.language_of(said.answer)
    return [] if None in (spoken, wanted) or spoken == wanted else [str(spoken)]


def _max_words(charter: Charter, said: Said) -> Sequence[str]:
    count = len(writing.words(said.answer))
    return [f"{count} words"] if count > (charter.style.max_words or count) else []


def _max_words_per_sentence(charter: Charter, said: Said) -> Sequence[str]:
    most = charter.style.max_words_per_sentence
    return [piece for piece in writing.sentences(said.answer) if most and len(writing.words(piece)) > most]


def _no_exclamation(charter: Charter, said: Said) -> Sequence[str]:
    return [char for char in said.answer if char in "!！"]


def _no_emoji(charter: Charter, said: Said) -> Sequence[str]:
    return writing.emojis(said.answer)


def _no_lists(charter: Charter, said: Said) -> Sequence[str]:
    return writing.list_lines(said.answer)


STYLE: dict[str, Callable[[Charter, Said], Sequence[str]]] = {
    "address": _address,
    "language": _language,
    "same_language": _same_language,
    "max_words": _max_words,
    "max_words_per_sentence": _max_words_per_sentence,
    "no_exclamation": _no_exclamation,
    "no_emoji": _no_emoji,
    "no_lists": _no_lists,
}
