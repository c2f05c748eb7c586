"""One suite of the report: what it found, its pictures, and a table in which every number opens."""

from collections.abc import Callable, Collection, Sequence
from typing import Any

from nicegui import ui
from nicegui.element import Element

from limpide.document import suites, tables
from limpide.document.evidence import Evidence
from limpide.studio import parts
from limpide.studio.pages.report_figures import drawn, evidence, picture
from limpide.studio.pages.report_opened import number_dialog
from limpide.studio.pages.report_read import Reported
from limpide.studio.visit import Visit

Open = Callable[[str], Any]


def gates(visit: Visit, record: Evidence) -> None:
    """What it had to pass: each rule in words, what was seen, and the outcome."""
    rows = tables.gate_rows(record, visit.words)
    with parts.card(visit.words.say("section.gates")):
        if not rows:
            parts.text(visit.words.say("gates.none"))
            return
        columns = [visit.words.say(f"column.{name}") for name in ("rule", "seen", "verdict")]
        with evidence(), body_of_table(visit.words.say("section.gates"), columns, caption=False):
            for row in rows:
                one_gate(row)


def one_gate(row: tables.GateRow) -> None:
    with ui.element("tr"):
        with ui.element("th").props("scope=row"):
            parts.word("span", row.said)
            parts.word("code", row.rule).classes("measure")
        cell = parts.word("td", row.sentence or "–")
        if row.sentence_lang:
            cell.props(f"lang={row.sentence_lang}")
        with ui.element("td"):
            parts.word("span", row.word).classes(f"word {row.tone}")


def suite(visit: Visit, one: Reported, record: Evidence, name: str) -> None:
    """The section of a suite. Its sentences and pictures are the documents'."""
    section = suites.section(name, record, visit.words)

    async def opens(label: str) -> None:
        await number_dialog(visit, one, record, label)

    with parts.card(section.title) as card:
        card.props["id"] = section.id
        parts.text(section.lead.sentence)
        if section.explained:
            parts.text(section.explained).classes("muted small")
        for drawing in section.pictures:
            drawn(picture(drawing, visit.words))
        if section.rows:
            parts.text(visit.say("report.table.lead")).classes("muted small")
            numbers(visit, section, section.rows, opens)
        if section.more:
            with parts.more(visit.words.say("table.more", len(section.more))):
                numbers(visit, section, section.more, opens)
        for sentence, what in section.missing:
            parts.text(f"{what}{visit.words.say('colon')} {sentence[0]}").classes("muted small")


def numbers(visit: Visit, section: suites.Section, rows: Sequence[tables.Compared], opens: Open) -> None:
    """A table of measures: a value is a button, which opens to its items and method."""
    spoken = visit.words
    compared = [spoken.say("column.difference")] if section.compared else []
    columns = [spoken.say("column.what"), *section.columns, *compared, "n"]
    columns += [spoken.say("column.verdict")] if section.compared else []
    with evidence(), body_of_table(section.caption, columns, range(1, columns.index("n") + 1)):
        for row in rows:
            with ui.element("tr"):
                with ui.element("th").props("scope=row"):
                    parts.word("span", row.what)
                    parts.word("code", row.label).classes("measure")
                for column, cell, between in zip(section.columns, row.cells, row.ranges, strict=True):
                    _value(visit, row, column, cell, between, opens)
                if section.compared:
                    _value(visit, row, columns[-3], row.difference, row.difference_range, opens)
                parts.word("td", row.n).classes("number").props["data-label"] = f"n{spoken.say('colon')}"
                if section.compared:
                    with ui.element("td"):
                        parts.word("span", row.verdict).classes(f"word {row.tone}")


def _value(visit: Visit, row: tables.Compared, column: str, cell: str, between: str, opens: Open) -> None:
    label = f"{column}{visit.words.say('colon')}"
    with ui.element("td").classes("number") as made:
        made.props["data-label"] = label
        button = parts.word("button", cell).classes("opens").props("type=button")
        button.props["aria-label"] = visit.say("report.number.open", what=row.what, column=column, value=cell)
        button.on("click", lambda: parts.safely(lambda: opens(row.label), button), args=[])
        if between:
            parts.word("span", between).classes("sub")


def body_of_table(name: str, columns: Sequence[str], numbers: Collection[int] = (), *, caption: bool = True) -> Element:
    """Context manager: the body of a new table. numbers: the columns that hold numbers, from 0."""
    wide = ui.element("div").classes("wide").props("role=region tabindex=0")
    wide.props["aria-label"] = name
    with wide, ui.element("table").classes("stack"):
        if caption:
            parts.word("caption", name)
        with ui.element("thead"), ui.element("tr"):
            for place, column in enumerate(columns):
                parts.word("th", column).classes("number" if place in numbers else "").props("scope=col")
        return ui.element("tbody")
