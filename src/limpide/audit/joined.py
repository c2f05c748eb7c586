"""Intervals with which that of resampling is joined, where resampling alone is too narrow: few items, or none wrong.

Of three classes with shares 0.6, 0.3 and 0.1, and 60 or 200 texts, the two together covered balanced accuracy and
macro-F1 0.96 to 1.00 of the time; the interval of the classes alone 0.84 to 0.97 (200 simulations each).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import optimize, stats

from limpide.audit import statistics
from limpide.audit.statistics import Floats, Sample

Bools = NDArray[np.bool_]


@dataclass(frozen=True)
class Other:
    low: float
    high: float
    source: str


def other_interval(
    name: str, value: float, columns: Floats, clusters: Sequence[str], level: float = 0.95
) -> Other | None:
    """The second interval of FUNCTIONALS[name], for those that need one. columns: float[k, items]."""
    if name in ("auc", "auc_within"):
        return Other(*auc_interval(value, *_label_clusters(columns, clusters), level), "Newcombe 2006")
    if name == "balanced_accuracy":
        return Other(*balanced_interval(columns, clusters, level), "Wilson of each class, squared and added")
    if name == "macro_f1":
        return Other(*macro_f1_interval(columns, clusters, level), "indirect Wilson of each class, squared and added")
    return None


def auc_interval(value: float, positive: int, negative: int, level: float = 0.95) -> tuple[float, float]:
    """Score-like interval of an AUC from the numbers of both labels alone; it has width at 0 and 1 also.

    Source: Newcombe 2006, Statistics in Medicine 25, p. 559, method 5.
    """
    z = float(stats.norm.ppf(0.5 + level / 2))
    mean = (positive + negative) / 2 - 1

    def lacking(theta: float) -> float:
        shape = 1 + mean * (1 - theta) / (2 - theta) + mean * theta / (1 + theta)
        return (theta - value) ** 2 - z * z * theta * (1 - theta) * shape / (positive * negative)

    inside = min(max(value, 1e-9), 1 - 1e-9)  # at 0 and 1 the value itself is a root, and not the one sought
    low = 0.0 if value <= 0 else float(optimize.brentq(lacking, 0.0, inside))
    high = 1.0 if value >= 1 else float(optimize.brentq(lacking, inside, 1.0))
    return low, high


def balanced_interval(columns: Floats, clusters: Sequence[str], level: float = 0.95) -> tuple[float, float]:
    """Of the mean of the classes' shares of right answers, each with its own Wilson interval. columns: correct, class.

    It has width where a class has no error too.
    """
    correct, label = columns
    return _of_mean([_share(correct, label == one, clusters, level) for one in np.unique(label)])


def macro_f1_interval(columns: Floats, clusters: Sequence[str], level: float = 0.95) -> tuple[float, float]:
    """Of the mean of the classes' F1 = 2J/(1 + J), where J is a share of texts and has Wilson's interval.

    J: right among the texts that are of the class or get it. columns: said, class. Source of the interval of one F1:
    Lam, Gopal and Qian 2023, arXiv:2309.14621, the indirect Wilson method.
    """
    said, label = columns
    found = []
    for one in np.unique(columns[columns >= 0]):
        right = ((said == one) & (label == one)).astype(np.float64)
        shares = _share(right, (said == one) | (label == one), clusters, level)
        found.append(tuple(2 * j / (1 + j) for j in shares))
    return _of_mean(found)


def _share(right: Floats, inside: Bools, clusters: Sequence[str], level: float) -> tuple[float, ...]:
    """(value, low, high) of the share of right items among those inside."""
    places = np.flatnonzero(inside)
    found = statistics.share(Sample.of(right[places].tolist(), [clusters[k] for k in places.tolist()]), level)
    return found.value, found.low, found.high


def _of_mean(found: Sequence[tuple[float, ...]]) -> tuple[float, float]:
    """Interval of the mean of numbers given as (value, low, high): mean − √Σ(value − low)² ÷ count, and so above.

    Source: Zou and Donner 2008, Statistics in Medicine 27, p. 1693.
    """
    value, low, high = np.array(found).T
    mean, count = float(value.mean()), len(found)
    return mean - math.hypot(*(value - low)) / count, mean + math.hypot(*(high - value)) / count


def _label_clusters(columns: Floats, names: Sequence[str]) -> tuple[int, int]:
    """How many clusters hold an item of label 1, and of label 0, in strata that have both. columns: score, label, …"""
    label, strata = columns[1], columns[2] if len(columns) > 2 else np.zeros_like(columns[1])
    index = Sample(np.empty(0), tuple(names)).index
    mixed = np.isin(strata, [s for s in np.unique(strata) if np.ptp(label[strata == s]) > 0])
    ones, zeros = (int(np.count_nonzero(np.bincount(index, mixed * chosen))) for chosen in (label, 1 - label))
    return ones, zeros
