"""A number that was clicked: how each model was measured, what changed, and the items behind it, page by page."""

import asyncio
from collections.abc import Awaitable, Callable

from nicegui import ui
from nicegui.element import Element

from limpide.core.errors import LimpideError
from limpide.document import suites
from limpide.document.evidence import Evidence
from limpide.studio import parts
from limpide.studio.pages.report_figures import evidence
from limpide.studio.pages.report_numbers import Facts, ItemsPage, Number, items_page, number
from limpide.studio.pages.report_read import Reported
from limpide.studio.visit import Visit


async def number_dialog(visit: Visit, one: Reported, record: Evidence, label: str) -> None:
    """Open a window on the number `label`."""
    found = number(record, label, visit.words, visit.say, one.folder)
    with parts.dialog(found.title) as window, parts.stack().classes("number-dialog"):
        facts_of(visit, found)
        parts.heading(visit.say("report.items"), 3)
        shown = parts.stack()
        with parts.row().classes("end"):
            parts.button(visit.say("frame.close"), window.close, kind="primary")
    window.open()
    await turn(visit, one, record, label, shown, 1)


def facts_of(visit: Visit, found: Number) -> None:
    """Each model's value with what it rests on; the change; what the number does not say."""
    for side in found.sides:
        parts.heading(f"{side.name}{visit.words.say('colon')} {side.value}", 3)
        rows(side.facts)
    if found.change:
        parts.heading(visit.say("report.change"), 3)
        rows(found.change)
    if found.note:
        parts.heading(visit.words.say("limits.here"), 3)
        note = parts.text(found.note)
        if found.note_lang:
            note.props(f"lang={found.note_lang}")


def rows(found: Facts) -> None:
    with parts.facts():
        for name, value in found:
            parts.fact(name, value)


async def turn(visit: Visit, one: Reported, record: Evidence, label: str, shown: Element, page: int) -> None:
    """Fill `shown` with a page of items."""
    try:
        found = await asyncio.to_thread(items_page, record, one.folder, label, visit.words, page)
    except LimpideError as error:
        shown.clear()
        with shown:
            parts.error_notice(visit, error.record())
        return
    shown.clear()
    with shown:
        if not found.items:
            parts.text(visit.say("report.items.none")).classes("muted")
            return
        with evidence():
            for item in found.items:
                one_item(visit, item)
        pager(visit, found, page, lambda wanted: turn(visit, one, record, label, shown, wanted))


def pager(visit: Visit, found: ItemsPage, page: int, go: Callable[[int], Awaitable[None]]) -> None:
    """'11 to 20 of 77', with a button to either side."""
    with parts.row():
        if page > 1:
            parts.button(visit.say("report.items.before"), lambda: go(page - 1), kind="quiet", icon="chevron_left")
        parts.text(visit.say("report.items.shown", first=found.first, last=found.last, total=found.total))
        if page < found.pages:
            parts.button(visit.say("report.items.after"), lambda: go(page + 1), kind="quiet", icon="chevron_right")


def one_item(visit: Visit, item: suites.Item) -> None:
    """Closed, a line; open, what was asked and what each model made of it."""
    with ui.element("details").classes("item"):
        with ui.element("summary"):
            title = parts.word("span", item.title).classes("closed")
            if item.lang:
                title.props(f"lang={item.lang}")
            aside = " · ".join(filter(None, [item.where, item.figure]))
            if aside:
                parts.word("span", aside).classes("aside")
        fields(item.asked, item.lang)
        with ui.element("div").classes("pair"):
            for side in item.sides:
                with ui.element("div").classes(side.role):
                    parts.word("h4", side.name)
                    fields(side.fields, item.lang)
        parts.word("p", item.id).classes("digest")


def fields(found: tuple[suites.Shown, ...], language: str | None) -> None:
    with ui.element("dl").classes("facts"):
        for one in found:
            parts.word("dt", one.label)
            with ui.element("dd") as value:
                if language and one.plain:
                    value.props["lang"] = language
                for line in one.lines or ("–",):
                    parts.word("div", line)
