"""The few first questions of a recipe, in plain words: what for, from what, what is measured, who signs."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from nicegui import ui
from nicegui.element import Element

from limpide.core.errors import LimpideError, UsageError
from limpide.recipe.schema import SUITES, Adapt, Export, Recipe
from limpide.studio import parts
from limpide.studio.forms import Entry, form_of
from limpide.studio.pages.recipe_fields import Fields
from limpide.studio.pages.recipe_file import CHARTERS, EXAMPLES, MISSING
from limpide.studio.pages.recipe_offers import AXES, STRENGTHS, Strength, offers, said, strength_of, without_suite
from limpide.studio.visit import Visit

# Settings that these cards ask for; the folded sections below leave them out.
ASKED = (
    *("name", "version", "base", "gates", "adapt"),
    *("purpose.intended", "purpose.users", "purpose.excluded", "purpose.contact"),
    *("data.examples", "data.documents", "data.charter", "data.personal_data"),
    *("audit.suites", "audit.languages", "audit.bias.axes"),
    *("optimise.formats", "release.sign_with", "release.approval", "release.languages"),
)
USUAL_ADAPT: Mapping[str, Any] = {name: f.default for name, f in Adapt.model_fields.items()}
FORMATS: Sequence[str] = Export.model_fields["formats"].default
LANGUAGES = ("en", "fr")
EMIT = "(event) => emit(event.target.value)"
AXES_AT = "audit.bias.axes"  # setting, and its box
KEY_BOX = "release.key"  # whether the key is there
SUMMED = "strength"  # the box that sums up the section `adapt`


def entry_at(path: str) -> Entry:
    return next(entry for entry in form_of(Recipe).entries() if entry.path == path)


def purpose(visit: Visit, fields: Fields) -> None:
    """Name, version, what for, for whom, what not for, whom to ask."""
    with parts.card(visit.say("recipe.card.purpose")):
        with ui.element("div").classes("pair"):
            _line(visit, fields, "name")
            _line(visit, fields, "version")
        with fields.around("purpose.intended", visit.say("recipe.intended"), visit.say("recipe.intended.hint")) as slot:
            fields.line(slot, fields.value("purpose.intended"), lambda text: fields.put("purpose.intended", text))
        fields.box("purpose", lambda: _people(visit, fields))


def _people(visit: Visit, fields: Fields) -> None:
    _line(visit, fields, "purpose.users")
    with fields.around("purpose.excluded", visit.say("recipe.excluded"), visit.say("recipe.excluded.hint")) as slot:
        excluded = fields.value("purpose.excluded") or ()
        fields.lines(slot, excluded, lambda texts: fields.put("purpose.excluded", texts or MISSING))
    _line(visit, fields, "purpose.contact")


def _line(visit: Visit, fields: Fields, path: str) -> None:
    name = path.rpartition(".")[2]
    with fields.around(path, visit.say(f"recipe.{name}"), visit.say(f"recipe.{name}.hint")) as slot:
        fields.line(slot, fields.value(path), lambda text: fields.put(path, text.strip() or MISSING))


def materials(visit: Visit, fields: Fields) -> None:
    """Which model, which files, and what is done with personal data in them."""
    with parts.card(visit.say("recipe.card.data")):
        with fields.around("base", visit.say("recipe.base"), visit.say("recipe.base.hint")) as slot:
            fields.line(slot, fields.value("base"), lambda text: fields.put("base", text.strip() or MISSING))
        parts.link(visit.say("recipe.base.choose"), "/model")
        if not visit.project.uploads() and not (fields.value("data.examples") or fields.value("data.documents")):
            parts.empty(visit.say("recipe.data.none"), visit.say("recipe.data.add"), "/data")
        else:
            _files(visit, fields, "data.examples", EXAMPLES)
            _files(visit, fields, "data.documents", ())
            _charter(visit, fields)
            parts.link(visit.say("recipe.data.add"), "/data")
        fields.setting(entry_at("data.personal_data"), visit.say("recipe.personal_data"))


def _files(visit: Visit, fields: Fields, path: str, endings: tuple[str, ...]) -> None:
    """Files of the project that can be given as `path`, and those that the recipe names already."""
    now = fields.value(path) or []
    chosen = [str(one) for one in (now if isinstance(now, list) else [now])]
    found = [file for file in visit.project.uploads() if _fits(file, endings)]
    names = [file.relative_to(visit.project.folder).as_posix() for file in found]
    listed = list(dict.fromkeys([*chosen, *names]))
    if not listed:
        return
    name = path.rpartition(".")[2]
    options = {one: (one.removeprefix("data/"), "") for one in listed}
    around = fields.around(path, visit.say(f"recipe.{name}"), visit.say(f"recipe.{name}.hint"), group=True)
    with around as slot, ui.element("div").classes("file-list"):
        fields.ticks(slot, options, chosen, lambda ticked: fields.put(path, ticked or MISSING))


def _fits(file: Path, endings: tuple[str, ...]) -> bool:
    if endings:
        return file.suffix.lower() in endings
    return file.suffix.lower() not in (*EXAMPLES, *CHARTERS)


def _charter(visit: Visit, fields: Fields) -> None:
    now = fields.value("data.charter")
    found = [file for file in visit.project.uploads() if file.suffix.lower() in CHARTERS]
    names = [file.relative_to(visit.project.folder).as_posix() for file in found]
    listed = list(dict.fromkeys([*([str(now)] if now else []), *names]))
    if not listed:
        return
    options = {"": visit.say("recipe.charter.none")} | {one: one.removeprefix("data/") for one in listed}
    with fields.around("data.charter", visit.say("recipe.charter"), visit.say("recipe.charter.hint")) as slot:
        fields.select(slot, str(now or ""), options, lambda text: fields.put("data.charter", text or MISSING))


def measured(visit: Visit, fields: Fields) -> None:
    """Suites, axes of bias, languages; and below them what must hold."""
    with parts.card(visit.say("recipe.card.measure")):
        fields.box("audit", lambda: _suites(visit, fields))
    with parts.card(visit.say("recipe.card.gates")):
        fields.box("gates", lambda: _gates(visit, fields))


def suites_of(fields: Fields) -> list[str]:
    """Suites that the recipe runs, as its schema chooses them where it says nothing."""
    now = fields.value("audit.suites")
    usual = [suite for suite in SUITES if suite != "charter" or fields.value("data.charter")]
    return [str(one) for one in now] if isinstance(now, list) else usual


def axes_of(fields: Fields) -> list[str]:
    now = fields.value("audit.bias.axes")
    return [str(one) for one in now] if isinstance(now, list) else list(AXES)


def _suites(visit: Visit, fields: Fields) -> None:
    def choose(suites: list[str]) -> None:
        _forget(visit, fields, [(suite, "") for suite in before if suite not in suites])
        before[:] = suites
        if "bias" not in suites:
            fields.draft.clear(AXES_AT)
            if not fields.value("audit.bias"):
                fields.draft.clear("audit.bias")  # an empty section would say no more
        fields.put("audit.suites", suites)
        fields.redraw(AXES_AT)
        fields.redraw("gates")

    before = suites_of(fields)
    with fields.around("audit.suites", visit.say("recipe.suites"), visit.say("recipe.suites.hint"), group=True) as slot:
        named = {s: (visit.say(f"recipe.suite.{s}"), visit.say(f"recipe.suite.{s}.hint")) for s in SUITES}
        fields.ticks(slot, named, before, choose)
    fields.box(AXES_AT, lambda: _axes(visit, fields))
    _languages(visit, fields, "audit.languages", LANGUAGES)


def _axes(visit: Visit, fields: Fields) -> None:
    """Groups compared for bias: asked only where bias is measured."""
    if "bias" not in suites_of(fields):
        return

    def choose(axes: list[str]) -> None:
        _forget(visit, fields, [("bias", axis) for axis in axes_of(fields) if axis not in axes])
        fields.put(AXES_AT, axes)
        fields.redraw("gates")

    with fields.around(AXES_AT, visit.say("recipe.axes"), visit.say("recipe.axes.hint"), group=True) as slot:
        axes = {axis: (visit.say(f"recipe.axis.{axis}"), "") for axis in AXES}
        fields.ticks(slot, axes, axes_of(fields), choose)


def _forget(visit: Visit, fields: Fields, gone: Sequence[tuple[str, str]]) -> None:
    """Take out the gates on what is measured no more, and say so: they could never pass."""
    gates = _gates_of(fields)
    left = gates
    for suite, axis in gone:
        left = without_suite(left, suite, axis)
    if len(left) < len(gates):
        fields.draft.put("gates", left)
        parts.tell("warning", visit.say("recipe.gates.gone", len(gates) - len(left)))


def _languages(visit: Visit, fields: Fields, path: str, usual: Sequence[str]) -> None:
    options = {code: (visit.say(f"recipe.language.{code}"), "") for code in LANGUAGES}
    section = path.partition(".")[0]
    with fields.around(path, visit.say(f"recipe.languages.{section}"), group=True) as slot:
        fields.ticks(slot, options, fields.value(path, usual) or (), lambda ticked: fields.put(path, ticked))


def _gates_of(fields: Fields) -> list[str]:
    now = fields.value("gates")
    return [str(one) for one in now] if isinstance(now, list) else []


def _gates(visit: Visit, fields: Fields) -> None:
    known = [offer.gate for offer in offers(suites_of(fields), axes_of(fields))]
    gates = _gates_of(fields)
    own = [gate for gate in gates if gate not in known]
    ticked = [gate for gate in gates if gate in known]

    def write() -> None:
        fields.put("gates", [*ticked, *own])

    def tick(chosen: list[str]) -> None:
        ticked[:] = chosen
        write()

    def say_own(texts: list[str]) -> None:
        own[:] = texts
        write()

    options = {gate: (said(visit, gate), gate) for gate in known}
    with fields.around("gates", visit.say("recipe.gates"), visit.say("recipe.gates.hint"), group=True) as slot:
        fields.ticks(slot, options, ticked, tick)
    with parts.more(visit.say("recipe.gates.own")) as more:
        if own:
            more.props("open")
        with fields.around("gates", visit.say("recipe.gates.own.label"), visit.say("recipe.gates.own.hint")) as slot:
            fields.lines(slot, own, say_own)


def strength(visit: Visit, fields: Fields) -> None:
    """How strongly the model is adapted, as three settings at once."""
    with parts.card(visit.say("recipe.card.adapt")):
        fields.box(SUMMED, lambda: _strengths(visit, fields))
        fields.followers["adapt"] = SUMMED


def _strengths(visit: Visit, fields: Fields) -> None:
    now: Strength = strength_of(fields.value("adapt"), USUAL_ADAPT)

    def choose(name: str) -> None:
        if name == "none":
            fields.draft.clear("adapt")
        elif name in STRENGTHS:
            for key, value in {"method": "lora", **STRENGTHS[name]}.items():  # type: ignore[index]
                fields.draft.put(f"adapt.{key}", value)
        fields.changed()
        fields.redraw("adapt")

    names = ["light", "medium", "strong", "none", *(["own"] if now == "own" else [])]
    options = {n: (visit.say(f"recipe.strength.{n}"), visit.say(f"recipe.strength.{n}.hint")) for n in names}
    with fields.around("adapt", visit.say("recipe.strength"), visit.say("recipe.strength.hint"), group=True) as slot:
        fields.radios(slot, options, now, choose)


def signed(visit: Visit, fields: Fields) -> None:
    """Formats, key, approval, languages of the documents."""
    with parts.card(visit.say("recipe.card.release")):
        options = {f: (visit.say(f"recipe.format.{f}"), visit.say(f"recipe.format.{f}.hint")) for f in FORMATS}
        with fields.around("optimise.formats", visit.say("recipe.formats"), group=True) as slot:
            now = fields.value("optimise.formats", FORMATS) or ()
            fields.ticks(slot, options, now, lambda ticked: fields.put("optimise.formats", ticked))
        fields.box("release", lambda: _release(visit, fields))


def _release(visit: Visit, fields: Fields) -> None:
    _languages(visit, fields, "release.languages", ("en",))
    with fields.around("release.approval", visit.say("recipe.approval"), group=True) as slot:
        required = fields.value("release.approval") == "required"
        fields.tick(
            slot,
            visit.say("recipe.approval.required"),
            required,
            lambda ticked: fields.put("release.approval", "required" if ticked else "none"),
            visit.say("recipe.approval.hint"),
        )
    with fields.around("release.sign_with", visit.say("recipe.key"), visit.say("recipe.key.hint")) as slot:
        named = fields.line(slot, fields.value("release.sign_with"), lambda text: _sign_with(fields, text))
    fields.box(KEY_BOX, lambda: _key(visit, fields, named))


def _sign_with(fields: Fields, text: str) -> None:
    fields.put("release.sign_with", text.strip() or MISSING)
    fields.redraw(KEY_BOX)


def _key(visit: Visit, fields: Fields, named: Element) -> None:
    """Whether the signing key is there, and a button that makes it when it is not. named: the field that names it."""
    place = key_place(visit, fields)
    if place is None:
        return
    if place.is_file():
        parts.chip(visit.say("recipe.key.there"), "good")
        return
    parts.notice("info", visit.say("recipe.key.missing"))

    async def make() -> None:
        await make_key(visit, place)
        named.run_method("focus")  # the button is gone
        fields.redraw(KEY_BOX)

    parts.button(visit.say("recipe.key.make"), make, icon="key")


def key_place(visit: Visit, fields: Fields) -> Path | None:
    """Where the recipe's key lies, inside the project; None where it names none, or one elsewhere."""
    named = fields.value("release.sign_with")
    if not isinstance(named, str) or not named or "\0" in named:
        return None
    folder = visit.project.folder.resolve()
    place = (folder / named).resolve()
    return place if place.is_relative_to(folder) and place != folder else None


