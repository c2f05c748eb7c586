"""The request log: who asked what of which model and when, without the texts; and whether it is what was written."""

import asyncio
from collections.abc import Mapping
from datetime import UTC, date, datetime
from functools import partial
from typing import Any

from nicegui import ui
from nicegui.element import Element

from limpide.core.errors import LimpideError, MissingError, UsageError
from limpide.serve.request_log.entry import Entry
from limpide.serve.request_log.places import places
from limpide.serve.request_log.read import Wanted, read
from limpide.serve.stop_switch import stopped
from limpide.studio import parts
from limpide.studio.jobs import Job, require_none_running
from limpide.studio.pages.release_approval import moment
from limpide.studio.pages.service_keys import known
from limpide.studio.pages.service_said import raw, told
from limpide.studio.visit import Visit

LOOK_EVERY = 1.0  # seconds: what stops the service, or lets it go on, is shown in the list at once
VERIFY = "log-verify"  # the kind of job
LAST = 500  # entries read from the end
SHOWN = 15  # on one page
# What the filter offers; `operator.*` stands for all that begin so.
EVENTS = ("accept", "answer", "refuse", "error", "service.*", "model.load", "operator.*", "studio.*", "recovered")


async def log(visit: Visit) -> None:
    """Two cards: the entries, filtered and paged; and the verification of all of them."""
    with parts.card(visit.say("service.log")):
        parts.text(visit.say("service.log.lead")).classes("muted")
        filters(visit, parts.stack())
    with parts.card(visit.say("service.log.verify")):
        parts.text(visit.say("service.log.verify.lead")).classes("muted")
        verification(visit)
        parts.text(visit.say("service.log.limit")).classes("muted small")


def filters(visit: Visit, box: Element) -> None:
    """Which entries: kind, key, first day. The list is drawn again at each change."""
    found, _ = known(visit.project)
    kinds = {"": visit.say("service.log.every")} | {one: event_word(visit, one) for one in EVENTS}
    callers = {"": visit.say("service.log.anyone")} | {key.id: key.name for key in found}
    with box:
        with parts.row():
            kind = ui.select(kinds, value="", label=visit.say("service.log.kind")).props("outlined dense")
            key = ui.select(callers, value="", label=visit.say("service.column.key")).props("outlined dense")
            since = ui.input(visit.say("service.log.since")).props("outlined dense type=date stack-label")
            for field in (kind, key, since):
                field.classes("filter")

            async def look() -> None:
                await entries(visit, shown, wanted(visit, kind.value, key.value, since.value))

            parts.button(visit.say("service.log.again"), look, kind="quiet", icon="refresh")
        shown = parts.stack()
        for field in (kind, key, since):
            field.on_value_change(lambda: parts.safely(look))
        ui.timer(0, look, once=True)
        order = [stopped(visit.project.service)]

        async def follow() -> None:
            if order[0] != (now := stopped(visit.project.service)):
                order[0] = now
                await look()

        ui.timer(LOOK_EVERY, follow)


def wanted(visit: Visit, kind: Any, key: Any, since: Any) -> Wanted:
    """The filter. Raises UsageError for what is no day."""
    try:
        day = date.fromisoformat(str(since)).isoformat() if since else None
    except ValueError as error:
        raise UsageError(visit.say("service.log.since.wrong"), received=since, expected="2026-11-23") from error
    return Wanted(since=day, event=str(kind) or None, key=str(key) or None)


async def entries(visit: Visit, shown: Element, which: Wanted) -> None:
    """The newest entries first."""
    folder = places(visit.project.service).folder
    try:
        found = await asyncio.to_thread(lambda: list(read(folder, which, LAST)))
    except MissingError:
        found = []
    except LimpideError as error:
        shown.clear()
        with shown:
            parts.error_notice(visit, error.record())
        return
    names = {key.id: key.name for key in (await asyncio.to_thread(known, visit.project))[0]}
    shown.clear()
    with shown:
        if not found:
            parts.text(visit.say("service.log.none"))
            return
        columns = [visit.say(f"service.column.{name}") for name in ("entry", "at", "event", "who", "facts")]
        rows = [line(visit, entry, names) for entry in reversed(found)]
        caption = visit.say("service.log.last", len(found))
        parts.table(columns, rows, SHOWN, caption=caption, numbers=(0,)).classes("stacked")


