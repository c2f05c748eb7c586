"""The stop switch: who stopped the service and why, and how it goes on."""

from contextlib import suppress
from datetime import UTC, datetime

from nicegui import ui
from nicegui.element import Element

from limpide.core.errors import LimpideError, UsageError
from limpide.serve.stop_switch import resume, stop, stopped
from limpide.studio import parts
from limpide.studio.pages.release_approval import moment
from limpide.studio.pages.release_rights import allowed, require
from limpide.studio.visit import Visit

LOOK_EVERY = 2.0  # seconds: another browser, or a command, may have stopped it


def switch(visit: Visit) -> None:
    """A card that says plainly whether the service is stopped."""
    with parts.card(visit.say("service.switch")):
        shown = parts.stack()
        ui.timer(LOOK_EVERY, lambda: draw(visit, shown))
    draw(visit, shown)


def draw(visit: Visit, shown: Element) -> None:
    """Draw again what has changed since; a form that is being filled stays."""
    order = stopped(visit.project.service)
    now = repr(order)
    if shown.props.get("data-order") == now:
        return
    shown.props["data-order"] = now
    shown.clear()
    with shown:
        if order is None:
            parts.text(visit.say("service.switch.ready"))
            if allowed(visit, "stop"):
                to_stop(visit, shown)
            return
        at = moment(visit, written(order.since))
        parts.notice("bad", visit.say("service.switch.stopped"), visit.say("service.switch.by", who=order.who, at=at))
        with parts.facts():
            parts.fact(visit.say("service.switch.why"), order.why)
        if allowed(visit, "serve"):
            to_resume(visit, shown)


def to_stop(visit: Visit, shown: Element) -> None:
    """One button; a window asks who and why."""

    def ask() -> None:
        with parts.dialog(visit.say("service.switch.stop")) as window:
            parts.text(visit.say("service.switch.stop.ask"))
            who = person(visit)
            why = ui.input(visit.say("service.switch.why.field")).props("outlined maxlength=500").classes("field")
            with parts.row().classes("end"):
                parts.button(visit.say("frame.cancel"), window.close)

                def go() -> None:
                    order(visit, who.value or "", why.value or "")
                    window.close()
                    draw(visit, shown)

                parts.button(visit.say("service.switch.stop"), go, kind="danger", icon="front_hand")
        window.open()

    parts.button(visit.say("service.switch.stop"), ask, kind="danger", icon="front_hand")


def order(visit: Visit, who: str, why: str) -> None:
    """Stop. After the deed comes the log: one that cannot be written must keep nobody from stopping."""
    require(visit, "stop")
    who = named(visit, who)
    if not who.strip() or not why.strip():
        raise UsageError(visit.say("service.switch.both"))
    stop(visit.project.service, who, why)
    with suppress(LimpideError):
        visit.log("operator.stop", name=who, why=why)


def to_resume(visit: Visit, shown: Element) -> None:
    """Going on is asked for too, and put down to a person."""
    who = person(visit)

    async def go() -> None:
        name = named(visit, who.value or "")
        sure = await parts.confirm(
            visit.say("service.switch.resume"),
            visit.say("service.switch.resume.ask"),
            visit.say("service.switch.resume"),
        )
        if sure:
            require(visit, "serve")
            if not name.strip():
                raise UsageError(visit.say("service.switch.name"))
            visit.log("operator.resume", name=name)  # first: what is not on record does not go on
            resume(visit.project.service, name)
            draw(visit, shown)

    parts.button(visit.say("service.switch.resume"), go, kind="primary", icon="play_arrow")


def person(visit: Visit) -> ui.input:
    """Whose name is put down; an account's cannot be changed."""
    field = ui.input(visit.say("service.switch.who"), value=visit.name).props("outlined maxlength=64").classes("field")
    return field.props("readonly") if visit.session.role is not None else field


def named(visit: Visit, typed: str) -> str:
    """Whose name is put down: with accounts the account's, whatever a browser sends."""
    return typed if visit.session.role is None else visit.name


def written(seconds: float) -> str:
    """Seconds since 1970, in ISO 8601, UTC."""
    return datetime.fromtimestamp(seconds, UTC).isoformat()
