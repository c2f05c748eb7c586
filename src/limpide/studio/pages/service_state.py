"""The top of the service page: does it answer, where, and how to start and stop it."""

from typing import Any

from nicegui import ui
from nicegui.element import Element

from limpide.core.errors import UsageError
from limpide.serve.stop_switch import stopped
from limpide.studio import parts
from limpide.studio.jobs import Job
from limpide.studio.pages.about import asked_for
from limpide.studio.pages.release_found import Found, public_keys, releases
from limpide.studio.pages.release_rights import allowed, require
from limpide.studio.pages.service_keys import keys_asked
from limpide.studio.pages.service_process import SERVE, Ready, argv, curl, python, ready, running
from limpide.studio.visit import Visit

PORT = 8080
LOOK_EVERY = 1.0  # seconds between two looks at a service that is starting or answering


def state(visit: Visit) -> None:
    """A card that follows the service."""
    with parts.card(visit.say("service.state")):
        shown = parts.stack()
    Follow(visit, shown).look()


class Follow:
    """Draws the state again whenever it has changed: starting, answering, ended."""

    def __init__(self, visit: Visit, shown: Element) -> None:
        self.visit, self.shown, self.before = visit, shown, ""
        with shown.parent_slot.parent if shown.parent_slot else shown:
            ui.timer(LOOK_EVERY, self.look)

    def look(self) -> None:
        job = running(self.visit.jobs) or self.visit.jobs.last(SERVE)
        told = ready(self.visit.jobs.events(job)) if job else None
        keys = told is not None and keys_asked(self.visit.project)
        halted = stopped(self.visit.project.service) is not None
        now = f"{job and job.id} {job and self.visit.jobs.state(job)} {told} {keys} {halted}"
        if now == self.before:
            return
        self.before = now
        self.shown.clear()
        with self.shown:
            self.draw(job, told)

    def draw(self, job: Job | None, told: Ready | None) -> None:
        visit = self.visit
        if job is not None and visit.jobs.state(job) == "running":
            if told is None:
                with parts.row():
                    parts.chip(visit.say("service.chip.starting"), "info")
                parts.job_panel(visit, job)
            else:
                answering(visit, job, told)
            return
        if job is not None and visit.jobs.state(job) in ("failed", "killed"):
            error = visit.jobs.error(job)
            with parts.row():
                parts.chip(visit.say("service.chip.failed"), "bad")
            if error:
                parts.error_notice(visit, error, of_command=True)
            else:
                parts.notice("bad", visit.say("service.killed"))
        else:
            with parts.row():
                parts.chip(visit.say("service.chip.off"), "info")
        start_form(visit)


def answering(visit: Visit, job: Job, told: Ready) -> None:
    """Where it answers, lines to try it, and the button that ends it."""
    keys = keys_asked(visit.project)
    with parts.row():
        if stopped(visit.project.service) is None:
            parts.chip(visit.say("service.chip.on"), "good")
        else:
            parts.chip(visit.say("service.chip.halted"), "bad")
        parts.chip(visit.say("service.chip.keys" if keys else "service.chip.no_keys"), "good" if keys else "info")
    parts.text(visit.say("service.answers", len(told.models), models=visit.words.join(told.models)))
    parts.code(f"{told.url}/v1")
    parts.heading(visit.say("service.try"), 3)
    parts.text(visit.say("service.try.key" if keys else "service.try.no_key")).classes("muted small")
    question = visit.say("service.try.question")
    parts.code(curl(told, question, key=keys))
    with parts.more(visit.say("service.try.python")):
        example = python(told, question, key=keys)
        lines = parts.word("pre", example).classes("code sunk").props("tabindex=0")
        lines.props["aria-label"] = visit.say("service.try.python")
        parts.button(visit.say("frame.copy"), lambda: ui.clipboard.write(example), kind="quiet", icon="content_copy")
    if allowed(visit, "serve"):

        async def end() -> None:
            words = visit.say("service.end")
            with ui.context.client.content:  # not in the card, which is drawn again when something changes
                sure = await parts.confirm(words, visit.say("service.end.ask"), words)
            if sure:
                require(visit, "serve")
                visit.log("studio.service.end", job=job.id)
                visit.jobs.stop(job, who=visit.name)

        parts.button(visit.say("service.end"), end, icon="power_settings_new")


def start_form(visit: Visit) -> None:
    """Which release, on which port; nothing starts by itself."""
    found = [one for one in releases(visit.project.folder, visit.project.keys) if one.signed and one.signed.key]
    if not found:
        parts.empty(visit.say("service.nothing"), visit.say("service.nothing.link"), "/release")
        return
    parts.text(visit.say("service.off"))
    if not allowed(visit, "serve"):
        return
    names = [one.id for one in found]
    chosen = ui.select(names, value=asked_for(found).id, label=visit.say("service.release"))
    chosen.props("outlined").classes("field")
    waiting = parts.text(visit.say("service.waits")).classes("muted")
    waiting.bind_visibility_from(chosen, "value", lambda value: any(one.id == value and one.waits for one in found))
    port = ui.number(visit.say("service.port"), value=PORT, min=1024, max=65535, precision=0)
    port.props("outlined").classes("field narrow")
    base = ui.checkbox(visit.say("service.base"))

    def start() -> None:
        one = next(one for one in found if one.id == chosen.value)
        begin(visit, one, checked_port(visit, port.value), bool(base.value))

    parts.button(visit.say("service.start"), start, kind="primary", icon="play_arrow")
    parts.text(visit.say("service.private")).classes("muted small")


def begin(visit: Visit, one: Found, port: int, base: bool) -> None:
    """Start `limpide serve` as a job: it goes on when the studio or the browser is closed."""
    require(visit, "serve")
    if running(visit.jobs) is not None:
        raise UsageError(visit.say("service.runs_already"))
    assert one.signed is not None
    assert one.signed.key is not None
    visit.log("studio.service.start", release=one.id, port=port)
    others = [path for _, path in public_keys(visit.project.keys) if path != one.signed.key]
    words = argv(one.folder, one.signed.key, visit.project.service, port=port, base=base, approvers=others)
    visit.jobs.start(SERVE, words, who=visit.name)


def checked_port(visit: Visit, value: Any) -> int:
    """Raises UsageError for what is no port that a person may open."""
    if isinstance(value, int | float) and 1024 <= value <= 65535 and value == int(value):
        return int(value)
    raise UsageError(visit.say("service.port.wrong"), received=value, expected="1024–65535")
