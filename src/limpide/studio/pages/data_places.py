"""Where something was found, and what it was, in the language of the page: what the commands print is English."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from limpide.data.sensitive import SORTS
from limpide.studio.visit import Visit

KINDS = {said: kind for sort in SORTS for kind, said in sort.kinds.items()}
WHERE = {
    "the user message": "question",
    "the assistant message": "answer",
    "the system message": "system",
    "the rejected answer": "rejected",
    "the id": "id",
    "the topic": "topic",
    "the group": "group",
    "its text": "text",
}
# What a command prints → the end of `data.place.…`. Groups are filled in: kind and where in the page's language.
FORMS: tuple[tuple[str, re.Pattern[str]], ...] = tuple(
    (name, re.compile(form, re.DOTALL))
    for name, form in (
        ("sensitive", rf"(?P<kind>{'|'.join(map(re.escape, KINDS))}) '(?P<hint>.*)' in (?P<where>.+)"),
        ("same", r"says the same as (?P<other>.+)"),
        ("near", r"nearly asks what (?P<other>.+)"),
        ("conflict", r"asks the same, with another answer, as (?P<other>.+)"),
        ("language", r"declared '(?P<declared>\w+)', reads as '(?P<found>\w+)'"),
        ("leak", r"holds item (?P<item>\S+) of the suite (?P<suite>\w+).*"),
        ("damaged", r"'(?P<found>.+)' in (?P<where>the .+) looks like a damaged '(?P<meant>.*)'"),
        ("lost", r"characters were lost in (?P<where>the .+) \(U\+FFFD\)"),
        ("invisible", r"(?P<found>U\+\w+) at character (?P<at>\d+) of (?P<where>the .+)"),
        ("insult", r"'(?P<hint>.+)' in (?P<where>the .+)"),
        ("nothing", r"the answer is '(?P<found>.*)'"),
        ("empty", r"'(?P<name>[^']+)' is empty"),
        ("missing", r"'(?P<name>[^']+)' is missing\..*"),
        ("type", r"'(?P<name>[^']+)' must be text, not (?P<found>.+)"),
        ("json", r"broken JSON at column (?P<at>\d+): .*"),
        ("twice", r"the id '(?P<id>.*)' is already that of (?P<other>.+)"),
        ("no_object", r"a row must be an object \{…\}, not .*"),
        ("split", r"unknown split '(?P<found>.*)': expected .*"),
        ("false", r"'label' is false: .*"),
        ("rare", r"class '(?P<label>.*)' has (?P<rows>\d+) rows"),
        ("prefers", r"prefers what (?P<other>.+) rejects, for the same question"),
    )
)


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
    for name, form in FORMS:
        if found := form.fullmatch(what):
            return visit.say(f"data.place.{name}", **_filled(found.groupdict(), visit)), True
    return what, visit.language == "en"


def _filled(groups: Mapping[str, str], visit: Visit) -> dict[str, str]:
    filled = dict(groups)
    if "kind" in filled:
        filled["kind"] = visit.say(f"data.kind.{KINDS[filled['kind']]}")
    if "where" in filled:
        known = WHERE.get(filled["where"], "under")
        filled["where"] = visit.say(f"data.where.{known}", name=filled["where"])
    for name in ("declared", "found"):
        if f"language.{filled.get(name)}" in visit.words.words:
            filled[name] = visit.say(f"language.{filled[name]}")
    return filled
