"""Does an explanation depend on what the network learned? The same method on the same network with random weights.

An explanation that hardly changes describes the text or the architecture, not this model (Adebayo et al. 2018, 'Sanity
Checks for Saliency Maps', section 3.1; here all weights at once rather than layer by layer).
"""

import copy
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from scipy import stats

from limpide.core.progress import Progress, Quiet

if TYPE_CHECKING:
    from limpide.models.model import Model

Explain = Callable[["Model"], Sequence[float]]
BOUND = 0.7  # of |correlation|: below, less than half of what the ranks vary is shared (0.7² ≈ 0.5)
CLIPPED = 0.999  # correlations of exactly ±1 have no Fisher transform
LEVEL = 0.95


@dataclass(frozen=True)
class Sanity:
    """rank_correlation: Spearman's, between the explanation of the model and that of a random one, averaged over the
    draws; low, high: Student's interval of this mean over draws of random weights, on Fisher's scale.

    The verdict says that the explanation uses the weights; it does not say that it uses them rightly.
    """

    rank_correlation: float
    low: float
    high: float
    draws: int
    verdict: str

    def record(self) -> dict[str, Any]:
        return asdict(self)


def sanity(
    model: "Model", own: Sequence[float], explain: Explain, draws: int, seed: int, progress: Progress | None = None
) -> Sanity | None:
    """own: float[words], the explanation of the model. explain: the same method on another model.

    Needs room for a second copy of the weights. None where the explanation ranks nothing (all its values are alike).
    """
    if np.ptp(own) == 0:
        return None
    found = []
    with (progress or Quiet()).task("explaining random weights", total=draws) as task:
        for randomised in random_models(model, draws, seed):
            found.append(rank_correlation(own, explain(randomised)) or 0.0)  # a random one that ranks nothing: alike 0
            task.advance()
    return judge(found)


def random_models(model: "Model", draws: int, seed: int) -> Iterator["Model"]:
    """The same architecture, each tensor of weights drawn anew from a normal law with its own mean and deviation.

    One copy of the network serves all draws: do not keep a model beyond its turn. The model itself is not touched.
    """
    network = copy.deepcopy(model.network)
    generator = torch.Generator().manual_seed(seed)
    law = [(p, p.float().mean().item(), p.float().std(correction=0).item()) for p in network.parameters()]
    for draw in range(draws):
        with torch.no_grad():
            for weights, mean, deviation in law:
                weights.normal_(mean, deviation, generator=generator)
        yield replace(model, network=network, digest=f"{model.digest} with random weights {seed}.{draw}")


def rank_correlation(first: Sequence[float], second: Sequence[float]) -> float | None:
    """Spearman's, ties at their middle rank. None where one of the two ranks nothing."""
    if np.ptp(first) == 0 or np.ptp(second) == 0:
        return None
    return float(np.corrcoef(stats.rankdata(first), stats.rankdata(second))[0, 1])


def judge(correlations: Sequence[float]) -> Sanity:
    """The mean of two draws' correlations or more, with its interval and what it says."""
    z = np.arctanh(np.clip(correlations, -CLIPPED, CLIPPED))
    half = float(stats.t.ppf((1 + LEVEL) / 2, len(z) - 1) * z.std(ddof=1) / math.sqrt(len(z)))
    mean = float(z.mean())
    value, low, high = (math.tanh(part) for part in (mean, mean - half, mean + half))
    if max(-low, high) < BOUND:
        verdict = "changes with the weights"
    elif low >= BOUND or high <= -BOUND:
        verdict = "does not depend on the weights"
    else:
        verdict = "insufficient evidence"
    return Sanity(value, low, high, len(z), verdict)
