"""What a model will learn from: files dropped, what was understood of them, faults and their mending, advice."""

from collections.abc import Mapping
from functools import partial
from typing import Any

from nicegui import ui

from limpide.core.errors import UsageError
from limpide.studio import parts
from limpide.studio.frame import Page
from limpide.studio.jobs import Job
from limpide.studio.pages.data_advice import draw_advice
from limpide.studio.pages.data_check import draw_error, draw_findings
from limpide.studio.pages.data_columns import ask_columns, concerns_columns, draw_chosen
from limpide.studio.pages.data_files import (
    Held,
    arguments,
    change_settings,
    files_of,
    layout,
    remove,
    shipped_example,
    take_example,
    use,
    used,
)
from limpide.studio.pages.data_findings import findings_of
from limpide.studio.pages.data_held import draw_file, receive
from limpide.studio.pages.data_languages import draw_languages
from limpide.studio.pages.data_recipe import draw_other, other_data
from limpide.studio.pages.data_show import LOOK, ROWS, draw_examples
from limpide.studio.visit import Visit

CHECK, SHOW, ADVISE = "data-check", "data-show", "advise"  # kinds of jobs
FILES_A_PAGE = 10
PLACES = 1000  # of each check, listed
QUIET_SECONDS = 0.8  # without another file, before what was dropped is checked
# What was chosen is on this machine already: nothing is fetched by a check.
OFFLINE = {"HF_HUB_OFFLINE": "1", "PIP_NO_INDEX": "1"}


def build(visit: Visit) -> None:
    ui.add_css(LOOK)
    DataPage(visit).draw()


