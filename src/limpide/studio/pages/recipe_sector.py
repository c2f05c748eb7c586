"""The sector pack on the recipe page: what it sets, and what a person of the sector looks at before release."""

from collections.abc import Mapping
from typing import Any

from limpide.core.errors import UsageError
from limpide.recipe.sectors import APPLIES, SECTORS, adopted, load_pack, withdrawn
from limpide.studio import parts
from limpide.studio.pages.recipe_fields import Fields
from limpide.studio.visit import Visit

CHANGED = ("purpose", "audit", "gates", "release", "data")  # sections that a pack changes


def sector(visit: Visit, fields: Fields) -> None:
    with parts.card(visit.say("recipe.card.sector")):
        _sector(visit, fields)
        fields.box("sector", lambda: _told(visit))


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
    before = visit.project.draft().sector
    old = load_pack(before) if before in SECTORS else None
    language: Any = visit.language
    recipe = fields.draft.plain()
    if name:
        values: Mapping[str, Any] = adopted(recipe, load_pack(name), language, before=old)
    else:
        values = withdrawn(recipe, old) if old else recipe
    if "users" not in (values.get("purpose") or {}):
        fields.draft.clear("purpose.users")
    fields.draft.replace(values)
    visit.project.change_draft(sector=name)
    fields.changed()
    for section in (*CHANGED, "sector"):
        fields.redraw(section)


def _told(visit: Visit) -> None:
    """The chosen pack's checklist, and the uses near it that the law lists."""
    language: Any = visit.language
    chosen = visit.project.draft().sector
    if chosen not in SECTORS:
        return
    pack = load_pack(chosen)
    parts.text(pack.lead.within(language)).classes("muted")
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
