"""The label of a model, drawn."""

from collections.abc import Iterable

from nicegui import ui
from nicegui.element import Element

from limpide.studio import parts
from limpide.studio.pages.model_label import Label, Openness, Part
from limpide.studio.said import said
from limpide.studio.visit import Visit

WORDS_A_TOKEN = 0.75  # of English, roughly
CHIPS: dict[Openness, str] = {"open": "good", "partly": "warning", "closed": "bad", "unknown": ""}
SHORT = 12  # characters of a digest
# A label of parts under thick rules, its rows under thin ones, as on food.
LOOK = """
.label { columns: 22rem 2; column-gap: 3rem; display: block; padding-bottom: .5rem; }
.label > section { border-top: 3px solid var(--ink); break-inside: avoid; margin-bottom: 1.75rem; padding-top: .6rem; }
.label h3 { font-size: 1.0625rem; padding-bottom: .4rem; }
.label .facts { display: block; }
.label .fact, .label li { border-top: 1px solid var(--line); padding: .5rem 0; }
.label .fact { display: grid; gap: 0 1rem; grid-template-columns: minmax(6rem, 2fr) 5fr; }
.label .fact dd { overflow-wrap: anywhere; }
.label ul { list-style: none; padding: 0; }
.label .said { align-items: baseline; display: flex; gap: 1rem; justify-content: space-between; }
.label .note { padding-top: .5rem; }
.card-grid > .card { align-content: start; }
.told.good { color: var(--good); } .told.warning { color: var(--warning); } .told.bad { color: var(--bad); }
"""


def draw_label(visit: Visit, label: Label) -> None:
    """Everything on the label, in the order in which people ask."""
    with parts.card().classes("label"):
        with _section(visit.say("model.label.what")):
            _draw_facts(visit, label)
        with _section(visit.say("model.open.title")), ui.element("ul"):
            for part in label.parts:
                _draw_part(visit, part)
        with _section(visit.say("model.licence.title")):
            _draw_licence(visit, label)
        with _section(visit.say("model.unknown.title")):
            _draw_unknown(visit, label)
        if label.able:
            with _section(visit.say("model.can.title")):
                _draw_able(visit, label)
        if label.declared or label.oddities:
            with _section(visit.say("model.declared.title" if label.declared else "model.odd.title")):
                _draw_quoted(visit, label)


def _section(title: str) -> Element:
    made = ui.element("section")
    with made:
        parts.heading(title, 3)
    return made


def _draw_facts(visit: Visit, label: Label) -> None:
    say, words = visit.say, visit.words
    with parts.facts():
        parts.fact(say("model.label.name"), label.ref)
        parts.fact(say("model.label.family"), f"{label.family} ({label.architecture})")
        size = say("model.label.size_is", parameters=words.about(label.parameters), bytes=words.bytes(label.bytes))
        parts.fact(say("model.label.size"), size)
        if label.adapter_parameters:
            more = say("model.label.adapter_is", parameters=words.about(label.adapter_parameters))
            parts.fact(say("model.label.size"), more)
        spoken = words.join(words.name("language", code) for code in label.languages)
        parts.fact(say("model.label.languages"), spoken or say("model.label.languages_unknown"))
        parts.fact(say("model.label.context"), _context(visit, label))
        parts.fact(say("model.label.form"), _form(visit, label))
        if label.based_on:
            parts.fact(say("model.label.based_on"), ", ".join(label.based_on))
        parts.fact(say("model.label.digest"), f"{label.digest[:SHORT]}…")


def _context(visit: Visit, label: Label) -> str:
    if not label.context:
        return visit.say("model.label.context_free")
    about = round(WORDS_A_TOKEN * label.context, -2) or round(WORDS_A_TOKEN * label.context)
    return visit.say("model.label.context_is", tokens=label.context, words=int(about))


def _form(visit: Visit, label: Label) -> str:
    if label.classes:
        return visit.say("model.label.form.classes", classes=", ".join(label.classes))
    return visit.say("model.label.form.chat" if label.chats else "model.label.form.text")


def _draw_licence(visit: Visit, label: Label) -> None:
    say, kind = visit.say, label.licence_kind
    with parts.facts():
        parts.fact(say("model.licence.name"), label.licence or say("model.licence.none"))
        parts.fact(say("model.licence.may"), say(f"model.licence.{kind}.may"))
        parts.fact(say("model.licence.must"), say(f"model.licence.{kind}.must"))
    parts.text(say("model.licence.advice")).classes("muted small note")


def _draw_part(visit: Visit, part: Part) -> None:
    with ui.element("li"):
        with ui.element("div").classes("said"):
            parts.word("span", visit.say(f"model.open.{part.name}")).classes("strong")
            parts.word("span", visit.say(f"model.open.{part.state}")).classes(f"chip {CHIPS[part.state]}")
        parts.text(visit.say(part.why.key, **part.why.values)).classes("small muted")


def _draw_unknown(visit: Visit, label: Label) -> None:
    if not label.unknown:
        parts.text(visit.say("model.unknown.none"))
        return
    with ui.element("ul"):
        for name in label.unknown:
            parts.word("li", visit.say(f"model.unknown.{name}"))


def _draw_able(visit: Visit, label: Label) -> None:
    with ui.element("ul"):
        for name, able in label.able.items():
            with ui.element("li").classes("said"):
                parts.word("span", visit.say(f"model.can.{name}"))
                chip = parts.word("span", visit.say(f"model.can.{able}"))
                chip.classes("chip good" if able == "yes" else "chip")
    parts.text(visit.say("model.can.what")).classes("muted small note")


def _draw_quoted(visit: Visit, label: Label) -> None:
    """What the files declare, and what is odd in them."""
    _draw_list(visit, label.declared.values())
    if label.declared:
        parts.text(visit.say("model.declared.what")).classes("small muted note")
    if label.declared and label.oddities:
        parts.heading(visit.say("model.odd.title"), 3)
    _draw_list(visit, label.oddities)


def _draw_list(visit: Visit, lines: Iterable[str]) -> None:
    with ui.element("ul"):
        for line in lines:
            parts.spoken("li", said(line, visit.words)).classes("small")
