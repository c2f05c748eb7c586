"""The keys that callers of the service send: made, shown once, listed, revoked; and what each used."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

from nicegui import ui
from nicegui.element import Element

from limpide.core.errors import UsageError
from limpide.document.language import NO_BREAK
from limpide.serve.access import AccessKey, Usage, create, listed, revoke, usage
from limpide.serve.store import Store, database_of, open_store
from limpide.studio import parts
from limpide.studio.boxes import Kind
from limpide.studio.pages.release_rights import allowed, require
from limpide.studio.project import Project
from limpide.studio.visit import Visit

EXPIRIES = (7, 30, 90, 365)  # days
SHOWN = 10  # keys, and rows of usage, on one page


@contextmanager
def opened(project: Project) -> Iterator[Store]:
    """The database of the project's service; made when there is none."""
    store = open_store(database_of(project.service))
    try:
        yield store
    finally:
        store.close()


def known(project: Project) -> tuple[list[AccessKey], list[Usage]]:
    """Every key, newest first, and what was used; nothing where no service ever ran and no key was made."""
    place = database_of(project.service)
    if isinstance(place, Path) and not place.exists():
        return [], []
    with opened(project) as store:
        return listed(store), usage(store)


def keys_asked(project: Project) -> bool:
    """Whether callers are asked for a key: from the first one that was ever made, as `Doorkeeper.asked` has it."""
    return bool(known(project)[0])


async def keys(visit: Visit) -> None:
    """Two cards: keys, and usage by key and day."""
    with parts.card(visit.say("service.keys")):
        parts.text(visit.say("service.keys.lead")).classes("muted")
        listing = parts.stack()
        if allowed(visit, "serve"):
            new_key(visit, listing)
    with parts.card(visit.say("service.usage")):
        used = parts.stack()
    await fill(visit, listing, used)


async def fill(visit: Visit, listing: Element, used: Element | None = None) -> None:
    """Read the database, and draw what it holds."""
    found, spent = await asyncio.to_thread(known, visit.project)
    listing.clear()
    with listing:
        draw_keys(visit, found, spent, listing)
    if used is not None:
        used.clear()
        with used:
            draw_usage(visit, spent)


def draw_keys(visit: Visit, found: list[AccessKey], spent: list[Usage], listing: Element) -> None:
    if not found:
        parts.text(visit.say("service.keys.none"))
        return
    today = f"{datetime.now(UTC):%Y-%m-%d}"
    tokens = dict.fromkeys((key.id for key in found), 0)
    for one in spent:
        if one.day == today and one.key_id in tokens:
            tokens[one.key_id] += one.prompt_tokens + one.answer_tokens
    rows: list[list[parts.Cell]] = [
        [
            key.name,
            partial(parts.chip, visit.say(f"service.key.{standing(key)}"), CHIPS[standing(key)]),
            in_words(visit, key),
            visit.words.whole(tokens[key.id]),
            partial(revoke_button, visit, key, listing),
        ]
        for key in found
    ]
    columns = [visit.say(f"service.column.{name}") for name in ("name", "state", "allows", "today", "action")]
    parts.table(columns, rows, SHOWN, caption=visit.say("service.keys"), numbers=(3,)).classes("stacked")


CHIPS: dict[str, Kind] = {"open": "good", "expired": "warning", "revoked": "info"}


def standing(key: AccessKey) -> str:
    """open, expired or revoked."""
    if key.revoked is not None:
        return "revoked"
    return "open" if key.opens(datetime.now(UTC)) else "expired"


def in_words(visit: Visit, key: AccessKey) -> str:
    """'all models; 60 requests a minute; any number of tokens; until 3 March 2027'."""
    until = visit.words.date(key.expires.isoformat()) if key.expires else None
    return visit.words.list(
        [
            ", ".join(key.models) or visit.say("service.key.all_models"),
            visit.say("service.key.requests", key.requests_per_minute) if key.requests_per_minute
            else visit.say("service.key.any_requests"),
            visit.say("service.key.tokens", key.tokens_per_day) if key.tokens_per_day
            else visit.say("service.key.any_tokens"),
            visit.say("service.key.until", date=until) if until else visit.say("service.key.for_ever"),
        ]
    )  # fmt: skip


