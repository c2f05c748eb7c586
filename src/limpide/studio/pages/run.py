"""Run: the plan, the run as it goes, and what to do when it has ended. Runs are processes of their own."""

from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

from nicegui import run, ui

from limpide.core import digests
from limpide.core.errors import LimpideError, RecipeError, UsageError
from limpide.document.language import NO_BREAK
from limpide.release.keys import PASSWORD_VARIABLE
from limpide.studio import parts
from limpide.studio.frame import Page
from limpide.studio.jobs import Job, require_none_running
from limpide.studio.pages.recipe_choices import make_key
from limpide.studio.pages.recipe_file import unsaved
from limpide.studio.pages.recipe_look import LOOK
from limpide.studio.pages.recipe_offers import said
from limpide.studio.pages.release_rights import check_opens
from limpide.studio.pages.run_ends import HELD, WAITS
from limpide.studio.pages.run_plan import Planned, keep_steps, plan_of
from limpide.studio.pages.run_view import RunView, goes_on, step
from limpide.studio.said import step_title
from limpide.studio.visit import Visit

KIND = "run"


async def build(visit: Visit) -> None:
    ui.add_css(LOOK)
    box = parts.stack()
    with box:
        await _draw(visit)


async def _draw(visit: Visit) -> None:
    job = visit.jobs.last(KIND)
    running = job is not None and visit.jobs.state(job) == "running"
    if job is None and not visit.project.recipe.is_file():
        _nothing(visit)
        return
    if job is not None:
        RunView(visit, job, lambda: start(visit), ui.navigate.reload).draw()
    if not running:
        await _plan(visit, job)
    _earlier(visit)


def _nothing(visit: Visit) -> None:
    if visit.project.uploads() or unsaved(visit.project).is_file():
        parts.empty(visit.say("run.no_recipe"), visit.say("run.to.recipe"), "/recipe")
    else:
        parts.empty(visit.say("run.no_data"), visit.say("run.to.data"), "/data")


async def _plan(visit: Visit, last: Job | None) -> None:
    """What a run would do now, and the button that starts it, where the last one has none to go on."""
    first = last is None
    with parts.card(visit.say("run.plan" if first else "run.plan.again")):
        if not visit.project.recipe.is_file():
            parts.empty(visit.say("run.no_recipe"), visit.say("run.to.recipe"), "/recipe")
            return
        waiting = parts.text(visit.say("run.looking")).classes("muted").props("role=status")
        try:
            planned = await run.io_bound(plan_of, visit.project)
            waiting.delete()
        except LimpideError as error:
            waiting.delete()
            parts.error_notice(visit, error.record())
            page = "recipe" if isinstance(error, RecipeError) else "model"
            parts.link(visit.say(f"run.to.{page}"), f"/{page}").classes("button plain")
            return
        assert planned is not None
        _told(visit, planned)
        if _may_start(visit, planned):
            with parts.row() as row:
                row.set_visibility(last is None or not goes_on(visit, last))
                parts.button(
                    visit.say("run.start" if first else "run.start.again"),
                    lambda: start(visit),
                    kind="primary",
                    icon="play_arrow",
                )
            if any(kept for _, kept in planned.steps):
                _again_from(visit, planned)


def _told(visit: Visit, planned: Planned) -> None:
    with parts.facts():
        parts.fact(visit.say("run.release"), f"{planned.name} {planned.version}")
        parts.fact(visit.say("run.base"), Path(planned.base).name)
        parts.fact(visit.say("run.approval"), visit.say(f"run.approval.{'required' if planned.approval else 'none'}"))
    if unsaved(visit.project).is_file():
        parts.notice("warning", visit.say("run.unsaved"))
        parts.link(visit.say("run.to.recipe"), "/recipe")
    if planned.unknown:
        parts.text(visit.say("run.unknown")).classes("muted")
        return
    todo = sum(not kept for _, kept in planned.steps)
    parts.text(visit.say("run.todo", todo) if todo else visit.say("run.all_kept")).classes("muted")
    with parts.more(visit.say("run.plan.steps", len(planned.steps))), ui.element("ol").classes("steps"):
        for name, kept in planned.steps:
            step(visit, name, "kept" if kept else "todo")
    if planned.gates:
        with parts.more(visit.say("run.plan.gates", len(planned.gates))), ui.element("ul"):
            for gate in planned.gates:
                parts.word("li", said(visit, gate))


def _may_start(visit: Visit, planned: Planned) -> bool:
    """Say what stands in the way, and whether anything does."""
    if planned.missing:
        parts.notice("bad", visit.say("run.missing", files=visit.words.join(planned.missing)))
        parts.link(visit.say("run.to.data"), "/data").classes("button plain")
    elif planned.key is not None:
        _no_key(visit, planned.key)
    elif planned.stops is not None:
        parts.error_notice(visit, planned.stops)
        parts.link(visit.say("run.to.recipe"), "/recipe").classes("button plain")
    elif planned.remade is not None:
        parts.notice("warning", visit.say("run.remade", release=planned.remade.name), visit.say("run.remade.next"))
        parts.link(visit.say("run.to.recipe"), "/recipe").classes("button plain")
    elif not visit.may("change"):
        parts.notice("info", visit.say("run.may_not"))
    else:
        return True
    return False


