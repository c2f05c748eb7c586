"""The releases: what each holds, who answers for it, whether it is still what was signed, and how to take it."""

import asyncio
from functools import partial
from urllib.parse import quote

from nicegui import ui
from nicegui.element import Element

from limpide.studio import documents as served
from limpide.studio import parts
from limpide.studio.frame import Page
from limpide.studio.pages.about import asked_for, choice
from limpide.studio.pages.release_approval import approval
from limpide.studio.pages.release_found import Document, Found, documents, releases, size, the_release
from limpide.studio.pages.release_look import dress
from limpide.studio.pages.release_sign import signature
from limpide.studio.pages.release_verify import refused, verification
from limpide.studio.visit import Visit


async def build(visit: Visit) -> None:
    found = await asyncio.to_thread(releases, visit.project.folder, visit.project.keys)
    if not found:
        parts.empty(visit.say("release.empty"), visit.say("release.empty.link"), "/run")
        return
    dress()
    chosen = asked_for(found)
    choice("/release", {one.id: one.id for one in found}, chosen, visit.say("release.choose"))
    await draw(visit, chosen.id, parts.stack())


async def draw(visit: Visit, id: str, shown: Element) -> None:
    """All of one release, in the order of what one does with it."""
    found = await asyncio.to_thread(the_release, visit.project.folder, visit.project.keys, id)
    weight = await asyncio.to_thread(size, found.folder)

    async def again() -> None:
        await draw(visit, id, shown)

    shown.clear()
    with shown:
        state(visit, found)
        to_read(visit, found)
        signature(visit, found, again)
        verification(visit, found)
        approval(visit, found, again)
        take_away(visit, found, weight)


def state(visit: Visit, found: Found) -> None:
    """Its name and where it stands, in chips, and the one next thing to do."""
    parts.heading(found.id)
    with parts.row():
        if refused(visit, found):
            parts.chip(visit.say("release.chip.fault"), "bad")
        elif found.signed is None:
            parts.chip(visit.say("release.chip.unsigned"), "warning")
        else:
            parts.chip(visit.say("release.chip.signed"), "good")
        if found.approved:
            parts.chip(visit.say("release.chip.approved", len(found.approved)), "good")
        elif found.approval:
            parts.chip(visit.say("release.chip.waits"), "warning")
    if found.fault:
        parts.error_notice(visit, found.fault)


def to_read(visit: Visit, found: Found) -> None:
    """Every document of the release, to open or to download."""
    rows: list[list[parts.Cell]] = [
        [visit.say(f"release.document.{one.kind}"), partial(links, visit, found, one), visit.words.bytes(one.bytes)]
        for one in documents(found.folder)
    ]
    with parts.card(visit.say("release.documents")):
        columns = [visit.say(f"release.column.{name}") for name in ("what", "file", "size")]
        parts.table(columns, rows, 12, numbers=(2,))


def links(visit: Visit, found: Found, one: Document) -> None:
    """Open, where a browser shows it, and download."""
    address = served.address(visit.project, found.folder / one.path)
    opened = parts.link(one.path, address).props('target=_blank rel="noopener"')
    opened.props["aria-label"] = visit.say("release.open", file=one.path)
    down = parts.link("", f"{address}?download").classes("down")
    down.props["aria-label"] = down.props["title"] = visit.say("release.download.file", file=one.path)
    with down:
        ui.icon("download")


def take_away(visit: Visit, found: Found, weight: int) -> None:
    """Download it whole, or serve it here."""
    with parts.card(visit.say("release.use")):
        parts.text(visit.say("release.download.why"))
        with parts.row():
            words = visit.say("release.download", size=visit.words.bytes(weight))
            parts.link(words, f"/pack/{quote(found.id)}.zip").classes("button plain")
            changed = refused(visit, found)
            if found.signed and not found.waits and not changed:
                parts.link(visit.say("release.serve"), f"/service?of={quote(found.id)}").classes("button primary")
        if changed:
            parts.text(visit.say("release.verified.refused.do")).classes("strong")
        elif not found.signed or found.waits:
            parts.text(visit.say("release.serve.not_yet")).classes("muted")


PAGE = Page("/release", "release", build, icon="inventory_2")