def revoke_button(visit: Visit, key: AccessKey, listing: Element) -> None:
    """A key that opens can be closed for good."""
    if standing(key) != "open" or not visit.may("serve"):
        return

    async def go() -> None:
        words = visit.say("service.key.revoke.ask", name=key.name)
        if await parts.confirm(visit.say("service.key.revoke"), words, visit.say("service.key.revoke"), danger=True):
            require(visit, "serve")
            visit.log("studio.key.revoke", key=key.id, name=key.name)
            await asyncio.to_thread(closed, visit.project, key.id)
            await fill(visit, listing)

    made = parts.button(visit.say("service.key.revoke"), go, kind="quiet")
    made.props["aria-label"] = visit.say("service.key.revoke.of", name=key.name)


def closed(project: Project, id: str) -> None:
    with opened(project) as store:
        revoke(store, id)


def new_key(visit: Visit, listing: Element) -> None:
    """The form of a new key, behind a fold."""
    with parts.more(visit.say("service.key.new")), parts.stack():
        name = ui.input(visit.say("service.key.name")).props("outlined maxlength=64").classes("field")
        ends = {0: visit.say("service.key.for_ever")} | {d: visit.say("service.key.days", d) for d in EXPIRIES}
        until = ui.select(ends, value=90, label=visit.say("service.key.expires")).props("outlined").classes("field")
        rate = ui.number(visit.say("service.key.rate"), min=1, precision=0).props("outlined").classes("field")
        day = ui.number(visit.say("service.key.day"), min=1, precision=0).props("outlined").classes("field")
        models = ui.select(
            [path.name for path in visit.project.releases()], multiple=True, label=visit.say("service.key.models")
        )
        models.props("outlined use-chips").classes("field")

        async def make() -> None:
            require(visit, "serve")
            wanted = asked(name.value, until.value, rate.value, day.value, models.value)
            if not wanted["name"]:
                raise UsageError(visit.say("service.key.name_first"))
            visit.log("studio.key.new", name=wanted["name"])
            key, secret = await asyncio.to_thread(made, visit.project, wanted)
            name.set_value("")
            await fill(visit, listing)
            show_once(visit, key, secret)

        parts.button(visit.say("service.key.make"), make, kind="primary", icon="key")


def asked(name: Any, days: Any, rate: Any, tokens: Any, models: Any) -> dict[str, Any]:
    """What the form says, as `create` takes it. days: 0 for a key that never expires."""
    return {
        "name": str(name or "").strip(),
        "expires": datetime.now(UTC) + timedelta(days=int(days)) if days else None,
        "requests_per_minute": int(rate) if rate else None,
        "tokens_per_day": int(tokens) if tokens else None,
        "models": tuple(models or ()),
    }


def made(project: Project, wanted: dict[str, Any]) -> tuple[AccessKey, str]:
    with opened(project) as store:
        return create(store, **wanted)


def show_once(visit: Visit, key: AccessKey, secret: str) -> None:
    """The secret, in a window that closes by its button alone: nobody can show it again."""
    with parts.dialog(visit.say("service.key.once")) as window:
        parts.notice("warning", visit.say("service.key.once.why", name=key.name))
        parts.code(secret)
        with parts.row().classes("end"):
            parts.button(visit.say("service.key.once.done"), window.close, kind="primary")
    window.props("persistent")
    window.open()


def draw_usage(visit: Visit, spent: list[Usage]) -> None:
    """Counts by day, key and model. Texts are never kept."""
    if not spent:
        parts.text(visit.say("service.usage.none"))
        return
    whole = visit.words.whole
    rows = [
        [(visit.words.date(one.day) or one.day).replace(" ", NO_BREAK), caller(visit, one), one.model,
         whole(one.requests), whole(one.prompt_tokens), whole(one.answer_tokens)]
        for one in spent
    ]  # fmt: skip
    names = ("day", "key", "model", "requests", "prompt", "answer")
    columns = [visit.say(f"service.column.{name}") for name in names]
    parts.table(columns, rows, SHOWN, caption=visit.say("service.usage"), numbers=(3, 4, 5)).classes("stacked")


def caller(visit: Visit, one: Usage) -> str:
    """The key's name; in words where there was none."""
    key = f"service.caller.{one.key_id}"
    return visit.say(key) if visit.words.has(key) else one.name
