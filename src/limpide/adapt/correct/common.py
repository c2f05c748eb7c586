"""What every method of correction shares: which templates it may learn from, and what it leaves behind."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from limpide.core.errors import DataError, ModelError
from limpide.core.operation import Result, Settings, Subject
from limpide.data import templates
from limpide.data.templates import Axis, Case

if TYPE_CHECKING:
    from limpide.models.model import Model
    from limpide.models.update import Update

UPDATE = "update"  # folder of the update that a method found
LEAST_TEMPLATES = 8  # of the part that is fitted on


class NothingToCorrectError(ModelError):
    """The model already does what was asked for."""


class BiasMethodSettings(Settings):
    """Of the methods that correct a bias: whom it is about."""

    axes: tuple[Axis, ...] = Field(("gender",), min_length=1, description="what the two persons of a twin differ in")
    languages: tuple[Literal["en", "fr"], ...] = Field(
        ("en", "fr"), min_length=1, description="languages of the templates it is fitted on"
    )


def fit_cases(settings: BiasMethodSettings) -> list[Case]:
    """The templates that may be learnt from. Raises DataError where they are too few."""
    cases = templates.read_cases(settings.axes, settings.languages, "fit")
    found = len({case.template for case in cases})
    if found < LEAST_TEMPLATES:
        raise DataError(
            "There are too few templates to fit a correction on.",
            received=f"{found} for {', '.join(settings.axes)} in {', '.join(settings.languages)}",
            expected=f"at least {LEAST_TEMPLATES}",
        )
    return cases


def opened(subject: Subject) -> Model:
    """The model to correct: the base, with what a recipe's earlier steps made: an adapter, and corrections.

    Raises ModelError for one whose weights are not here, or are rounded in a GGUF file.
    """
    from limpide.models.changed import of_steps

    if subject.model is None or subject.respondent is not None:
        raise ModelError(
            "What corrects a model changes its weights, and those of a model that is asked from outside are not here.",
            remedy="open the weights themselves: a folder, or hub:owner/name@revision",
        )
    if subject.model.suffix.lower() == ".gguf":
        raise ModelError(
            "A correction changes weights in a folder with config.json and safetensors, and this is one file.",
            received=subject.model.name,
            remedy="give the folder that the file was made from, or its hub:owner/name@revision",
        )
    return of_steps(subject)


def keep(
    subject: Subject, update: Update, strengths: Sequence[float], facts: Mapping[str, Any], warnings: Sequence[str] = ()
) -> Result:
    """Write the update. strengths: those worth trying, in ascending order; what the method itself aims at is 1."""
    update.save(subject.out / UPDATE)
    return Result(facts={**facts, "strengths": list(strengths)}, warnings=tuple(warnings))
