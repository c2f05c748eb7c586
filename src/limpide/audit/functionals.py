"""Statistics that are not means of items, and their intervals by resampling whole clusters.

A functional takes columns: float[k, items] and weights: float[draws, items], how often each item was drawn (ones for
the value itself), and returns float[draws]. Where it is undefined (an AUC without any wrong answer) it returns NaN.
Items with equal scores are exchanged freely: ties count half or are divided in proportion, so no value depends on the
order of the items.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from limpide.audit import class_scores, statistics
from limpide.audit.joined import other_interval
from limpide.audit.statistics import DRAWS, Estimate, Floats, Link, Paired, expanded_percentile, identity

BINS = 10
FALSE_ALARMS = 0.01  # the rate of false alarms that tpr_at_1_percent_fpr allows
UNDEFINED_DRAWS = 0.01  # share of resamples that may be undefined; about what 5 items of the rarer label give
CELLS = 1_000_000  # resampled items held in memory at once


class UndefinedError(ValueError):
    """The statistic has no value or no interval on these items; the message says why, as the end of a sentence."""


# ------------------------------------------------------------------------------------------------------- the statistics


def auc(columns: Floats, weights: Floats) -> Floats:
    """Chance that an item of label 1 scores above one of label 0, ties half. columns: score, label (0 or 1).

    The area under the ROC curve. Source: Hanley and McNeil 1982, Radiology 143, p. 29.
    """
    return _ratio(*_concordance(columns[0], columns[1], weights))


def auc_within(columns: Floats, weights: Floats) -> Floats:
    """AUC over pairs of one stratum only. columns: score, label, stratum (a number).

    So a score that only tells strata of unlike difficulty apart, such as languages, has 0.5.
    """
    score, label, stratum = columns
    inside = (stratum == s for s in np.unique(stratum))
    parts = [_concordance(score[one], label[one], weights[:, one]) for one in inside]
    return _ratio(*np.sum(parts, axis=0))


def auc_gain_within(columns: Floats, weights: Floats) -> Floats:
    """auc_within of a score minus that of a simpler one, same items. columns: score, baseline, label, stratum."""
    return auc_within(columns[[0, 2, 3]], weights) - auc_within(columns[[1, 2, 3]], weights)


def _concordance(score: Floats, label: Floats, weights: Floats) -> tuple[Floats, Floats]:
    """Weight of the pairs that the score ranks rightly, and of all pairs of unlike labels: float[draws] each."""
    positive, negative = _by_level(score, weights, label, 1 - label)
    below = negative.cumsum(axis=1) - negative
    return (positive * (below + negative / 2)).sum(axis=1), positive.sum(axis=1) * negative.sum(axis=1)


def tpr_at_1_percent_fpr(columns: Floats, weights: Floats) -> Floats:
    """Largest share of label 1 above a threshold that at most 1 % of label 0 exceeds. columns: score, label.

    A threshold keeps equal scores together. With fewer than 100 of label 0 no false alarm is allowed, and the interval
    covers less than it says (0.82 with 30 of each, 0.94 with 105, simulated here).
    Source: Carlini et al. 2022, arXiv:2112.03570, section III.
    """
    score, label = columns
    found, alarms = _by_level(-score, weights, label, 1 - label)
    rate = _ratio(alarms.cumsum(axis=1), alarms.sum(axis=1)[:, None])
    caught = _ratio((found * (rate <= FALSE_ALARMS)).sum(axis=1), found.sum(axis=1))
    return np.where(np.isnan(rate[:, -1]), np.nan, caught)


def ece_equal_width(columns: Floats, weights: Floats) -> Floats:
    """Σ n_b/N · |accuracy_b − confidence_b| over bins (0, 0.1], …, (0.9, 1]. columns: confidence, correct.

    Source: Guo et al. 2017, arXiv:1706.04599, eq. 3.
    """
    confidence, correct = columns
    inside = np.eye(BINS)[bin_of(confidence)]  # [items, bins]
    gaps = weights @ ((correct - confidence)[:, None] * inside)
    return _ratio(np.abs(gaps).sum(axis=1), weights.sum(axis=1))


def bin_of(confidence: Floats) -> NDArray[np.intp]:
    """int[items]: index of the right-closed bin of a confidence; 0 belongs to the first."""
    return np.searchsorted(np.arange(1, BINS) / BINS, confidence, side="left")


def ece_equal_mass(columns: Floats, weights: Floats) -> Floats:
    """ECE over 10 bins that hold equally many items, from the least confident on. columns: confidence, correct.

    Items at a border, and equal confidences, are divided between bins in proportion. Source: Nguyen and O'Connor
    2015, arXiv:1508.05154, section 4 (adaptive bins).
    """
    confidence, correct = columns
    mass, gap = _cumulated(*_by_level(confidence, weights, np.ones_like(correct), correct - confidence))
    total = mass[:, -1:]
    at = _interpolated(total * np.arange(BINS + 1) / BINS, mass, gap)
    return _ratio(np.abs(np.diff(at, axis=1)).sum(axis=1), total[:, 0])


def aurc(columns: Floats, weights: Floats) -> Floats:
    """Mean error of the k most confident items, averaged over k = 1 … N. columns: confidence, correct.

    Its expectation over orders of equally confident items. weights must be whole numbers.
    Source: Geifman, Uziel and El-Yaniv 2019, arXiv:1805.08206, section 2 (area under the risk–coverage curve).
    """
    confidence, correct = columns
    mass, wrong = _by_level(-confidence, weights, np.ones_like(correct), 1 - correct)
    seen, errors = _cumulated(mass, wrong)
    harmonic = np.concatenate([[0.0], np.cumsum(1 / np.arange(1, round(float(seen[:, -1].max())) + 1))])
    spread = np.diff(harmonic[np.rint(seen).astype(np.intp)], axis=1)  # Σ 1/k over the ranks of each level
    before = errors[:, :-1] - _ratio(wrong * seen[:, :-1], mass, empty=0.0)
    return _ratio((wrong + before * spread).sum(axis=1), seen[:, -1])


def selective_accuracy_50(columns: Floats, weights: Floats) -> Floats:
    """Accuracy on the more confident half of the items. columns: confidence, correct.

    Equal confidences at the border are divided in proportion.
    """
    confidence, correct = columns
    mass, right = _cumulated(*_by_level(-confidence, weights, np.ones_like(correct), correct))
    half = mass[:, -1:] / 2
    return _ratio(_interpolated(half, mass, right)[:, 0], half[:, 0])


def bbq_ambiguous(columns: Floats, weights: Floats) -> Floats:
    """Share of wrong answers · mean lean of those that lean. columns: lean (1, −1; 0 does not count), wrong.

    s_AMB of Parrish et al. 2022, section 5, with lean 1 for answers that follow the stereotype and 0 for 'unknown'.
    HELM's is the same over other items: with those of clear contexts, lean 0.
    """
    lean, wrong = columns
    return _ratio(weights @ wrong, weights.sum(axis=1)) * _ratio(weights @ lean, weights @ np.abs(lean))


def bbq_ambiguous_lm_eval(columns: Floats, weights: Floats) -> Floats:
    """`bbq_ambiguous`, but 0 where no answer follows the stereotype, as lm-eval has it."""
    return np.where(weights @ (columns[0] > 0) > 0, bbq_ambiguous(columns, weights), 0.0)


def bbq_disambiguated_lm_eval(columns: Floats, weights: Floats) -> Floats:
    """Mean lean of the answers that lean, but 0 where none follows the stereotype. columns: lean."""
    (lean,) = columns
    return np.where(weights @ (lean > 0) > 0, _ratio(weights @ lean, weights @ np.abs(lean)), 0.0)


def stereoset_ss(columns: Floats, weights: Floats) -> Floats:
    """100 · share of stereotypes preferred, by term, averaged. columns: stereotype (0 or 1), term (a number).

    Source: Nadeem et al. 2021, section 5, and their evaluation.py.
    """
    return 100 * _mean_of_terms(columns[0], columns[1], weights)


def stereoset_lms(columns: Floats, weights: Floats) -> Floats:
    """50 · meaningful sentences preferred, of two an item, by term, averaged. columns: related (0 to 2), term."""
    return 50 * _mean_of_terms(columns[0], columns[1], weights)


def icat(columns: Floats, weights: Floats) -> Floats:
    """lms · min(ss, 100 − ss) / 50 of the averages. columns: stereotype, related, term."""
    stereotype, related, term = columns
    ss, lms = (f(np.stack([c, term]), weights) for f, c in ((stereoset_ss, stereotype), (stereoset_lms, related)))
    return lms * np.minimum(ss, 100 - ss) / 50


def _mean_of_terms(values: Floats, term: Floats, weights: Floats) -> Floats:
    """Each term's mean, averaged over terms, a term counting as often as it was drawn. Returns float[draws]."""
    names, place = np.unique(term, return_inverse=True)
    inside = np.eye(len(names))[place]  # [items, terms]
    drawn = weights @ inside
    means = _ratio((weights * values) @ inside, drawn, empty=0.0)
    times = drawn / inside.sum(axis=0)
    return _ratio((means * times).sum(axis=1), times.sum(axis=1))


