"""Fields of the recipe's form: each kind of setting as a native control, with its name, its hint and its faults.

What a person typed is never put back by the page being drawn again: `defaultValue` and `selected` are set once.
"""

import io
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

from nicegui import ui
from nicegui.element import Element
from nicegui.elements.mixins.text_element import TextElement
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from limpide.core.errors import Fault
from limpide.studio import parts
from limpide.studio.forms import Entry, Section, described
from limpide.studio.pages.recipe_file import ALLOW, MISSING, Draft, beside
from limpide.studio.visit import Visit

LONGEST_TEXT = 20_000  # characters of one field that are taken
SHOWN_FAULTS = 3  # beside one field
GIVE_VALUE = "(event) => emit(event.target.value)"
GIVE_CHECKED = "(event) => emit(event.target.checked)"
Change = Callable[[Any], None]
NUMBER = r"(?P<edge>-?[\d.e+]+)"
# What the recipe's reader says, in English and for who writes YAML → the end of `recipe.fault.…`.
COMMON = {
    name: re.compile(form)
    for name, form in {
        "empty": r"missing key |String should have at least 1 character",
        "short": r"String should have at least (?P<count>\d+) characters",
        "long": r"String should have at most (?P<count>\d+) characters",
        "list": r"Tuple should have at least 1 item",
        "least": rf"Input should be greater than or equal to {NUMBER}",
        "above": rf"Input should be greater than {NUMBER}",
        "most": rf"Input should be less than or equal to {NUMBER}",
        "below": rf"Input should be less than {NUMBER}",
        "whole": r"Input should be a valid integer",
        "number": r"Input should be a valid number",
        "name": r"String should match pattern '\^\[a-z0-9\]",
        "version": r"String should match pattern '\^\[0-9\]",
    }.items()
}


@dataclass
class Slot:
    """Where the faults of one setting are told, and the controls that they are about."""

    path: str
    title: str
    place: TextElement
    controls: list[Element] = field(default_factory=list)

    def tell(self, visit: Visit, faults: Sequence[Fault]) -> None:
        mine = beside(self.path, faults)
        self.place.text = " ".join(said(visit, fault) for fault in mine[:SHOWN_FAULTS])
        self.place.set_visibility(bool(mine))
        self.controls = [control for control in self.controls if not control.is_deleted]
        for control in self.controls:
            control.props["aria-invalid"] = "true" if mine else "false"


