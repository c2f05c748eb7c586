"""Where something was found, and what it was, in the language of the page: what the commands print is English."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from limpide.studio.said import fault
from limpide.studio.visit import Visit


@dataclass(frozen=True)
class Place:
    """One thing found. file, line: where, None where it is not known. what: as the command says it."""

    file: str | None
    line: int | None
    what: str


def place_of(printed: str, files: Sequence[str]) -> Place:
    """A place as a command prints it, 'file:line: what'. files: the names that were read; one may hold a colon."""
    for name in sorted(files, key=len, reverse=True):
        rest = printed.removeprefix(name)
        if rest == printed:
            continue
        if found := re.match(r":(\d+): ", rest):
            return Place(name, int(found[1]), rest[found.end() :])
        if rest.startswith(": "):
            return Place(name, None, rest[2:])
    return Place(None, None, printed)


def told(what: str, visit: Visit) -> tuple[str, bool]:
    """(what was found in the page's language, True), or as the command said it in English and False."""
    words, lang = fault(what, visit.words)
    return words, lang is None
