"""Statistics against scipy, closed forms, published values and simulated coverage."""

import math

import numpy as np
import pytest
from scipy import stats

from limpide.audit import statistics as st
from limpide.audit.statistics import Sample


def singles(values):
    return Sample.of(values, [str(k) for k in range(len(values))])


def clustered(grid):
    """grid: [clusters, items] → a Sample."""
    grid = np.asarray(grid)
    return Sample.of(grid.ravel(), [str(k) for k in range(grid.shape[0]) for _ in range(grid.shape[1])])


def table(both, lost, won, neither):
    before = [1] * both + [1] * lost + [0] * won + [0] * neither
    after = [1] * both + [0] * lost + [1] * won + [0] * neither
    return singles(before), singles(after)


@pytest.mark.parametrize(("k", "n"), [(0, 42), (1, 42), (21, 42), (42, 42), (3, 5), (895, 1508)])
@pytest.mark.parametrize("level", [0.9, 0.95, 0.99])
def test_wilson_is_scipys(k, n, level):
    ours = st.wilson(k, n, level)
    theirs = stats.binomtest(k, n).proportion_ci(level, method="wilson")
    assert ours == pytest.approx((theirs.low, theirs.high), abs=1e-12)


def test_a_share_of_single_items_is_plain_wilson():
    estimate = st.share(singles([1] * 33 + [0] * 9))
    theirs = stats.binomtest(33, 42).proportion_ci(method="wilson")
    assert (estimate.low, estimate.high) == pytest.approx((theirs.low, theirs.high), abs=1e-12)
    assert estimate.method == "Wilson"


def test_effective_items_between_the_two_known_ends():
    """Clusters that agree inside are worth one item each; by Korn and Graubard, times (z/t)² for G − 1 degrees."""
    agreeing = clustered([[1] * 4] * 10 + [[0] * 4] * 10)
    g = 20
    variance = 0.25 / (g - 1)  # of a mean of 20 independent coins, with the unbiased factor
    expected = 0.25 / variance * (stats.norm.ppf(0.975) / stats.t.ppf(0.975, g - 1)) ** 2
    assert st.effective_items(agreeing) == pytest.approx(expected, rel=1e-9)
    assert st.effective_items(clustered([[1] * 4] * 20)) == 20


def test_newcombes_paired_interval_is_the_published_one():
    """Cavo et al. 2012, as the R package contingencytables tests its own Newcombe square-and-add (signs turned)."""
    found = st.paired_shares(*table(59, 6, 16, 80))
    assert (found.low, found.high) == pytest.approx((0.0046, 0.1186), abs=5e-5)


def test_newcombes_correlation_in_counts():
    """Method 10 of Newcombe 1998 written with counts, on many tables."""
    random = np.random.default_rng(5)
    for _ in range(200):
        a, b, c, d = (int(x) for x in random.integers(0, 12, size=4))
        n = a + b + c + d
        if n < 2:
            continue
        margins = (a + b) * (c + d) * (a + c) * (b + d)
        cross = a * d - b * c
        phi = 0.0 if margins == 0 else (max(cross - n / 2, 0) if cross > 0 else cross) / math.sqrt(margins)
        first, second = st.wilson(a + b, n), st.wilson(a + c, n)
        p, q = (a + b) / n, (a + c) / n
        x, y = q - second[0], first[1] - p
        found = st.paired_shares(*table(a, b, c, d))
        assert found.low == pytest.approx(q - p - math.sqrt(max(0, x * x + y * y - 2 * phi * x * y)), abs=1e-9)


@pytest.mark.parametrize(("lost", "won"), [(0, 0), (1, 7), (6, 16), (0, 5), (0, 6), (12, 12)])
def test_mcnemar_is_the_binomial_test_of_discordant_pairs(lost, won):
    before, after = table(10, lost, won, 10)
    expected = 1.0 if lost + won == 0 else stats.binomtest(min(lost, won), lost + won, 0.5).pvalue
    assert st.mcnemar(before.values, after.values) == pytest.approx(expected)


