"""Sector packs: what a recipe of a sector starts from, in that sector's own words, one file a sector.

A pack only ever adds: suites, axes, gates, excluded uses. What it says of the law supports a person who decides, and
settles nothing.
"""

from collections.abc import Mapping, Sequence
from datetime import date
from functools import cache
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationError, field_validator, model_validator

from limpide.core import yaml_file
from limpide.core.errors import RecipeError, UsageError, nearest
from limpide.core.operation import Settings
from limpide.core.yaml_file import Sort
from limpide.recipe.gate_faults import fault_of, given_by
from limpide.recipe.gates import parse_gate
from limpide.recipe.schema import SUITES, Audit, Language, Release

FOLDER = Path(__file__).parent / "sectors"
SECTORS = ("health", "law", "finance", "education", "media", "industry")
PACK = Sort("sector pack", RecipeError, f"choose one of: {', '.join(SECTORS)}")
CHARTER = "charter"
CHARTER_GATE = "charter.respected does not worsen"
APPLIES = date(2027, 12, 2)  # Chapter III of the AI Act, for Annex III: Regulation (EU) 2026/1744


class Said(Settings):
    """One text in the languages of a recipe."""

    en: str = Field(min_length=1, description="in English")
    fr: str = Field(min_length=1, description="in French")

    def within(self, language: Language) -> str:
        return self.en if language == "en" else self.fr


class Uses(Settings):
    """Uses that a model is not made for, as many in each language."""

    en: tuple[str, ...] = Field(min_length=1, description="in English")
    fr: tuple[str, ...] = Field(min_length=1, description="in French")

    @model_validator(mode="after")
    def _paired(self) -> "Uses":
        if len(self.en) != len(self.fr):
            raise ValueError("as many uses in English as in French")
        return self

    def within(self, language: Language) -> tuple[str, ...]:
        return self.en if language == "en" else self.fr


class Look(Settings):
    """One thing that a person of the sector looks at before release."""

    see: Said = Field(description="the question to answer")
    source: Said = Field(description="where the question is from; 'good practice' where no text asks it")


class HighRisk(Settings):
    """One use that the AI Act lists, so that a person can tell whether theirs is near it."""

    point: Said = Field(description="of the AI Act")
    says: Said = Field(description="what it is about, in plain words")


class Privacy(Settings):
    """What is done with personal data. No pack allows it: that needs a reason, which only a person can give."""

    personal_data: Literal["refuse", "mask"] = Field(description="as data.personal_data of a recipe")
    names: Literal["warn", "refuse", "mask"] = Field(description="as data.names of a recipe")


class Sections(Settings):
    """Parts of a recipe, as a recipe writes them."""

    data: Privacy = Field(description="what is done with personal data")
    audit: Audit = Field(description="what is measured")  # type: ignore[valid-type]  # made from the catalogue
    release: Release = Field(description="whether a person must approve")


class Pack(Settings):
    """What a recipe of one sector starts from."""

    as_of: date = Field(description="day on which what is said of the law was read")
    title: Said = Field(description="name of the sector")
    lead: Said = Field(description="who is meant")
    users: Said = Field(description="who will use the model, unless the recipe says")
    excluded: Uses = Field(description="uses that the model is not made for")
    sections: Sections = Field(description="parts of the recipe")
    gates: tuple[str, ...] = Field(min_length=1, description="rules that the release must pass")
    look: tuple[Look, ...] = Field(min_length=1, description="what a person looks at before release")
    high_risk: tuple[HighRisk, ...] = Field(min_length=1, description="uses near it that the AI Act lists")

    @field_validator("gates")
    @classmethod
    def _gates(cls, gates: tuple[str, ...]) -> tuple[str, ...]:
        for text in gates:
            try:
                parse_gate(text)
            except RecipeError as error:
                raise ValueError(error.what) from error
        return gates

    @model_validator(mode="after")
    def _measured(self) -> "Pack":
        """A gate on what the pack's own suites do not measure could never pass."""
        audit = self.sections.model_dump(mode="json", exclude_unset=True)["audit"]
        for gate in map(parse_gate, self.gates):
            suite = gate.metric[0]
            if suite not in audit["suites"]:
                raise ValueError(f"'{gate.text}': the suite '{suite}' is not measured")
            given = given_by(suite, audit)
            fault = None if given is None else fault_of(gate, given)
            if fault is not None:
                raise ValueError(fault)
        return self


@cache
def load_pack(sector: str) -> Pack:
    """The pack of a sector. Raises UsageError naming the nearest."""
    if sector not in SECTORS:
        what = f"There is no sector pack '{sector}'.{nearest(sector, SECTORS)}"
        raise UsageError(what, expected=", ".join(SECTORS))
    return read_pack(FOLDER / f"{sector}.yaml")


