"""Ask the base and the release the same thing, side by side, and click a word of an answer to see why."""

import asyncio
import random

from nicegui import ui
from nicegui.element import Element

from limpide.core.errors import UsageError
from limpide.studio import parts
from limpide.studio.frame import Page
from limpide.studio.pages import ask_gateway
from limpide.studio.pages.about import asked_for, choice
from limpide.studio.pages.ask_panel import Asked, panel
from limpide.studio.pages.ask_side import Side
from limpide.studio.pages.ask_words import Word, kept
from limpide.studio.pages.release_found import Found, releases
from limpide.studio.pages.release_look import dress
from limpide.studio.pages.release_rights import allowed, require
from limpide.studio.pages.report_figures import dress as dress_figures
from limpide.studio.pages.service_process import running
from limpide.studio.visit import Visit

MOST = 160  # tokens of an answer, at first
LONGEST = 4000  # characters of a question


async def build(visit: Visit) -> None:
    found = await asyncio.to_thread(releases, visit.project.folder, visit.project.keys)
    able = [one for one in found if any((one.folder / "gguf").glob("*.gguf"))]
    if not able:
        words = visit.say("ask.empty.file" if found else "ask.empty")
        parts.empty(words, visit.say("ask.empty.link"), "/recipe" if found else "/run")
        return
    dress()
    dress_figures()
    if allowed(visit, "ask"):
        Asking(visit, able).draw()


class Asking:
    """The page of one browser: a question, two answers, and why."""

    def __init__(self, visit: Visit, able: list[Found]) -> None:
        self.visit, self.able = visit, able
        self.found = asked_for(able)
        self.task: asyncio.Task[None] | None = None
        self.hidden = False

    def draw(self) -> None:
        visit = self.visit
        with parts.card():
            choice("/ask", {one.id: one.id for one in self.able}, self.found, visit.say("ask.release"))
            self.question = ui.textarea(visit.say("ask.question")).props(f"outlined autogrow maxlength={LONGEST}")
            self.question.on("keydown.enter.ctrl", lambda: parts.safely(self.ask), args=[])
            with parts.row():
                self.go = parts.button(visit.say("ask.go"), self.ask, kind="primary", icon="send")
                self.end = parts.button(visit.say("ask.stop"), self.stop, icon="stop")
                self.end.props("disabled")
                self.blind = ui.checkbox(visit.say("ask.blind"))
            parts.text(visit.say("ask.how")).classes("muted small")
        self.wait = parts.stack()
        self.order: Element = ui.element("div").classes("two-sides")
        self.place(["base", "release"])
        self.why = ui.element("div").classes("stack").props("role=region tabindex=-1")
        self.why.props["aria-label"] = visit.say("ask.why")
        self.gateway_state()

    def place(self, roles: list[str]) -> None:
        """Two empty sides, in this order from the left."""
        self.order.clear()
        with self.order:
            self.sides = [
                Side(self.visit, role, letter, self.clicked) for role, letter in zip(roles, "ab", strict=True)
            ]
        for side in self.sides:
            side.name(hidden=self.hidden)

    async def ask(self) -> None:
        """Ask both. The private gateway is started first when it does not run."""
        visit = self.visit
        require(visit, "ask")
        question = (self.question.value or "").strip()
        if not question:
            raise UsageError(visit.say("ask.question.first"))
        await self.stop()
        self.hidden = bool(self.blind.value)
        self.place(random.sample(["base", "release"], 2) if self.hidden else ["base", "release"])
        self.why.clear()
        gateway = await self.gateway()
        self.end.props(remove="disabled")
        self.task = asyncio.create_task(self.both(gateway, question))
        await asyncio.wait([self.task])
        self.end.props("disabled")
        self.reveal_button()

    async def both(self, gateway: ask_gateway.Gateway, question: str) -> None:
        able = [side for side in self.sides if side.role == "release" or gateway.base is not None]
        await asyncio.gather(*(side.ask(gateway, question, MOST) for side in able))

    async def gateway(self) -> ask_gateway.Gateway:
        """Start it, and show how that goes. Raises what kept it from starting."""
        job = ask_gateway.start(self.visit, self.found)
        found = ask_gateway.answering(self.visit, job)
        if found is None:
            self.wait.clear()
            with self.wait:
                parts.text(self.visit.say("ask.starting")).classes("muted").props("role=status")
                parts.job_panel(self.visit, job)
            try:
                found = await ask_gateway.wait(self.visit, job)
            finally:
                self.wait.clear()
        self.gateway_state()
        return found

    def gateway_state(self) -> None:
        """That it runs, and takes memory, with the button that ends it."""
        job = running(self.visit.jobs, ask_gateway.KIND)
        self.wait.clear()
        if job is None:
            return

        def end() -> None:
            require(self.visit, "ask")
            self.visit.jobs.stop(job, who=self.visit.name)
            self.wait.clear()

        with self.wait, parts.row():
            parts.chip(self.visit.say("ask.gateway.on"), "good")
            parts.text(self.visit.say("ask.gateway.waits" if self.found.waits else "ask.gateway")).classes(
                "muted small"
            )
            parts.button(self.visit.say("ask.gateway.end"), end, kind="quiet", icon="power_settings_new")

    async def stop(self) -> None:
        """End both answers; what came so far stays."""
        task, self.task = self.task, None
        if task is None or task.done():
            return
        task.cancel()
        await asyncio.wait([task])
        for side in self.sides:
            side.cut()

    def reveal_button(self) -> None:
        if not self.hidden:
            return

        def reveal() -> None:
            self.hidden = False
            for side in self.sides:
                side.name(hidden=False)
            shown.delete()

        with self.wait:
            shown = parts.button(self.visit.say("ask.reveal"), reveal, kind="primary", icon="visibility")

    def clicked(self, side: Side, word: Word) -> None:
        """Explain a word of an answer, with the weights that the run made or began with."""
        require(self.visit, "ask")
        release = side.role == "release"
        model = str(self.found.folder) if release else ask_gateway.base_of(self.found.folder)
        self.why.clear()
        with self.why, parts.card():
            shown = parts.stack()
        asked = kept(self.visit.project.asked, side.question, side.answer.strip())
        panel(self.visit, shown, Asked(model, asked, word, release), side.pieces)
        self.why.run_method("scrollIntoView", {"block": "start"})


PAGE = Page("/ask", "ask", build, icon="forum")
