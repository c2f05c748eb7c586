"""What a measure says of itself, in the reader's language.

Audits write one English note a measure. `words/en.json` holds these sentences under `note.…`, with placeholders for
what changes from run to run, and the other languages hold their translations: a note is translated only where the
whole of it is found there, so that a translation never says what the note no longer does.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache

from limpide.core.measure import Measure
from limpide.document.language import Language, language

Said = tuple[str, str | None]  # a sentence, and the code of its language where it is not the reader's
PREFIX = "note."
PLACE = re.compile(r"\\\{(\w+)\\\}")


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
    found = next(_read(note.strip()), None)
    if found is None:
        return [(note, "en" if spoken.code != "en" else None)]
    return [
        (spoken.say(key, **{name: _number(text, spoken) for name, text in places.items()}), None)
        for key, places in found
    ]


def _read(note: str) -> Iterator[list[tuple[str, dict[str, str]]]]:
    """Ways to read a note as sentences of `words/en.json`: each is [(key, its placeholders)]."""
    for key, pattern in _patterns():
        whole = pattern.match(note)
        if not whole:
            continue
        rest = note[whole.end() :].strip()
        if not rest:
            yield [(key, whole.groupdict())]
        else:
            yield from ([(key, whole.groupdict()), *others] for others in _read(rest))


@cache
def _patterns() -> tuple[tuple[str, re.Pattern[str]], ...]:
    """The English sentences as patterns, the longest first; a placeholder takes the words up to what follows it."""
    written = {key: text for key, text in language("en").words.items() if key.startswith(PREFIX)}
    longest = sorted(written.items(), key=lambda pair: (-len(pair[1]), pair[0]))
    return tuple((key, re.compile(PLACE.sub(r"(?P<\1>.+?)", re.escape(text)) + r"(?=\s|$)")) for key, text in longest)


def _number(text: str, spoken: Language) -> str:
    """A number with the reader's decimal mark; other words as they are."""
    if re.fullmatch(r"[\d,]*\d(\.\d+)?", text) and spoken.code == "fr":
        return text.replace(",", "\u202f").replace(".", ",")
    return text
