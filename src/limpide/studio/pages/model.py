"""Choosing the model to begin from: where it is, what it is, and the choice itself."""

import asyncio
from collections.abc import Mapping
from typing import Any

from nicegui import ui
from nicegui.element import Element
from pydantic import ValidationError

from limpide.core.errors import UsageError
from limpide.models.embedded import SMOLLM2, is_here
from limpide.models.families.capabilities import load_capabilities
from limpide.models.passport import Passport
from limpide.studio import parts
from limpide.studio.frame import Page
from limpide.studio.jobs import Job
from limpide.studio.pages.data_recipe import draw_other, other_base
from limpide.studio.pages.model_choice import Understood, look_at_hub, look_at_path, refusal
from limpide.studio.pages.model_drawn import LOOK, draw_label
from limpide.studio.pages.model_label import exact_ref, label_of
from limpide.studio.visit import Visit

KIND = "open"  # of the jobs: `limpide open REF`
TYPING_SECONDS = 0.3  # of quiet, before what is typed is looked at


def build(visit: Visit) -> None:
    ui.add_css(LOOK)
    ModelPage(visit).draw()


class ModelPage:
    """One person's page. shown: the part that changes when a model was opened or chosen."""

    def __init__(self, visit: Visit) -> None:
        self.visit = visit
        self.shown: Element

    def draw(self) -> None:
        self.shown = parts.stack()
        self.draw_shown()
        if self.visit.may("change"):
            self.draw_ways()
        else:
            parts.notice("info", self.visit.say("model.reader"))

    # ---- what is chosen, and what was opened last -------------------------------------------------------------------

    def draw_shown(self) -> None:
        visit, base = self.visit, self.visit.project.draft().base
        self.shown.clear()
        with self.shown:
            job = visit.jobs.last(KIND)
            state = visit.jobs.state(job) if job is not None else ""
            if base:
                self.draw_chosen(base)
            elif job is None:
                parts.notice("info", visit.say("model.nothing"))
            if job is not None and state == "running":
                parts.heading(visit.say("model.job", ref=ref_of(job)))
                parts.job_panel(visit, job, self.draw_shown)
            elif job is not None and state in ("stopped", "killed"):
                parts.notice("warning", visit.say("model.interrupted"))
            elif job is not None and state == "failed":
                draw_refusal(visit, visit.jobs.error(job) or {})
            opened = self.opened(base)
            if opened is not None:
                self.draw_opened(opened, base)

    def opened(self, base: str) -> Passport | None:
        """The passport to show: of the model that was opened last, else of the one that is chosen."""
        jobs = self.visit.jobs
        last = jobs.last(KIND)
        if last is not None and jobs.state(last) == "done":
            return passport_of(jobs.result(last))
        done = (passport_of(jobs.result(job)) for job in jobs.all(KIND) if base and jobs.state(job) == "done")
        return next((one for one in done if one is not None and exact_ref(one) == base), None)

    def draw_chosen(self, base: str) -> None:
        visit = self.visit
        known = any(
            exact_ref(one) == base for job in visit.jobs.all(KIND) if (one := passport_of(visit.jobs.result(job)))
        )
        words = "model.chosen_is" if known else "model.not_opened"
        parts.notice("good", visit.say(words, ref=base))
        with parts.row():
            parts.link(visit.say("model.next"), "/data").classes("button primary")
            if not known and visit.may("change"):
                parts.button(visit.say("model.look_again"), lambda: self.open(base))

        if (other := other_base(visit.project)) is not None:
            draw_other(visit, visit.say("model.recipe_other", base=other))

    def draw_opened(self, passport: Passport, base: str) -> None:
        label = label_of(passport)
        parts.heading(self.visit.say("model.label.title", ref=label.ref))
        if label.exact != base and self.visit.may("change"):
            with parts.row():
                use = self.visit.say("model.use")
                parts.button(use, lambda: self.choose(label.exact), kind="primary", icon="check")
        draw_label(self.visit, label)

    # ---- where models are -------------------------------------------------------------------------------------------

    def draw_ways(self) -> None:
        visit = self.visit
        parts.heading(visit.say("model.ways"))
        with parts.grid():
            self.draw_embedded()
            self.draw_typed("path", lambda text: look_at_path(text, visit.project.folder), self.open)
            self.draw_typed("hub", look_at_hub, self.download)

    def draw_embedded(self) -> None:
        visit = self.visit
        with self.way("embedded"):
            if not is_here(SMOLLM2):
                parts.text(visit.say("model.embedded.fetch")).classes("muted small")
            parts.button(visit.say("model.embedded.open"), self.open_embedded, kind="primary").props("id=open-embedded")

    def way(self, name: str) -> Element:
        card = parts.card()
        with card:
            parts.heading(self.visit.say(f"model.{name}.title"), 3)
            parts.text(self.visit.say(f"model.{name}.what"))
        return card

    def draw_typed(self, name: str, look: Any, act: Any) -> None:
        """A field whose text is looked at as it is typed, and a button that can be pressed when it leads somewhere."""
        visit = self.visit
        with self.way(name):
            field = ui.input(visit.say(f"model.{name}.label")).props(
                f"outlined debounce={round(1000 * TYPING_SECONDS)} autocomplete=off spellcheck=false"
            )
            told = parts.text(visit.say(f"model.{name}.empty")).classes("small told muted").props("role=status")
            go = parts.button(visit.say(f"model.{name}.open"), lambda: pressed())
            go.props("disabled")

        async def typed() -> None:
            found = await asyncio.to_thread(look, field.value or "")
            told.text = visit.say(found.said.key, **_readable(found, visit))
            told.classes(remove="muted good warning bad", add=GRAVES[found.grave])
            go.props(remove="disabled") if found.ref else go.props("disabled")

        async def pressed() -> None:
            found = await asyncio.to_thread(look, field.value or "")
            if found.ref:
                await _awaited(act(found.ref))

        field.on_value_change(typed)
        field.on("keydown.enter", lambda: parts.safely(pressed))

    # ---- what is done -----------------------------------------------------------------------------------------------

    async def open_embedded(self) -> None:
        say = self.visit.say
        title, go = say("model.embedded.title"), say("model.embedded.fetch_it")
        if is_here(SMOLLM2) or await parts.confirm(title, say("model.embedded.ask"), go):
            self.open(SMOLLM2.alias)

    async def download(self, ref: str) -> None:
        say, host = self.visit.say, await asyncio.to_thread(hub_host)
        if await parts.confirm(
            say("model.hub.ask.title"), say("model.hub.ask", ref=ref, host=host), say("model.hub.ask.go")
        ):
            self.open(ref)

    def open(self, ref: str) -> None:
        """Open a model as a job. Raises UsageError while another is being opened."""
        self.check_may()
        last = self.visit.jobs.last(KIND)
        if last is not None and self.visit.jobs.state(last) == "running":
            raise UsageError(self.visit.say("model.running"))
        self.visit.log("studio.model.open", model=ref)
        self.visit.jobs.start(KIND, ["open", ref], who=self.visit.name)
        with self.shown:
            self.draw_shown()
            ui.run_javascript("document.getElementById('content').scrollIntoView()")

    def choose(self, ref: str) -> None:
        self.check_may()
        self.visit.log("studio.model.choose", model=ref)
        self.visit.project.change_draft(base=ref)
        with self.shown:
            self.draw_shown()
            parts.tell("good", self.visit.say("model.used", ref=ref))

    def check_may(self) -> None:
        if not self.visit.may("change"):
            raise UsageError(self.visit.say("model.reader"))


