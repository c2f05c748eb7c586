"""What is wrong in a row or a document, in the language of the page: what the commands print is English."""

import re
from collections.abc import Mapping

from limpide.data.sensitive import SORTS
from limpide.document.language import Language

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


def in_words(what: str, words: Language) -> str | None:
    """What was found in the reader's language, None where it is none of the forms."""
    for name, form in FORMS:
        if found := form.fullmatch(what):
            return words.say(f"data.place.{name}", **_filled(found.groupdict(), words))
    return None


def _filled(groups: Mapping[str, str], words: Language) -> dict[str, str]:
    filled = dict(groups)
    if "kind" in filled:
        filled["kind"] = words.say(f"data.kind.{KINDS[filled['kind']]}")
    if "where" in filled:
        known = WHERE.get(filled["where"], "under")
        filled["where"] = words.say(f"data.where.{known}", name=filled["where"])
    for name in ("declared", "found"):
        if words.has(f"language.{filled.get(name)}"):
            filled[name] = words.say(f"language.{filled[name]}")
    return filled
