"""Move a model towards a tone, and prove on questions it was not fitted on that it would rather speak so."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from limpide.adapt.correct.steering import SteeringSettings
from limpide.core.errors import DataError
from limpide.core.operation import Operation, Result, Subject
from limpide.core.progress import Progress
from limpide.data.templates import Part
from limpide.recipe.corrections import ending
from limpide.recipe.corrections.loop import Asked, Bench, Goal, Target
from limpide.recipe.corrections.spoken import LEAD, SpokenSettings

DOES_NOT_SHOW = ("what it writes", "two files")


class ToneCorrectionSettings(ending.PriceSettings):
    """The tone, and what it may cost."""

    wanted: Path = Field(description="examples whose answers are in the tone to move towards")
    unwanted: Path = Field(description="the same questions in the same order, answered in the tone to move away from")
    layers: tuple[int, ...] | None = Field(None, min_length=1, description="layers steered, from 0; default: the best")


def run(subject: Subject, settings: ToneCorrectionSettings, progress: Progress) -> Result:
    """Write correction.json, and kept/ with the update where it is accepted. Raises DataError, ModelError."""
    from limpide.adapt.correct.contrasts import LEAST, twins

    ending.check_files(settings)
    fitted = len(twins(settings.wanted, settings.unwanted, "fit"))
    if fitted < LEAST:  # told before a model is opened, as all else that is wrong with the files
        raise DataError(
            "There are too few questions to fit a tone on some and judge it on others.",
            received=f"{fitted} of them to fit on, half of all",
            expected=f"at least {LEAST}",
            remedy=f"give {2 * LEAST} questions or more, answered in both tones",
        )
    return ending.corrected(subject, settings, progress, lambda bench: _goal(bench, settings), DOES_NOT_SHOW)


def _goal(bench: Bench, settings: ToneCorrectionSettings) -> Goal:
    files = {"wanted": settings.wanted, "unwanted": settings.unwanted}

    def asked(part: Part) -> Asked:
        return Asked(f"{part}-part", "correct.spoken", SpokenSettings(**files, part=part))

    target = Target(LEAD, "lead", {}, asked("choose"), asked("judge"), "higher")
    steering = SteeringSettings(of="tone", **files, part="fit", layers=settings.layers)
    return Goal("tone", target, {"steering": steering}, *ending.price(bench, settings))


operation = Operation(
    name="correct.tone",
    verb="change",
    summary="make the model speak in the tone of your own texts, where it still knows what it knew",
    settings=ToneCorrectionSettings,
    run=run,
    needs=("scores", "activations"),
    resumes=True,
    source="Rimsky et al. 2024 (arXiv:2312.06681)",
)
