"""Approval: a person says, in their name, what they looked at and whether the release may be used."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from nicegui import ui

from limpide.core.errors import UsageError
from limpide.release.approve import approve
from limpide.studio import parts
from limpide.studio.pages.release_found import Found, private_keys
from limpide.studio.pages.release_rights import allowed, check_opens, require, taken
from limpide.studio.pages.release_sign import Again, key_and_password
from limpide.studio.visit import Visit

LOOKED_AT = ("report", "bias", "card", "asked", "verified")
YES, NO = "approve", "refuse"


@dataclass(frozen=True)
class Said:
    """What one person says of a release. looked: of LOOKED_AT."""

    name: str
    words: str
    looked: Sequence[str]


def approval(visit: Visit, found: Found, again: Again) -> None:
    """A card: who approved so far, and the form to approve or refuse."""
    with parts.card(visit.say("release.approval")):
        for one in found.approved:
            with parts.facts():
                parts.fact(visit.say("release.approval.by"), one.name)
                parts.fact(visit.say("release.approval.on"), moment(visit, one.approved_on))
                parts.fact(visit.say("release.approval.said"), one.statement or visit.say("release.approval.nothing"))
        if not found.approved:
            parts.text(visit.say("release.approval.waits" if found.approval else "release.approval.none"))
        if found.signed is None or found.signed.key is None:
            parts.text(visit.say("release.approval.sign_first")).classes("muted")
        elif allowed(visit, "approve"):
            with parts.more(visit.say("release.approval.another")) if found.approved else parts.stack(), parts.stack():
                form(visit, found, found.signed.key, again)


def form(visit: Visit, found: Found, release_key: Path, again: Again) -> None:
    """Name, decision, what was looked at, words, and the key that signs them."""
    keys = private_keys(visit.project.keys)
    if not keys:
        parts.text(visit.say("release.approval.no_key")).classes("muted")
        return
    name = ui.input(visit.say("release.approval.name")).props('outlined autocomplete="name"').classes("field")
    with ui.element("fieldset").classes("stack"):
        parts.word("legend", visit.say("release.approval.looked"))
        seen = {key: ui.checkbox(visit.say(f"release.looked.{key}")) for key in LOOKED_AT}
    words = ui.textarea(visit.say("release.approval.words")).props("outlined autogrow").classes("field")
    chosen, password = key_and_password(visit, keys)

    async def decide(decision: str) -> None:
        require(visit, "approve")
        looked = [key for key, box in seen.items() if box.value]
        said = statement(visit, looked, words.value or "")
        person = (name.value or "").strip()
        if not looked:
            raise UsageError(visit.say("release.approval.look_first"))
        if not person:
            raise UsageError(visit.say("release.approval.name_first"))
        if decision == NO:
            await refuse(visit, found, person, said)
            return
        record = Said(person, said, looked)
        await put(visit, found, record, Path(chosen.value), taken(password), release_key)
        parts.tell("good", visit.say("release.approval.done", name=person))
        await again()

    with parts.row():
        parts.button(visit.say("release.approve"), lambda: decide(YES), kind="primary", icon="how_to_reg")
        parts.button(visit.say("release.refuse"), lambda: decide(NO), icon="block")


async def put(visit: Visit, found: Found, said: Said, key: Path, password: str | None, release_key: Path) -> None:
    """Approve, and put it on record once it is done. Raises UsageError where the key does not open."""
    require(visit, "approve")
    check_opens(visit, key, password)
    await asyncio.to_thread(
        approve, found.folder, said.name, key, statement=said.words, password=password, release_key=release_key
    )
    visit.log("studio.release.approve", release=found.id, approver=said.name, looked_at=said.looked)


async def refuse(visit: Visit, found: Found, person: str, said: str) -> None:
    """A refusal is kept in the log: the release has no place for one, and stays as it is."""
    if await parts.confirm(visit.say("release.refuse"), visit.say("release.refuse.ask"), visit.say("release.refuse")):
        visit.log("studio.release.refuse", release=found.id, approver=person, said=said)
        parts.tell("info", visit.say("release.refuse.done"))


def statement(visit: Visit, looked: Sequence[str], words: str) -> str:
    """What is put on record: what was looked at, then the person's own words."""
    seen = visit.say("release.statement", what=visit.words.join(visit.say(f"release.looked.{key}") for key in looked))
    return f"{seen} {words.strip()}".strip() if looked else words.strip()


def moment(visit: Visit, written: str) -> str:
    """'22 November 2026, 12:00 UTC' of a time in ISO 8601."""
    return f"{visit.words.date(written)}, {written[11:16]} UTC" if len(written) > 15 else written
