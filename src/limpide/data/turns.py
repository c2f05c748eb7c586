"""Lists of turns, as chat messages (role, content) or as ShareGPT writes them (from, value)."""

from collections.abc import Mapping, Sequence
from typing import Any

from limpide.core.errors import nearest
from limpide.data.examples import ROLES, Message, Role
from limpide.data.rows import Parsed, is_given, kind_of, text_of

SHAREGPT_ROLES: dict[str, Role] = {
    "system": "system",
    "human": "user",
    "user": "user",
    "gpt": "assistant",
    "chatgpt": "assistant",
    "assistant": "assistant",
}
CHAT_ROLES: dict[str, Role] = {role: role for role in ROLES}
OTHER_ROLE_NAMES: dict[str, Role] = {
    "human": "user",
    "gpt": "assistant",
    "bot": "assistant",
    "model": "assistant",
    "developer": "system",
}
TOOL_ROLES = ("tool", "function", "function_call", "tool_call", "tool_response", "observation", "ipython")
TOOL_KEYS = ("tool_calls", "function_call")
NO_TOOLS = "Limpide does not train on tool calls; leave such conversations out"


def turns_of(value: object, name: str, parsed: Parsed, *, main: bool = True) -> list[Message]:
    """The messages of a list under the column `name`, with a fault for each that is not one.

    main: the conversation itself, whose messages need no other name in faults than their number.
    """
    turns = [value] if isinstance(value, dict) and not main else value
    if not isinstance(turns, list):
        parsed.faults.append(f"'{name}' must be a list, not {kind_of(turns)}")
        return []
    if not turns:
        parsed.faults.append(f"'{name}' is empty")
    role_key, text_key = ("from", "value") if _is_sharegpt(turns, name) else ("role", "content")
    known = SHAREGPT_ROLES if role_key == "from" else CHAT_ROLES
    messages = []
    for number, turn in enumerate(turns, start=1):
        where = f"message {number}" if main else f"message {number} of '{name}'"
        if not isinstance(turn, dict):
            parsed.faults.append(f"{where} must be an object {{{role_key}, {text_key}}}, not {kind_of(turn)}")
            continue
        if any(is_given(turn.get(key)) for key in TOOL_KEYS) or turn.get(role_key) in TOOL_ROLES:
            parsed.faults.append(f"{where} calls a tool or is its result: {NO_TOOLS}")
            continue
        parsed.extra |= {f"{name}[].{key}" for key in turn.keys() - {role_key, text_key} if turn[key] is not None}
        role = _role(turn, role_key, known, where, parsed)
        text = text_of(_written(turn, text_key), text_key, parsed, where)
        if role is not None:
            messages.append(Message(role=role, content=text))
    return messages


def _written(turn: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    """The turn with its parts of text put end to end, as the gateway does; parts of another kind are left as faults."""
    parts = turn.get(key)
    if not isinstance(parts, list) or not parts or not all(map(_is_text, parts)):
        return turn
    return {**turn, key: "".join(part["text"] for part in parts)}


def _is_text(part: object) -> bool:
    return isinstance(part, dict) and part.get("type") == "text" and isinstance(part.get("text"), str)


def _is_sharegpt(turns: Sequence[object], name: str) -> bool:
    """Whether turns are written {from, value}: by the first that tells, else by the name of the column."""
    first = next((turn for turn in turns if isinstance(turn, dict) and {"role", "from"} & turn.keys()), None)
    return name == "conversations" if first is None else "from" in first


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
