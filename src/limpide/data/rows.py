"""From one row of the user's file to an Example, or to everything that is wrong with it."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from limpide.core.errors import nearest
from limpide.data.columns import Columns
from limpide.data.examples import ROLES, SPLITS, Example, Message, Role, SplitName, order_faults

SHAREGPT_ROLES: dict[str, Role] = {
    "system": "system",
    "human": "user",
    "user": "user",
    "gpt": "assistant",
    "chatgpt": "assistant",
    "assistant": "assistant",
}
OTHER_ROLE_NAMES: dict[str, Role] = {"human": "user", "gpt": "assistant", "bot": "assistant", "model": "assistant"}
OTHER_SPLIT_NAMES: dict[str, SplitName] = dict.fromkeys(("test", "validation", "valid", "dev", "eval"), "held_out")
TYPE_NAMES = {str: "text", int: "a number", float: "a number", bool: "true or false", list: "a list", dict: "an object"}
# Tab and line ends are text; the other control characters and halves of a surrogate pair are damage.
CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff]")
# A UTF-8 sequence of two or three bytes read as cp1252: 'Ã©' for 'é', 'â€™' for '’'.
MOJIBAKE = re.compile(r"[ÂÃ][\u00a0-\u00bf€‚ƒ„…†‡ˆ‰Š‹ŒŽ‘’“”•–—˜™š›œžŸ]|â€[™œž˜¦“”¢\u00a0-\u00bf]")


@dataclass
class Parsed:
    """example: None when `faults` is not empty. odd: sequences that look wrongly decoded. extra: keys left out."""

    example: Example | None = None
    split: SplitName | None = None
    faults: list[str] = field(default_factory=list)
    odd: list[str] = field(default_factory=list)
    extra: set[str] = field(default_factory=set)


def parse_row(row: object, columns: Columns, source: str, default_id: str) -> Parsed:
    """Read one row. source: 'file:line'. default_id: used when the row has no id."""
    parsed = Parsed()
    if not isinstance(row, dict):
        parsed.faults.append(f"a row must be an object {{…}}, not {kind_of(row)}")
        return parsed
    parsed.extra = row.keys() - set(columns.names.values())
    if columns.form == "prompt":
        messages = _from_prompt(row, columns.names, parsed)
    else:
        messages = _from_list(row, columns, parsed)
    messages = _with_system(row, columns, messages, parsed)
    label = {name: _label(row, columns.names, name, parsed) for name in ("id", "topic", "group", "language", "split")}
    parsed.split = _split_name(label["split"], parsed)
    if not parsed.faults:
        parsed.faults.extend(order_faults([m.role for m in messages]))
    if not parsed.faults:
        language = label["language"]
        parsed.example = Example(
            id=label["id"] or default_id,
            topic=label["topic"],
            group=label["group"],
            language=language.lower() if language else None,
            messages=tuple(messages),
            source=source,
        )
    return parsed


def kind_of(value: object) -> str:
    return "nothing (null)" if value is None else TYPE_NAMES.get(type(value), type(value).__name__)


def _from_prompt(row: Mapping[str, Any], names: Mapping[str, str], parsed: Parsed) -> list[Message]:
    prompt = _text(row, names["prompt"], parsed)
    answer = _text(row, names["answer"], parsed)
    if "input" in names and row.get(names["input"]) not in (None, ""):
        more = _text(row, names["input"], parsed)
        prompt = f"{prompt}\n\n{more}"
    return [Message(role="user", content=prompt), Message(role="assistant", content=answer)]


def _from_list(row: Mapping[str, Any], columns: Columns, parsed: Parsed) -> list[Message]:
    """Turns of `messages` (role, content) or of ShareGPT `conversations` (from, value)."""
    name = columns.names[columns.form]
    turns = row.get(name)
    if not isinstance(turns, list):
        missing = f"'{name}' is missing.{nearest(name, list(row))}"
        parsed.faults.append(missing if name not in row else f"'{name}' must be a list, not {kind_of(turns)}")
        return []
    if not turns:
        parsed.faults.append(f"'{name}' is empty")
    sharegpt = columns.form == "conversations"
    role_key, text_key = ("from", "value") if sharegpt else ("role", "content")
    messages = []
    for number, turn in enumerate(turns, start=1):
        where = f"message {number}"
        if not isinstance(turn, dict):
            parsed.faults.append(f"{where} must be an object {{{role_key}, {text_key}}}, not {kind_of(turn)}")
            continue
        parsed.extra |= {f"{name}[].{key}" for key in turn.keys() - {role_key, text_key}}
        role = _role(turn, role_key, SHAREGPT_ROLES if sharegpt else {r: r for r in ROLES}, where, parsed)
        text = _text(turn, text_key, parsed, where)
        if role is not None:
            messages.append(Message(role=role, content=text))
    return messages


def _role(turn: Mapping[str, Any], key: str, known: Mapping[str, Role], where: str, parsed: Parsed) -> Role | None:
    given = turn.get(key)
    if isinstance(given, str) and given in known:
        return known[given]
    if key not in turn:
        parsed.faults.append(f"{where} has no '{key}'.{nearest(key, list(turn))}")
    elif not isinstance(given, str):
        parsed.faults.append(f"{where}: '{key}' must be text, not {kind_of(given)}")
    else:
        other = OTHER_ROLE_NAMES.get(given.strip().lower())
        hint = f" Did you mean '{other}'?" if other in known else nearest(given.strip().lower(), list(known))
        parsed.faults.append(f"{where}: unknown role '{given[:40]}'.{hint or ' Known: ' + ', '.join(known)}")
    return None


def _with_system(row: Mapping[str, Any], columns: Columns, messages: list[Message], parsed: Parsed) -> list[Message]:
    """Put the text of a system column first."""
    name = columns.names.get("system")
    if name is None or row.get(name) in (None, ""):
        return messages
    if messages and messages[0].role == "system":
        parsed.faults.append(f"two system messages: in column '{name}' and in '{columns.names[columns.form]}'")
        return messages
    return [Message(role="system", content=_text(row, name, parsed)), *messages]


def _text(row: Mapping[str, Any], name: str, parsed: Parsed, where: str = "") -> str:
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
    else:
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


def _label(row: Mapping[str, Any], names: Mapping[str, str], ours: str, parsed: Parsed) -> str | None:
    """A short optional value: text or a whole number; empty means none."""
    name = names.get(ours)
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


def _split_name(value: str | None, parsed: Parsed) -> SplitName | None:
    if value is None:
        return None
    if value in SPLITS:
        return value
    other = OTHER_SPLIT_NAMES.get(value.lower())
    hint = f" Did you mean '{other}'?" if other else nearest(value.lower(), SPLITS)
    parsed.faults.append(f"unknown split '{value[:40]}': expected {', '.join(SPLITS)}.{hint}")
    return None
