"""Make a model say that it does not know where it makes answers up, and prove that it still answers what it knows."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from limpide.adapt.correct.abstain import AbstainSettings
from limpide.audit.truth import TruthSettings
from limpide.core.operation import Operation, Result, Subject
from limpide.core.progress import Progress
from limpide.data.templates import Part
from limpide.recipe.corrections import ending
from limpide.recipe.corrections.judging import Limit
from limpide.recipe.corrections.loop import Asked, Bench, Goal, Target

MEASURE, METRIC = "truth.made_up", "made_up"
DOES_NOT_SHOW = ("how names look", "few questions")


class InventionCorrectionSettings(ending.PriceSettings):
    """In which languages, how, and what it may cost."""

    languages: tuple[Literal["en", "fr"], ...] = Field(("en", "fr"), min_length=1, description="of the questions")
    abstain: AbstainSettings | None = Field(None, description="settings of the training")


def run(subject: Subject, settings: InventionCorrectionSettings, progress: Progress) -> Result:
    """Write correction.json, and kept/ with the update where it is accepted. Raises ModelError, DataError."""
    return ending.corrected(subject, settings, progress, lambda bench: _goal(bench, settings), DOES_NOT_SHOW)


def _goal(bench: Bench, settings: InventionCorrectionSettings) -> Goal:
    method = (settings.abstain or AbstainSettings()).model_copy(update={"languages": settings.languages})
    target = Target(MEASURE, METRIC, {}, _asked("choose", settings), _asked("judge", settings))
    answered = Asked(
        "answered",
        "audit.truth",
        TruthSettings(languages=settings.languages, parts=("options", "short"), part="judge"),
        {"truth.accuracy": Limit(), "truth.short_accuracy": Limit()},
    )
    cost, watched, strength = ending.price(bench, settings)
    return Goal("invention", target, {"abstain": method}, cost, (answered, *watched), strength)


def _asked(part: Part, settings: InventionCorrectionSettings) -> Asked:
    asked = TruthSettings(languages=settings.languages, parts=("unanswerable",), part=part)
    return Asked(f"{part}-part", "audit.truth", asked)


operation = Operation(
    name="correct.invention",
    verb="change",
    summary="make the model say that it does not know, where it still answers what it knows",
    settings=InventionCorrectionSettings,
    run=run,
    needs=("generates", "gradients"),
    resumes=True,
    source="measured as audit.truth; DPO: Rafailov et al. 2023",
)
