"""What must hold of every interval and test, whatever the items."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as s

from limpide.audit import statistics as st
from limpide.audit.statistics import Sample

quick = settings(max_examples=40, deadline=None)
finite = s.floats(-50, 50)
p_values = s.lists(s.floats(0, 1), min_size=1, max_size=20)


@s.composite
def samples(draw, values=finite, least=10):
    """Items in at least `least` clusters of one to three."""
    sizes = draw(s.lists(s.integers(1, 3), min_size=least, max_size=least + 6))
    clusters = [f"c{k}" for k, size in enumerate(sizes) for _ in range(size)]
    numbers = draw(s.lists(values, min_size=len(clusters), max_size=len(clusters)))
    return Sample.of(numbers, clusters)


bits = s.sampled_from([0.0, 1.0])


@quick
@given(s.integers(1, 500).flatmap(lambda n: s.tuples(s.integers(0, n), s.just(n))))
def test_wilson_holds_its_share_and_mirrors(case):
    k, n = case
    low, high = st.wilson(k, n)
    assert 0 <= low <= k / n <= high <= 1
    assert low < high
    assert st.wilson(n - k, n) == pytest.approx((1 - high, 1 - low), abs=1e-12)
    wide = st.wilson(k, n, 0.99)
    assert wide[0] <= low
    assert high <= wide[1]


@quick
@given(samples())
def test_bootstrap_is_deterministic_and_moves_with_its_items(sample):
    first = st.bootstrap_mean(sample, draws=300, seed=3)
    assert st.bootstrap_mean(sample, draws=300, seed=3) == first
    assert first.low <= first.high
    moved = st.bootstrap_mean(Sample.of(2 * sample.values + 7, sample.clusters), draws=300, seed=3)
    assert (moved.low, moved.high) == pytest.approx((2 * first.low + 7, 2 * first.high + 7), abs=1e-6)


@quick
@given(samples())
def test_names_of_clusters_do_not_matter(sample):
    renamed = Sample.of(sample.values, [f"other {name}" for name in sample.clusters])
    assert st.bootstrap_mean(renamed, draws=200) == st.bootstrap_mean(sample, draws=200)


@quick
@given(samples(bits, least=5))
def test_a_share_lies_in_its_interval(sample):
    found = st.share(sample)
    assert 0 <= found.low <= found.value <= found.high <= 1
    assert found.low < found.high  # never certainty from a few items
    assert 1 <= st.effective_items(sample) <= len(sample.values)


@quick
@given(samples(bits, least=6), s.randoms(use_true_random=False))
def test_swapping_before_and_after_turns_the_signs(before, random):
    after = Sample.of([random.choice([0.0, 1.0]) for _ in before.values], before.clusters)
    there, back = st.paired_shares(before, after, draws=200), st.paired_shares(after, before, draws=200)
    assert there.difference == pytest.approx(-back.difference)
    assert (there.low, there.high) == pytest.approx((-back.high, -back.low), abs=1e-9)
    assert there.p_value == pytest.approx(back.p_value, abs=1e-9)
    assert there.low - 1e-9 <= there.difference <= there.high + 1e-9


@quick
@given(samples())
def test_no_change_is_no_change(sample):
    same = st.paired_difference(sample, sample, draws=200)
    assert (same.difference, same.low, same.high, same.p_value, same.smallest_detectable) == (0, 0, 0, 1, None)


@quick
@given(samples(), s.floats(-3, 3))
def test_p_and_interval_agree(before, shift):
    """p < 0.05 where the 95 % interval leaves 0 out, away from the grid of the draws."""
    after = Sample.of(before.values + shift + np.sin(np.arange(len(before.values))), before.clusters)
    found = st.paired_difference(before, after, draws=1000)
    if found.p_value < 0.04:
        assert found.low > 0 or found.high < 0
    if found.p_value > 0.07:
        assert found.low <= 0 <= found.high


@quick
@given(p_values)
def test_adjusted_p_values_keep_order_and_never_shrink(p):
    for adjust in (st.holm, st.benjamini_hochberg):
        adjusted = adjust(p)
        assert all(a >= b - 1e-12 for a, b in zip(adjusted, p, strict=True))
        assert all(0 <= a <= 1 for a in adjusted)
        order = sorted(range(len(p)), key=p.__getitem__)
        assert all(adjusted[i] <= adjusted[j] + 1e-12 for i, j in pairwise(order))
    assert all(h >= b - 1e-12 for h, b in zip(st.holm(p), st.benjamini_hochberg(p), strict=True))


@quick
@given(s.integers(6, 5000), s.floats(0, 1))
def test_more_items_detect_smaller_differences(n, discordant):
    least = st.smallest_detectable_paired_share(discordant, n)
    assert 0 < least <= 1
    assert st.smallest_detectable_paired_share(discordant, 2 * n) <= least + 1e-9
    assert st.smallest_detectable_share(2 * n) <= st.smallest_detectable_share(n) + 1e-9


@pytest.mark.parametrize(
    ("values", "clusters", "weights", "word"),
    [
        ([], [], None, "one length"),
        ([1.0], ["a", "b"], None, "one length"),
        ([1.0], ["a"], [1.0, 2.0], "one length"),
        ([float("nan")], ["a"], None, "finite"),
        ([1.0], ["a"], [0.0], "above zero"),
    ],
)
def test_wrong_samples_are_refused(values, clusters, weights, word):
    with pytest.raises(ValueError, match=word):
        Sample.of(values, clusters, weights)


def test_wrong_arguments_are_refused():
    with pytest.raises(ValueError, match="successes"):
        st.wilson(3, 2)
    with pytest.raises(ValueError, match="0 or 1"):
        st.share(Sample.of([0.5], ["a"]))
    with pytest.raises(ValueError, match="two clusters"):
        st.bootstrap_mean(Sample.of([1.0, 2.0], ["a", "a"]))
    with pytest.raises(ValueError, match="same items"):
        st.paired_difference(Sample.of([1.0], ["a"]), Sample.of([1.0], ["b"]))
