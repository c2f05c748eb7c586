"""Patterns in a JSON schema, as llama.cpp obeys them.

It takes one that it cannot read for 'any string', says so on its standard error alone, and answers; a pattern that
allows a quotation mark gives an answer that is no JSON.
"""

import math
import re

MOST_REPEATED = 1000  # times, of repetitions within each other; far more and llama.cpp refuses, or never ends
DEEPEST = 50  # groups within each other
ATOM = (
    r"""\)|[^\\"^$.|()\[\]{}*+?\x00-\x1f\x7f-\U0010ffff]"""  # a group's end, a plain character
    r"""|\\[\^$.|()\[\]{}*+?-]|\[(?:[^\\"^\[\]\x00-\x1f]|\\[\[\]])+\]"""  # an escaped one, a class
)
TOKEN = re.compile(rf"(?P<open>\((?:\?:)?)|\||(?P<atom>{ATOM})(?P<times>[*+?]|\{{\d{{1,4}}(?:,\d{{0,4}})?\}})?")
WHOLE = re.compile(rf"\^(?:\((?:\?:)?|\||(?:{ATOM})(?:[*+?]|\{{\d{{1,4}}(?:,\d{{0,4}})?\}})?)*\$")
RANGE = re.compile(r"(\\.|[^\\])-(\\.|[^\\\]])")


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
