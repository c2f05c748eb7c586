"""Precision 'fast': bfloat16 first, and float32 again for every comparison too close to call."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from limpide.core.progress import Progress
from limpide.models.naive import draw
from limpide.models.requests import Request, Score
from limpide.models.scoring import Options, Scored, score_with

if TYPE_CHECKING:
    from limpide.models.model import Model

LEAST_BAND = 0.25  # nats
SAFETY = 4.0  # times the largest difference between the two precisions that the sample showed
LEAST_SAMPLE, SAMPLE = 8, 24  # texts scored in both precisions


def score_fast(
    model: "Model",
    exact: "Callable[[], Model]",
    requests: Sequence[Request],
    options: Options,
    progress: Progress,
    compared: Sequence[Sequence[int]] | None = None,
) -> Scored:
    """Scores of `model` (bfloat16), except where two compared requests are closer than the band: those of `exact`.

    exact: opens the same model in float32, called once. compared: indices of requests of which the likeliest is
    chosen, or whose difference has a sign that counts; by default the requests that share a context.
    The band is the larger of LEAST_BAND and SAFETY × the largest difference seen on a sample; it is recorded.
    """
    fast = score_with(model, requests, options, progress)
    if not requests:
        return fast
    chosen = draw(len(requests), LEAST_SAMPLE, SAMPLE, options.seed)
    precise = exact()
    again = score_with(precise, [requests[k] for k in chosen], options, progress).scores
    pairs = zip(again, (fast.scores[k] for k in chosen), strict=True)
    largest = max(abs(a.log_likelihood - b.log_likelihood) for a, b in pairs)
    band = max(LEAST_BAND, SAFETY * largest)
    groups = compared if compared is not None else by_context(requests)
    close = sorted({k for group in groups if too_close([fast.scores[k] for k in group], band) for k in group})
    recomputed = score_with(precise, [requests[k] for k in close], options, progress).scores
    scores = list(fast.scores)
    for k, found in zip(close, recomputed, strict=True):
        scores[k] = found
    record = {
        **fast.record,
        "precision": "bfloat16, float32 where close",
        "band_nats": band,
        "largest_difference_to_float32_nats": largest,
        "texts_in_both_precisions": len(chosen),
        "comparisons": sum(len(group) > 1 for group in groups),
        "texts_recomputed": len(close),
    }
    return Scored(scores, record)


def by_context(requests: Sequence[Request]) -> list[list[int]]:
    """Indices of the requests that share a context: the options of one question. Without a context, none do."""
    groups: dict[object, list[int]] = {}
    for k, request in enumerate(requests):
        if request.context:
            groups.setdefault(request.context, []).append(k)
    return list(groups.values())


def too_close(scores: Sequence[Score], band: float) -> bool:
    """Are the two likeliest nearer to each other than the band?"""
    best = sorted((score.log_likelihood for score in scores), reverse=True)[:2]
    return len(best) == 2 and best[0] - best[1] < band