@pytest.mark.parametrize(("lost", "won"), [(1, 7), (0, 5), (0, 6), (4, 8)])
def test_flipping_single_items_is_mcnemar(lost, won):
    before, after = table(10, lost, won, 10)
    changes = after.values - before.values
    assert st.sign_flip(changes, before.clusters) == pytest.approx(st.mcnemar(before.values, after.values))


def test_sampled_flips_agree_with_mcnemar():
    before, after = table(5, 6, 16, 5)
    changes = after.values - before.values
    sampled = st.sign_flip(changes, before.clusters, draws=20_000)
    assert sampled == pytest.approx(st.mcnemar(before.values, after.values), abs=0.006)


def test_holm_and_benjamini_hochberg():
    p = [0.01, 0.04, 0.03, 0.005, 0.2]
    # By hand from Holm 1979: 0.005·5, 0.01·4, 0.03·3, 0.04·2 → raised to 0.09, 0.2·1.
    assert st.holm(p) == pytest.approx([0.04, 0.09, 0.09, 0.025, 0.2])
    assert st.benjamini_hochberg(p) == pytest.approx(list(stats.false_discovery_control(p)))
    assert st.holm([]) == []
    assert st.benjamini_hochberg([]) == []


@pytest.mark.parametrize(
    ("n", "points"),
    [(1508, 3.6), (516, 6.2), (262, 8.6), (172, 10.6), (159, 11.0), (105, 13.5), (87, 14.8), (84, 15.1), (63, 17.3)],
)
def test_smallest_detectable_share_for_crows_pairs(n, points):
    """The table computed on the categories of CrowS-Pairs against 50 %, to a tenth of a point."""
    assert 100 * st.smallest_detectable_share(n) == pytest.approx(points, abs=0.05)


def test_smallest_detectable_share_has_the_stated_power():
    n, null = 200, 0.5
    p = null + st.smallest_detectable_share(n, null)
    k = np.arange(n + 1)
    rejected = np.abs(k / n - null) > stats.norm.ppf(0.975) * math.sqrt(null * (1 - null) / n)
    assert stats.binom.pmf(k, n, p)[rejected].sum() == pytest.approx(0.8, abs=0.03)


def test_smallest_detectable_mean_has_the_stated_power():
    """Power from the noncentral t distribution, which the sum of two quantiles approximates."""
    for degrees in (9, 19, 99):
        shift = st.smallest_detectable_mean(1.0, degrees)
        critical = stats.t.ppf(0.975, degrees)
        assert 1 - stats.nct.cdf(critical, degrees, shift) == pytest.approx(0.8, abs=0.01)


def test_smallest_detectable_paired_share_has_the_stated_power():
    """Simulated with the exact test, which is cautious: its power lies somewhat below the formula's 0.8."""
    random = np.random.default_rng(3)
    n, discordant = 200, 0.3
    d = st.smallest_detectable_paired_share(discordant, n)
    cells = random.multinomial(n, [(discordant + d) / 2, (discordant - d) / 2, 1 - discordant], size=4000)
    p = [stats.binomtest(int(won), int(won + lost)).pvalue for won, lost, _ in cells[:1000]]
    assert 0.72 < np.mean(np.array(p) < 0.05) < 0.85
    # Where few pairs change, eight changes in one direction are needed: 7.85/n by the formula.
    assert st.smallest_detectable_paired_share(0.0, 100) == pytest.approx(7.85 / 100, rel=0.05)