def _no_key(visit: Visit, place: Path) -> None:
    parts.notice("warning", visit.say("recipe.key.missing"))

    async def make() -> None:
        await make_key(visit, place)
        ui.navigate.reload()

    if place.resolve().is_relative_to(visit.project.folder.resolve()):
        parts.button(visit.say("recipe.key.make"), make, kind="primary", icon="key")
    else:
        parts.link(visit.say("run.to.recipe"), "/recipe").classes("button plain")


def _again_from(visit: Visit, planned: Planned) -> None:
    """Forget a step and all after it: for who doubts what is kept."""
    chosen = [planned.steps[0][0]]
    with parts.more(visit.say("run.from")), ui.element("div").classes("field"):
        label = parts.word("label", visit.say("run.from.label")).classes("field-label")
        with ui.element("select").classes("input") as select:
            for name, _ in planned.steps:
                option = parts.word("option", step_title(name, visit.words))
                option.props["value"] = name
        label.props["for"] = select.html_id
        select.on(
            "change",
            lambda event: chosen.__setitem__(0, str(event.args)),
            js_handler="(event) => emit(event.target.value)",
        )

        async def again() -> None:
            title, words = visit.say("run.from"), visit.say("run.from.sure", step=step_title(chosen[0], visit.words))
            if await parts.confirm(title, words, visit.say("run.from.go"), danger=True):
                await start(visit, chosen[0])

        parts.button(visit.say("run.from.go"), again, icon="restart_alt")


async def start(visit: Visit, from_step: str | None = None) -> None:
    """Start the run as a process of its own. Raises what the recipe or the key would stop it with."""
    if not visit.may("change"):
        raise UsageError(visit.say("run.may_not"))
    require_none_running(visit.jobs, KIND)
    planned = await run.io_bound(plan_of, visit.project)
    assert planned is not None
    environment: dict[str, str] = {}
    if planned.locked:
        password = await _password(visit)
        if password is None:
            return
        await run.io_bound(check_opens, visit, planned.locked, password or None)
        environment[PASSWORD_VARIABLE] = password
    visit.log("studio.run.start", recipe=digests.of_file(visit.project.recipe))
    again = [] if from_step is None else ["--from", from_step, "--yes"]
    job = visit.jobs.start(KIND, ["run", visit.project.recipe.name, *again], who=visit.name, environment=environment)
    kept = planned if from_step is None else _forgetting(planned, from_step)
    keep_steps(job, kept)
    ui.navigate.to("/run")


def _forgetting(planned: Planned, from_step: str) -> Planned:
    names = [name for name, _ in planned.steps]
    first = names.index(from_step) if from_step in names else 0
    steps = [(name, kept and place < first) for place, (name, kept) in enumerate(planned.steps)]
    return replace(planned, steps=steps)


async def _password(visit: Visit) -> str | None:
    """The password of the signing key, asked each time and written nowhere; None when the person thought better."""
    typed = [""]
    with parts.dialog(visit.say("run.password")) as opened:
        parts.text(visit.say("run.password.why"))
        field = ui.element("input").classes("input").props("type=password autocomplete=off")
        field.props["aria-label"] = visit.say("run.password")
        field.on("input", lambda e: typed.__setitem__(0, str(e.args or "")), js_handler="(e) => emit(e.target.value)")
        field.on("keydown.enter", lambda e: opened.submit(str(e.args or "")), js_handler="(e) => emit(e.target.value)")
        with parts.row().classes("end"):
            parts.button(visit.say("frame.cancel"), lambda: opened.submit(None))
            parts.button(visit.say("run.start"), lambda: opened.submit(typed[0]), kind="primary")
    answer = await opened
    opened.delete()
    return answer if isinstance(answer, str) else None


def _earlier(visit: Visit) -> None:
    """The runs before, newest first: what was asked, by whom, and how it ended."""
    jobs = visit.jobs.all(KIND)[1:]
    if not jobs:
        return
    with parts.more(visit.say("run.earlier", len(jobs))):
        columns = [visit.say(f"run.earlier.{column}") for column in ("when", "who", "state")]
        parts.table(columns, [_earlier_row(visit, job) for job in jobs], 10, caption=visit.say("run.earlier.caption"))


def _earlier_row(visit: Visit, job: Job) -> list[Any]:
    when = datetime.fromtimestamp(job.started)
    state = {HELD: "held", WAITS: "waits"}.get(visit.jobs.code(job) or 0, visit.jobs.state(job))
    at = f"{visit.words.date(when.date().isoformat())} {when:%H:%M}".replace(" ", NO_BREAK)
    return [at, job.who, visit.say(f"run.chip.{state}")]


PAGE = Page("/run", "run", build, icon="play_circle")
