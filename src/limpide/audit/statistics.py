"""Intervals, tests and detectable differences for items that come in clusters. numpy and scipy only.

Items of one cluster (wordings of one topic, fillings of one template) are not independent, so a cluster is what is
counted, resampled and flipped. Every function is deterministic given its seed. `level` is 0.95 unless told.

Means: clusters are resampled whole. The plain percentile interval covers too little with few clusters (0.89 of the
time instead of 0.95 with 10 normal clusters, 0.93 with 20, simulated here), so its two quantiles are moved outwards as
Student's t asks with G − 1 degrees of freedom ('expanded percentile', Hesterberg 2015, The American Statistician 69(4),
section 5.3): 0.94 and 0.95. Where cluster means are as skewed as an exponential it still covers 0.90 with 10 clusters
and 0.93 with 20; the studentised bootstrap covers 0.92 there, with intervals up to several times as wide.
Shares: a bootstrap of items that are all right gives [1, 1], which says more than was seen, so shares use Wilson's
interval, on the effective number of items when they are clustered (Korn and Graubard 1998; Dean and Pagano 2015).
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy import optimize, stats

Floats = NDArray[np.float64]
Link = Callable[[Floats], Floats]

DRAWS = 2000  # resamples of a bootstrap, and random flips of a test
MIN_CLUSTERS_MEAN = 10  # below it the bootstrap of a skewed mean covers less than 0.90
MIN_CLUSTERS_SHARE = 5  # below it Wilson's interval says little and the spread between clusters nothing
ENUMERATED = 12  # clusters that changed, up to which every sign is tried instead of sampled
BLOCK = 4_000_000  # resampled cells held in memory at once
ALPHA, POWER = 0.05, 0.8


@dataclass(frozen=True)
class Sample:
    """Items of one model. values: float[items]; clusters: a name an item; weights: float[items] > 0, or None for ones.

    Its mean is Σ weight·value / Σ weight.
    """

    values: Floats
    clusters: tuple[str, ...]
    weights: Floats | None = None

    @staticmethod
    def of(values: Sequence[float], clusters: Sequence[str], weights: Sequence[float] | None = None) -> "Sample":
        """Raises ValueError for unequal lengths, no items, a number that is not finite, a weight not above zero."""
        sample = Sample(
            np.asarray(values, dtype=np.float64),
            tuple(clusters),
            None if weights is None else np.asarray(weights, dtype=np.float64),
        )
        sizes = {len(part) for part in (sample.values, sample.clusters, sample.weights) if part is not None}
        if len(sizes) != 1 or 0 in sizes:
            raise ValueError(f"values, clusters and weights must have one length above zero, not {sorted(sizes)}")
        if not np.isfinite(sample.values).all():
            raise ValueError("values must be finite numbers")
        if sample.weights is not None and not (np.isfinite(sample.weights).all() and (sample.weights > 0).all()):
            raise ValueError("weights must be finite and above zero")
        return sample

    @property
    def index(self) -> NDArray[np.intp]:
        """int[items]: the number of each item's cluster, in order of first appearance."""
        numbers: dict[str, int] = {}
        return np.array([numbers.setdefault(name, len(numbers)) for name in self.clusters], dtype=np.intp)

    @property
    def n_clusters(self) -> int:
        return len(set(self.clusters))

    @property
    def totals(self) -> Floats:
        """float[clusters, 2]: Σ weight·value and Σ weight of each cluster."""
        weights = np.ones_like(self.values) if self.weights is None else self.weights
        index = self.index
        return np.stack([np.bincount(index, weights * self.values), np.bincount(index, weights)], axis=1)

    @property
    def mean(self) -> float:
        total = self.totals.sum(axis=0)
        return float(total[0] / total[1])


@dataclass(frozen=True)
class Estimate:
    """value with its interval, in the unit of the items. standard_error: of the value; 0 where nothing varies."""

    value: float
    low: float
    high: float
    standard_error: float
    n: int
    clusters: int
    method: str


@dataclass(frozen=True)
class Paired:
    """After − before on the same items. p_value: two-sided, of no difference.

    smallest_detectable: None where both sides are the same on every item, so that nothing varies.
    """

    before: float
    after: float
    difference: float
    low: float
    high: float
    p_value: float
    smallest_detectable: float | None
    n: int
    clusters: int
    test: str


def minimum_clusters(kind: Literal["share", "mean", "statistic"]) -> int:
    """Fewest clusters on which an interval deserves its level. Below, the state is 'insufficient evidence'."""
    return MIN_CLUSTERS_SHARE if kind == "share" else MIN_CLUSTERS_MEAN


