"""What a `recipe.yaml` may say. Sections are made from the operations' own settings, so nothing is written twice."""

from typing import Annotated, Any, Literal, cast

from pydantic import Field, StringConstraints, create_model, model_validator

from limpide.core import catalogue
from limpide.core.operation import Settings

Name = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9.-]*$", max_length=80)]
Version = Annotated[str, StringConstraints(pattern=r"^[0-9]+(\.[0-9]+){0,2}([.-][a-z0-9.-]+)?$")]
Language = Literal["en", "fr"]
SUITES = tuple(catalogue.suites())
FILES = {suite: catalogue.find(f"audit.{suite}").needs_data for suite in SUITES}  # keys of `data` that a suite reads
DEFAULT_SUITES = tuple(suite for suite in SUITES if not FILES[suite])


class Purpose(Settings):
    """Declared by the organisation, and shown as declared."""

    intended: str = Field(min_length=1, description="what the model is for")
    users: str | None = Field(None, description="who will use it")
    excluded: tuple[str, ...] = Field((), description="uses it is not made for")
    contact: str | None = Field(None, description="where a person can complain or ask")


class Release(Settings):
    """How the release is signed, approved and written up."""

    licence: str | None = Field(
        None, description="checked against the base's own licence, which is inherited; leave out to inherit it"
    )
    sign_with: str | None = Field(None, description="private key (PEM, P-256), relative to the recipe")
    approval: Literal["none", "required"] = Field("none", description="required: a named person must approve")
    approvers: tuple[str, ...] = Field((), description="public keys of people who may approve, relative to the recipe")
    languages: tuple[Language, ...] = Field(("en",), min_length=1, description="languages of the card and the report")


def _audit_section() -> type[Settings]:
    """suites and languages, and one optional section of settings a suite."""
    fields: dict[str, Any] = {
        "suites": (
            tuple[Literal[SUITES], ...],  # type: ignore[valid-type]  # the names come from the catalogue
            Field(
                DEFAULT_SUITES,
                description="what is measured, on the base and on the result; charter too where data.charter is given",
            ),
        ),
        "languages": (tuple[Language, ...], Field(("en", "fr"), min_length=1, description="languages of the probes")),
    }
    for suite in SUITES:
        settings = catalogue.find(f"audit.{suite}").settings
        fields[suite] = (settings | None, Field(None, description=f"settings of the {suite} suite"))
    return cast(type[Settings], create_model("Audit", __base__=Settings, __doc__="What is measured.", **fields))


def _correct_section() -> type[Settings]:
    """One optional section a goal, in the order in which they run."""
    fields: dict[str, Any] = {}
    for goal in catalogue.GOALS:
        operation = catalogue.find(f"correct.{goal}")
        fields[goal] = (operation.settings | None, Field(None, description=operation.summary))
    doc = "What is corrected, one after the other; what costs too much is refused and changes nothing."
    return cast(type[Settings], create_model("Correct", __base__=Settings, __doc__=doc, **fields))


Audit = _audit_section()
Correct = _correct_section()
Data = catalogue.find("data.prepare").settings
Adapt = catalogue.find("adapt.train").settings
Imported = catalogue.find("adapt.imported").settings
Export = catalogue.find("optimise.export").settings
Parity = catalogue.find("optimise.parity").settings
Understand = catalogue.find("understand.cases").settings


class RecipeBase(Settings):
    """The fields of a recipe that are not an operation's settings."""

    name: Name = Field(description="lowercase letters, digits, dot, dash")
    version: Version = Field(description="for example 1.0.0")
    purpose: Purpose = Field(description="what the model is for")
    base: str = Field(min_length=1, description="alias, folder, .gguf file, or hub:owner/name@revision")
    seed: int = Field(0, ge=0, le=2**31 - 1, description="every random choice follows from it")
    gates: tuple[str, ...] = Field(
        (), description="rules that the release must pass, for example: domain.accuracy improves"
    )
    release: Release = Field(default_factory=lambda: Release(), description="signing, approval, documents")

    @model_validator(mode="after")
    def _tuned_once(self) -> "RecipeBase":
        """Here or elsewhere, not both."""
        if getattr(self, "adapt", None) is not None and getattr(self, "imported", None) is not None:
            raise ValueError("give either adapt (tuned here) or imported (tuned elsewhere)")
        return self

    @model_validator(mode="before")
    @classmethod
    def _measured_by_what_is_given(cls, values: Any) -> Any:
        """A recipe that gives a suite's file and does not choose its suites runs that suite too."""
        data, audit = (values.get(key, {}) if isinstance(values, dict) else None for key in ("data", "audit"))
        if not isinstance(data, dict) or not isinstance(audit, dict) or "suites" in audit:
            return values
        given = {suite for suite, keys in FILES.items() if keys and all(data.get(key) is not None for key in keys)}
        suites = [suite for suite in SUITES if suite in {*DEFAULT_SUITES, *given}]
        return {**values, "audit": {**audit, "suites": suites}} if given else values


Recipe = create_model(
    "Recipe",
    __base__=RecipeBase,
    __doc__="A whole recipe.",
    data=(Data, Field(description="examples, how they are split and checked")),
    audit=(Audit, Field(default_factory=lambda: Audit(), description="what is measured")),
    adapt=(
        cast(Any, Adapt | None),
        Field(None, description="how the model is adapted; leave out to release the base as it is"),
    ),
    imported=(
        cast(Any, Imported | None),
        Field(None, description="an adapter or a model tuned elsewhere, instead of adapt"),
    ),
    correct=(
        cast(Any, Correct | None),
        Field(None, description="biases and errors to mend, for example {bias: {axes: [gender]}}"),
    ),
    understand=(
        cast(Any, Understand | None),
        Field(None, description="explain the result's failures and most biased pairs, in the report; {} for the usual"),
    ),
    optimise=(Export, Field(default_factory=lambda: Export(), description="formats that are written")),
    parity=(Parity, Field(default_factory=lambda: Parity(), description="how close the served files must be")),
)