GRAVES = {"good": "good", "warns": "warning", "stops": "bad", "quiet": "muted"}


def ref_of(job: Job) -> str:
    """The model that a job opens."""
    return job.argv[1]


def passport_of(result: Any) -> Passport | None:
    """What a job printed; None where it printed none, or one of another version of Limpide."""
    try:
        return Passport.model_validate(result)
    except ValidationError:
        return None


def _readable(found: Understood, visit: Visit) -> dict[str, object]:
    values = dict(found.said.values)
    if "size" in values:
        values["size"] = visit.words.bytes(int(str(values["size"])))
    return values


async def _awaited(made: Any) -> None:
    if made is not None:
        await made


def hub_host() -> str:
    """The server that the hub's client asks, as this machine is set up."""
    from urllib.parse import urlsplit

    from huggingface_hub import constants

    return urlsplit(constants.ENDPOINT).netloc or str(constants.ENDPOINT)


def draw_refusal(visit: Visit, error: Mapping[str, Any]) -> None:
    """Why a model was not opened, in plain words, then the exact message."""
    why = refusal(error)
    remedy = visit.say(f"model.refused.{why}.do", families=", ".join(load_capabilities()))
    with parts.card(visit.say("model.failed")):
        parts.notice("bad", visit.say(f"model.refused.{why}"), remedy)
        if error:
            with parts.more(visit.say("model.exact")).props(remove="open"):
                parts.error_notice(visit, error, of_command=True)


PAGE = Page("/model", "model", build, icon="category")