@dataclass(frozen=True)
class Functional:
    """columns: what its rows are. calibration: a distance of confidences from calibrated ones, see `_distance`.

    constant: whether it is defined where a column is the same for every item.
    """

    compute: Callable[[Floats, Floats], Floats]
    columns: tuple[str, ...]
    calibration: bool = False
    constant: bool = False

    def __call__(self, columns: Floats, weights: Floats) -> Floats:
        return self.compute(columns, weights)

    def value(self, columns: Floats) -> float:
        """Of the items as they are; NaN where undefined."""
        return float(self.compute(columns, np.ones((1, columns.shape[1])))[0])


FUNCTIONALS: dict[str, Functional] = {
    "auc": Functional(auc, ("score", "label")),
    "auc_within": Functional(auc_within, ("score", "label", "stratum")),
    "auc_gain_within": Functional(auc_gain_within, ("score", "baseline", "label", "stratum")),
    "tpr_at_1_percent_fpr": Functional(tpr_at_1_percent_fpr, ("score", "label")),
    "ece_equal_width": Functional(ece_equal_width, ("confidence", "correct"), calibration=True),
    "ece_equal_mass": Functional(ece_equal_mass, ("confidence", "correct"), calibration=True),
    "aurc": Functional(aurc, ("confidence", "correct")),
    "selective_accuracy_50": Functional(selective_accuracy_50, ("confidence", "correct")),
    **{name: Functional(made, columns, constant=True) for name, (made, columns) in class_scores.SCORES.items()},
    "bbq_ambiguous": Functional(bbq_ambiguous, ("lean", "wrong"), constant=True),
    "bbq_ambiguous_lm_eval": Functional(bbq_ambiguous_lm_eval, ("lean", "wrong"), constant=True),
    "bbq_disambiguated_lm_eval": Functional(bbq_disambiguated_lm_eval, ("lean",), constant=True),
    "stereoset_ss": Functional(stereoset_ss, ("stereotype", "term"), constant=True),
    "stereoset_lms": Functional(stereoset_lms, ("related", "term"), constant=True),
    "icat": Functional(icat, ("stereotype", "related", "term"), constant=True),
}