@dataclass
class Fields:
    """The fields of one page. changed: called after each change, and gives the faults that are now in the recipe.

    boxes: what is drawn again when something else changes it; never what a person has the focus in.
    followers: section → the box that sums it up, drawn again when one of its settings changes.
    """

    visit: Visit
    draft: Draft
    changed: Callable[[], Sequence[Fault]]
    faults: Sequence[Fault] = ()
    slots: list[Slot] = field(default_factory=list)
    boxes: dict[str, tuple[Element, Callable[[], None]]] = field(default_factory=dict)
    followers: dict[str, str] = field(default_factory=dict)

    def tell(self, faults: Sequence[Fault]) -> None:
        """Show each fault beside its field."""
        self.faults = faults
        self.slots = [slot for slot in self.slots if not slot.place.is_deleted]
        for slot in self.slots:
            slot.tell(self.visit, faults)

    def title(self, fault: Fault) -> str:
        """The name of the field that a fault is of; '' where the page has none."""
        return next((slot.title for slot in self.slots if beside(slot.path, (fault,))), "")

    def put(self, path: str, value: Any, *, usual: Any = MISSING) -> None:
        """Write a setting; its usual value is written by leaving it out."""
        if value is MISSING or (usual is not MISSING and value == usual):
            self.draft.clear(path)
        else:
            self.draft.put(path, value)
        self.changed()
        for section, box in self.followers.items():
            if path.startswith(f"{section}."):
                self.redraw(box)

    def value(self, path: str, usual: Any = None) -> Any:
        found = self.draft.get(path)
        return usual if found is MISSING else found

    def box(self, path: str, draw: Callable[[], None]) -> None:
        """Draw in a box of its own, that is drawn again when what it rests on has changed."""
        with ui.element("div").classes("stack") as box:
            draw()
        self.boxes[path] = (box, draw)

    def redraw(self, above: str) -> None:
        """Draw again the boxes at a path and below it, which something else has changed."""
        for path, (box, draw) in sorted(self.boxes.items()):
            if not f"{path}.".startswith(f"{above}."):
                continue
            if box.is_deleted:  # by one above it, that was drawn again
                continue
            box.clear()
            with box:
                draw()
        self.tell(self.faults)

    # ---- one field --------------------------------------------------------------------------------------------------

    @contextmanager
    def around(self, path: str, title: str, hint: str = "", *, group: bool = False) -> Iterator[Slot]:
        """A label, a hint and a place for faults around a control. group: several controls that answer one question."""
        with ui.element("fieldset" if group else "div").classes("field"):
            label = parts.word("legend" if group else "label", title).classes("field-label")
            note = parts.text(hint).classes("muted small") if hint else None
            slot = Slot(path, title, parts.text("").classes("field-fault"))
            slot.place.set_visibility(False)
            yield slot
            slot.place.move(target_index=-1)
            notes = [slot.place.html_id, *([note.html_id] if note else [])]
            for control in slot.controls[:1] if not group else ():
                label.props["for"] = control.html_id
            for control in slot.controls:
                control.props["aria-describedby"] = " ".join(notes)
        self.slots.append(slot)

    def line(self, slot: Slot, value: Any, change: Change, **properties: str) -> Element:
        return self._control(slot, "input", {"type": "text", **properties}, value, change)

    def lines(self, slot: Slot, values: Iterable[Any], change: Callable[[list[str]], None], rows: int = 3) -> Element:
        """Several texts, one a line."""
        text = "\n".join(str(value) for value in values)

        def split(given: str) -> None:
            change([line.strip() for line in given.splitlines() if line.strip()])

        return self._control(slot, "textarea", {"rows": str(max(rows, text.count("\n") + 1))}, text, split)

    def select(self, slot: Slot, chosen: str, options: Mapping[str, str], change: Change) -> Element:
        with ui.element("select").classes("input") as made:
            for value, words in {**options, **({} if chosen in options else {chosen: chosen})}.items():
                option = parts.word("option", words)
                option.props["value"] = value
                if value == chosen:
                    option.props("selected")
        _heed(made, lambda given: change(_text(given)), GIVE_VALUE)
        slot.controls.append(made)
        return made

    def tick(self, slot: Slot, words: str, ticked: bool, change: Callable[[bool], None], hint: str = "") -> Element:
        """One box to tick, with its words beside it."""
        with ui.element("label").classes("tick"):
            box = ui.element("input").props("type=checkbox")
            box.props["checked"] = ticked
            with ui.element("span"):
                parts.word("span", words)
                if hint:
                    parts.word("span", hint).classes("muted small tick-hint")
        _heed(box, lambda given: change(given is True), GIVE_CHECKED)
        slot.controls.append(box)
        return box

    def ticks(
        self, slot: Slot, options: Mapping[str, tuple[str, str]], chosen: Sequence[str], change: Callable[..., None]
    ) -> None:
        """Several boxes; the change is the list of those ticked, in the order of the options, unknown ones last."""
        kept = [str(one) for one in chosen]

        def flip(name: str, ticked: bool) -> None:
            others = [one for one in kept if one != name]
            kept[:] = [*others, name] if ticked else others
            change([n for n in options if n in kept] + [n for n in kept if n not in options])

        with ui.element("div").classes("ticks"):
            for name, (words, hint) in options.items():
                self.tick(slot, words, name in kept, lambda ticked, name=name: flip(name, ticked), hint)  # type: ignore[misc]

    def radios(self, slot: Slot, options: Mapping[str, tuple[str, str]], chosen: str, change: Change) -> None:
        with ui.element("div").classes("ticks"):
            for name, (words, hint) in options.items():
                with ui.element("label").classes("tick"):
                    button = ui.element("input").props("type=radio")
                    button.props["name"], button.props["checked"] = f"radio-{slot.path}", name == chosen
                    with ui.element("span"):
                        parts.word("span", words)
                        if hint:
                            parts.word("span", hint).classes("muted small tick-hint")
                _heed(button, lambda _, name=name: change(name), GIVE_CHECKED)  # type: ignore[misc]
                slot.controls.append(button)

    def _control(self, slot: Slot, tag: str, properties: Mapping[str, str], value: Any, change: Change) -> Element:
        made = ui.element(tag).classes("input")
        for name, one in properties.items():
            made.props[name] = one
        made.props["maxlength"] = str(LONGEST_TEXT)
        made.props["defaultValue"] = "" if value is None or value is MISSING else str(value)
        _heed(made, lambda given: change(_text(given)), GIVE_VALUE)
        slot.controls.append(made)
        return made

    # ---- settings, by their kind ------------------------------------------------------------------------------------

    def setting(self, entry: Entry, title: str = "") -> None:
        """One setting of a model: its description, its range and usual value, and the control of its kind."""
        self.box(entry.path, lambda: self._setting(entry, title or described(entry, self.visit.words.words)))

    def _setting(self, entry: Entry, title: str) -> None:
        group = entry.kind in ("choices", "policy")
        with self.around(entry.path, title[:1].upper() + title[1:], about(self.visit, entry), group=group) as slot:
            drawn: Mapping[str, Callable[[Entry, Slot], None]] = {
                "switch": self._switch, "choice": self._choice, "choices": self._choices, "policy": self._policy,
                "texts": self._texts, "numbers": self._numbers, "free": self._free,
            }  # fmt: skip
            drawn.get(entry.kind, self._plain)(entry, slot)

    def _plain(self, entry: Entry, slot: Slot) -> None:
        """Text, a number, a whole number."""
        numeric = {"whole": "numeric", "number": "decimal"}.get(entry.kind, "text")
        usual = "" if entry.default is None else str(entry.default)
        self.line(
            slot,
            self.value(entry.path),
            lambda text: self.put(entry.path, read(entry, text), usual=entry.default),
            inputmode=numeric,
            placeholder=usual,
        )

    def _switch(self, entry: Entry, slot: Slot) -> None:
        yes, no, usual = (self.visit.say(f"recipe.{word}") for word in ("yes", "no", "usual"))
        marked = {True: yes, False: no}
        options = {"": usual} if entry.empty else {}
        options |= {str(v).lower(): w + (f" ({usual})" if v == entry.default else "") for v, w in marked.items()}
        now = self.value(entry.path, entry.default)
        chosen = "" if now is None else str(now).lower()
        values = {"": MISSING, "true": True, "false": False}
        self.select(slot, chosen, options, lambda t: self.put(entry.path, values.get(t, t), usual=entry.default))

    def _choice(self, entry: Entry, slot: Slot) -> None:
        usual = self.visit.say("recipe.usual")
        options = {"": usual} if entry.empty or entry.default is None else {}
        options |= {word: word + (f" ({usual})" if word == entry.default else "") for word in entry.choices}
        now = self.value(entry.path, entry.default)
        self.select(
            slot,
            "" if now is None else str(now),
            options,
            lambda text: self.put(entry.path, text or MISSING, usual=entry.default),
        )

    def _choices(self, entry: Entry, slot: Slot) -> None:
        now = _listed(self.value(entry.path, entry.default))
        options = {name: (name, "") for name in entry.choices}
        self.ticks(slot, options, now, lambda names: self.put(entry.path, names, usual=entry.default))

    def _policy(self, entry: Entry, slot: Slot) -> None:
        now = self.value(entry.path, entry.default)
        chosen = ALLOW if isinstance(now, Mapping) else str(now)
        words = {name: self.visit.say(f"recipe.policy.{name}") for name in (*entry.choices, ALLOW)}

        def choose(text: str) -> None:
            self.put(entry.path, {ALLOW: ""} if text == ALLOW else text)
            self.redraw(f"{entry.path}.{ALLOW}")

        choice = self.select(slot, chosen, words, choose)
        choice.props["aria-label"] = slot.title
        self.box(f"{entry.path}.{ALLOW}", lambda: self._reason(entry, slot))

    def _reason(self, entry: Entry, slot: Slot) -> None:
        """Why a policy allows what it would refuse; nothing where it does not."""
        now = self.value(entry.path, entry.default)
        if isinstance(now, Mapping):
            reason = self.line(slot, now.get(ALLOW), lambda text: self.put(entry.path, {ALLOW: text}))
            reason.props["aria-label"] = reason.props["placeholder"] = self.visit.say("recipe.policy.why")

    def _texts(self, entry: Entry, slot: Slot) -> None:
        now = _listed(self.value(entry.path, entry.default))
        self.lines(slot, now, lambda texts: self.put(entry.path, texts, usual=entry.default), rows=2)

    def _numbers(self, entry: Entry, slot: Slot) -> None:
        now = ", ".join(str(one) for one in _listed(self.value(entry.path)))
        usual = ", ".join(str(one) for one in _listed(entry.default))
        self.line(slot, now, lambda text: self.put(entry.path, read(entry, text)), placeholder=usual)

    def _free(self, entry: Entry, slot: Slot) -> None:
        now = self.draft.get(entry.path)
        shown = "" if now is MISSING else flow(now)
        self.line(slot, shown, lambda text: self.put(entry.path, read(entry, text)), placeholder=flow(entry.default))


