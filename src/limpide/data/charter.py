"""An editorial charter: the words an organisation wants and does not want, and rules of style that code can check.

`charter.yaml` holds terms and rules, never expressions to run: what is searched for is found as whole words
(data/terms.py), so that no charter can take forever on an answer.
"""

from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, StringConstraints, ValidationError

from limpide.core import yaml_file
from limpide.core.errors import DataError, Fault
from limpide.core.operation import Settings
from limpide.core.yaml_file import Sort
from limpide.data import terms, writing
from limpide.data.terms import Place, Term
from limpide.data.writing import Person

NAME = "charter.yaml"
CHARTER = Sort("charter", DataError, "write one: glossary, forbidden, required, tone, style, questions")

Language = Literal["en", "fr"]
Text = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=2000)]


def _is_a_term(text: str) -> str:
    terms.term(text)
    return text


def _as_list(value: Any) -> Any:
    return (value,) if isinstance(value, str) else value


def _as_question(value: Any) -> Any:
    return {"ask": value} if isinstance(value, str) else value


Expression = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=100)]
Words = Annotated[Expression, AfterValidator(_is_a_term)]


class Entry(Settings):
    """One term of the glossary."""

    term: Words = Field(description="the right word or expression")
    language: Language | None = Field(None, description="of the answers it is for; every one when left out")
    means: Text | None = Field(None, description="what it stands for; taught where data.charter is learnt")
    instead_of: Annotated[tuple[Words, ...], BeforeValidator(_as_list)] = Field(
        (), description="wrong or deprecated words for the same thing, in any answer"
    )
    ask: Text | None = Field(None, description="a question whose right answer uses the term: audited, never taught")


class Forbidden(Settings):
    """One term that no answer may hold."""

    term: Words = Field(description="word or expression that no answer may hold")
    language: Language | None = Field(None, description="of the answers it is for; every one when left out")
    why: Text | None = Field(None, description="the reason, for people")
    instead: Words | None = Field(None, description="what to say; where it holds the term, that is no fault")
    drop_in: bool = Field(False, description="`instead` fits wherever the term stands, so that code may put it there")

    @property
    def allowed(self) -> tuple[str, ...]:
        return (self.instead,) if self.instead else ()


class Required(Settings):
    """What answers must say: all of them, or those to some questions. A disclaimer is what they end with."""

    when: Annotated[tuple[Expression, ...], BeforeValidator(_as_list)] = Field(
        (),
        min_length=1,
        description="pieces of text; the rule holds for questions with one of them, capitals aside, and for every "
        "question when left out",
    )
    language: Language | None = Field(None, description="of the questions it is for; every one when left out")
    say: Text = Field(description="text that the answer must hold, capitals aside")
    at: Place = Field("anywhere", description="where in the answer; a disclaimer is at its end")


class Tone(Settings):
    """How the reader is spoken to."""

    manner: Text | None = Field(None, description="the tone in your own words, for people: no code checks it")
    address: Literal["vous", "tu"] | None = Field(None, description="pronoun of French answers")
    person: Person | None = Field(
        None, description="first person that answers speak in; `none`: they say neither I nor we (je, nous)"
    )


class Style(Settings):
    """How an answer is written."""

    language: Language | None = Field(None, description="of every answer; that of its question when `same_language`")
    same_language: bool = Field(False, description="an answer is in the language of its question")
    min_words: int | None = Field(None, ge=1, description="words of an answer, at least")
    max_words: int | None = Field(None, ge=1, description="words of an answer, at most")
    max_words_per_sentence: int | None = Field(None, ge=1, description="words of each sentence, at most")
    no_exclamation: bool = Field(False, description="no exclamation mark")
    no_emoji: bool = Field(False, description="no emoji")
    no_lists: bool = Field(False, description="no line that begins with a bullet or a number")
    no_contractions: bool = Field(False, description="no contracted form in English answers (don't, it's)")


class Question(Settings):
    """One question of the organisation's own, to check the rules on its answer."""

    ask: Text = Field(description="the question, as a user would put it")
    language: Language | None = Field(None, description="of the question; told from its words when left out")


class Charter(Settings):
    """A whole charter."""

    version: Literal[1] = Field(1, description="of this file's format")
    glossary: tuple[Entry, ...] = Field((), description="terms with their meaning, and words not to use for them")
    forbidden: tuple[Forbidden, ...] = Field((), description="terms that no answer may hold")
    required: tuple[Required, ...] = Field((), description="what answers must say, all or some")
    tone: Tone = Field(default_factory=lambda: Tone(), description="how the reader is spoken to")
    style: Style = Field(default_factory=lambda: Style(), description="how an answer is written")
    questions: tuple[Annotated[Question, BeforeValidator(_as_question)], ...] = Field(
        (), description="questions to audit, never taught: each a text, or {ask, language}"
    )

    @cached_property
    def cut(self) -> dict[str, Term]:
        """Every expression of the charter, ready to be looked for."""
        return {text: terms.term(text) for text in _expressions(self)}

    @property
    def style_rules(self) -> tuple[str, ...]:
        """Names of the style rules that are set, those of the tone that code can check included."""
        tone = [name for name in ("address", "person") if getattr(self.tone, name)]
        return (*tone, *(name for name in Style.model_fields if getattr(self.style, name)))