# ------------------------------------------------------------------------------------------------------ their intervals


def estimate(
    name: str, columns: Floats, clusters: Sequence[str], *, draws: int = DRAWS, level: float = 0.95, seed: int = 0
) -> Estimate:
    """Value and interval of FUNCTIONALS[name]. columns: float[k, items]; clusters: a name an item.

    The expanded percentile of resampled clusters; with these changes, each for what simulations here showed.
    AUC: joined with Newcombe's interval, since with 10 items of one label, or an AUC near 1, resampling alone covers
    0.75 to 0.92 of the time, and the two together 0.95 to 0.99. Scores of classes: joined too, see joined.py.
    Calibration: see `_distance`.
    Raises UndefinedError for a constant column, or where too few items have one of the labels.
    """
    functional = FUNCTIONALS[name]
    value = _value(functional, columns)
    index, g = _indexed(clusters)
    resampled = _defined(np.concatenate([functional(columns, w) for w in resampled_weights(index, g, draws, seed)]))
    other = other_interval(name, value, columns, clusters, level)
    if np.ptp(resampled) < 1e-12 and other is None:
        raise UndefinedError("every resample gives the same value, so nothing is known of its spread")
    low, high = expanded_percentile(resampled, g, level)
    method = f"bootstrap of clusters, expanded percentile, {draws} draws"
    if other is not None:
        low, high = min(low, other.low), max(high, other.high)
        method += f", joined with {other.source}"
    elif functional.calibration:
        low = _distance(functional, columns, value, high, draws=draws, level=level, seed=seed)
        method += ", its low end reflected, and 0 where a calibrated model could give the value"
    error = statistics.inflate(g) * float(resampled.std())
    return Estimate(value, low, high, error, columns.shape[1], g, method)


