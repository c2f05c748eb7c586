"""A passport as a label that anyone can read: what the model is, what its licence asks, what is open or unknown.

Nothing is guessed: what the files do not say is unknown. Plain records, drawn by `model.py`.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal

from limpide.models.families.capabilities import load_capabilities
from limpide.models.passport import Passport

Openness = Literal["open", "partly", "closed", "unknown"]
Able = Literal["yes", "no", "n/a"]

# What a licence is called in the files, from its beginning, in lower case → the licence as people know it.
LICENCES: tuple[tuple[str, str], ...] = (
    ("apache", "apache"),
    ("mit", "mit"),
    ("bsd", "mit"),
    ("isc", "mit"),
    ("cc0", "public"),
    ("unlicense", "public"),
    ("cc-by-nc", "non_commercial"),
    ("cc-by-sa", "share_alike"),
    ("cc-by", "attribution"),
    ("gpl", "share_alike"),
    ("agpl", "share_alike"),
    ("lgpl", "share_alike"),
    ("llama", "llama"),
    ("gemma", "gemma"),
    ("openrail", "responsible"),
    ("bigscience", "responsible"),
    ("creativeml", "responsible"),
    ("proprietary", "closed"),
    ("all rights reserved", "closed"),
)
OPEN_LICENCES = ("apache", "mit", "public", "share_alike", "attribution")
CONDITIONS = ("non_commercial", "llama", "gemma", "responsible")


@dataclass(frozen=True)
class Said:
    """A sentence of the words files, and what fills it."""

    key: str
    values: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True)
class Part:
    """One part of the making of a model. name: weights, code, data or recipe."""

    name: str
    state: Openness
    why: Said


@dataclass(frozen=True)
class Label:
    """exact: how a recipe names this very version. bytes: of all its files. licence_kind: how `LICENCES` calls it,
    'other' or 'none'. unknown: what nobody says. declared: what its publisher says, unverified, in their words. able:
    what the tests found of its family.
    """

    ref: str
    exact: str
    family: str
    architecture: str
    parameters: int
    adapter_parameters: int | None
    bytes: int
    licence: str | None
    licence_kind: str
    languages: tuple[str, ...]
    context: int | None
    chats: bool
    classes: tuple[str, ...]
    based_on: tuple[str, ...]
    digest: str
    parts: tuple[Part, ...]
    unknown: tuple[str, ...]
    declared: Mapping[str, str]
    oddities: tuple[str, ...]
    able: Mapping[str, Able]


def label_of(passport: Passport) -> Label:
    """The label of what `limpide open MODEL --json` prints."""
    licence = passport.licence
    languages = passport.languages
    unknown = [name.replace(" ", "_") for name in passport.unknown]
    return Label(
        ref=passport.ref,
        exact=exact_ref(passport),
        family=passport.title,
        architecture=passport.architecture,
        parameters=passport.parameters,
        adapter_parameters=passport.adapter_parameters,
        bytes=sum(file.size for file in passport.files),
        licence=licence,
        licence_kind=licence_kind(licence),
        languages=languages,
        context=passport.context,
        chats=passport.tokenizer.chat_template,
        classes=passport.classes,
        based_on=passport.base_models,
        digest=passport.digest,
        parts=tuple(_parts(passport)),
        unknown=(*unknown, *([] if languages else ["languages"])),
        declared=passport.declared,
        oddities=passport.oddities,
        able=load_capabilities().get(passport.title, {}),  # type: ignore[arg-type]  # the tests write these words alone
    )


def exact_ref(passport: Passport) -> str:
    """The reference that stays the same model and needs no network: of the hub, the commit that is on this machine."""
    hub = passport.origin.get("hub")
    return f"hub:{hub['repository']}@{hub['commit']}" if hub else passport.ref


def licence_kind(licence: str | None) -> str:
    """How people know a licence by what the files call it; 'other' for one that is not in the list."""
    if not licence:
        return "none"
    said = licence.strip().lower()
    return next((kind for start, kind in LICENCES if said.startswith(start)), "other")


def _parts(passport: Passport) -> Iterator[Part]:
    licence, declared = passport.licence, passport.declared
    kind = licence_kind(licence)
    state: Openness = "unknown"
    if kind in OPEN_LICENCES:
        state = "open"
    elif kind in CONDITIONS:
        state = "partly"
    elif kind == "closed":
        state = "closed"
    yield Part("weights", state, Said(f"model.why.weights.{'none' if kind == 'none' else state}", {"licence": licence}))
    yield Part("code", "partly", Said("model.why.code"))
    for name, tells in (("data", ("training data",)), ("recipe", ("data filtering", "safety work"))):
        there = [what for what in tells if what in declared]
        said = Said(f"model.why.{name}.declared") if there else Said(f"model.why.{name}.unknown")
        yield Part(name, "partly" if there else "unknown", said)
