"""Precision 'fast': bfloat16 first, and float32 again for every comparison too close to call."""

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

from limpide.core.progress import Progress
from limpide.models.naive import draw
from limpide.models.requests import Compared, Request, Score
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
    compared: Compared | None = None,
) -> Scored:
    """Scores of `model` (bfloat16), except where two compared requests are closer than the band: those of `exact`.

    exact: opens the same model in float32, called once. compared: options whose order counts, by their sums or by
    their means a token; by default the requests that share a context.
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
    groups = [[_pieces(option) for option in group] for group in compared or by_context(requests)]
    told = [[[fast.scores[k] for k in option] for option in group] for group in groups]
    near = [group for group, scores in zip(groups, told, strict=True) if too_close(scores, band)]
    close = sorted({k for group in near for option in group for k in option})
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


def _pieces(option: int | tuple[int, ...]) -> tuple[int, ...]:
    return (option,) if isinstance(option, int) else option


def too_close(options: Sequence[Sequence[Score]], band: float) -> bool:
    """Is any option nearer to another than the band, by its sum, or by its mean where the order of means may count?"""
    sums = [sum(score.log_likelihood for score in option) for option in options]
    tokens = [sum(score.tokens for score in option) for option in options]
    means = [total / count for total, count in zip(sums, tokens, strict=True)]
    return _nearest(sums) < band or _nearest(means) < band / min(tokens, default=1)


def _nearest(values: Sequence[float]) -> float:
    """The smallest difference between any two."""
    return min((b - a for a, b in pairwise(sorted(values))), default=float("inf"))