def wilson(successes: float, n: float, level: float = 0.95) -> tuple[float, float]:
    """Score interval of a share. n may be an effective, fractional number. Source: Wilson 1927, JASA 22, p. 209."""
    if n <= 0 or not 0 <= successes <= n:
        raise ValueError(f"a share needs 0 <= successes <= n and n > 0, not {successes} of {n}")
    z = float(stats.norm.ppf(0.5 + level / 2))
    p = successes / n
    centre = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    # At the ends the algebra gives 0 and 1 exactly; rounding must not give −1e−17.
    return (0.0 if successes == 0 else max(0.0, centre - half)), (1.0 if successes == n else min(1.0, centre + half))


def share(sample: Sample, level: float = 0.95) -> Estimate:
    """Share of ones among items that are 0 or 1, with Wilson's interval.

    One item a cluster: Wilson on n. Several: on the effective number of items, p(1−p) over the variance of p between
    clusters, at most n, times (z/t)² for the G − 1 degrees of freedom of that variance; when all items agree that
    variance says nothing and only clusters are counted. Source: Korn and Graubard 1998, Survey Methodology 24(2).
    """
    if not np.isin(sample.values, (0.0, 1.0)).all():
        raise ValueError("a share is of items that are 0 or 1")
    p, n, g = sample.mean, len(sample.values), sample.n_clusters
    effective = effective_items(sample, level)
    low, high = wilson(min(p * effective, effective), effective, level)
    method = "Wilson" if g == n else f"Wilson on {effective:.1f} effective items"
    return Estimate(p, low, high, math.sqrt(p * (1 - p) / effective), n, g, method)


def effective_items(sample: Sample, level: float = 0.95) -> float:
    """How many independent items hold as much as these clustered ones about their share. See `share`."""
    n, g, p = len(sample.values), sample.n_clusters, sample.mean
    if g == n:
        return float(n)
    if g == 1 or p in (0.0, 1.0):
        return float(g)
    z, t = stats.norm.ppf(0.5 + level / 2), stats.t.ppf(0.5 + level / 2, g - 1)
    error = linearised_error(sample)
    independent = n if error == 0 else min(float(n), p * (1 - p) / error**2)
    return max(1.0, independent * float(z / t) ** 2)


def linearised_error(sample: Sample) -> float:
    """Standard error of the mean from the spread between clusters, with the factor G/(G−1). 0 for one cluster."""
    totals = sample.totals
    g = len(totals)
    if g < 2:
        return 0.0
    residuals = totals[:, 0] - sample.mean * totals[:, 1]
    return float(math.sqrt(g / (g - 1) * float(residuals @ residuals)) / totals[:, 1].sum())


def identity(means: Floats) -> Floats:
    return means


def bootstrap_mean(
    sample: Sample, *, link: Link = identity, draws: int = DRAWS, level: float = 0.95, seed: int = 0
) -> Estimate:
    """link(mean) with the expanded percentile interval of resampled clusters. link: element by element."""
    totals = resampled_totals(sample.totals, draws, seed)
    means = link(totals[:, 0] / totals[:, 1])
    g = sample.n_clusters
    low, high = expanded_percentile(means, g, level)
    value = float(link(np.array([sample.mean]))[0])
    method = f"bootstrap of clusters, expanded percentile, {draws} draws"
    return Estimate(value, low, high, inflate(g) * float(means.std()), len(sample.values), g, method)


