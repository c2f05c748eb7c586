"""Recipe: a form made from the settings models, that writes the same recipe.yaml a person writes by hand."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field

from nicegui import ui
from nicegui.element import Element
from nicegui.elements.mixins.text_element import TextElement

from limpide.core import digests
from limpide.core.errors import Fault, RecipeError, UsageError
from limpide.recipe.schema import Recipe
from limpide.studio import parts
from limpide.studio.forms import Section, form_of
from limpide.studio.frame import Page
from limpide.studio.pages import recipe_choices as choices
from limpide.studio.pages.recipe_fields import Fields, heading_of, said
from limpide.studio.pages.recipe_file import MISSING, ORDER, Draft, discard, few_in, open_draft, set_aside
from limpide.studio.pages.recipe_look import LOOK
from limpide.studio.pages.recipe_offers import said as in_words
from limpide.studio.pages.recipe_sector import sector
from limpide.studio.visit import Visit

FOLLOW_EVERY = 1.0  # seconds
FOLDED = "*"  # of a path: all the settings of a section, as they are drawn together
LISTED = 12  # faults in the list of all


def build(visit: Visit) -> None:
    ui.add_css(LOOK)
    try:
        draft = open_draft(visit.project, visit.language)
    except RecipeError as error:
        _unreadable(visit, error)
        return
    Editor(visit, draft).draw()


def _unreadable(visit: Visit, error: RecipeError) -> None:
    parts.error_notice(visit, error.record())

    def begin() -> None:
        if not visit.may("change"):
            raise UsageError(visit.say("recipe.may_not"))
        visit.log("studio.recipe.set_aside")
        set_aside(visit.project)
        ui.navigate.reload()

    parts.text(visit.say("recipe.unreadable"))
    parts.button(visit.say("recipe.set_aside"), begin, icon="restart_alt")


@dataclass
class Editor:
    """One person's page: the fields on the left, the recipe and what is wrong with it beside them."""

    visit: Visit
    draft: Draft
    faults: Sequence[Fault] = ()
    drawn: dict[str, Element] = field(default_factory=dict)
    stale: bool = True  # something has changed since the rows were last looked at

    def draw(self) -> None:
        visit = self.visit
        self.fields = Fields(visit, self.draft, self.changed)
        if not visit.may("change"):
            parts.notice("info", visit.say("recipe.may_not"))
        with ui.element("div").classes("recipe"):
            with ui.element("form").classes("stack recipe-form") as form:
                form.on("submit", js_handler="(event) => event.preventDefault()")
                with ui.element("fieldset").classes("stack bare") as all_fields:
                    if not visit.may("change"):
                        all_fields.props("disabled")
                    all_fields.props["aria-label"] = visit.say("recipe.title")
                    self._cards()
            with ui.element("aside").classes("stack recipe-side") as side:
                side.props["aria-label"] = visit.say("recipe.side")
                self._side()
        self.look()

    def _cards(self) -> None:
        visit, fields = self.visit, self.fields
        sector(visit, fields)
        choices.purpose(visit, fields)
        choices.materials(visit, fields)
        choices.measured(visit, fields)
        choices.strength(visit, fields)
        choices.signed(visit, fields)
        with parts.card(visit.say("recipe.card.all")):
            parts.text(visit.say("recipe.card.all.hint")).classes("muted")
            form = form_of(Recipe)
            own = Section("", "", False, tuple(p for p in form.parts if not isinstance(p, Section)))
            self._settings(own)
            sections = [part for part in form.parts if isinstance(part, Section)]
            for part in sorted(sections, key=lambda section: ORDER.index(section.path)):
                self._folded(part)

    def _folded(self, section: Section) -> None:
        """A section's settings, drawn when it is first opened: there are some two hundred in all."""
        if all(entry.path in choices.ASKED for entry in section.entries()):
            return
        with parts.more(heading_of(self.visit, section)) as folded:
            parts.word("code", section.path).classes("muted small")
            inside = ui.element("div").classes("stack")
        opened: list[bool] = []

        def open_first() -> None:
            if opened:
                return
            opened.append(True)
            with inside:
                self._inside(section)
            self.fields.tell(self.faults)

        folded.on("toggle", open_first, args=[])

    def _inside(self, section: Section) -> None:
        if section.optional:
            there = self.draft.get(section.path) not in (MISSING, None)
            with self.fields.around(section.path, self.visit.say("recipe.section"), group=True) as slot:
                self.fields.tick(slot, self.visit.say("recipe.section.use"), there, lambda on: self._use(section, on))
        self.fields.box(f"{section.path}.{FOLDED}", lambda: self._contents(section))

    def _contents(self, section: Section) -> None:
        if section.optional and self.draft.get(section.path) in (MISSING, None):
            return
        self._settings(section)
        for part in section.parts:
            if isinstance(part, Section):
                self._folded(part)

    def _use(self, section: Section, on: bool) -> None:
        self.fields.put(section.path, {} if on else MISSING)
        self.fields.redraw(f"{section.path}.{FOLDED}")

    def _settings(self, section: Section) -> None:
        with ui.element("div").classes("settings"):
            for part in section.parts:
                if not isinstance(part, Section) and part.path not in choices.ASKED:
                    self.fields.setting(part)

    # ---- the side ---------------------------------------------------------------------------------------------------

    def _side(self) -> None:
        visit = self.visit
        with parts.card(visit.say("recipe.side")):
            self.status = parts.text("").props("role=status")
            self.listed = ui.element("ul").classes("faults")
            self.few = parts.stack().props("role=status")
            ui.timer(FOLLOW_EVERY, self.look_at_rows)
            with parts.row().classes("save-row"):
                self.save_button = parts.button(visit.say("recipe.save"), self.save, kind="primary", icon="save")
                self.discard_button = parts.button(visit.say("recipe.discard"), self.discard, kind="quiet")
            self.next = parts.link(visit.say("recipe.next"), "/run").classes("button plain")
        with parts.more(visit.say("recipe.yaml")) as shown:
            shown.props("open").classes("card yaml")
            self.yaml: TextElement = parts.word("pre", "").props("tabindex=0")
            self.yaml.props["aria-label"] = visit.say("recipe.yaml")
            parts.button(visit.say("frame.copy"), self._copy, kind="quiet", icon="content_copy")

    def _copy(self) -> None:
        ui.clipboard.write(self.draft.text())

    def changed(self) -> Sequence[Fault]:
        """Keep what was changed, and tell again what is wrong. Raises UsageError for who may not change the recipe."""
        if not self.visit.may("change"):
            raise UsageError(self.visit.say("recipe.may_not"))
        self.faults = self.draft.keep()
        self._tell()
        return self.faults

    def look(self) -> None:
        """What is wrong with the recipe as it stands; nothing is written for who only looks."""
        self.faults = self.draft.look()
        self._tell()

    async def look_at_rows(self) -> None:
        """Warn of gates that the held-out rows are too few for, when something has changed: it takes a moment."""
        if not self.stale:
            return
        self.stale = False
        found = await asyncio.to_thread(few_in, self.draft.text(), self.visit.project.folder)
        self.few.clear()
        with self.few:
            for one in found:
                rule = in_words(self.visit, one.gate)
                words = self.visit.say(f"recipe.few.{one.of}", rule=rule, needed=one.needed, held=one.held)
                parts.notice("warning", words, self.visit.say("recipe.few.do"))

    def _tell(self) -> None:
        visit, count = self.visit, len(self.faults)
        different = self.draft.changed()
        self.fields.tell(self.faults)
        self.stale = True
        self.yaml.text = self.draft.text()
        state = "saved" if not different else "unsaved"
        self.status.text = " ".join(
            [
                visit.say(f"recipe.state.{state}"),
                visit.say("recipe.faults", count) if count else visit.say("recipe.whole"),
            ]
        )
        self.listed.clear()
        with self.listed:
            for fault in self.faults[:LISTED]:
                with parts.word("li", ""):
                    title = self.fields.title(fault)
                    if title:
                        parts.word("span", title).classes("strong")
                    elif fault.at:
                        parts.word("code", fault.at).classes("small")
                    parts.word("span", said(visit, fault))
        may = visit.may("change")
        self.save_button.set_visibility(may)
        self.discard_button.set_visibility(may and different and self.draft.began is not None)
        self.next.set_visibility(not different and not count)

    async def save(self) -> None:
        """Write recipe.yaml, with its faults if it has some: a run says them again."""
        visit = self.visit
        if not visit.may("change"):
            raise UsageError(visit.say("recipe.may_not"))
        if self.draft.moved_on():
            title, words = visit.say("recipe.moved_on.title"), visit.say("recipe.moved_on")
            if not await parts.confirm(title, words, visit.say("recipe.save"), danger=True):
                return
        visit.log("studio.recipe.save", recipe=digests.of_bytes(self.draft.text().encode()))
        self.draft.save()
        self.look()
        parts.tell("good", visit.say("recipe.saved"))

    async def discard(self) -> None:
        visit = self.visit
        if not visit.may("change"):
            raise UsageError(visit.say("recipe.may_not"))
        title, words = visit.say("recipe.discard"), visit.say("recipe.discard.sure")
        if await parts.confirm(title, words, visit.say("recipe.discard"), danger=True):
            discard(visit.project)
            ui.navigate.reload()


PAGE = Page("/recipe", "recipe", build, icon="tune")
