"""Saying which column is which, where their names do not tell."""

import asyncio
import json
from collections.abc import Callable, Mapping
from typing import Any

from nicegui import ui

from limpide.studio import parts
from limpide.studio.pages.data_files import Held
from limpide.studio.pages.data_rows import columns_of
from limpide.studio.visit import Visit

# The two columns that a person may name, by form.
FORMS: Mapping[str, tuple[str, str]] = {"prompt": ("prompt", "answer"), "text": ("text", "label")}
Set = Callable[[str, Any], Any]  # called with a setting of `data` and its value


def concerns_columns(error: Mapping[str, Any]) -> bool:
    """Whether naming the columns would help: every such message names the setting."""
    return "data.columns" in json.dumps(error)


def draw_chosen(visit: Visit, change: Set | None) -> None:
    """The columns that a person has named, and a way back."""
    chosen = visit.project.draft().data.get("columns")
    if not chosen:
        return
    say = visit.say
    named = (say("data.files.column", ours=say(f"data.column.{ours}"), theirs=name) for ours, name in chosen.items())
    with parts.row():
        parts.text(say("data.columns.chosen", columns=", ".join(named))).classes("small")
        if change is not None:
            parts.button(say("data.columns.forget"), lambda: change("columns", None), kind="quiet", icon="undo")


async def ask_columns(visit: Visit, one: Held, change: Set) -> None:
    """A window in which two columns are chosen. Raises DataError as opening the file does."""
    say, names = visit.say, await asyncio.to_thread(columns_of, one.path)
    with parts.dialog(say("data.columns.title")) as made:
        if len(names) < 2:
            parts.text(say("data.columns.none", name=one.name))
            parts.button(say("frame.close"), made.close, kind="primary")
            made.open()
            return
        parts.text(say("data.columns.what", name=one.name))
        forms = {form: say(f"data.form.{form}") for form in FORMS}
        form = ui.radio(forms, value="prompt").props("inline")
        first = ui.select(names, value=names[0], label=say("data.columns.first")).props("outlined")
        second = ui.select(names, value=names[1], label=say("data.columns.second")).props("outlined")

        def save() -> None:
            ours = FORMS[str(form.value)]
            made.close()
            change("columns", dict(zip(ours, (first.value, second.value), strict=True)))

        with parts.row().classes("end"):
            parts.button(say("frame.cancel"), made.close)
            parts.button(say("data.columns.save"), save, kind="primary")
    made.open()