def test_bootstrap_error_is_the_linearised_one():
    random = np.random.default_rng(4)
    sample = Sample.of(random.normal(size=200), [str(k // 5) for k in range(200)], random.uniform(1, 9, size=200))
    estimate = st.bootstrap_mean(sample, draws=20_000)
    assert estimate.standard_error == pytest.approx(st.linearised_error(sample), rel=0.05)
    assert estimate.value == pytest.approx(np.average(sample.values, weights=sample.weights))


def test_expanded_percentile_is_students_interval_for_normal_draws():
    """With draws normal around the mean, the two quantiles are t quantiles on √(G/(G−1)) times their spread."""
    g, draws = 12, stats.norm.ppf((np.arange(200_000) + 0.5) / 200_000)
    low, high = st.expanded_percentile(draws, g)
    reach = math.sqrt(g / (g - 1)) * stats.t.ppf(0.975, g - 1)
    assert (low, high) == pytest.approx((-reach, reach), abs=2e-3)


def cover(intervals, truth):
    return np.mean([low <= truth <= high for low, high in intervals])


@pytest.mark.parametrize("g", [10, 20, 48])
def test_bootstrap_means_cover(g):
    """95 % intervals on clustered normal items hold the truth 93 to 97 times in 100; the plain ones do not with 10."""
    random = np.random.default_rng(2)
    found, plain = [], []
    for seed in range(1000):
        sample = clustered(random.normal(size=(g, 1)) + random.normal(size=(g, 4)))
        estimate = st.bootstrap_mean(sample, draws=1000, seed=seed)
        found.append((estimate.low, estimate.high))
        if g == 10:
            totals = st.resampled_totals(sample.totals, 1000, seed)
            plain.append(np.quantile(totals[:, 0] / totals[:, 1], [0.025, 0.975]))
    assert 0.93 <= cover(found, 0.0) <= 0.97
    if g == 10:
        assert cover(plain, 0.0) < 0.92


@pytest.mark.parametrize(("g", "m", "p"), [(42, 1, 0.5), (20, 5, 0.5), (48, 8, 0.3)])
def test_shares_cover(g, m, p):
    """Items of a cluster share a tilt drawn from a beta distribution, with correlation 0.3 inside."""
    random = np.random.default_rng(6)
    tilt = random.beta(p * 7 / 3, (1 - p) * 7 / 3, size=(1000, g, 1))
    grids = (random.random((1000, g, m)) < tilt).astype(float)
    estimates = [st.share(clustered(grid)) for grid in grids]
    assert 0.93 <= cover([(e.low, e.high) for e in estimates], p) <= 0.975


@pytest.mark.parametrize(("g", "m", "before", "after"), [(42, 1, 0.5, 0.5), (42, 1, 0.1, 0.9), (20, 5, 0.5, 0.6)])
def test_paired_shares_cover(g, m, before, after):
    random = np.random.default_rng(7)
    found = []
    for seed in range(1000):
        common = random.normal(size=(g, m)) * 0.6 + (random.normal(size=(g, 1)) * 0.5 if m > 1 else 0)
        scale = math.sqrt(0.36 + (0.25 if m > 1 else 0) + 0.64)
        sides = [
            clustered((common + 0.8 * random.normal(size=(g, m)) < scale * stats.norm.ppf(p)).astype(float))
            for p in (before, after)
        ]
        paired = st.paired_shares(*sides, draws=200, seed=seed)
        found.append((paired.low, paired.high))
    assert 0.93 <= cover(found, after - before) <= 0.97


def test_paired_means_cover_and_reject_rightly():
    random = np.random.default_rng(8)
    found, rejected = [], 0
    for seed in range(1000):
        shared = random.normal(size=(24, 1))
        sides = [clustered(shared + 0.5 * random.normal(size=(24, 1)) + random.normal(size=(24, 3))) for _ in range(2)]
        paired = st.paired_difference(*sides, draws=1000, seed=seed)
        found.append((paired.low, paired.high))
        rejected += paired.p_value < 0.05
    assert 0.93 <= cover(found, 0.0) <= 0.97
    assert 0.03 <= rejected / 1000 <= 0.07


@pytest.mark.parametrize(("before", "after"), [(0.0, 0.0), (0.3, 0.3), (0.3, -0.3), (0.05, 0.05)])
def test_distance_from_zero_is_not_said_to_move_when_it_did_not(before, after):
    random = np.random.default_rng(9)
    rejected = 0
    for seed in range(500):
        shared = random.normal(size=(48, 1)) * 0.4
        sides = [clustered(mu + shared + 0.3 * random.normal(size=(48, 4))) for mu in (before, after)]
        rejected += st.paired_difference(*sides, link=np.abs, draws=1000, seed=seed).p_value < 0.05
    assert rejected / 500 <= 0.07
