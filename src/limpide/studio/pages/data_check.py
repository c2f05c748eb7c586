"""What a check found, drawn: the verdict, the totals, then each finding with its places and what can be done."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from nicegui import ui

from limpide.studio import parts
from limpide.studio.pages.data_findings import Finding, Findings, Severity, totals
from limpide.studio.pages.data_places import Place, told
from limpide.studio.pages.data_rows import row_at
from limpide.studio.visit import Visit

CHIPS: Mapping[Severity, parts.Kind] = {"stops": "bad", "warns": "warning", "told": "info"}
PLACES_A_PAGE = 10
LISTED_WHOLE = ("rows", "secrets", "personal_data", "names")  # of which each thing counted has its place
Mend = Callable[[str, Any], Any]  # called with a setting of `data` and its value, None to take it back


def draw_findings(
    visit: Visit, report: Mapping[str, Any], found: Findings, files: Mapping[str, Path], mend: Mend | None
) -> None:
    """files: name in the report → file. mend: None for who may only look."""
    stopping = sum(one.severity == "stops" for one in found.found)
    if stopping:
        parts.notice("bad", visit.say("data.check.stops", stopping))
    else:
        warned = any(one.severity == "warns" and not one.mended for one in found.found)
        parts.notice("good", visit.say("data.check.good_warned" if warned else "data.check.good"))
    with parts.row():
        for name, count in totals(report).items():
            parts.word("span", visit.say(f"data.total.{name}", count)).classes("strong numbers")
    for one in found.found:
        _draw_finding(visit, one, files, mend)
    if found.quiet:
        names = visit.words.join(visit.say(f"data_check.{name}") for name in found.quiet)
        parts.text(visit.say("data.check.quiet", names=names)).classes("muted small")
    parts.text(visit.say("data.check.limits")).classes("muted small")


def _draw_finding(visit: Visit, one: Finding, files: Mapping[str, Path], mend: Mend | None) -> None:
    say, title = visit.say, visit.say(f"data_check.{one.name}")
    with parts.card().classes(f"finding {one.severity}"):
        with parts.row():
            parts.heading(title, 3)
            if one.mended and one.severity != "stops":
                parts.chip(say("data.gravity.mended"), "good")
            else:
                parts.chip(say(f"data.gravity.{one.severity}"), CHIPS[one.severity])
            if one.count:
                parts.word("span", say("data.found", one.count)).classes("muted small")
            if one.of == "documents":
                parts.word("span", say("data.of.documents")).classes("muted small")
        with ui.element("div"):
            parts.text(say(f"data.why.{one.name}"))
            parts.text(say(f"data.done.{one.name}" if one.mended else f"data.do.{one.name}"))
        if one.mend is not None and mend is not None:
            _draw_mend(visit, one, mend)
        if one.places:
            with parts.more(say("data.list.places", len(one.places))):
                draw_places(visit, one.places, files)
                if one.count > len(one.places) and one.name in LISTED_WHOLE:
                    parts.text(say("data.listed", listed=len(one.places), count=one.count)).classes("muted small")


def _draw_mend(visit: Visit, one: Finding, mend: Mend) -> None:
    assert one.mend is not None
    name, value = one.mend
    with parts.row():
        if one.mended:
            parts.button(visit.say("data.mend.undo"), lambda: mend(name, None), icon="undo")
        else:
            parts.button(visit.say(f"data.act.{one.name}"), lambda: mend(name, value), kind="primary")


def draw_error(visit: Visit, error: Mapping[str, Any], files: Mapping[str, Path]) -> None:
    """Why the files could not be read to their end: the places, in the page's language, then the message itself."""
    parts.notice("bad", visit.say("data.check.unread"), visit.say("data.check.unread.do"))
    faults = [Place(fault["file"], fault["line"], fault["what"]) for fault in error.get("faults") or ()]
    if faults:
        draw_places(visit, faults, files)
        with parts.more(visit.say("data.check.exact")):
            parts.error_notice(visit, {**error, "faults": []}, of_command=True)
    else:
        parts.error_notice(visit, error, of_command=True)


def draw_places(visit: Visit, places: Sequence[Place], files: Mapping[str, Path]) -> None:
    columns = [visit.say("data.list.where"), visit.say("data.list.what")]
    parts.table(columns, [_cells(visit, place, files) for place in places], PLACES_A_PAGE)


def _cells(visit: Visit, place: Place, files: Mapping[str, Path]) -> Sequence[parts.Cell]:
    """Where, which opens the row where there is one, and what."""
    what, translated = told(place.what, visit)
    path, line = files.get(place.file or ""), place.line

    def where() -> None:
        if path is None or line is None:
            parts.word("span", _where(visit, place))
            return
        made = parts.button(_where(visit, place), lambda: show_row(visit, path, line), kind="quiet").classes("place")
        made.props["title"] = visit.say("data.list.see")

    def said() -> None:
        shown = parts.word("span", what)
        if not translated:
            shown.props("lang=en")

    return [where, said]


def _where(visit: Visit, place: Place) -> str:
    if place.file is None:
        return visit.say("data.place.nowhere")
    if place.line is None:
        return place.file
    return visit.say("data.place.line", file=place.file, line=place.line)


async def show_row(visit: Visit, path: Path, line: int) -> None:
    """A window with the row, read from the file now. Raises DataError where the file cannot be opened."""
    cells = await asyncio.to_thread(row_at, path, line)
    with parts.dialog(visit.say("data.row.title", line=line, file=path.name)) as made:
        if cells is None:
            parts.text(visit.say("data.row.gone"))
        else:
            with parts.facts():
                for name, cell in cells:
                    parts.fact(name or "—", cell or visit.say("data.row.empty"))
            parts.text(visit.say("data.row.masked")).classes("muted small")
        with parts.row().classes("end"):
            parts.button(visit.say("frame.close"), made.close, kind="primary")
    made.open()
