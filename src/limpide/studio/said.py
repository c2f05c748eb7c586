"""What jobs say, in the reader's language: their progress, messages and warnings, and why a file cannot be used.

Commands speak English. `words/en/said.json` holds their sentences under `said.…`, with placeholders for what changes
from run to run, and the other languages hold their translations, as those of measures' notes, which are known too. A
text is translated only where the whole of it is known; else it stays as it is, and its language is told.

A placeholder named `sentence`, or `sentence_…`, holds a sentence that must be known itself; one named after a kind of
`said.word.<kind>.<word>`, one of these words; the names in `FORMS`, what they say. What stands at the others is shown
as it is, numbers as the language writes them, and may be no end of one sentence with the beginning of the next.
"""

import re
from collections.abc import Callable, Mapping
from functools import cache, lru_cache

from limpide.document.language import MINUS, Language, spaced
from limpide.document.notes import Found, Pattern, Said, number, patterns, read
from limpide.studio import faults
from limpide.studio.words import language

LONGEST = 1000  # characters of a text that is looked at
DEEPEST = 4  # sentences within sentences
TASK, WORD, STEP = "said.task.", "said.word.", "run.step."
OURS, NOTES = "said.", "note."
NAMED = {"suite": "recipe.suite", "measure": "measure"}  # placeholder → prefix of the names of what stands there
NUMBER = re.compile(r"[\d,]*\d(\.\d+)?")
FORMS = {
    "number": NUMBER,
    "method": re.compile(r"[\w.-]+"),
    "suite": re.compile(r"[\w.-]+"),
    "check": re.compile(r"\w+"),
    "heading": re.compile(r"[^;]+"),
}
TWO = re.compile(r"[.!?] ")
PLACE = re.compile(r"(?P<file>.+?):(?P<line>\d+): (?P<what>.+)")
AUDIT = "audit-"
Filled = Callable[[str, Language, int], str | None]  # what stands at a placeholder, the language, the depth → its words


def said(text: str, words: Language) -> Said:
    """(the text in the reader's language, None), or as it is with the code 'en' where some of it is not known."""
    return _or_english(text, None if words.code == "en" else _in(text, words.code, 0), words)


def task(what: str, words: Language) -> Said:
    """The name of a piece of work: its plain one where it has one."""
    key = f"run.task.{what.lower().replace(' ', '_')}"
    if words.has(key):
        return words.say(key), None
    found = read(what, _tasks()) if words.code != "en" and len(what) <= LONGEST else None
    return _or_english(what, None if found is None else _said(found, words, 0), words)


def fault(what: str, words: Language) -> Said:
    """What is wrong in a row, a document or a whole file."""
    found = faults.in_words(what, words)
    return said(what, words) if found is None else (found, None)


def fact(name: str, value: object, words: Language) -> str:
    """A number that a piece of work shows beside its place."""
    key = f"run.fact.{name}"
    shown = words.significant(value) if isinstance(value, float) else words.plain(value)
    return words.say(key, value=shown) if words.has(key) else f"{name} {shown}"


def step_title(name: str, words: Language) -> str:
    """A step of a run in plain words; its own name where there are none."""
    if name.startswith(AUDIT) and name.count("-") >= 2:
        _, side, suite = name.split("-", 2)
        key = f"recipe.suite.{suite}"
        if words.has(key) and words.has(f"{STEP}{side}"):
            return words.say(f"{STEP}{side}", suite=words.say(key))
    return words.words.get(f"{STEP}{name}", name)


def _or_english(text: str, found: str | None, words: Language) -> Said:
    if found is not None:
        return found, None
    return text, None if words.code == "en" else "en"


@lru_cache(maxsize=4096)  # pages draw the same lines again each second
def _in(text: str, code: str, depth: int) -> str | None:
    """The text in a language, None where it is not known. Some jobs speak that language already."""
    if len(text) > LONGEST or depth > DEEPEST:
        return None
    words = language(code)

    def accept(key: str, places: Mapping[str, str]) -> bool:
        return all(_filled(key, name, value, words, depth) is not None for name, value in places.items())

    found = read(text.strip(), _sentences("en"), accept)
    if found is not None:
        return _said(found, words, depth)
    own = spaced(text)
    return own if read(own.strip(), _sentences(code), accept) else None


def _said(found: Found, words: Language, depth: int) -> str:
    return " ".join(
        words.say(key, **{name: _filled(key, name, value, words, depth) for name, value in places.items()})
        for key, places in found
    )


