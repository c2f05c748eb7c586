"""How an attribution is tested beside others, and how much of a test a long prompt gets."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from limpide.core.progress import Progress, Quiet
from limpide.understand.methods import METHODS
from limpide.understand.settings import AttributionMethod, AttributionSettings, FaithfulnessSettings

if TYPE_CHECKING:
    from limpide.models.model import Model
    from limpide.understand.explain import ExplainSettings
    from limpide.understand.question import Question

LONG = 60  # tokens of a prompt beyond which the test is shorter, and integrated gradients are not held beside others
OCCLUDED = 128  # up to which occlusion is
FEW_POINTS = 64  # of integrated gradients where they are only held beside another method
SHORTER = {"points": 5, "draws": 3}  # in the place of the defaults; what a person asks for is done


def test(
    model: "Model", question: "Question", settings: "ExplainSettings", own: Any, progress: Progress, seed: int
) -> Any:
    """The test of an attribution, beside other methods' rankings of the same words. own: its record.

    Integrated gradients are among these with few points, and only where they converge: else they rank by noise.
    """
    explain: Callable[..., Any] = METHODS["attribution"].load().explain
    bare, others = few_points(settings.attribution), compared_with(question, settings.attribution.method)
    rankings: dict[str, Any] = {bare.method: own.words}
    with progress.task("other methods, to agree with", total=len(others)) as task:
        for method in others:
            found = explain(model, question, bare.model_copy(update={"method": method}), Quiet(), seed)
            if found.converged is not False:
                rankings[method] = found.words
            task.advance()

    def again(other: "Model") -> Any:
        return explain(other, question, bare, Quiet(), seed).words

    check: Callable[..., Any] = METHODS["faithfulness"].load().check
    return check(model, question, rankings, bounded(question, settings.faithfulness), progress, seed, again)


def bounded(question: "Question", settings: FaithfulnessSettings) -> FaithfulnessSettings:
    """The settings of the test: shorter for a long prompt, but for what differs from its default."""
    if len(question.tokens) <= LONG:
        return settings
    default = FaithfulnessSettings()
    kept = {name: value for name, value in SHORTER.items() if getattr(settings, name) == getattr(default, name)}
    return settings.model_copy(update=kept)


def compared_with(question: "Question", method: AttributionMethod) -> list[AttributionMethod]:
    """The other attributions that are affordable for this prompt."""
    most: dict[AttributionMethod, float] = {
        "gradient-x-input": float("inf"),
        "occlusion": OCCLUDED,
        "integrated-gradients": LONG,
    }
    return [other for other, limit in most.items() if other != method and len(question.tokens) <= limit]


def few_points(settings: AttributionSettings) -> AttributionSettings:
    """The same attribution, at most so exact as a ranking needs."""
    return settings.model_copy(update={"most_steps": min(settings.most_steps, FEW_POINTS), "each_token": False})
