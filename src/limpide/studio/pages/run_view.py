"""A run on the page: drawn from the job's files alone, so that every browser sees the same, whenever it looks."""

from collections.abc import Callable
from typing import Any

from nicegui import ui

from limpide.core.errors import UsageError
from limpide.studio import parts
from limpide.studio.jobs import Job, command_of
from limpide.studio.live import Told
from limpide.studio.pages.run_curve import curve
from limpide.studio.pages.run_ends import HELD, WAITS, ended
from limpide.studio.pages.run_live import Followed
from limpide.studio.pages.run_plan import kept_steps, planned_name
from limpide.studio.said import fact, said, step_title, task
from limpide.studio.visit import Visit

LOOK_EVERY = 1.0  # seconds between two looks at a running job
ICONS = {
    "kept": "inventory_2",
    "done": "check_circle",
    "now": "play_circle",
    "todo": "radio_button_unchecked",
    "halted": "error",
}
SHOWN_LINES = 12


class RunView:
    """One job of a run. on_end: called once when it has ended while somebody looked. go_on: starts it again."""

    def __init__(self, visit: Visit, job: Job, go_on: Callable[[], Any], on_end: Callable[[], Any]) -> None:
        self.visit, self.job, self.go_on, self.on_end = visit, job, go_on, on_end
        self.followed = Followed(kept_steps(job))
        self.state, self.drawn = "", {"steps": None, "curve": None, "lines": None, "now": None}

    def draw(self) -> None:
        visit = self.visit
        with parts.card() as card:
            card.props["aria-label"] = visit.say("run.job")
            self.head = ui.element("div").classes("job-head")
            self.status = parts.text("").props("role=status")
            self.whole = ui.element("progress").classes("whole-bar").props("max=1 value=0")
            self.whole.props["aria-label"] = visit.say("run.whole")
            self.now = ui.element("div").classes("job-tasks")
            self.end = parts.stack()
            self.foot = parts.row()
        with parts.card(visit.say("run.curve")) as self.curve_card:
            self.curve_box = ui.element("div")
        with parts.card(visit.say("run.steps")):
            self.steps = ui.element("ol").classes("steps")
        with parts.card(visit.say("run.messages")) as self.lines_card:
            self.lines = ui.element("div").classes("job-lines").props("aria-live=polite")
        with parts.more(visit.say("frame.job.command")):
            parts.code(command_of(self.job))
        self.timer = ui.timer(LOOK_EVERY, self.look, immediate=False)
        self.look()

    def look(self) -> None:
        """Read what is new, and draw what that changes."""
        jobs, before = self.visit.jobs, self.state
        self.state = jobs.state(self.job)  # before the events: what is written last is then never missed
        self.followed.feed(jobs.events(self.job, self.followed.live.read))
        if self.state != before:
            self._draw_head()
        self._draw_steps()
        self._draw_now()
        self._draw_curve()
        self._draw_lines()
        if self.state != "running":
            self.timer.deactivate()
            if before == "running":
                self.on_end()

    def _changed(self, name: str, value: Any) -> bool:
        """Whether what a part shows is new since it was drawn."""
        if self.drawn[name] == value:
            return False
        self.drawn[name] = value
        return True

    def _draw_head(self) -> None:
        visit, job = self.visit, self.job
        for box in (self.head, self.end, self.foot):
            box.clear()
        with self.head:
            parts.heading(visit.say(f"frame.job.state.{self.state}" if self._plain_end() else "run.job.over"))
            parts.chip(visit.say(f"run.chip.{self._chip()}"), CHIPS[self._chip()])
        with self.end:
            if self.state != "running":
                ended(visit, job, *planned_name(job))
        with self.foot:
            if self.state == "running" and visit.may("change"):
                parts.button(visit.say("frame.job.stop"), self._stop, icon="stop")
            elif goes_on(visit, job) and visit.may("change"):
                parts.button(visit.say("frame.job.again"), self.go_on, kind="primary", icon="play_arrow")

    def _plain_end(self) -> bool:
        """Whether the state says it all: a gate that failed and an awaited approval are no failures of the run."""
        return self.visit.jobs.code(self.job) not in (HELD, WAITS)

    def _chip(self) -> str:
        return {HELD: "held", WAITS: "waits"}.get(self.visit.jobs.code(self.job) or 0, self.state)

    def _draw_steps(self) -> None:
        stands = self.followed.steps(self.state, self.visit.jobs.code(self.job))
        if not self._changed("steps", stands):
            return
        count = sum(state in ("kept", "done") for _, state in stands)
        self.whole.props["value"] = f"{count / len(stands):.4f}" if stands else "0"
        self.steps.clear()
        with self.steps:
            for name, state in stands:
                step(self.visit, name, state)

    def _draw_now(self) -> None:
        now = self.followed.now if self.state == "running" else None
        if not self._changed("now", (self.state, None if now is None else (now.what, now.done, now.left))):
            return
        stands = self.followed.steps(self.state, None)
        place = next((number for number, (_, state) in enumerate(stands, start=1) if state == "now"), None)
        words = ""
        if self.state == "running":
            words = self.visit.say("run.begins")
            if place is not None:
                name = step_title(stands[place - 1][0], self.visit.words)
                words = self.visit.say("run.at", place=place, count=len(stands), step=name)
        if self.status.text != words:
            self.status.text = words
        self.now.clear()
        with self.now:
            if now is not None:
                self._draw_task(now)

    def _draw_task(self, told: Told) -> None:
        title = task(told.what, self.visit.words)
        with ui.element("div").classes("job-task"):
            with ui.element("div").classes("job-task-head"):
                parts.spoken("span", title).classes("strong")
                parts.word("span", place_of(self.visit, told)).classes("muted small numbers")
            bar = ui.element("progress").props("max=1")
            bar.props["aria-label"] = title[0]
            if told.share is not None:
                bar.props["value"] = f"{told.share:.4f}"

    def _draw_curve(self) -> None:
        shown = next(reversed(self.followed.curves.values()), None)
        points = 0 if shown is None else len(shown.train)
        self.curve_card.set_visibility(points > 1)
        if shown is None or points < 2 or not self._changed("curve", (shown.task, points, shown.train[-1])):
            return
        self.curve_box.clear()
        with self.curve_box:
            curve(self.visit, shown)

    def _draw_lines(self) -> None:
        lines = self.followed.lines()[-SHOWN_LINES:]
        self.lines_card.set_visibility(bool(lines))
        if not self._changed("lines", lines):
            return
        self.lines.clear()
        with self.lines:
            for warns, words in lines:
                parts.line(said(words, self.visit.words), warns=warns)

    def _stop(self) -> None:
        if not self.visit.may("change"):
            raise UsageError(self.visit.say("run.may_not"))
        self.visit.log("studio.run.stop", job=self.job.id)
        self.visit.jobs.stop(self.job, who=self.visit.name)
        self.status.text = self.visit.say("run.stopping")


CHIPS: dict[str, parts.Kind] = {
    "running": "info",
    "done": "good",
    "failed": "bad",
    "stopped": "warning",
    "killed": "bad",
    "held": "bad",
    "waits": "warning",
}


def goes_on(visit: Visit, job: Job) -> bool:
    """Whether the same command would go on where this job ended."""
    return visit.jobs.state(job) in ("stopped", "killed", "failed") and visit.jobs.code(job) not in (HELD, WAITS)


def step(visit: Visit, name: str, state: str) -> None:
    """One step and how it stands, in a list."""
    with parts.word("li", "").classes(state) as item:
        if state == "now":
            item.props("aria-current=step")
        ui.icon(ICONS[state])
        parts.word("span", step_title(name, visit.words))
        parts.word("span", visit.say(f"run.step.state.{state}")).classes("muted small")


def place_of(visit: Visit, told: Told) -> str:
    """How far a piece of work is, its facts, and the time left."""
    words, found = visit.words, []
    if told.total:
        found.append(f"{words.plain(told.done)} / {words.plain(told.total)}")
    found += [fact(name, value, words) for name, value in told.facts.items()]
    if told.left:
        found.append(visit.say("frame.job.left", time=parts.about(words, told.left)))
    return " · ".join(found)
