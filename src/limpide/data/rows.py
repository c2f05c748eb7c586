"""The values of one row: texts and labels as they must be, or everything that is wrong with them."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, time, timedelta
from decimal import Decimal
from typing import Any

from limpide.core.errors import nearest
from limpide.data.examples import SPLITS, Example, SplitName
from limpide.data.raw import Unread

OTHER_SPLIT_NAMES: dict[str, SplitName] = dict.fromkeys(("test", "validation", "valid", "dev", "eval"), "held_out")
TYPE_NAMES = {
    str: "text",
    int: "a number",
    float: "a number",
    Decimal: "a number",
    bool: "true or false",
    list: "a list",
    dict: "an object",
    bytes: "bytes",
}
# Tab and line ends are text; the other control characters and halves of a surrogate pair are damage.
CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff]")
# A UTF-8 sequence of two or three bytes read as cp1252: 'Ã©' for 'é', 'â€™' for '’'.
MOJIBAKE = re.compile(r"[ÂÃ][\u00a0-\u00bf€‚ƒ„…†‡ˆ‰Š‹ŒŽ‘’“”•–—˜™š›œžŸ]|â€[™œž˜¦“”¢\u00a0-\u00bf]")


@dataclass
class Parsed:
    """example: None when `faults` is not empty. odd: what looks wrongly decoded. extra: filled keys left out."""

    example: Example | None = None
    split: SplitName | None = None
    faults: list[str] = field(default_factory=list)
    odd: list[str] = field(default_factory=list)
    extra: set[str] = field(default_factory=set)


def kind_of(value: object) -> str:
    """What a value is, to follow 'must be text, not'."""
    if value is None:
        return "nothing (null)"
    if isinstance(value, Unread):
        return value.what
    if isinstance(value, date | time | timedelta):
        return "a date or a time"
    return TYPE_NAMES.get(type(value), type(value).__name__)


def is_given(value: object) -> bool:
    """Whether a cell or a key holds something: not nothing, not an empty text or list."""
    return value is not None and value != "" and value != []


def text_of(row: Mapping[str, Any], name: str, parsed: Parsed, where: str = "") -> str:
    """The text under `name`, '' with a fault when it is missing, of a wrong type, empty or damaged."""
    shown = f"{where}: '{name}'" if where else f"'{name}'"
    value = row.get(name)
    if name not in row:
        parsed.faults.append(f"{shown} is missing.{nearest(name, list(row))}")
    elif not isinstance(value, str):
        parsed.faults.append(f"{shown} must be text, not {kind_of(value)}")
    elif not value.strip():
        parsed.faults.append(f"{shown} is empty")
    elif damage := _damage(value):
        parsed.faults.append(f"{shown} {damage}")
    elif not value.isascii():
        parsed.odd.extend(match.group() for match in MOJIBAKE.finditer(value))
        parsed.odd.extend("\ufffd" for _ in range(value.count("\ufffd")))
    return value if isinstance(value, str) else ""


def _damage(text: str) -> str | None:
    found = CONTROL.search(text)
    if found is None:
        return None
    code = ord(found.group())
    name = "half of a surrogate pair" if code >= 0xD800 else "NUL character" if code == 0 else "control character"
    return f"holds a {name} (U+{code:04X}) at character {found.start() + 1}: remove it"


def short_of(row: Mapping[str, Any], name: str | None, parsed: Parsed) -> str | None:
    """A short optional value: text or a whole number; empty means none."""
    value = None if name is None else row.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, str | int):
        parsed.faults.append(f"'{name}' must be text, not {kind_of(value)}")
        return None
    text = str(value).strip()
    if damage := _damage(text):
        parsed.faults.append(f"'{name}' {damage}")
    return text or None


def split_of(value: str | None, parsed: Parsed) -> SplitName | None:
    if value is None:
        return None
    if value in SPLITS:
        return value
    other = OTHER_SPLIT_NAMES.get(value.lower())
    hint = f" Did you mean '{other}'?" if other else nearest(value.lower(), SPLITS)
    parsed.faults.append(f"unknown split '{value[:40]}': expected {', '.join(SPLITS)}.{hint}")
    return None
