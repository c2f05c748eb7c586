"""What pages are made of. Every control has a name, every table pages, every state says what to do next.

Values that come from people, files or models are given as `text` or `element.props["name"] = value`, never through
`.props("…")` or `ui.html`, where they would be read as code.
"""

import logging
import math
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any, Literal

from nicegui import helpers, ui
from nicegui.element import Element

from limpide.core.errors import LimpideError, UsageError
from limpide.document.language import NO_BREAK, Language
from limpide.document.notes import Said
from limpide.studio.boxes import Kind as Kind
from limpide.studio.boxes import card as card
from limpide.studio.boxes import chip as chip
from limpide.studio.boxes import empty as empty
from limpide.studio.boxes import error_notice as error_notice
from limpide.studio.boxes import fact as fact
from limpide.studio.boxes import facts as facts
from limpide.studio.boxes import grid as grid
from limpide.studio.boxes import heading as heading
from limpide.studio.boxes import link as link
from limpide.studio.boxes import more as more
from limpide.studio.boxes import notice as notice
from limpide.studio.boxes import row as row
from limpide.studio.boxes import spoken as spoken
from limpide.studio.boxes import stack as stack
from limpide.studio.boxes import text as text
from limpide.studio.boxes import visit_here as visit_here
from limpide.studio.boxes import word as word
from limpide.studio.jobs import Job, command_of
from limpide.studio.live import Live, Told
from limpide.studio.said import fact as shown_fact
from limpide.studio.said import said
from limpide.studio.said import task as task_said
from limpide.studio.uploads import MEGABYTE
from limpide.studio.visit import Visit

NOTIFIED: Mapping[str, Any] = {"info": "info", "good": "positive", "warning": "warning", "bad": "negative"}
STATE_KINDS: Mapping[str, Kind] = {
    "running": "info",
    "done": "good",
    "failed": "bad",
    "stopped": "warning",
    "killed": "bad",
}
LOOK_EVERY = 1.0  # seconds between two looks at a running job
NEEDED = {"serve": "serve", "ask": "ask", "explain": "ask", "verify": "look", "log-verify": "look"}  # by kind of job
SHOWN_LINES = 12
Handler = Callable[[], Awaitable[Any] | Any]
Cell = str | Callable[[], Any]  # text, or what draws it


# ---- controls -------------------------------------------------------------------------------------------------------


def button(
    words: str,
    on_click: Handler | None = None,
    *,
    kind: Literal["primary", "plain", "quiet", "danger"] = "plain",
    icon: str | None = None,
) -> Element:
    """A button. While its work runs it cannot be pressed again; a LimpideError of it is shown with its remedy."""
    made = ui.element("button").classes(f"button {kind}").props("type=button")
    with made:
        if icon:
            ui.icon(icon)
        word("span", words)
    if on_click is not None:
        made.on("click", lambda: safely(on_click, made), args=[])
    return made


async def safely(work: Handler, control: Element | None = None) -> None:
    """Run a handler; what it raises becomes a dialog with its remedy."""
    if control is not None:
        control.props("disabled aria-busy=true")
    try:
        made = work()
        if helpers.should_await(made):
            await made
    except Exception as error:
        visit = visit_here()
        told = error if isinstance(error, LimpideError) else fault(visit, error)
        with dialog(visit.say("frame.error.title")) as opened:
            error_notice(visit, told.record())
            with row().classes("end"):
                button(visit.say("frame.close"), opened.close, kind="primary")
        opened.open()
    finally:
        if control is not None and not control.is_deleted:
            control.props(remove="disabled aria-busy")


def fault(visit: Visit, error: Exception) -> LimpideError:
    """A fault of Limpide itself, for a person; where it happened goes to a file, for those who mend it."""
    logging.getLogger("limpide.studio").error("a fault in a page", exc_info=error)
    place = visit.project.own / "faults.log"
    what = visit.say("frame.error.fault", name=type(error).__name__)
    return LimpideError(what, remedy=visit.say("frame.error.fault.remedy", place=str(place)))