def resampled_totals(totals: Floats, draws: int, seed: int) -> Floats:
    """totals: float[clusters, k]. Returns float[draws, k], each row the sum of as many clusters, drawn with return."""
    g, k = totals.shape
    random = np.random.default_rng(seed)
    rows = max(1, BLOCK // max(1, g * k))
    blocks = [
        totals[random.integers(g, size=(min(rows, draws - start), g))].sum(axis=1) for start in range(0, draws, rows)
    ]
    return np.concatenate(blocks)


def expanded_percentile(draws: Floats, clusters: int, level: float = 0.95) -> tuple[float, float]:
    """Quantiles of the draws at Φ(±√(G/(G−1))·t). draws: float[draws]. Source: Hesterberg 2015, section 5.3."""
    if clusters < 2:
        raise ValueError("an interval needs at least two clusters")
    t = stats.t.ppf(0.5 + level / 2, clusters - 1)
    tail = float(stats.norm.cdf(-inflate(clusters) * t))
    low, high = np.quantile(draws, [tail, 1 - tail])
    return float(low), float(high)


def bootstrap_p(draws: Floats, clusters: int) -> float:
    """Two-sided p of 'the value is 0': the level at which `expanded_percentile` of the draws just reaches 0."""
    below = float((draws < 0).mean() + (draws == 0).mean() / 2)
    tail = max(min(below, 1 - below), 1 / (len(draws) + 1))  # never smaller than this many draws can tell
    return min(1.0, float(2 * stats.t.cdf(stats.norm.ppf(tail) / inflate(clusters), clusters - 1)))


def inflate(clusters: int) -> float:
    return math.sqrt(clusters / (clusters - 1)) if clusters > 1 else 1.0


def paired_difference(
    before: Sample, after: Sample, *, link: Link = identity, draws: int = DRAWS, level: float = 0.95, seed: int = 0
) -> Paired:
    """link(mean after) − link(mean before), clusters resampled with both of their sides. Items in the same order.

    p_value is the level at which the interval just reaches 0, so the two always agree.
    """
    _check_pairs(before, after)
    g = before.n_clusters
    totals = resampled_totals(np.concatenate([before.totals, after.totals], axis=1), draws, seed)
    differences = link(totals[:, 2] / totals[:, 3]) - link(totals[:, 0] / totals[:, 1])
    first, second = (float(link(np.array([sample.mean]))[0]) for sample in (before, after))
    low, high = expanded_percentile(differences, g, level)
    error = inflate(g) * float(differences.std())
    return Paired(
        before=first,
        after=second,
        difference=second - first,
        low=low,
        high=high,
        p_value=bootstrap_p(differences, g),
        smallest_detectable=smallest_detectable_mean(error, g - 1) if error > 0 else None,
        n=len(before.values),
        clusters=g,
        test=f"paired bootstrap of clusters, {draws} draws",
    )


def paired_shares(before: Sample, after: Sample, *, draws: int = DRAWS, level: float = 0.95, seed: int = 0) -> Paired:
    """Difference of two shares of the same items (0 or 1, in the same order).

    Interval: both Wilson intervals (of effective items when clustered) combined with the correlation of the pairs,
    method 10 of Newcombe 1998, Statistics in Medicine 17, p. 2635. Test: exact McNemar; with several items a
    cluster, its like where the sign of a whole cluster's change is flipped.
    """
    _check_pairs(before, after)
    first, second = share(before, level), share(after, level)
    low, high = square_and_add(
        (first.value, first.low, first.high), (second.value, second.low, second.high), _correlation(before, after)
    )
    changes = after.values - before.values
    clustered = before.n_clusters < len(changes)
    n = len(changes) * _kept(Sample(changes, before.clusters))
    return Paired(
        before=first.value,
        after=second.value,
        difference=second.value - first.value,
        low=low,
        high=high,
        p_value=sign_flip(changes, before.clusters, draws=draws, seed=seed)
        if clustered
        else mcnemar(before.values, after.values),
        smallest_detectable=smallest_detectable_paired_share(float(np.abs(changes).mean()), n),
        n=len(changes),
        clusters=before.n_clusters,
        test="sign flips of whole clusters" if clustered else "McNemar exact",
    )


def square_and_add(
    before: tuple[float, float, float], after: tuple[float, float, float], correlation: float = 0.0
) -> tuple[float, float]:
    """Interval of after − before from (value, low, high) of each. Source: Newcombe 1998; Zou and Donner 2008."""
    (b, b_low, b_high), (a, a_low, a_high) = before, after

    def reach(x: float, y: float) -> float:
        return math.sqrt(max(0.0, x * x + y * y - 2 * correlation * x * y))

    return a - b - reach(a - a_low, b_high - b), a - b + reach(a_high - a, b - b_low)


def mcnemar(before: Floats, after: Floats) -> float:
    """Exact two-sided p for pairs of 0 and 1: a binomial test of the pairs that differ. Source: McNemar 1947."""
    lost, won = int(((before == 1) & (after == 0)).sum()), int(((before == 0) & (after == 1)).sum())
    return 1.0 if lost + won == 0 else float(stats.binomtest(won, lost + won).pvalue)


def sign_flip(changes: Floats, clusters: Sequence[str], *, draws: int = DRAWS, seed: int = 0) -> float:
    """Two-sided p of |Σ change| when before and after could be swapped in any whole cluster. float[items].

    All signs where few clusters changed, else `draws` random ones. With one item a cluster and changes of −1, 0, 1
    this is McNemar's exact test.
    """
    sums = Sample(changes, tuple(clusters)).totals[:, 0]
    sums = sums[np.abs(sums) > 1e-12]
    if not len(sums):
        return 1.0
    seen = abs(float(sums.sum())) - 1e-9  # so that equal sums in another order count as equal
    if len(sums) <= ENUMERATED:
        bits = np.arange(2 ** len(sums))[:, None] >> np.arange(len(sums)) & 1
        return float((np.abs((1 - 2 * bits) @ sums) >= seen).mean())
    signs = np.random.default_rng(seed).choice(np.array([-1.0, 1.0]), size=(draws, len(sums)))
    return float(((np.abs(signs @ sums) >= seen).sum() + 1) / (draws + 1))


def _correlation(before: Sample, after: Sample) -> float:
    """Correlation of the two estimated shares: of the cluster residuals, or Newcombe's corrected φ of single items."""
    residuals = [s.totals[:, 0] - s.mean * s.totals[:, 1] for s in (before, after)]
    if any(np.abs(r).max() < 1e-12 for r in residuals):
        return 0.0
    correlation = float(np.corrcoef(residuals[0], residuals[1])[0, 1])
    n = len(before.values)
    if before.n_clusters == n and correlation > 0:  # φ·√(products of margins) = ad − bc, from which he takes n/2
        margins = n * n * math.prod(math.sqrt(s.mean * (1 - s.mean)) for s in (before, after))
        correlation = max(0.0, correlation - n / 2 / margins)
    return correlation


def _kept(changes: Sample) -> float:
    """Share of the items that is left once clustering is paid for: variance of independent items over the clustered."""
    error = linearised_error(changes)
    independent = float(changes.values.std(ddof=1)) / math.sqrt(len(changes.values)) if len(changes.values) > 1 else 0.0
    floor = changes.n_clusters / len(changes.values)
    return floor if error == 0 or independent == 0 else min(1.0, max(floor / 2, (independent / error) ** 2))


def _check_pairs(before: Sample, after: Sample) -> None:
    if before.clusters != after.clusters:
        raise ValueError("pairs need the same items in the same order on both sides")


def holm(p_values: Sequence[float]) -> list[float]:
    """Adjusted p: rejecting those below α keeps the chance of any false one below α. Source: Holm 1979."""
    p = np.asarray(p_values, dtype=np.float64)
    order = np.argsort(p, kind="stable")
    adjusted = np.empty_like(p)
    adjusted[order] = np.minimum(1.0, np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1)))
    return [float(x) for x in adjusted]


