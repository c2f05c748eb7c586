"""Patterns in a JSON schema, as llama.cpp obeys them.

It takes one that it cannot read for 'any string', says so on its standard error alone, and answers; a pattern that
allows a quotation mark gives an answer that is no JSON. Both are refused here, with what is understood.
"""

import math
import re
from collections.abc import Iterator, Mapping
from typing import Any

from limpide.serve.openai_types import ApiError

NAMED = frozenset({"properties", "$defs", "definitions", "patternProperties", "dependentSchemas"})  # name → schema
DATA = frozenset({"enum", "const", "default", "examples"})  # no schema inside
MOST_REPEATED = 1000  # times, of repetitions within each other; far more and llama.cpp refuses, or never ends
DEEPEST = 50  # groups within each other
ATOM = (
    r"""\)|[^\\"^$.|()\[\]{}*+?\x00-\x1f\x7f-\U0010ffff]"""  # a group's end, a plain character
    r"""|\\[\^$.|()\[\]{}*+?-]|\[(?:[^\\"^\[\]\x00-\x1f]|\\[\[\]])+\]"""  # an escaped one, a class
)
TOKEN = re.compile(rf"(?P<open>\((?:\?:)?)|\||(?P<atom>{ATOM})(?P<times>[*+?]|\{{\d{{1,4}}(?:,\d{{0,4}})?\}})?")
WHOLE = re.compile(rf"\^(?:\((?:\?:)?|\||(?:{ATOM})(?:[*+?]|\{{\d{{1,4}}(?:,\d{{0,4}})?\}})?)*\$")
RANGE = re.compile(r"(\\.|[^\\])-(\\.|[^\\\]])")


def check_patterns(form: Mapping[str, Any]) -> None:
    """form: a JSON schema. Raises ApiError (400) that names the first place whose pattern would not be kept."""
    for place, pattern in _patterns(form):
        if not understood(pattern):
            raise ApiError(
                400,
                f"The pattern at '{place}' of the schema would not be kept by llama.cpp. Understood are: ^…$ around "
                "plain ASCII characters, classes such as [0-9A-Z] (not negated, without quotation mark and backslash), "
                f"groups, | and the repetitions * + ? {{n}} {{n,}} {{n,m}}, up to {MOST_REPEATED} times in all. "
                "\\d is written [0-9].",
                code="unsupported_pattern",
                param="response_format",
            )


def understood(pattern: str) -> bool:
    """Whether an answer made by llama.cpp keeps to the pattern, and is a string of JSON."""
    if not WHOLE.fullmatch(pattern):
        return False
    depth, repeated = 0, 1
    for token in TOKEN.finditer(pattern, 1, len(pattern) - 1):
        atom, times = token["atom"] or "", token["times"] or ""
        depth += bool(token["open"]) - (atom == ")")
        least, _, most = times.strip("{}").partition(",") if times.startswith("{") else ("1", "", "")
        repeated = math.prod((repeated, max(1, int(least), int(most or 0))))
        if not 0 <= depth <= DEEPEST or repeated > MOST_REPEATED or (most and int(most) < int(least)):
            return False
        if atom.startswith("[") and not all(_plain(found[1], found[2]) for found in RANGE.finditer(atom, 1)):
            return False
    return depth == 0


def _plain(first: str, last: str) -> bool:
    """Whether a range goes upwards and holds neither a quotation mark nor a backslash."""
    return first[-1] <= last[-1] and not any(first[-1] <= one <= last[-1] for one in '"\\')


def _patterns(form: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    waiting: list[tuple[str, Any]] = [("", form)]
    while waiting:
        place, one = waiting.pop()
        if isinstance(one, list):
            waiting += [(f"{place}[{index}]", inner) for index, inner in enumerate(one)]
        if not isinstance(one, dict):
            continue
        if isinstance(one.get("pattern"), str):
            yield f"{place}.pattern".removeprefix("."), one["pattern"]
        for name, inner in one.items():
            if name in NAMED and isinstance(inner, dict):
                waiting += [(f"{place}.{name}.{key}", schema) for key, schema in inner.items()]
            elif name not in DATA:
                waiting.append((f"{place}.{name}", inner))