def tell_fault(error: Exception) -> None:
    """Show what a handler raised that no `button` watches over. NiceGUI calls it, and has written where it happened."""
    with suppress(Exception):  # the page may be gone: then nobody is there to tell
        visit = visit_here()
        fault_of_ours = visit.say("frame.error.fault", name=type(error).__name__)
        tell("bad", error.what if isinstance(error, LimpideError) else fault_of_ours)


@contextmanager
def dialog(title: str) -> Iterator[ui.dialog]:
    """A window over the page: draw inside, then call `.open()`. Escape closes it, focus goes back."""
    with ui.dialog() as made, ui.element("div").classes("card dialog"):
        made.props["aria-label"] = title
        heading(title)
        yield made


async def confirm(title: str, words: str, action: str, *, danger: bool = False, typed: str | None = None) -> bool:
    """Ask before what cannot be undone. action: the verb on the button. typed: what must be typed to go on."""
    visit = visit_here()
    with dialog(title) as made:
        text(words)
        field = ui.input(visit.say("frame.type_this", value=typed)).props("outlined") if typed else None
        with row().classes("end"):
            button(visit.say("frame.cancel"), lambda: made.submit(False))
            go = button(action, lambda: made.submit(True), kind="danger" if danger else "primary")
        if field is not None:
            go.props("disabled")
            field.on_value_change(
                lambda event: go.props(remove="disabled") if event.value == typed else go.props("disabled")
            )
    answer = await made
    made.delete()
    return bool(answer)