def _heed(control: Element, change: Change, given: str) -> None:
    """Call `change` with what the browser gives; what it raises is shown with its remedy."""
    control.on("change", lambda event: parts.safely(lambda: change(event.args)), js_handler=given)


def about(visit: Visit, entry: Entry) -> str:
    """The key of a setting, its usual value and its range, for who looks it up."""
    said_of = [entry.path]
    if entry.required:
        said_of.append(visit.say("recipe.required"))
    elif entry.default not in (None, [], {}):
        said_of.append(visit.say("recipe.usually", value=flow(entry.default)))
    low, high = (None if edge is None else visit.words.plain(edge) for edge in (entry.low, entry.high))
    if low is not None and high is not None:
        said_of.append(visit.say("recipe.between", low=low, high=high))
    elif low is not None:
        said_of.append(visit.say("recipe.from", low=low))
    return " · ".join(said_of)


def heading_of(visit: Visit, section: Section) -> str:
    title = described(section, visit.words.words)
    return f"{title[:1].upper()}{title[1:]}"


def said(visit: Visit, fault: Fault) -> str:
    """A fault in plain words where it is a common one, else as the recipe's reader says it, without its key."""
    what = fault.what.removeprefix(f"{fault.at}: ") if fault.at else fault.what
    for name, form in COMMON.items():
        if found := form.match(what):
            return visit.say(f"recipe.fault.{name}", **found.groupdict())
    return what.removeprefix("Value error, ")


