"""The sector pack on the recipe page: what it sets, and what a person of the sector looks at before release."""

from collections.abc import Mapping
from typing import Any

from limpide.core.errors import UsageError
from limpide.recipe.sectors import APPLIES, SECTORS, Pack, adopted, load_pack, withdrawn
from limpide.studio import parts
from limpide.studio.pages.recipe_fields import Fields
from limpide.studio.pages.recipe_file import before_sector
from limpide.studio.visit import Visit

CHANGED = ("purpose", "audit", "gates", "release", "data")  # sections that a pack changes


def sector(visit: Visit, fields: Fields) -> None:
    with parts.card(visit.say("recipe.card.sector")):
        _sector(visit, fields)
        fields.box("sector", lambda: _told(visit, fields))


def _sector(visit: Visit, fields: Fields) -> None:
    language: Any = visit.language
    packs = {name: load_pack(name) for name in SECTORS}
    options = {"": visit.say("recipe.sector.none")} | {name: p.title.within(language) for name, p in packs.items()}
    now = visit.project.draft().sector
    now = now if now in packs else ""
    with fields.around("sector", visit.say("recipe.sector"), visit.say("recipe.sector.hint")) as slot:
        fields.select(slot, now, options, lambda name: choose(visit, fields, name))


def choose(visit: Visit, fields: Fields, name: str) -> None:
    """Take a sector's pack, or none, and give back what the one before had added. Raises UsageError for no pack."""
    if not visit.may("change"):
        raise UsageError(visit.say("recipe.may_not"))
    so_far = visit.project.draft()
    old = load_pack(so_far.sector) if so_far.sector in SECTORS else None
    language: Any = visit.language
    values, stood = fields.draft.plain(), so_far.stood
    if old:
        stood = stood or before_sector(visit.project, visit.language)
        data = {**(stood.get("data") or {}), **so_far.data}  # what a person chose of it meanwhile stays
        values = withdrawn(values, old, {**stood, "data": data})
    stood = {section: values[section] for section in CHANGED if section in values}
    if name:
        chosen = {**(values.get("data") or {}), **so_far.data}
        values = adopted(values, load_pack(name), language, chosen=chosen)
    fields.draft.replace(values)
    visit.project.change_draft(sector=name, stood=stood if name else {})
    fields.changed()
    for section in (*CHANGED, "sector"):
        fields.redraw(section)


def kept(data: Mapping[str, Any], pack: Pack) -> list[tuple[str, str, str]]:
    """(setting, what the recipe says, what the pack asks) where a person's choice on personal data stands."""
    asked = pack.sections.data.model_dump(mode="json")
    return [(key, data[key], asked[key]) for key in asked if isinstance(data.get(key), str) and data[key] != asked[key]]


def _told(visit: Visit, fields: Fields) -> None:
    """What the chosen pack asks, where the person chose otherwise; its checklist; uses near it that the law lists."""
    language: Any = visit.language
    chosen = visit.project.draft().sector
    if chosen not in SECTORS:
        return
    pack = load_pack(chosen)
    parts.text(pack.lead.within(language)).classes("muted")
    data = fields.draft.get("data")
    for key, yours, asked in kept(data if isinstance(data, Mapping) else {}, pack):
        said, wanted = (visit.say(f"recipe.policy.{policy}") for policy in (yours, asked))
        what = visit.say(f"data_check.{key}")
        parts.notice("info", visit.say("recipe.sector.kept", what=what, yours=said, asked=wanted))
    with parts.more(visit.say("recipe.sector.look", len(pack.look))):
        with parts.word("ol", "").classes("looks"):
            for look in pack.look:
                with parts.word("li", ""):
                    parts.word("span", look.see.within(language))
                    parts.word("span", look.source.within(language)).classes("muted small source")
        parts.text(visit.say("recipe.sector.high_risk", day=visit.words.date(APPLIES.isoformat())))
        with parts.word("ul", "").classes("looks"):
            for use in pack.high_risk:
                with parts.word("li", ""):
                    parts.word("span", use.says.within(language))
                    parts.word("span", use.point.within(language)).classes("muted small source")
        as_of = visit.words.date(pack.as_of.isoformat())
        parts.text(visit.say("recipe.sector.as_of", day=as_of)).classes("muted small")