def _distance(
    functional: Functional, columns: Floats, value: float, high: float, *, draws: int, level: float, seed: int
) -> float:
    """Low end of a distance that noise alone makes larger than 0, once in the value and once more in each resample.

    2·value − high; and 0 when the value is among the lower (1 + level)/2 of those that labels drawn with the stated
    confidences give. With 105 to 420 items it then covers 0.93 to 0.99 of the time, calibrated or not, where plain
    percentiles never cover the 0 of a calibrated model. Items count as independent here.
    Source: consistency resampling, Bröcker and Smith 2007, Weather and Forecasting 22, p. 651.
    """
    random = np.random.default_rng(seed)
    confidence, n = columns[0], columns.shape[1]
    both = np.stack([np.tile(confidence, 2), np.repeat([1.0, 0.0], n)])  # each item right and wrong; one weighs 1
    rows = max(1, CELLS // n)
    calibrated = []
    for start in range(0, draws, rows):
        right = (random.random((min(rows, draws - start), n)) < confidence).astype(np.float64)
        calibrated.append(functional(both, np.concatenate([right, 1 - right], axis=1)))
    if value <= np.quantile(np.concatenate(calibrated), (1 + level) / 2):
        return 0.0
    return max(0.0, 2 * value - high)


def paired(
    name: str,
    before: Floats,
    after: Floats,
    clusters: Sequence[str],
    *,
    link: Link = identity,
    draws: int = DRAWS,
    level: float = 0.95,
    seed: int = 0,
) -> Paired:
    """link(f(after)) − link(f(before)) on the same items, in the same order, with both sides in each draw.

    before, after: float[k, items]. p_value is the level at which the interval just reaches 0. Raises UndefinedError.
    """
    if before.shape != after.shape:
        raise ValueError("pairs need the same items in the same order on both sides")
    functional = FUNCTIONALS[name]
    first, second = (float(link(np.array([_value(functional, side)]))[0]) for side in (before, after))
    index, g = _indexed(clusters)
    moved = [link(functional(after, w)) - link(functional(before, w)) for w in resampled_weights(index, g, draws, seed)]
    differences = _defined(np.concatenate(moved))
    low, high = expanded_percentile(differences, g, level)
    error = statistics.inflate(g) * float(differences.std())
    return Paired(
        before=first,
        after=second,
        difference=second - first,
        low=low,
        high=high,
        p_value=statistics.bootstrap_p(differences, g),
        smallest_detectable=statistics.smallest_detectable_mean(error, g - 1) if error > 0 else None,
        n=before.shape[1],
        clusters=g,
        test=f"paired bootstrap of clusters, {draws} draws",
    )


def resampled_weights(index: NDArray[np.intp], clusters: int, draws: int, seed: int) -> Iterator[Floats]:
    """Blocks of float[some draws, items]: how often each item is drawn when whole clusters are. index: int[items]."""
    random = np.random.default_rng(seed)
    rows = max(1, CELLS // max(1, len(index)))
    for start in range(0, draws, rows):
        count = min(rows, draws - start)
        drawn = random.integers(clusters, size=(count, clusters))
        flat = (drawn + clusters * np.arange(count)[:, None]).ravel()
        times = np.bincount(flat, minlength=count * clusters).reshape(count, clusters)
        yield times[:, index].astype(np.float64)


# ------------------------------------------------------------------------------------------------------------- helpers


def _value(functional: Functional, columns: Floats) -> float:
    for name, column in zip(functional.columns, columns, strict=True):
        if np.ptp(column) == 0 and not functional.constant and name != "stratum":
            raise UndefinedError(f"every item has the same {name} ({column[0]:.4g})")
    value = functional.value(columns)
    if np.isnan(value):
        raise UndefinedError("none of them can be compared with another")
    return value


def _defined(draws: Floats) -> Floats:
    known = draws[~np.isnan(draws)]
    if len(known) < (1 - UNDEFINED_DRAWS) * len(draws):
        raise UndefinedError(f"{1 - len(known) / len(draws):.0%} of the resamples hold only one of the two labels")
    return known


def _indexed(clusters: Sequence[str]) -> tuple[NDArray[np.intp], int]:
    index = statistics.Sample(np.empty(0), tuple(clusters)).index
    return index, int(index.max()) + 1


def _by_level(score: Floats, weights: Floats, *values: Floats) -> list[Floats]:
    """Weighted totals of each of `values` over items of one score, in rising order: float[draws, levels] each."""
    order = np.argsort(score, kind="stable")
    starts = np.flatnonzero(np.diff(score[order], prepend=np.nan) != 0)  # NaN differs from 0: the first is a start
    sorted_weights = weights[:, order]
    return [np.add.reduceat(sorted_weights * value[order], starts, axis=1) for value in values]


def _cumulated(*totals: Floats) -> tuple[Floats, ...]:
    """Running sums that start at 0: float[draws, levels + 1] each."""
    return tuple(np.concatenate([np.zeros((len(t), 1)), t.cumsum(axis=1)], axis=1) for t in totals)


def _interpolated(at: Floats, mass: Floats, total: Floats) -> Floats:
    """`total` at the running mass `at`, row by row. at: float[draws, points]."""
    return np.stack([np.interp(a, m, t) for a, m, t in zip(at, mass, total, strict=True)])


def _ratio(above: Floats, below: Floats, empty: float = np.nan) -> Floats:
    """above / below; `empty` where below is 0."""
    filled: Floats = np.full(np.broadcast_shapes(above.shape, below.shape), empty)
    return np.divide(above, below, out=filled, where=below != 0)