def line(visit: Visit, entry: Entry, names: Mapping[str, str]) -> list[Any]:
    """An entry in cells: its number, when, what, who, and what draws its other facts."""
    facts = {name: value for name, value in entry.facts.items() if value is not None}
    who = str(facts.pop("who", "") or "")
    key = str(facts.pop("key", "") or "")
    said = names.get(key) or (visit.words.words.get(f"service.caller.{key}", key) if key else who)
    at = f"{entry.at[:10]}\u00a0{entry.at[11:19]}"
    return [visit.words.whole(entry.seq), at, event_word(visit, entry.event), said, partial(details, visit, facts)]


def details(visit: Visit, facts: Mapping[str, Any]) -> None:
    """What an entry says in words, and behind it the facts as the log holds them."""
    words = told(visit, facts)
    if words:
        parts.word("span", words)
    if facts:
        with parts.more(visit.say("service.log.raw")).classes("small"):
            parts.text(raw(visit, facts)).classes("muted small")


def event_word(visit: Visit, event: str) -> str:
    """What an event is called; its own name where there is no word for it."""
    key = f"service.event.{event}"
    return visit.say(key) if visit.words.has(key) else event


# ------------------------------------------------------------------------------------------------------- verification


def verification(visit: Visit) -> None:
    """The button, and what the last verification said."""
    shown = parts.stack()

    def go() -> None:
        require_none_running(visit.jobs, VERIFY)
        job = visit.jobs.start(VERIFY, ["log", "verify", "--state", str(visit.project.service)], who=visit.name)
        draw(visit, job, shown)

    parts.button(visit.say("service.log.verify.now"), go, kind="primary", icon="verified_user")
    last = visit.jobs.last(VERIFY)
    if last is not None:
        draw(visit, last, shown)


def draw(visit: Visit, job: Job, shown: Element) -> None:
    """The verdict of a verification that ended; the panel of one that runs, or that could not be done."""
    shown.clear()
    with shown:
        verdict = visit.jobs.result(job)
        if visit.jobs.state(job) == "running" or not isinstance(verdict, dict):
            parts.job_panel(visit, job, lambda: draw(visit, job, shown))
            return
        tell(visit, verdict)
        at = datetime.fromtimestamp(visit.jobs.ended(job) or job.started, UTC).isoformat()
        parts.text(visit.say("service.log.verified.at", at=moment(visit, at))).classes("muted small")


def tell(visit: Visit, verdict: Mapping[str, Any]) -> None:
    """Intact, or where it is damaged; what holds; what the signed heads vouch for."""
    damage = verdict.get("damage")
    if damage is None:
        parts.notice("good", visit.say("service.log.intact"), visit.say("service.log.intact.means"))
    else:
        place = f"{damage['file']}{'' if damage.get('line') is None else f', {damage_line(visit, damage)}'}"
        parts.notice("bad", visit.say("service.log.damaged", place=place), visit.say("service.log.damaged.do"))
        parts.text(visit.say("service.log.damage", what=str(damage["what"])))
    end, first, covered = (int(verdict.get(name) or 0) for name in ("end", "first", "covered"))
    with parts.facts():
        parts.fact(visit.say("service.log.holds"), visit.words.whole(end - first))
        parts.fact(visit.say("service.log.heads"), visit.words.whole(int(verdict.get("heads") or 0)))
        parts.fact(visit.say("service.log.covered"), visit.words.whole(covered))
        parts.fact(visit.say("service.log.since_head"), visit.words.whole(max(0, end - covered)))


def damage_line(visit: Visit, damage: Mapping[str, Any]) -> str:
    return visit.say("service.log.line", line=int(damage["line"]))