class DataPage:
    """One person's page. Each part is drawn again by itself when what it shows has changed."""

    def __init__(self, visit: Visit) -> None:
        self.visit, self.project = visit, visit.project
        self.may = visit.may("change")
        self.soon: ui.timer | None = None
        self.first = 0  # of the files that are shown

    def draw(self) -> None:
        if self.may:
            with parts.card(self.visit.say("data.drop.title")):
                parts.upload(self.dropped)
                parts.text(self.visit.say("data.drop.kinds")).classes("muted small")
        else:
            parts.notice("info", self.visit.say("data.reader"))
        self.told = parts.stack().props("aria-live=polite")
        self.clock = ui.element("div").style("display: none")  # nothing in it is ever cleared
        self.files, self.check, self.tokens, self.advice = (parts.stack() for _ in range(4))
        self.draw_all()

    def draw_all(self) -> None:
        held = files_of(self.project)
        self.draw_files(held)
        self.draw_check(held)
        self.draw_tokens(held)
        self.draw_advice(held)

    # ---- files ------------------------------------------------------------------------------------------------------

    def draw_files(self, held: list[Held]) -> None:
        visit, report = self.visit, self.report()
        self.files.clear()
        with self.files:
            if not held:
                self.draw_empty()
                return
            parts.heading(visit.say("data.files.title"))
            self.first = min(self.first, FILES_A_PAGE * ((len(held) - 1) // FILES_A_PAGE))
            with ui.element("ul").classes("plain-list"):
                for one in held[self.first : self.first + FILES_A_PAGE]:
                    draw_file(visit, one, report, self.use if self.may else None, self.remove)
            self.draw_pager(len(held))
            draw_chosen(visit, self.set if self.may else None)
            if other_data(self.project):
                draw_other(visit, visit.say("data.recipe.other"))

    def draw_pager(self, count: int) -> None:
        if count <= FILES_A_PAGE:
            return
        visit, page, pages = self.visit, self.first // FILES_A_PAGE, -(-count // FILES_A_PAGE)
        with parts.row():
            for name, to in (("previous", page - 1), ("next", page + 1)):
                made = parts.button(visit.say(f"frame.{name}"), partial(self.turn_to, to), kind="quiet")
                if not 0 <= to < pages:
                    made.props("disabled")
            parts.text(visit.say("frame.page", page=page + 1, pages=pages)).props("role=status")

    def turn_to(self, page: int) -> None:
        self.first = page * FILES_A_PAGE
        self.draw_again()

    def draw_empty(self) -> None:
        visit = self.visit
        with ui.element("div").classes("empty"):
            parts.text(visit.say("data.empty"))
            if self.may and shipped_example() is not None:
                parts.button(visit.say("data.take_example"), self.take_example, kind="primary")

    async def dropped(self, answer: Mapping[str, Any]) -> None:
        """One file has come, or was refused. What is wrong stays on the page until the next file."""
        self.check_may()
        said = receive(self.visit, answer)
        if said.kind == "good":
            parts.tell("good", said.words)
        else:
            with self.told:
                parts.notice(said.kind, said.words, said.remedy)
        if said.taken:
            self.changed()

    def take_example(self) -> None:
        self.check_may()
        self.visit.log("studio.data.example")
        take_example(self.project)
        self.changed()

    def use(self, name: str, on: bool) -> None:
        self.check_may()
        use(self.project, name, on)
        self.changed()

    async def remove(self, name: str) -> None:
        self.check_may()
        say = self.visit.say
        words = say("data.files.remove.ask", name=name)
        if await parts.confirm(say("data.files.remove.title"), words, say("data.files.remove"), danger=True):
            self.visit.log("studio.data.remove")
            remove(self.project, name)
            self.changed()

    def set(self, name: str, value: Any) -> None:
        """Change one setting of how the data is read."""
        self.check_may()
        self.visit.log("studio.data.setting", setting=name)
        change_settings(self.project, **{name: value})
        self.changed()

    def changed(self) -> None:
        """Draw it, and check it once no other file has come for a moment."""
        self.draw_again()
        if self.soon is not None:
            self.soon.cancel()
        with self.clock:
            self.soon = ui.timer(QUIET_SECONDS, lambda: parts.safely(self.start_check), once=True)

    def check_may(self) -> None:
        if not self.visit.may("change"):
            raise UsageError(self.visit.say("data.reader"))

    # ---- the check --------------------------------------------------------------------------------------------------

    def report(self) -> Mapping[str, Any]:
        """Of the last check that has ended; empty where it could not read the files."""
        jobs = self.visit.jobs
        last = next((job for job in jobs.all(CHECK) if jobs.state(job) != "running"), None)
        result = jobs.result(last) if last is not None else None
        return result if isinstance(result, dict) and "checks" in result else {}

    def stands_in_the_way(self) -> bool:
        """Whether the last check that ended says that a training would be refused."""
        jobs = self.visit.jobs
        last = next((job for job in jobs.all(CHECK) if jobs.state(job) != "running"), None)
        return last is not None and jobs.state(last) == "failed"

    def check_words(self, held: list[Held]) -> list[str]:
        """The command, with the words of the project as it is now."""
        words = ["data", "check", f"--places={PLACES}", *arguments(held, self.project.draft().data)]
        return [*words, f"--model={base}"] if (base := self.project.draft().base) else words

    def is_stale(self, job: Job, held: list[Held]) -> bool:
        newest = max((one.path.stat().st_mtime for one in held if one.used), default=0.0)
        return _words(job) != self.check_words(held) or newest > job.started

    def start_check(self) -> None:
        held = files_of(self.project)
        if any(used(held, role) for role in ("examples", "documents")):
            self.start(CHECK, self.check_words(held))
        self.draw_again()

    def start(self, kind: str, words: list[str]) -> None:
        """Start a job in the place of the one of its kind that runs."""
        self.check_may()
        jobs, last = self.visit.jobs, self.visit.jobs.last(kind)
        if last is not None and jobs.state(last) == "running":
            jobs.stop(last, who=self.visit.name)
        jobs.start(kind, words, who=self.visit.name, environment=OFFLINE)

    def draw_check(self, held: list[Held]) -> None:
        visit, jobs = self.visit, self.visit.jobs
        self.check.clear()
        if not held:
            return
        with self.check:
            parts.heading(visit.say("data.check.title"))
            if not any(used(held, role) for role in ("examples", "documents")):
                alone = "data.check.only_charter" if used(held, "charter") else "data.check.nothing_used"
                parts.notice("info", visit.say(alone))
                return
            job = jobs.last(CHECK)
            if job is None:
                self.draw_start(visit.say("data.check.none"), "data.check.run")
            elif jobs.state(job) == "running":
                parts.job_panel(visit, job, self.draw_again)
            else:
                self.draw_checked(job, held)

    def draw_checked(self, job: Job, held: list[Held]) -> None:
        visit, jobs = self.visit, self.visit.jobs
        if self.is_stale(job, held):
            self.draw_start(visit.say("data.check.stale"), "data.check.again")
        result = jobs.result(job)
        if isinstance(result, dict) and "checks" in result:
            places = {one.name: one.path for one in held}
            found = findings_of(result, self.project.draft().data)
            draw_languages(visit, result)
            draw_findings(visit, result, found, places, self.set if self.may else None)
            if not found.stops:
                with parts.row():
                    parts.link(visit.say("data.next"), "/recipe").classes("button primary")
            return
        if jobs.state(job) in ("stopped", "killed"):
            self.draw_start(visit.say("data.check.interrupted"), "data.check.again")
            return
        error = jobs.error(job) or {}
        draw_error(visit, error, {one.name: one.path for one in held})
        if self.may and concerns_columns(error):
            for one in used(held, "examples"):
                self.draw_ask_columns(one)

    def draw_ask_columns(self, one: Held) -> None:
        with parts.row():
            parts.button(self.visit.say("data.columns.button"), lambda: ask_columns(self.visit, one, self.set))
            parts.word("span", one.name).classes("muted small")

    def draw_start(self, words: str, action: str) -> None:
        parts.notice("info", words)
        if self.may:
            with parts.row():
                parts.button(self.visit.say(action), self.start_check, kind="primary", icon="fact_check")

    def draw_again(self) -> None:
        with self.files:
            self.draw_all()

    # ---- as the model reads it, and what to expect ------------------------------------------------------------------

    def draw_tokens(self, held: list[Held]) -> None:
        visit, base = self.visit, self.project.draft().base
        self.tokens.clear()
        examples = used(held, "examples")
        if not examples:
            return
        with self.tokens:
            parts.heading(visit.say("data.tokens.title"))
            if not base:
                parts.empty(visit.say("data.tokens.no_model"), visit.say("data.choose_model"), "/model")
                return
            parts.text(visit.say("data.tokens.what", model=base.rpartition("/")[2]))
            names = [one.name for one in examples]
            choice = self.draw_choice(names) if len(names) > 1 else None

            options = [*layout(self.project.draft().data), f"--model={base}", f"--rows={ROWS}"]
            asked = {one.name: ["data", "show", *options, str(one.path)] for one in examples}

            def show() -> None:
                self.start(SHOW, asked[str(choice.value) if choice is not None else names[0]])
                with self.files:
                    self.draw_tokens(files_of(self.project))

            self.draw_job(SHOW, "tokens", list(asked.values()), show, lambda result: draw_examples(visit, result))

    def draw_choice(self, names: list[str]) -> ui.select:
        return ui.select(names, value=names[0], label=self.visit.say("data.tokens.file")).props("outlined")

    def draw_advice(self, held: list[Held]) -> None:
        visit, base = self.visit, self.project.draft().base
        self.advice.clear()
        if not any(used(held, role) for role in ("examples", "documents")):
            return
        with self.advice:
            parts.heading(visit.say("data.advice.title"))
            parts.text(visit.say("data.advice.what"))
            if not base:
                parts.empty(visit.say("data.advice.no_model"), visit.say("data.choose_model"), "/model")
                return
            if self.stands_in_the_way():
                parts.notice("info", visit.say("data.advice.mend_first"))
                return

            words = ["advise", base, *arguments(held, self.project.draft().data)]

            def ask() -> None:
                self.start(ADVISE, words)
                with self.files:
                    self.draw_advice(files_of(self.project))

            self.draw_job(ADVISE, "advice", [words], ask, lambda result: draw_advice(visit, result))

    def draw_job(self, kind: str, name: str, asked: list[list[str]], start: Any, draw: Any) -> None:
        """A job's button, its progress or its result. asked: what is shown is the answer to one of these commands."""
        visit, jobs, job = self.visit, self.visit.jobs, self.visit.jobs.last(kind)
        job = job if job is not None and _words(job) in asked else None
        state = jobs.state(job) if job is not None else ""
        if job is not None and state in ("running", "failed"):
            parts.job_panel(visit, job, self.draw_again)
        result = jobs.result(job) if job is not None and state == "done" else None
        if result is not None:
            draw(result)
        if self.may and state != "running":
            again = "again" if job is not None else "run"
            with parts.row():
                parts.button(visit.say(f"data.{name}.{again}"), start, kind="plain" if result else "primary")


def _words(job: Job) -> list[str]:
    return [word for word in job.argv if word != "--json"]


PAGE = Page("/data", "data", build, icon="folder_open")