async def make_key(visit: Visit, place: Path) -> None:
    """Make a pair of keys, with a password when one is given. Raises UsageError where a file is there already."""
    from limpide.release.keys import new_keys

    if not visit.may("change"):
        raise UsageError(visit.say("recipe.may_not"))
    given = await _password(visit)
    if given is None:
        return
    pair = new_keys(place, password=given or None)
    try:
        visit.log("studio.keys.new", key=pair.fingerprint)
    except LimpideError:
        pair.private.unlink()
        pair.public.unlink()
        raise
    parts.tell("good", visit.say("recipe.key.made"))


async def _password(visit: Visit) -> str | None:
    """The password of a new key, typed twice; '' for none, None when the person thought better of it."""
    typed = ["", ""]
    with parts.dialog(visit.say("recipe.key.make")) as opened:
        parts.text(visit.say("recipe.key.about"))

        def done() -> None:
            if typed[0] != typed[1]:
                raise UsageError(visit.say("release.key.password.differ"))
            opened.submit(typed[0])

        for place, key in enumerate(("recipe.key.password", "release.key.password.again")):
            field = ui.element("input").classes("input").props("type=password autocomplete=new-password")
            field.props["aria-label"] = field.props["placeholder"] = visit.say(key)
            field.on("input", lambda e, at=place: typed.__setitem__(at, str(e.args or "")), js_handler=EMIT)
            field.on("keydown.enter", lambda: parts.safely(done), args=[])
        with parts.row().classes("end"):
            parts.button(visit.say("frame.cancel"), lambda: opened.submit(None))
            parts.button(visit.say("recipe.key.make"), done, kind="primary")
    answer = await opened
    opened.delete()
    return answer if isinstance(answer, str) else None
