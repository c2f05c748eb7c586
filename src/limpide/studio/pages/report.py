"""The report: may it be used, what changed, whom it treats how; every number opens to its items and its method."""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from nicegui import ui
from nicegui.element import Element

from limpide.core.errors import RecipeError
from limpide.core.measure import Change
from limpide.document import findings, suites, tables
from limpide.document.evidence import Evidence
from limpide.document.tiles import but, tiles
from limpide.recipe.gates import matches, parse_gate
from limpide.studio import documents, parts
from limpide.studio.frame import Page
from limpide.studio.pages.about import asked_for, choice
from limpide.studio.pages.report_figures import dress, evidence
from limpide.studio.pages.report_numbers import became_worse
from limpide.studio.pages.report_read import Reported, evidence_of, reports, unread, whole_report
from limpide.studio.pages.report_suite import gates, suite
from limpide.studio.visit import Visit

NAMED = 5  # quantities that became worse, by name in the verdict


async def build(visit: Visit) -> None:
    found = await asyncio.to_thread(reports, visit.project.folder)
    for name in await asyncio.to_thread(unread, visit.project.folder):
        parts.notice("warning", visit.say("report.unread", name=name))
    if not found:
        parts.empty(visit.say("report.empty"), visit.say("report.empty.link"), "/run")
        return
    dress()
    chosen = asked_for(found)
    choice("/report", {one.id: label(visit, one) for one in found}, chosen, visit.say("report.choose"))
    record = await asyncio.to_thread(evidence_of, chosen)
    verdict(visit, chosen, record)
    key_numbers(visit, record)
    whole(visit, chosen)
    gates(visit, record)
    for name in suites.ordered(record.suite_names()):
        suite(visit, chosen, record, name)


def label(visit: Visit, one: Reported) -> str:
    """'press-assistant 1.0.0, 3 March 2027, released'."""
    state = "released" if one.release else "held" if one.verdict == "hold" else "unreleased"
    date = visit.words.date(one.date) or visit.words.say("unknown")
    return visit.say(f"report.choice.{state}", title=one.title, date=date)


def verdict(visit: Visit, one: Reported, record: Evidence) -> None:
    """May it be used: the gates' verdict, whether a release was made, and by which gate it was held."""
    spoken = visit.words
    said = findings.verdict(record, spoken)
    made = "made" if one.release else "not_made" if record.verdict == "ship" else "held"
    worse = told_worse(visit, record)
    tone = "doubt" if worse and said.tone == "good" else said.tone
    spoilt = but(record, spoken) if not worse else None
    with evidence(), ui.element("section").classes(f"banner {tone}").props("aria-labelledby=verdict"):
        title = parts.heading(spoken.say(f"verdict.{record.verdict}.title")).props("id=verdict")
        title.classes("verdict")
        parts.text(visit.say(f"report.verdict.{made}", title=one.title)).classes("strong")
        for sentence in worse:
            parts.text(sentence).classes("strong")
        parts.text(" ".join(filter(None, [said.sentence, spoilt])))
        why = tables.reasons(record, spoken)
        if why:
            with ui.element("ul").classes("reasons"):
                for sentence, language in why:
                    line = parts.word("li", sentence)
                    if language:
                        line.props(f"lang={language}")
    if not one.release:
        parts.link(visit.say("report.again"), "/run").classes("button primary")


def told_worse(visit: Visit, record: Evidence) -> list[str]:
    """What became worse among all that was measured, and which of it no gate of the recipe looked at."""
    worse = became_worse(record)
    watched = []
    for gate in record.gates:
        with suppress(RecipeError):  # a rule of another version
            watched.append(parse_gate(gate.rule).metric)
    unseen = [c for c in worse if not any(matches(metric, c.name, c.group) for metric in watched)]
    said = [visit.say("report.worse", len(worse), what=named(visit, worse))] if worse else []
    if unseen:
        key = "report.unwatched.none" if len(unseen) == len(worse) else "report.unwatched"
        said.append(visit.say(key, len(unseen), what=named(visit, unseen)))
    return said


def named(visit: Visit, found: Sequence[Change]) -> str:
    """The first quantities by name, and how many more there are."""
    names = [tables.quantity(c.name, c.group, visit.words) for c in found]
    more = [visit.say("report.worse.more", len(names) - NAMED)] if len(names) > NAMED else []
    return visit.words.list([*names[:NAMED], *more])


def key_numbers(visit: Visit, record: Evidence) -> None:
    """Four numbers, each with what became of it."""
    with evidence(), ui.element("ul").classes("tiles").props(f'aria-label="{visit.words.say("tiles")}"'):
        for tile in tiles(record, visit.words):
            with ui.element("li"), ui.element("div").classes("tile"):
                for name, words in (("label", tile.label), ("big", tile.value), ("before", tile.before)):
                    if words:
                        ui.label(words).classes(name)
                if tile.word:
                    ui.label(tile.word).classes(f"word {tile.tone}")


def whole(visit: Visit, one: Reported) -> None:
    """The report that goes with the release, as one page: in a new tab, and here in a frame without rights."""
    path = whole_report(one, visit.language)
    if path is None:
        return
    title = visit.say("report.whole")
    if one.release:
        address = documents.address(visit.project, path)
        link = parts.link(title, address).props('target=_blank rel="noopener"').classes("button plain")
        link.props["aria-label"] = visit.say("report.whole.new_tab")
        with parts.more(visit.say("report.whole.here")):
            parts.document(title, address)
        return
    with parts.more(visit.say("report.whole.here")) as fold:
        fold.on("toggle", lambda: written_in(fold, title, path), args=[])


def written_in(fold: Element, title: str, path: Path) -> None:
    """The report of a run without a release, which has no address of its own: its text is given to the frame."""
    if len(fold.default_slot.children) > 1:
        return
    with fold:
        frame = ui.element("iframe").classes("document").props('sandbox=""')
        frame.props["title"], frame.props["srcdoc"] = title, path.read_text(encoding="utf-8")


PAGE = Page("/report", "report", build, icon="fact_check")
