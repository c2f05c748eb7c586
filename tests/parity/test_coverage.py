"""Do intervals of 95 % hold the truth 93 to 97 times in 100? A thousand draws each, and published values.

Means, shares and differences of clustered items are drawn in test_statistics.py; here are the other quantities that a
report shows: an average over all shares, ratios of totals, perplexities, areas, calibration. Where an interval is wider
than it says, its test says by how much. No seed was chosen: all start at 0.
"""

import numpy as np
import pytest
from scipy import stats

from limpide.audit import functionals
from limpide.audit import statistics as st
from limpide.audit.functionals import FUNCTIONALS
from limpide.audit.statistics import Sample

DRAWS = 1000  # of a simulation. A true 95 % is counted between 93 % and 97 % in 996 of 1,000 simulations of so many
WITHIN = (0.93, 0.97)


def names(n):
    return [str(k) for k in range(n)]


def clustered(grid):
    """grid: [clusters, items] → a Sample."""
    return Sample.of(grid.ravel(), [str(k) for k in range(grid.shape[0]) for _ in range(grid.shape[1])])


def covered(estimates, truth):
    return float(np.mean([e.low <= truth <= e.high for e in estimates]))


def test_a_thousand_draws_tell_95_from_93():
    assert stats.binom.sf(970, DRAWS, 0.95) + stats.binom.cdf(929, DRAWS, 0.95) < 0.004


# ------------------------------------------------------------------------------------------------------- one share