def benjamini_hochberg(p_values: Sequence[float]) -> list[float]:
    """Adjusted p: rejecting those below q keeps the expected share of false ones below q. Source: BH 1995."""
    p = np.asarray(p_values, dtype=np.float64)
    order = np.argsort(-p, kind="stable")
    adjusted = np.empty_like(p)
    ratio = len(p) / np.arange(len(p), 0, -1)
    adjusted[order] = np.minimum(1.0, np.minimum.accumulate(p[order] * ratio))
    return [float(x) for x in adjusted]


def smallest_detectable_share(n: float, null: float = 0.5, *, alpha: float = ALPHA, power: float = POWER) -> float:
    """Smallest rise of a share above `null` found with `power` by a two-sided test at `alpha`. n: (effective) items.

    Normal approximation with each hypothesis's own variance; at most 1 − null.
    """
    z_a, z_b = float(stats.norm.ppf(1 - alpha / 2)), float(stats.norm.ppf(power))

    def lacking(d: float) -> float:
        p = null + d
        return d * math.sqrt(n) - z_a * math.sqrt(null * (1 - null)) - z_b * math.sqrt(max(0.0, p * (1 - p)))

    top = 1 - null
    return top if lacking(top) <= 0 else float(optimize.brentq(lacking, 0.0, top))


def smallest_detectable_paired_share(
    discordant: float, n: float, *, alpha: float = ALPHA, power: float = POWER
) -> float:
    """Smallest difference of two paired shares found with `power`. discordant: share of pairs that differ.

    d√n = z₁√ψ + z₂√(ψ − d²) with ψ = max(discordant, d), since a difference d needs at least d of the pairs to
    differ; at most 1. Source: Connor 1987, Biometrics 43, p. 207.
    """
    z_a, z_b = float(stats.norm.ppf(1 - alpha / 2)), float(stats.norm.ppf(power))

    def lacking(d: float) -> float:
        psi = max(discordant, d)
        return d * math.sqrt(n) - z_a * math.sqrt(psi) - z_b * math.sqrt(max(0.0, psi - d * d))

    return 1.0 if lacking(1.0) <= 0 else float(optimize.brentq(lacking, 1e-12, 1.0))


def smallest_detectable_mean(
    standard_error: float, degrees: int, *, alpha: float = ALPHA, power: float = POWER
) -> float:
    """Smallest mean found with `power` by a two-sided t test: (t₁ + t₂) standard errors, in the unit of the error."""
    return float(stats.t.ppf(1 - alpha / 2, degrees) + stats.t.ppf(power, degrees)) * standard_error