def _expressions(charter: Charter) -> Iterator[str]:
    for entry in charter.glossary:
        yield from (entry.term, *entry.instead_of)
    for ban in charter.forbidden:
        yield from (ban.term, *ban.allowed)


def load_charter(path: Path) -> Charter:
    """The charter in `path`. Raises DataError with every fault and its line, MissingError without the file."""
    document, plain = yaml_file.read(path, CHARTER)
    try:
        charter = Charter.model_validate(plain)
        faults = [Fault(path.name, yaml_file.line_of(document, place), what) for place, what in contradictions(charter)]
    except ValidationError as error:
        faults = yaml_file.faults_of(path, document, error, Charter)
    if faults:
        raise yaml_file.faulty(path, CHARTER, faults, "correct them and run the same command again")
    if not (charter.glossary or charter.forbidden or charter.required or charter.style_rules):
        raise DataError(
            f"{path} holds no rule that could be checked.",
            received=f"{len(charter.questions)} questions",
            expected="glossary, forbidden, required, tone or style",
        )
    return charter


def contradictions(charter: Charter) -> Iterator[tuple[Sequence[str | int], str]]:
    """(place in the file, what is wrong) of rules that no answer could follow together."""
    right: dict[tuple[str, str | None], int] = {}
    for k, entry in enumerate(charter.glossary):
        key = entry.term.casefold(), entry.language
        if key in right:
            yield ["glossary", k], f"glossary.{k}: '{entry.term}' is already term {right[key]} of the glossary"
        right.setdefault(key, k)
        for word in entry.instead_of:
            if _holds(entry.term, word) and _holds(word, entry.term):
                yield ["glossary", k], f"glossary.{k}: '{word}' is both the term and a word not to use for it"
    for k, ban in enumerate(charter.forbidden):
        for text, where in _wanted(charter, ban.language):
            if terms.find_apart([terms.term(ban.term)], [terms.term(t) for t in ban.allowed], terms.cut(text)):
                yield ["forbidden", k], f"forbidden.{k}: '{ban.term}' is forbidden, and {where} asks for '{text}'"
    yield from _required_contradictions(charter)
    if charter.tone.address and charter.style.language == "en":
        yield ["tone", "address"], "tone.address: it is for French answers, and style.language is en"
    if charter.style.language and charter.style.same_language:
        yield ["style", "same_language"], "style.same_language: style.language says already which language it is"
    if charter.style.max_words and (charter.style.min_words or 0) > charter.style.max_words:
        yield ["style", "min_words"], "style.min_words: it is above style.max_words"


def _required_contradictions(charter: Charter) -> Iterator[tuple[Sequence[str | int], str]]:
    """What is required and breaks a rule itself, and two texts that every answer must begin or end with."""
    taken: dict[tuple[str, str | None], int] = {}
    for k, rule in enumerate(charter.required):
        place: Sequence[str | int] = ["required", k]
        name = f"required.{k}"
        for style in writing.SIGNS.keys() & set(charter.style_rules):
            if writing.SIGNS[style](rule.say):
                yield place, f"{name}: style.{style} forbids what 'say' holds"
        spoken = rule.language or writing.language_of(rule.say)
        if charter.tone.person and writing.other_persons(rule.say, spoken, charter.tone.person):
            yield place, f"{name}: 'say' does not keep to tone.person, {charter.tone.person}"
        if charter.style.max_words and len(writing.words(rule.say)) > charter.style.max_words:
            yield place, f"{name}: 'say' is longer than style.max_words"
        if rule.at != "anywhere" and not rule.when:
            before = next((taken[key] for key in taken if key[0] == rule.at and _meet(key[1], rule.language)), None)
            if before is not None:
                yield place, f"{name}: required.{before} is at the {rule.at} of the same answers"
            taken[rule.at, rule.language] = k


def _meet(first: str | None, second: str | None) -> bool:
    """Are there questions of both languages? None stands for every language."""
    return first is None or second is None or first == second


def _wanted(charter: Charter, language: str | None) -> Iterator[tuple[str, str]]:
    """What the charter asks to be said where a rule of `language` is checked, and by which key."""
    for k, entry in enumerate(charter.glossary):
        if entry.language is None or language is None or entry.language == language:
            yield entry.term, f"glossary.{k}.term"
    for k, rule in enumerate(charter.required):
        yield rule.say, f"required.{k}.say"


def _holds(text: str, word: str) -> bool:
    return bool(terms.find(terms.term(word), terms.cut(text)))