def read(entry: Entry, text: str) -> Any:
    """What a person typed, as the recipe writes it; MISSING for nothing. What cannot be read is kept for its fault."""
    text = text.strip()
    if not text:
        return MISSING
    if entry.kind == "numbers":
        return [_number(one) for one in text.replace(";", " ").replace(", ", " ").replace(",", " ").split()]
    if entry.kind in ("whole", "number"):
        return _number(text.replace(" ", "").replace("\u202f", "").replace(",", "."))
    if entry.kind == "free":
        with suppress(YAMLError):
            return YAML(typ="safe", pure=True).load(text)
    return text


def flow(value: Any) -> str:
    """A value on one line, as YAML writes it."""
    if isinstance(value, str):
        return value
    yaml, stream = YAML(typ="safe", pure=True), io.StringIO()
    yaml.default_flow_style, yaml.width = True, 4096
    yaml.dump(value, stream)
    return stream.getvalue().removesuffix("\n").removesuffix("\n...").strip()


def _number(text: str) -> Any:
    for kind in (int, float):
        with suppress(ValueError):
            return kind(text)
    return text


def _listed(value: Any) -> list[Any]:
    if value is None or value is MISSING:
        return []
    return list(value) if isinstance(value, list | tuple) else [value]


def _text(given: Any) -> str:
    return str(given)[:LONGEST_TEXT] if isinstance(given, str) else ""
