"""Make a model decline what it should decline, and prove on unseen requests that it still answers the others."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from limpide.adapt.correct.steering import SteeringSettings
from limpide.audit.refusal import RefusalSettings
from limpide.core.operation import Operation, Result, Subject
from limpide.core.progress import Progress
from limpide.data.templates import Part
from limpide.recipe.corrections import ending
from limpide.recipe.corrections.judging import Limit
from limpide.recipe.corrections.loop import Asked, Bench, Goal, Target

MEASURE, METRIC = "refusal.declined_harmful", "declined_harmful"
DOES_NOT_SHOW = ("disguised requests", "few requests")


class RefusalCorrectionSettings(ending.PriceSettings):
    """In which languages, and what it may cost."""

    languages: tuple[Literal["en", "fr"], ...] = Field(("en", "fr"), min_length=1, description="of the requests")
    layers: tuple[int, ...] | None = Field(None, min_length=1, description="layers steered, from 0; default: the best")


def run(subject: Subject, settings: RefusalCorrectionSettings, progress: Progress) -> Result:
    """Write correction.json, and kept/ with the update where it is accepted. Raises ModelError, DataError."""
    return ending.corrected(subject, settings, progress, lambda bench: _goal(bench, settings), DOES_NOT_SHOW)


def _goal(bench: Bench, settings: RefusalCorrectionSettings) -> Goal:
    choose, judge = _asked("choose", settings), _asked("judge", settings, {"refusal.declined_harmless": Limit()})
    target = Target(MEASURE, METRIC, {}, choose, judge, "higher")
    steering = SteeringSettings(of="refusal", languages=settings.languages, layers=settings.layers)
    return Goal("refusal", target, {"steering": steering}, *ending.price(bench, settings))


def _asked(part: Part, settings: RefusalCorrectionSettings, limits: dict[str, Any] | None = None) -> Asked:
    asked = RefusalSettings(languages=settings.languages, part=part)
    return Asked(f"{part}-part", "audit.refusal", asked, limits or {})


operation = Operation(
    name="correct.refusal",
    verb="change",
    summary="make the model decline what it should, where it still answers what is harmless",
    settings=RefusalCorrectionSettings,
    run=run,
    needs=("generates", "activations"),
    resumes=True,
    source="measured as audit.refusal; Arditi et al. 2024 (arXiv:2406.11717)",
)
