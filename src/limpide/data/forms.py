"""From one row of the user's file to an Example, or to everything that is wrong with it."""

from collections.abc import Mapping
from itertools import zip_longest
from typing import Any

from limpide.core.errors import nearest
from limpide.data.columns import Columns
from limpide.data.examples import Example, Message, order_faults
from limpide.data.rows import Parsed, is_given, kind_of, short_of, split_of, text_of
from limpide.data.turns import turns_of

ABOUT = ("id", "topic", "group", "language", "split", "synthetic")


def parse_row(row: object, columns: Columns, source: str, default_id: str) -> Parsed:
    """Read one row. source: 'file:line'. default_id: used when the row has no id."""
    parsed = Parsed()
    if not isinstance(row, dict):
        parsed.faults.append(f"a row must be an object {{…}}, not {kind_of(row)}")
        return parsed
    used = set(columns.names.values())
    parsed.extra = {name for name, value in row.items() if name not in used and is_given(value)}
    if columns.form != "text" and str(row.get("label")).casefold() == "false":
        parsed.faults.append(
            "'label' is false: the answer is marked as a bad one, and would be learnt; leave the row out"
        )
    label = rejected = None
    if columns.form == "text":
        messages, label = _classified(row, columns.names, parsed)
    else:
        messages, rejected = _answered(row, columns, parsed)
    messages = _with_system(row, columns, messages, parsed)
    about = {name: short_of(row, columns.names.get(name), parsed) for name in ABOUT}
    parsed.split = split_of(about["split"], parsed)
    if not parsed.faults:
        parsed.faults.extend(order_faults([m.role for m in messages]))
    if not parsed.faults:
        given = {"topic": about["topic"], "group": about["group"], "rejected": rejected, "label": label}
        given["synthetic"] = about["synthetic"]
        given["language"] = about["language"].lower() if about["language"] else None
        # What is not given is left out: a record remembers which fields it was given, at a cost of memory.
        given = {name: value for name, value in given.items() if value is not None}
        parsed.example = Example(id=about["id"] or default_id, messages=tuple(messages), source=source, **given)
    return parsed


def _classified(row: Mapping[str, Any], names: Mapping[str, str], parsed: Parsed) -> tuple[list[Message], str | None]:
    """A text, and its class as the answer."""
    text = text_of(row, names["text"], parsed)
    faults = len(parsed.faults)
    label = short_of(row, names["label"], parsed)
    if label is None and len(parsed.faults) == faults:
        parsed.faults.append(f"'{names['label']}' is {'empty' if names['label'] in row else 'missing'}")
    return [Message(role="user", content=text), Message(role="assistant", content=label or "")], label


def _answered(row: Mapping[str, Any], columns: Columns, parsed: Parsed) -> tuple[list[Message], str | None]:
    """The conversation up to its preferred answer, and the answer that was rejected, where the row has one."""
    names = columns.names
    messages = _asked(row, columns, parsed)
    ending = messages[-1:] if messages and messages[-1].role == "assistant" else []
    before = messages[: len(messages) - len(ending)]
    better = next((names[n] for n in ("chosen", "answer") if n in names and is_given(row.get(names[n]))), None)
    if better is not None:
        messages = _conversation(before, row, better, parsed)
        if ending and messages and messages[-1:] != ending:
            parsed.faults.append(f"the conversation already ends with another answer than '{better}'")
    elif columns.form in ("prompt", "chosen"):
        text_of(row, names.get("answer") or names["chosen"], parsed)  # says how it is missing
    worse = names.get("rejected")
    if worse is None or not is_given(row.get(worse)) or parsed.faults or not messages:
        return messages, None
    rejected = _conversation(messages[:-1], row, worse, parsed)
    if rejected and rejected[-1].role != "assistant":
        parsed.faults.append(f"'{worse}' ends with a message from '{rejected[-1].role}': it must be an answer")
    elif rejected and rejected[-1].content.strip() == messages[-1].content.strip():
        parsed.faults.append(f"'{worse}' says the same as the preferred answer: there is nothing to prefer")
    return messages, rejected[-1].content if rejected else None


def _asked(row: Mapping[str, Any], columns: Columns, parsed: Parsed) -> list[Message]:
    """What comes before the answer; with `messages` and `conversations`, the answer too."""
    names = columns.names
    if columns.form == "chosen":
        return []
    if columns.form != "prompt":
        name = names[columns.form]
        if name not in row:
            parsed.faults.append(f"'{name}' is missing.{nearest(name, list(row))}")
            return []
        return turns_of(row[name], name, parsed)
    if isinstance(row.get(names["prompt"]), list):
        return turns_of(row[names["prompt"]], names["prompt"], parsed)
    prompt = text_of(row, names["prompt"], parsed)
    if "input" in names and is_given(row.get(names["input"])):
        prompt = f"{prompt}\n\n{text_of(row, names['input'], parsed)}"
    return [Message(role="user", content=prompt)]


def _conversation(before: list[Message], row: Mapping[str, Any], name: str, parsed: Parsed) -> list[Message]:
    """`before` and the answer under `name`: a text, its message, or the whole conversation again. Empty at fault."""
    faults = len(parsed.faults)
    if isinstance(row[name], list | dict):
        said = turns_of(row[name], name, parsed, main=False)
    else:
        said = [Message(role="assistant", content=text_of(row, name, parsed))]
    if len(parsed.faults) > faults:
        return []
    if len(said) == 1 and not before and not faults:
        parsed.faults.append(f"'{name}' is an answer without its question: give the whole conversation, or a 'prompt'")
    if len(said) == 1:
        return [*before, *said]
    if before and (apart := _first_apart(before, said[:-1])):
        parsed.faults.append(
            f"message {apart} of '{name}' is not the one that was answered: only the last message may differ"
        )
        return []
    return said


def _first_apart(before: list[Message], again: list[Message]) -> int | None:
    """Number in `again`, from 1, of the first message that differs; a system message that one side lacks is not one."""
    ours, theirs = ([message.role for message in side[:1]] == ["system"] for side in (before, again))
    skipped = theirs and not ours
    pairs = zip_longest(before[ours and not theirs :], again[skipped:])
    return next((number for number, (one, other) in enumerate(pairs, start=1 + skipped) if one != other), None)


def _with_system(row: Mapping[str, Any], columns: Columns, messages: list[Message], parsed: Parsed) -> list[Message]:
    """Put the text of a system column first."""
    name = columns.names.get("system")
    if name is None or not is_given(row.get(name)):
        return messages
    if messages and messages[0].role == "system":
        there = columns.names.get(columns.form) or columns.names["chosen"]
        parsed.faults.append(f"two system messages: in column '{name}' and in '{there}'")
        return messages
    return [Message(role="system", content=text_of(row, name, parsed)), *messages]