def read_pack(path: Path) -> Pack:
    """The pack in a file. Raises RecipeError with all its faults, each with its line; MissingError without the file."""
    document, plain = yaml_file.read(path, PACK)
    try:
        return Pack.model_validate(plain)
    except ValidationError as error:
        faults = yaml_file.faults_of(path, document, error, Pack)
        raise yaml_file.faulty(path, PACK, faults, "correct them: a pack holds only what a recipe can say") from error


def adopted(
    recipe: Mapping[str, Any],
    pack: Pack,
    language: Language,
    *,
    chosen: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """The recipe, as plain values, with what the pack adds. chosen: what a person chose of `data`, which stays.

    Lists grow: nothing that is measured, required or excluded already is lost. What was said of the purpose stays.
    """
    purpose = dict(recipe.get("purpose") or {})
    purpose["users"] = purpose.get("users") or pack.users.within(language)
    purpose["excluded"] = _joined(purpose.get("excluded") or (), pack.excluded.within(language))
    added: dict[str, Any] = pack.sections.model_dump(mode="json", exclude_unset=True)
    added["data"] |= {key: value for key, value in (chosen or {}).items() if key in added["data"]}
    gates = list(pack.gates)
    if _has_charter(recipe):
        added["audit"]["suites"].append(CHARTER)
        if not any(gate.startswith(f"{CHARTER}.") for gate in recipe.get("gates") or ()):
            gates.append(CHARTER_GATE)
    given = _merged(recipe, {**added, "gates": gates})
    suites = given["audit"]["suites"]
    given["audit"]["suites"] = [suite for suite in SUITES if suite in suites]
    return {**given, "purpose": purpose}


def withdrawn(recipe: Mapping[str, Any], pack: Pack, stood: Mapping[str, Any]) -> dict[str, Any]:
    """The recipe, as plain values, without what the pack had added, and with that alone taken out.

    stood: the recipe before the pack, whose own settings come back. What a person added since, or set otherwise than
    the pack, stays.
    """
    added: dict[str, Any] = pack.sections.model_dump(mode="json", exclude_unset=True)
    added["gates"] = list(pack.gates)
    if _has_charter(stood):
        added["audit"]["suites"].append(CHARTER)
        added["gates"].append(CHARTER_GATE)
    said = (recipe.get("purpose") or {}).get("users")
    users = said if said in (pack.users.en, pack.users.fr) else None
    added["purpose"] = {"users": users, "excluded": [*pack.excluded.en, *pack.excluded.fr]}
    return _without(recipe, added, stood) or {}


def _has_charter(recipe: Mapping[str, Any]) -> bool:
    return (recipe.get("data") or {}).get(CHARTER) is not None


def _without(now: Any, added: Any, before: Any) -> Any:
    """`now` without what is in `added` and was not so `before`; None for what nothing is left of."""
    if isinstance(now, Mapping) and isinstance(added, Mapping):
        then = before if isinstance(before, Mapping) else {}
        left = {key: _without(now[key], added[key], then.get(key)) if key in added else now[key] for key in now}
        kept = {key: value for key, value in left.items() if value is not None or key not in added}
        return kept if kept or before is not None else None
    if isinstance(now, list | tuple) and isinstance(added, list | tuple):
        kept_ones = [one for one in now if one not in added or one in (before or ())]
        return kept_ones if kept_ones or before is not None else None
    return before if now == added else now


def _merged(old: Any, new: Any) -> Any:
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        return {**old, **{key: _merged(old.get(key), value) for key, value in new.items()}}
    if isinstance(old, list | tuple) and isinstance(new, list | tuple):
        return _joined(old, new)
    return new


def _joined(old: Sequence[Any], new: Sequence[Any]) -> list[Any]:
    return [*old, *(one for one in new if one not in old)]


CHECKLIST = {
    "en": "Before release, a person of the sector looks at what follows ({title}; the law as read on {day:%Y-%m-%d}). "
    "It supports a decision, and is no legal advice.",
    "fr": "Avant diffusion, une personne du secteur examine ce qui suit ({title}\u202f; droit lu le {day:%d/%m/%Y}). "
    "Cela aide à décider et n’est pas un conseil juridique.",
}
NEAR = {
    "en": "Near uses that the AI Act lists as high-risk (its rules for Annex III apply from {day:%Y-%m-%d}):",
    "fr": "Usages voisins que le règlement sur l’IA classe à haut risque (règles de l’annexe III applicables au "
    "{day:%d/%m/%Y})\u00a0:",
}


def checklist(pack: Pack, language: Language) -> list[str]:
    """What a person looks at before release, and the uses near it that the law lists, one sentence each."""
    looks = [f"- {look.see.within(language)} [{look.source.within(language)}]" for look in pack.look]
    uses = [f"- {use.point.within(language)}: {use.says.within(language)}" for use in pack.high_risk]
    title = pack.title.within(language)
    start = CHECKLIST[language].format(title=title, day=pack.as_of)
    return [start, *looks, NEAR[language].format(day=APPLIES), *uses]
