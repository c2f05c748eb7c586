"""One example's texts looked at alone: damage, characters that cannot be seen, answers that say nothing, insults."""

import re
from collections.abc import Iterator

from limpide.data.examples import Example
from limpide.data.rows import MOJIBAKE
from limpide.data.toxic import find_toxic, shortened
from limpide.data.writing import language_of

# Name → how the report calls it.
ODDITIES = {
    "encoding": "Texts that look wrongly decoded",
    "invisible": "Texts with characters that cannot be seen",
    "empty": "Answers that say nothing",
    "toxic": "Insults or slurs, by a short list of words",
}
# Joiners of scripts and emoji (U+200C, U+200D) are left: they are part of how some languages are written.
INVISIBLE = re.compile("[\u00ad\u200b\u200e\u200f\u202a-\u202e\u2060-\u2064\u2066-\u206f\ufeff\U000e0000-\U000e007f]")
NOTHING = re.compile(r"[\s.…?_–—-]*(?:n/?a|null|nan|nil|todo|tbd|xxx+)?[\s.…?_–—-]*", re.IGNORECASE)
WORD = re.compile(r"[^\W_]+")


def language(example: Example) -> str | None:
    """'en' or 'fr' as the answer reads, or the question where the answer does not tell; None for neither."""
    return language_of(example.answer) or language_of(example.question)


def oddities(example: Example) -> Iterator[tuple[str, str]]:
    """(name of what is odd, what it is and where) of one example; an insult shows its first letters alone."""
    for where, text in places(example):
        if broken := MOJIBAKE.search(text):
            meant = broken[0].encode("cp1252", errors="replace").decode("utf-8", errors="replace")
            yield "encoding", f"'{broken[0]}' in {where} looks like a damaged '{meant}'"
        elif "\ufffd" in text:
            yield "encoding", f"characters were lost in {where} (U+FFFD)"
        if hidden := INVISIBLE.search(text):
            yield "invisible", f"U+{ord(hidden[0]):04X} at character {hidden.start() + 1} of {where}"
        words = WORD.findall(text.casefold())
        for found in find_toxic(text, words, example.language):
            yield "toxic", f"'{shortened(found)}' in {where}"
    if example.label is None and NOTHING.fullmatch(example.answer):
        yield "empty", f"the answer is '{example.answer.strip()[:20]}'"


def where_they_differ(before: str, after: str, around: int = 24) -> tuple[str, str]:
    """Both texts without what they begin and end with alike, but for so many characters of it."""
    start = _alike(before, after)
    end = _alike(before[start:][::-1], after[start:][::-1])
    first, last = start - around, around - end
    return _cut(before, first, len(before) + last), _cut(after, first, len(after) + last)


def _alike(first: str, second: str) -> int:
    """Characters that both begin with."""
    return next(
        (i for i, (a, b) in enumerate(zip(first, second, strict=False)) if a != b), min(len(first), len(second))
    )


def _cut(text: str, start: int, end: int) -> str:
    kept = " ".join(text[max(0, start) : end].split())
    return f"{'…' if start > 0 else ''}{kept}{'…' if end < len(text) else ''}"


def places(example: Example) -> Iterator[tuple[str, str]]:
    """Each text of an example, with what a person calls it."""
    for message in example.messages:
        yield f"the {message.role} message", message.content
    if example.rejected is not None:
        yield "the rejected answer", example.rejected