@pytest.mark.parametrize(
    ("k", "n", "low", "high"),
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_wilson_is_the_published_one(k, n, low, high):
    """Newcombe 1998, Statistics in Medicine 17, p. 857, table I, method 3."""
    assert st.wilson(k, n) == pytest.approx((low, high), abs=5e-5)


@pytest.mark.parametrize("n", [5, 10, 20, 42, 100, 500])
def test_wilson_covers_on_average_over_all_shares(n):
    """Exact, without any draw: Σ P(k) over the k whose interval holds p, averaged over p from 0 to 1."""
    p, k = (np.arange(1000) + 0.5) / 1000, np.arange(n + 1)
    ends = np.array([st.wilson(int(one), n) for one in k])
    holds = (ends[:, 0] <= p[:, None]) & (p[:, None] <= ends[:, 1])  # [shares, k]
    coverage = (stats.binom.pmf(k, n, p[:, None]) * holds).sum(axis=1)
    assert 0.945 <= coverage.mean() <= 0.965
    assert coverage.min() > 0.83  # for one share alone it can be less, near 0 and 1: Brown, Cai and DasGupta 2001


def test_shares_of_any_size_cover():
    random = np.random.default_rng(0)
    p = random.random(DRAWS)
    found = [st.share(Sample.of((random.random(42) < one).astype(float), names(42))) for one in p]
    assert WITHIN[0] <= np.mean([e.low <= one <= e.high for e, one in zip(found, p, strict=True)]) <= WITHIN[1]


@pytest.mark.parametrize(
    ("clusters", "items", "p", "correlation"),
    [
        (10, 5, 0.5, 0.3),
        (20, 5, 0.9, 0.3),
        (48, 8, 0.3, 0.3),
        (48, 8, 0.5, 0.05),
        (30, 4, 0.95, 0.2),
        (48, 8, 0.5, 0.9),
    ],
)
def test_clustered_shares_cover(clusters, items, p, correlation):
    """Items of a cluster share a tilt drawn from a beta distribution, from nearly independent to nearly equal."""
    random, size = np.random.default_rng(0), (1 - correlation) / correlation
    tilt = random.beta(p * size, (1 - p) * size, size=(DRAWS, clusters, 1))
    grids = (random.random((DRAWS, clusters, items)) < tilt).astype(float)
    assert WITHIN[0] <= covered([st.share(clustered(grid)) for grid in grids], p) <= WITHIN[1]


# ------------------------------------------------------------------------------------------- means, totals, perplexity


@pytest.mark.parametrize(("clusters", "spread"), [(12, 0.3), (24, 0.5)])
def test_ratios_of_totals_and_perplexities_cover(clusters, spread):
    """Nats over tokens, texts of 10 to 90 tokens that differ in difficulty; and the exponential of that ratio.

    A link that rises moves both ends with the value, so one coverage is the other's.
    """
    random, mean, perplexity = np.random.default_rng(0), [], []
    for seed in range(DRAWS):
        weights, values = random.integers(10, 90, size=clusters), 3 + spread * random.normal(size=clusters)
        sample = Sample.of(values, names(clusters), weights)
        mean.append(st.bootstrap_mean(sample, draws=1000, seed=seed))
        perplexity.append(st.bootstrap_mean(sample, link=np.exp, draws=1000, seed=seed))
    assert WITHIN[0] <= covered(mean, 3) <= WITHIN[1]
    assert abs(covered(perplexity, np.exp(3)) - covered(mean, 3)) <= 0.002  # quantiles lie between draws


def test_differences_of_perplexities_cover():
    random, found = np.random.default_rng(0), []
    for seed in range(DRAWS):
        weights, hard = random.integers(10, 90, size=48), 3 + 0.5 * random.normal(size=48)
        before, after = (
            Sample.of(hard + moved + 0.1 * random.normal(size=48), names(48), weights) for moved in (0, 0.1)
        )
        found.append(st.paired_difference(before, after, link=np.exp, draws=300, seed=seed))
    assert WITHIN[0] <= covered(found, np.exp(3.1) - np.exp(3)) <= WITHIN[1]


def test_means_of_scores_between_0_and_1_cover():
    """Six answers in ten are right, the others share some words: what token F1 looks like, in topics of three."""
    random, found = np.random.default_rng(0), []
    for seed in range(DRAWS):
        same = random.random((30, 1)) < 0.6
        right = np.where(random.random((30, 3)) < 0.7, same, random.random((30, 3)) < 0.6)
        found.append(
            st.bootstrap_mean(clustered(np.where(right, 1.0, random.beta(3, 7, (30, 3)))), draws=300, seed=seed)
        )
    assert WITHIN[0] <= covered(found, 0.6 + 0.4 * 0.3) <= WITHIN[1]


# --------------------------------------------------------------------------------------------------------------- areas


def test_auc_is_the_rank_sum_of_mann_and_whitney():
    random = np.random.default_rng(0)
    score, label = np.round(random.normal(size=300), 1), (random.random(300) < 0.4).astype(float)
    rank_sum = stats.mannwhitneyu(score[label == 1], score[label == 0]).statistic
    pairs = label.sum() * (1 - label).sum()
    assert FUNCTIONALS["auc"].value(np.stack([score, label])) == pytest.approx(rank_sum / pairs, abs=1e-12)


def areas(n, shift, share=0.5, topic=0.0, topics=None, draws=DRAWS):
    """Estimates of `draws` samples, the score of label 1 higher by `shift`; and the true area."""
    random, found = np.random.default_rng(0), []
    cluster = np.arange(n) % (topics or n)
    for seed in range(draws):
        label = (random.random(n) < share).astype(float)
        score = random.normal(size=n) + shift * label + topic * random.normal(size=topics or n)[cluster]
        columns = np.stack([score, label])
        found.append(functionals.estimate("auc", columns, [str(c) for c in cluster], draws=200, seed=seed))
    return found, float(stats.norm.cdf(shift / np.sqrt(2 * (1 + topic**2))))


@pytest.mark.parametrize(("shift", "share"), [(0.0, 0.5), (1.0, 0.3)])
def test_areas_cover(shift, share):
    found, true = areas(80, shift, share)
    assert WITHIN[0] <= covered(found, true) <= WITHIN[1] + 0.01  # joined with Newcombe's interval: a little wide


def test_areas_that_are_nearly_1_are_covered_with_room():
    found, true = areas(60, 2.0, draws=400)
    assert WITHIN[0] <= covered(found, true) <= 0.995


def test_areas_within_topics_are_covered_with_room():
    """Both labels in each topic, and topics that differ: the area varies less than Newcombe's interval supposes."""
    found, true = areas(60, 0.5, topic=1.0, topics=20, draws=400)
    assert covered(found, true) >= 0.97


# --------------------------------------------------------------------------------------------------------- calibration


def stated(random, n, excess):
    """Confidences from 0.25 to 1, and answers that are right less often than stated by `excess`."""
    confidence = 0.25 + 0.75 * random.beta(4, 2, size=n)
    return np.stack([confidence, (random.random(n) < confidence - excess).astype(float)])


@pytest.mark.parametrize(
    ("name", "n", "excess", "draws"),
    [
        ("ece_equal_width", 105, 0.0, 200),
        ("ece_equal_width", 105, 0.1, 200),
        ("ece_equal_width", 420, 0.1, 100),
        ("ece_equal_mass", 105, 0.1, 100),
    ],
)
def test_the_interval_of_a_calibration_error_covers_the_true_one_though_its_value_is_biased(name, n, excess, draws):
    """The value is the plain sum over bins, which noise lifts: with 105 calibrated answers it is 0.08 on average.

    The interval is of the model's own error, `excess` here, not of that expected value: its low end is moved down by as
    much as noise lifts, and to 0 where a calibrated model could have given the value. So it holds the true error 0.93
    to 0.99 of the time, and being wide enough for both, the expected value too.
    """
    random, found = np.random.default_rng(0), []
    for seed in range(DRAWS):
        found.append(functionals.estimate(name, stated(random, n, excess), names(n), draws=draws, seed=seed))
    expected = np.mean([e.value for e in found])
    assert expected > excess + 0.003  # biased upwards
    assert 0.93 <= covered(found, excess) <= 0.99
    assert covered(found, expected) >= 0.93


@pytest.mark.parametrize("name", ["aurc", "selective_accuracy_50"])
def test_what_follows_from_the_order_of_confidences_covers(name):
    true = np.mean([FUNCTIONALS[name].value(stated(np.random.default_rng(k), 20_000, 0.1)) for k in range(10)])
    random, found = np.random.default_rng(0), []
    for seed in range(DRAWS):
        found.append(functionals.estimate(name, stated(random, 210, 0.1), names(210), draws=100, seed=seed))
    assert WITHIN[0] <= covered(found, true) <= WITHIN[1]


# ----------------------------------------------------------------------------------------------------------- two models


def test_differences_of_areas_cover_and_reject_rightly():
    random, found = np.random.default_rng(0), []
    label = (np.arange(100) % 2).astype(float)
    for seed in range(DRAWS):
        common = random.normal(size=100) + 0.5 * label
        sides = [np.stack([common + random.normal(size=100), label]) for _ in range(2)]
        found.append(functionals.paired("auc", *sides, names(100), draws=200, seed=seed))
    assert WITHIN[0] <= covered(found, 0) <= WITHIN[1]
    assert 0.03 <= np.mean([change.p_value < 0.05 for change in found]) <= 0.07


@pytest.mark.parametrize("items", [1, 4])
def test_sign_flips_are_scipys_permutation_test(items):
    """Exact, of the sums of eleven clusters: their signs in every one of 2,048 ways."""
    random = np.random.default_rng(0)
    changes = random.integers(-1, 2, size=(11, items)).astype(float) + (items > 1) * random.normal(size=(11, items))
    ours = st.sign_flip(changes.ravel(), [str(k) for k in range(11) for _ in range(items)])
    theirs = stats.permutation_test(
        (changes.sum(axis=1),), np.sum, permutation_type="samples", n_resamples=np.inf, alternative="two-sided"
    )
    assert ours == pytest.approx(theirs.pvalue)
