"""What a measure says of itself, in the reader's language.

Audits write one English note a measure. `words/en.json` holds these sentences under `note.…`, with placeholders for
what changes from run to run, and the other languages hold their translations: a note is translated only where the
whole of it is found there, so that a translation never says what the note no longer does.
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from string import Formatter

from limpide.core.measure import Measure
from limpide.document.language import Language, language

Said = tuple[str, str | None]  # a sentence, and the code of its language where it is not the reader's
Found = list[tuple[str, dict[str, str]]]  # sentences that were read: [(key, what stands at its placeholders)]
PREFIX = "note."


@dataclass(frozen=True)
class Limit:
    """What some measures do not say. of: their names in words, '' where it holds for all of a section."""

    of: str
    said: Said


def in_words(note: str, spoken: Language) -> Said:
    """The note in the language spoken, or as it is with the code 'en'."""
    said = _sentences(note, spoken)
    return (" ".join(text for text, _ in said), said[0][1])


def first(note: str, spoken: Language) -> Said:
    """The first sentence of a note, in the language spoken where the whole of it is known."""
    return _sentences(note, spoken)[0]


def limits(measures: Iterable[Measure], spoken: Language) -> list[Limit]:
    """What numbers that were measured do not say: each sentence once, with the measures it is about."""
    about: dict[Said, dict[str, None]] = {}
    noted = [m for m in measures if m.note and m.state == "measured"]
    for measure in noted:
        for said in _sentences(measure.note or "", spoken):
            about.setdefault(said, {})[measure.name] = None
    names = {m.name for m in noted}
    merged: dict[tuple[str, str | None], list[str]] = {}
    for (text, lang), of in about.items():
        label = "" if len(of) == len(names) > 1 else spoken.list(spoken.name("measure", name) for name in of)
        merged.setdefault((label, lang), []).append(text)
    return [Limit(label, (" ".join(texts), lang)) for (label, lang), texts in merged.items()]


def _sentences(note: str, spoken: Language) -> list[Said]:
    """The sentences of a note that are known, translated; else the whole of it, as it is."""
    found = read(note.strip(), _patterns())
    if found is None:
        return [(note, "en" if spoken.code != "en" else None)]
    return [
        (spoken.say(key, **{name: number(text, spoken) for name, text in places.items()}), None)
        for key, places in found
    ]


@cache
def _patterns() -> tuple["Pattern", ...]:
    return patterns(language("en").words, PREFIX)


# ---- reading sentences by their templates ---------------------------------------------------------------------------


@dataclass(frozen=True)
class Pattern:
    """A sentence with placeholders, which take the words up to what follows them. open: its end is a placeholder."""

    key: str
    form: re.Pattern[str]
    open: bool


def patterns(words: Mapping[str, str], *prefixes: str) -> tuple[Pattern, ...]:
    """The sentences whose keys begin with one of the prefixes, those with the most words of their own first."""
    written = [(key, list(Formatter().parse(text))) for key, text in words.items() if key.startswith(prefixes)]
    longest = sorted(written, key=lambda one: (-sum(len(literal) for literal, *_ in one[1]), one[0]))
    return tuple(_pattern(key, [(literal, name) for literal, name, *_ in pieces]) for key, pieces in longest)


def read(
    text: str, known: Sequence[Pattern], accept: Callable[[str, Mapping[str, str]], bool] = lambda key, places: True
) -> Found | None:
    """The text as sentences that are known, the first way there is; None where some of it is not known.

    accept: given a key and what stands at its placeholders, whether that may stand there.
    """
    return _Reader(known, accept, set()).read(text)


def number(text: str, spoken: Language) -> str:
    """A number with the reader's decimal mark; other words as they are."""
    if re.fullmatch(r"[\d,]*\d(\.\d+)?", text) and spoken.code == "fr":
        return text.replace(",", "\u202f").replace(".", ",")
    return text


@dataclass(frozen=True)
class _Reader:
    """dead: ends of the text that no sentences make up, so that each is tried once."""

    known: Sequence[Pattern]
    accept: Callable[[str, Mapping[str, str]], bool]
    dead: set[str]

    def read(self, text: str) -> Found | None:
        if text in self.dead:
            return None
        for pattern in self.known:
            found = self._begins(pattern, text) or self._whole(pattern, text)
            if found is not None:
                return found
        self.dead.add(text)
        return None

    def _begins(self, pattern: Pattern, text: str) -> Found | None:
        match = pattern.form.match(text)
        if match is None or not self.accept(pattern.key, match.groupdict()):
            return None
        rest = text[match.end() :].strip()
        others = self.read(rest) if rest else []
        return None if others is None else [(pattern.key, match.groupdict()), *others]

    def _whole(self, pattern: Pattern, text: str) -> Found | None:
        """A placeholder at the end may hold all that follows, unless a full stop says where the sentence ends."""
        match = pattern.form.fullmatch(text) if pattern.open else None
        if match is None or not self.accept(pattern.key, match.groupdict()):
            return None
        return [(pattern.key, match.groupdict())]


def _pattern(key: str, pieces: Sequence[tuple[str, str | None]]) -> Pattern:
    """pieces: (words, the placeholder after them), None after the last ones.

    A placeholder ends where the words after it are first found, and nowhere else, but for the last one: atomic groups
    keep the time in proportion to the text, whoever wrote it.
    """
    names, literals = [name for _, name in pieces if name is not None], [""]
    for literal, name in pieces:  # braces that are no placeholder come in pieces of their own
        literals[-1] += re.escape(literal)
        if name is not None:
            literals.append("")
    form, seen = literals[0], set[str]()
    for place, (name, after) in enumerate(zip(names, literals[1:], strict=True), start=1):
        held = f"(?P={name})" if name in seen else f"(?P<{name}>.+?)"
        seen.add(name)
        form += f"(?>{held}{after})" if place < len(names) else held + after
    return Pattern(key, re.compile(form + r"(?=\s|$)"), open=pieces[-1][1] is not None)
