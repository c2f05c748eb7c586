"""Remedies name keys of a recipe (`data.secrets to mask`); on a command line they name its options."""

import re
from collections.abc import Iterator
from contextlib import contextmanager

from limpide.core.errors import Fault, LimpideError

_KEY = r"(?<![-\w])(?:data|adapt)\.(?!prepare\b|check\b|train\b|advice\b|jsonl\b)(?P<key>[a-z_]++(?:\.[a-z_]++)?+)"
_GIVEN = {"examples": "the files of examples", "documents": "the documents"}  # by position, not by an option
_WHY = r"\{allow: <?(?P<why>[^>}]*)>?\}"
_SET = re.compile(rf"set {_KEY} to (?P<value>\w+)(?:, or to {_WHY})?")
_ALLOW = re.compile(rf"set {_KEY} to {_WHY}")
_MAPPED = re.compile(rf"{_KEY}: \{{(?P<name>\w+): (?!null\b)(?P<value>[^}},]+)\}}")
_SWITCH = re.compile(rf"(?:{_KEY}|\b(?P<bare>skip_bad_rows)): (?P<value>true|false)\b")
_VALUE = re.compile(rf"{_KEY}: (?P<value>[\w.-]*\w)")
_ALONE = re.compile(rf"{_KEY}(?!:)")
_WHERE = re.compile(r",? in (?:the|a) recipe\b(?=:?)")


def in_options(text: str) -> str:
    """The text with keys of the recipe's data and adapt sections as options. What no option can say stays a key."""
    before = text
    text = _SET.sub(_set, text)
    text = _ALLOW.sub(lambda m: f"give {_option(m['key'])}.allow '{m['why']}'", text)
    text = _MAPPED.sub(lambda m: f"{_option(m['key'])}.{m['name']} {_word(m['value'])}", text)
    text = _SWITCH.sub(lambda m: _switch(m["key"] or m["bare"], on=m["value"] == "true"), text)
    text = _VALUE.sub(lambda m: m[0] if m["key"] in _GIVEN else f"{_option(m['key'])} {m['value']}", text)
    text = _ALONE.sub(lambda m: _GIVEN.get(m["key"]) or _option(m["key"]), text)
    return text if text == before else _WHERE.sub("", text)


def _set(found: re.Match[str]) -> str:
    option = _option(found["key"])
    allow = "" if found["why"] is None else f", or {option}.allow '{found['why']}'"
    return f"give {option} {found['value']}{allow}"


def _option(key: str) -> str:
    return f"--{key.replace('_', '-')}"


def _word(value: str) -> str:
    return f"'{value}'" if " " in value else value


def _switch(key: str, *, on: bool) -> str:
    head, _, last = key.replace("_", "-").rpartition(".")
    return f"--{head + '.' if head else ''}{'' if on else 'no-'}{last}"


@contextmanager
def options_named(wanted: bool) -> Iterator[None]:
    """Errors of a command whose options are those of data.prepare and adapt.train name them."""
    try:
        yield
    except LimpideError as error:
        if wanted:
            error.what = in_options(error.what)
            error.remedy = None if error.remedy is None else in_options(error.remedy)
            error.faults = tuple(Fault(f.file, f.line, in_options(f.what)) for f in error.faults)
        raise