def table(
    columns: Sequence[str],
    rows: Sequence[Sequence[Cell]],
    page_size: int = 20,
    *,
    caption: str | None = None,
    numbers: Sequence[int] = (),
) -> Element:
    """A table, paged. A cell is text, or a function that draws it. numbers: columns of numbers, from 0."""
    visit = visit_here()
    pages = max(1, -(-len(rows) // page_size))
    labels = [f"{column}{visit.words.say('colon')}" for column in columns]
    with ui.element("div").classes("table-box") as made:
        frame = ui.element("div").classes("table-scroll").props("tabindex=0 role=region")
        frame.props["aria-label"] = caption or ", ".join(columns)
        with ui.element("div").classes("pager") as pager:
            pass

    def show(page: int) -> None:
        frame.clear()
        with frame, ui.element("table"):
            if caption:
                word("caption", caption)
            with ui.element("thead"), ui.element("tr"):
                for index, column in enumerate(columns):
                    word("th", column).props("scope=col").classes("number" if index in numbers else "")
            with ui.element("tbody"):
                for cells in rows[page * page_size : (page + 1) * page_size]:
                    _row(labels, cells, numbers)
        pager.clear()
        if pages > 1:
            with pager:
                _page_button(visit.say("frame.previous"), "chevron_left", page > 0, lambda: show(page - 1))
                text(visit.say("frame.page", page=page + 1, pages=pages)).props("role=status")
                _page_button(visit.say("frame.next"), "chevron_right", page + 1 < pages, lambda: show(page + 1))

    show(0)
    return made


def _row(labels: Sequence[str], cells: Sequence[Cell], numbers: Sequence[int]) -> None:
    """labels: of the columns, for where a narrow screen stacks the cells."""
    with ui.element("tr"):
        for index, cell in enumerate(cells):
            place = word("td", cell if isinstance(cell, str) else "").classes("number" if index in numbers else "")
            place.props["data-label"] = labels[index]
            if not isinstance(cell, str):
                with place:
                    cell()


def _page_button(words: str, icon: str, possible: bool, on_click: Handler) -> None:
    made = button(words, on_click, kind="quiet", icon=icon)
    if not possible:
        made.props("disabled")


def document(title: str, address: str) -> Element:
    """A document of a release (`/files/…`), in a frame where its scripts can reach nothing of the studio."""
    made = ui.element("iframe").classes("document").props('sandbox="allow-scripts allow-popups" loading=lazy')
    made.props["src"], made.props["title"] = address, title
    return made


def code(words: str, *, copied: bool = True) -> Element:
    """A command, an address or a secret, with a button that copies it."""
    with ui.element("div").classes("code-line") as made:
        word("code", words).classes("code").props("tabindex=0")
        if copied:
            button(visit_here().say("frame.copy"), lambda: ui.clipboard.write(words), kind="quiet", icon="content_copy")
    return made


def tell(kind: Kind, words: str) -> None:
    """A message that goes away by itself, for what needs no answer."""
    ui.notify(words, type=NOTIFIED[kind], position="bottom", textColor="dark")  # look.css: the paper's colour


# ---- files and jobs -------------------------------------------------------------------------------------------------


def upload(on_file: Callable[[Mapping[str, Any]], Awaitable[Any] | Any], *, accept: str = "") -> Element:
    """A place to drop files or choose them; they go to the project's data/. on_file is called once for each file with
    {"name", "path", "size"} as kept, or with {"name", "what", "to_do"} when it was refused. accept: '.csv,.pdf'."""
    visit = visit_here()
    largest = ui.context.client.storage["largest_upload"]
    event = f"limpide_file_{ui.context.client.next_element_id}"
    with ui.element("label").classes("upload") as made:
        made.props["data-event"], made.props["data-limit"] = event, str(largest)
        made.props["data-too-large"] = visit.say("frame.upload.too_large", size=largest // MEGABYTE)
        made.props["data-broken"] = visit.say("frame.upload.broken")
        ui.icon("upload_file")
        word("span", visit.say("frame.upload.drop")).classes("strong")
        word("span", visit.say("frame.upload.limit", size=largest // MEGABYTE)).classes("muted small")
        chooser = ui.element("input").props("type=file multiple")
        chooser.props["aria-label"] = visit.say("frame.upload.drop")
        if accept:
            chooser.props["accept"] = accept

    async def received(arguments: Any) -> None:
        answer = arguments.args if isinstance(arguments.args, dict) else {}
        await safely(lambda: on_file(answer))

    ui.on(event, received)
    return made


def job_panel(visit: Visit, job: Job, on_end: Handler | None = None, *, title: str | None = None) -> Element:
    """A job as it goes: tasks with their bars and time left, messages, warnings, the error with its remedy; a button to
    stop it, or to go on. on_end: called once when the job that was seen running has ended. title: what it does."""
    with ui.element("section").classes("card job") as made:
        made.props["aria-label"] = title or visit.say("frame.job.title")
    _JobPanel(visit, job, made, on_end, title).begin()
    return made


def about(words: Language, seconds: float) -> str:
    """A time that nobody knows exactly: whole seconds below a minute, whole minutes above."""
    whole = max(1, round(seconds))
    return f"{whole}{NO_BREAK}s" if whole < 60 else words.duration(60 * math.ceil(seconds / 60))


def line(words: Said, *, warns: bool) -> Element:
    """A line of what a job says, in the language it is in."""
    if not warns:
        return spoken("p", words).classes("muted small")
    made = notice("warning", words[0])
    if words[1] is not None:
        made.props["lang"] = words[1]
    return made


def needed_for(job: Job) -> str:
    """What a person must be allowed to do to stop a job or to start it again: what it took to start it."""
    return NEEDED.get(job.kind, "change")


class _JobPanel:
    """Draws one job again whenever its files have changed."""

    def __init__(self, visit: Visit, job: Job, box: Element, on_end: Handler | None, title: str | None) -> None:
        self.visit, self.job, self.box, self.on_end, self.title = visit, job, box, on_end, title
        self.live, self.state = Live(), ""

    def begin(self) -> None:
        with self.box:
            self.head = ui.element("div").classes("job-head")
            self.bars = ui.element("div").classes("job-tasks")
            self.lines = ui.element("div").classes("job-lines").props("aria-live=polite")
            self.foot = ui.element("div").classes("job-foot")
            self.timer = ui.timer(LOOK_EVERY, self.look, immediate=False)
        self.look()

    def look(self) -> None:
        jobs, before = self.visit.jobs, self.state
        self.state = jobs.state(self.job)  # before the events: what is written last is then never missed
        fresh = jobs.events(self.job, self.live.read)
        self.live.feed(fresh)
        if self.state != before:
            self._draw_head()
            self._draw_foot()
        if fresh or not before:
            self._draw_tasks()
            self._draw_lines()
        if self.state != "running":
            self.timer.deactivate()
            if before == "running" and self.on_end is not None:
                ui.timer(0, lambda: safely(self.on_end) if self.on_end else None, once=True)

    def _draw_head(self) -> None:
        self.head.clear()
        with self.head:
            heading(self.title or self.visit.say(f"frame.job.state.{self.state}"))
            with row():
                began = time.strftime("%H:%M", time.localtime(self.job.started))
                word("span", self.visit.say("frame.job.began", time=began)).classes("muted small numbers")
                chip(self.visit.say(f"frame.job.chip.{self.state}"), STATE_KINDS[self.state])

    def _draw_tasks(self) -> None:
        self.bars.clear()
        with self.bars:
            for task in self.live.tasks.values():
                self._draw_task(task)

    def _draw_task(self, task: Told) -> None:
        with ui.element("div").classes("job-task over" if task.over else "job-task"):
            title = task_said(task.what, self.visit.words)
            with ui.element("div").classes("job-task-head"):
                spoken("span", title).classes("strong")
                word("span", self._place(task)).classes("muted small numbers")
            bar = ui.element("progress").props("max=1")
            bar.props["aria-label"] = title[0]
            share = task.share if task.over or self.state == "running" else task.share or 0.0
            if share is not None:
                bar.props["value"] = str(round(share, 4))

    def _place(self, task: Told) -> str:
        words, parts_of = self.visit.words, []
        if task.seconds is not None:
            return self.visit.say("frame.job.took", time=words.duration(task.seconds))
        if task.total:
            parts_of.append(f"{words.plain(task.done)} / {words.plain(task.total)}")
        parts_of += [shown_fact(name, value, words) for name, value in task.facts.items()]
        if task.left is not None and self.state == "running":
            parts_of.append(self.visit.say("frame.job.left", time=about(words, task.left)))
        return " · ".join(parts_of)

    def _draw_lines(self) -> None:
        self.lines.clear()
        with self.lines:
            for warns, words in self.live.lines[-SHOWN_LINES:]:
                line(said(words, self.visit.words), warns=warns)

    def _draw_foot(self) -> None:
        self.foot.clear()
        visit = self.visit
        with self.foot:
            error = visit.jobs.error(self.job) if self.state == "failed" else None
            if error:
                error_notice(visit, error, of_command=True)
            elif self.state in ("killed", "stopped"):
                text(visit.say(f"frame.job.why.{self.state}")).classes("muted")
            if visit.may(needed_for(self.job)):
                with row():
                    if self.state == "running":
                        button(visit.say("frame.job.stop"), self._stop, icon="stop")
                    elif self.state != "done":
                        button(visit.say("frame.job.again"), self._again, kind="primary", icon="play_arrow")
            with more(visit.say("frame.job.command")):
                code(command_of(self.job))

    def _require(self) -> None:
        if not self.visit.may(needed_for(self.job)):
            raise UsageError(self.visit.say("frame.job.not_yours"))

    def _stop(self) -> None:
        self._require()
        self.visit.log("studio.job.stop", job=self.job.id)
        self.visit.jobs.stop(self.job, who=self.visit.name)

    def _again(self) -> None:
        self._require()
        self.visit.log("studio.job.again", job=self.job.id)
        self.job = self.visit.jobs.again(self.job, who=self.visit.name)
        self.live, self.state = Live(), ""
        self.look()
        self.timer.activate()