def _filled(key: str, name: str, value: str, words: Language, depth: int) -> str | None:
    """What stands at a placeholder of a sentence; names of placeholders say nothing in measures' notes."""
    return _place(name, value, words, depth) if key.startswith(OURS) else number(value, words)


def _place(name: str, value: str, words: Language, depth: int) -> str | None:
    """What stands at a placeholder, as the reader reads it; None where it may not stand there."""
    kind = name.partition("_")[0]
    if kind == "sentence":
        return _in(value, words.code, depth + 1)
    if kind in _kinds():
        return words.words.get(f"{WORD}{kind}.{value}")
    if kind in FILLED:
        return FILLED[kind](value, words, depth)
    if TWO.search(value) or (kind in FORMS and not FORMS[kind].fullmatch(value)):
        return None
    if kind in NAMED:
        return words.name(NAMED[kind], value)
    return _number(value, words)


def _number(value: str, words: Language) -> str:
    """A number as the language writes it, with its sign or its per cent; other words as they are."""
    if NUMBER.fullmatch(value.removesuffix("%")) and value.endswith("%"):
        return words.limit(value)
    sign = {"-": MINUS, "+": "+"}.get(value[:1], "")
    return sign + number(value[1:], words) if sign and NUMBER.fullmatch(value[1:]) else number(value, words)


def _list_of(form: str, told: Callable[[dict[str, str], Language], str | None]) -> Filled:
    """A list of pieces of one form, between commas, each told by its groups; None where one of them is another."""
    pattern = re.compile(form)

    def fill(value: str, words: Language, depth: int) -> str | None:
        found = [pattern.fullmatch(one) for one in value.split(", ")]
        pieces = [None if one is None else told(one.groupdict(), words) for one in found]
        return None if None in pieces else spaced(", ".join(map(str, pieces)))

    return fill


def _sensitive(one: dict[str, str], words: Language) -> str | None:
    kind = faults.KINDS.get(one["kind"])
    return None if kind is None else f"{one['count']} × {words.say(f'data.kind.{kind}')}"


def _suite(one: dict[str, str], words: Language) -> str:
    return words.say(f"{WORD}listed.suite", number=one["count"], suite=words.name("recipe.suite", one["suite"]))


def _guessed(one: dict[str, str], words: Language) -> str:
    return words.say(f"{WORD}listed.guessed", theirs=one["theirs"], ours=words.name("data.column", one["ours"]))


def _check(one: dict[str, str], words: Language) -> str | None:
    return words.words.get(f"data_check.{one['name']}")


def _rule(one: dict[str, str], words: Language) -> str:
    return f"{words.name('rule', one['rule'])} ({one['count']})"


def _timed(one: dict[str, str], words: Language) -> str:
    return f"{words.name('said.word.explained', one['name'])} {number(one['time'], words)} {one['unit']}"


def _received(value: str, words: Language, depth: int) -> str:
    return _in(value, words.code, depth + 1) or value


def _step(value: str, words: Language, depth: int) -> str:
    return step_title(value, words)


def _where(value: str, words: Language, depth: int) -> str | None:
    """A file, a line and what is there."""
    place = PLACE.fullmatch(value)
    if place is None:
        return None
    what = faults.in_words(place["what"], words) or _in(place["what"], words.code, depth + 1)
    shown = words.say("data.place.line", file=place["file"], line=place["line"])
    return None if what is None else f"{shown}{words.say('colon')} {what}"


@cache
def _sentences(code: str) -> tuple[Pattern, ...]:
    known = {key: text for key, text in language(code).words.items() if not key.startswith((TASK, WORD))}
    return patterns(known, OURS, NOTES)


@cache
def _tasks() -> tuple[Pattern, ...]:
    return patterns(language("en").words, TASK)


@cache
def _kinds() -> frozenset[str]:
    """The kinds of words: `said.word.<kind>.<word>`."""
    return frozenset(key.removeprefix(WORD).split(".")[0] for key in language("en").words if key.startswith(WORD))


FILLED: Mapping[str, Filled] = {
    "checks": _list_of(r"(?P<name>\w+)", _check),
    "guessed": _list_of(r"'(?P<theirs>.+)' as (?P<ours>\w+)", _guessed),
    "kinds": _list_of(r"(?P<count>\d+) × (?P<kind>.+)", _sensitive),
    "place": _where,
    "received": _received,
    "rules": _list_of(r"(?P<rule>\w+) \((?P<count>\d+)\)", _rule),
    "step": _step,
    "suites": _list_of(r"(?P<count>\d+) of (?P<suite>[\w.-]+)", _suite),
    "durations": _list_of(r"(?P<name>\w+) (?P<time>[\d.,]+) (?P<unit>.+)", _timed),
}
