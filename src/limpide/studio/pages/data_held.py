"""A file of the project: how it came, and what was understood of it."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nicegui import ui

from limpide.core.errors import MissingError
from limpide.studio import parts
from limpide.studio.pages.data_files import Held, files_of, use
from limpide.studio.visit import Visit

ROLES: Mapping[str, parts.Kind] = {"examples": "info", "documents": "info", "charter": "info", "unread": "warning"}
COLUMNS = 12  # named on the page


@dataclass(frozen=True)
class Received:
    """What is said of a file that came. taken: is it among the files that are used."""

    kind: parts.Kind
    words: str
    remedy: str | None = None
    taken: bool = False


def receive(visit: Visit, answer: Mapping[str, Any]) -> Received:
    """Take in a file that was uploaded, from the answer that the browser got. One that has the name of another takes
    its place; the other is kept aside. Raises MissingError where it is not there: anybody can send an answer."""
    if "what" in answer or "path" not in answer:
        refused = visit.say("data.drop.refused", name=str(answer.get("name", "")), what=str(answer.get("what", "")))
        return Received("bad", refused, str(answer["to_do"]) if answer.get("to_do") else None)
    name, wanted = Path(str(answer["name"])).name, Path(str(answer.get("wanted", answer["name"]))).name
    held = {one.name: one for one in files_of(visit.project)}
    if name not in held:
        raise MissingError("This file is no longer in the project.", received=name[:200], remedy="drop it again")
    if held[name].role == "unread":
        return Received("warning", visit.say("data.drop.unread", name=name))
    before = wanted != name and wanted in held and held[wanted].used
    use(visit.project, name)
    if not before:
        return Received("good", visit.say("data.drop.taken", name=name), taken=True)
    use(visit.project, wanted, on=False)
    return Received("good", visit.say("data.drop.replaced", name=name, before=wanted), taken=True)


def draw_file(
    visit: Visit,
    one: Held,
    report: Mapping[str, Any],
    use_it: Callable[[str, bool], Any] | None,
    remove: Callable[[str], Any],
) -> None:
    """One line of the list. use_it: None for who may only look."""
    say = visit.say
    with ui.element("li").classes("card file"):
        with parts.row():
            parts.word("span", one.name).classes("strong file-name")
            parts.chip(say(f"data.role.{one.role}"), ROLES[one.role])
            if not one.used and one.role != "unread":
                parts.chip(say("data.files.out"), "warning")
            parts.word("span", visit.words.bytes(one.size)).classes("muted small numbers")
            if use_it is not None:
                ui.element("span").classes("spring")
                with parts.row():
                    _draw_buttons(visit, one, use_it, remove)
        for line in understood(visit, one, report):
            parts.text(line).classes("small muted")


def _draw_buttons(visit: Visit, one: Held, use_it: Callable[[str, bool], Any], remove: Callable[[str], Any]) -> None:
    say = visit.say
    if one.role != "unread":
        verb = "leave_out" if one.used else "take_in"
        button = parts.button(say(f"data.files.{verb}"), lambda: use_it(one.name, not one.used), kind="quiet")
        button.props["aria-label"] = say(f"data.files.{verb}_of", name=one.name)
    button = parts.button(say("data.files.remove"), lambda: remove(one.name), kind="quiet", icon="delete")
    button.props["aria-label"] = say("data.files.remove_of", name=one.name)


def understood(visit: Visit, one: Held, report: Mapping[str, Any]) -> Iterator[str]:
    """What the last check understood of a file, in short lines."""
    if not one.used:
        return
    if one.role == "charter":
        charter = report.get("charter")
        if charter:
            rules = sum(count for part, count in charter.items() if part != "questions")
            yield visit.say("data.files.rules", rules)
            return
    of = report.get("files", ()) if one.role == "examples" else report.get("documents", {}).get("files", ())
    record = next((file for file in of if file["file"] == one.name), None)
    if record is None:
        yield visit.say("data.files.unchecked")
    elif one.role == "examples":
        yield from _rows(visit, record)
    elif record.get("same_as"):
        yield visit.say("data.files.same_as", name=record["same_as"])
    else:
        yield visit.say("data.files.passages", record["passages"], words=record["words"])


def _rows(visit: Visit, record: Mapping[str, Any]) -> Iterator[str]:
    columns, say = record["columns"], visit.say
    yield say("data.files.rows", record["rows"], form=say(f"data.form.{columns['form']}"))
    named = [
        say("data.files.column", ours=say(f"data.column.{ours}"), theirs=theirs)
        for ours, theirs in columns["used"].items()
    ]
    yield say("data.files.columns", columns=", ".join(named))
    if columns["unused"]:
        more = " …" if len(columns["unused"]) > COLUMNS else ""
        yield say("data.files.not_read", columns=", ".join(columns["unused"][:COLUMNS]) + more)
    languages = (f"{visit.words.name('language', code)} ({count})" for code, count in record["languages"].items())
    yield say("data.files.languages", languages=", ".join(languages))
