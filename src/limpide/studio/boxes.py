"""Words, boxes and states: the part of `parts.py` that nobody presses."""

import hashlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any, Literal

from nicegui import ui
from nicegui.element import Element
from nicegui.elements.mixins.text_element import TextElement

from limpide.document.notes import Said
from limpide.studio.said import fault, said
from limpide.studio.visit import Visit

Kind = Literal["info", "good", "warning", "bad"]
ICONS: Mapping[str, str] = {"info": "info", "good": "check_circle", "warning": "warning", "bad": "error"}
HERE = Path(__file__).parent
SHOWN_FAULTS = 20
ASSETS = ("look.css", "studio.js")  # what a browser may keep
LOGO = (
    '<svg viewBox="0 0 24 24" width="26" height="26" aria-hidden="true" focusable="false" fill="none" '
    'stroke="currentColor" stroke-width="1.9" stroke-linecap="round" stroke-linejoin="round">'
    '<path d="M12 2.4c3.6 4.3 6.5 7.7 6.5 11.8a6.5 6.5 0 0 1-13 0C5.5 10.1 8.4 6.7 12 2.4z"/>'
    '<path d="M9.1 14.3a3.1 3.1 0 0 0 2.5 3"/></svg>'
)


@cache
def look(name: str) -> str:
    """Address of one of the studio's own files; it changes when the file does, so browsers may keep it."""
    return f"/look/{hashlib.sha256((HERE / name).read_bytes()).hexdigest()[:12]}.{name}"


def visit_here() -> Visit:
    """The visit of the page that is being drawn or whose event is handled."""
    visit = ui.context.client.storage["visit"]
    assert isinstance(visit, Visit)
    return visit


# ---- words ----------------------------------------------------------------------------------------------------------


def word(tag: str, words: str) -> TextElement:
    """One HTML element with plain text in it."""
    return TextElement(tag=tag, text=words)


def spoken(tag: str, words: Said) -> TextElement:
    """The same, in the language it is in where that is not the page's."""
    made = word(tag, words[0])
    if words[1] is not None:
        made.props["lang"] = words[1]
    return made


def text(words: str) -> TextElement:
    """A paragraph of plain text; nothing in it is markup."""
    return word("p", words)


def heading(words: str, level: Literal[2, 3] = 2) -> TextElement:
    return word(f"h{level}", words)


def facts() -> Element:
    """Context manager around some `fact`."""
    return ui.element("dl").classes("facts")


def fact(label: str, value: str) -> Element:
    """A name and its value, inside `with facts():`."""
    with ui.element("div").classes("fact") as made:
        word("dt", label)
        word("dd", value)
    return made


def chip(words: str, kind: Kind = "info") -> Element:
    """A short state: 'signed', 'running'. The word says it; the colour only repeats it."""
    return word("span", words).classes(f"chip {kind}")


# ---- boxes (each a context manager) ---------------------------------------------------------------------------------


def card(title: str | None = None) -> Element:
    """A box, with a heading of level 2 when `title` is given."""
    made = ui.element("section").classes("card")
    if title is not None:
        with made:
            heading(title)
    return made


def stack() -> Element:
    """Things below each other."""
    return ui.element("div").classes("stack")


def row() -> Element:
    """Things beside each other, that wrap on a small screen."""
    return ui.element("div").classes("row-line")


def grid() -> Element:
    """Cards in as many columns as fit."""
    return ui.element("div").classes("card-grid")


def more(title: str) -> Element:
    """What opens on a click: detail that most people do not need."""
    made = ui.element("details").classes("more")
    with made:
        word("summary", title)
    return made


# ---- states ---------------------------------------------------------------------------------------------------------


def link(words: str, path: str) -> Element:
    made = word("a", words)
    made.props["href"] = path
    return made


@contextmanager
def _notice(kind: Kind) -> Iterator[Element]:
    with ui.element("div").classes(f"notice {kind}") as made:
        made.props("role=alert" if kind in ("bad", "warning") else "role=status")
        ui.icon(ICONS[kind])
        with ui.element("div").classes("notice-text"):
            yield made


def notice(kind: Kind, words: str, remedy: str | None = None) -> Element:
    """What happened, and what to do. 'bad' and 'warning' are read out at once by screen readers."""
    with _notice(kind) as made:
        text(words)
        if remedy:
            text(remedy).classes("muted")
    return made


def empty(words: str, link_text: str, path: str) -> Element:
    """A page or a list that has nothing yet: why, and where to go."""
    with ui.element("div").classes("empty") as made:
        text(words)
        link(link_text, path).classes("button primary")
    return made


def error_notice(visit: Visit, record: Mapping[str, Any], *, of_command: bool = False) -> Element:
    """An error's record (core/errors.py): what, received, expected, what to do, its faults line by line.

    of_command: it is a command's, so that what of it is not known in the page's language is English. Errors of the
    studio's own pages are in the page's language already.
    """

    def shown(words: str) -> Said:
        found, lang = said(words, visit.words)
        return found, lang if of_command else None

    with _notice("bad") as made:
        spoken("p", shown(str(record.get("what", ""))))
        for name in ("received", "expected", "to_do"):
            if record.get(name):
                value, lang = shown(str(record[name]))
                line = visit.say(f"frame.error.{name}", value=value)
                spoken("p", (line, None if name == "received" else lang)).classes("muted small")
        faults = record.get("faults") or []
        if faults:
            with ui.element("ul"):
                for one in faults[:SHOWN_FAULTS]:
                    line = f":{one['line']}" if one.get("line") else ""
                    what, lang = fault(str(one.get("what", "")), visit.words)
                    spoken("li", (f"{one.get('file', '')}{line} — {what}", lang))
        if len(faults) > SHOWN_FAULTS:
            text(visit.say("frame.error.more", len(faults) - SHOWN_FAULTS)).classes("muted small")
    return made
