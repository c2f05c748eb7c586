import numpy as np
import pytest
from pydantic import ValidationError
from scipy import stats

from limpide.audit import functionals
from limpide.audit.compare import paired_change
from limpide.audit.functionals import FUNCTIONALS, UndefinedError, bin_of, estimate, paired
from limpide.audit.items import Frame, Item, Spec, summarise
from limpide.audit.joined import auc_interval

FRAME = Frame("base", 3, "model", "data")


def naive_auc(score, label):
    pairs = [(a > b) + (a == b) / 2 for a, x in zip(score, label, strict=True) if x for b, y in zip(score, label, strict=True) if not y]  # fmt: skip # noqa: E501
    return np.mean(pairs) if pairs else np.nan


def naive_auc_within(score, label, stratum):
    rows = list(zip(score, label, stratum, strict=True))
    pairs = [(a > b) + (a == b) / 2 for a, x, s in rows for b, y, t in rows if x and not y and s == t]
    return np.mean(pairs)


def naive_auc_gain_within(score, baseline, label, stratum):
    return naive_auc_within(score, label, stratum) - naive_auc_within(baseline, label, stratum)


def naive_tpr(score, label):
    best = 0.0
    for threshold in set(score):
        above = [y for s, y in zip(score, label, strict=True) if s >= threshold]
        alarms = sum(1 - y for y in above) / sum(1 - y for y in label)
        best = max(best, sum(above) / sum(label)) if alarms <= 0.01 else best
    return best


def naive_ece(confidence, correct):
    total = 0.0
    for b in range(10):
        inside = [(c, y) for c, y in zip(confidence, correct, strict=True) if b / 10 < c <= (b + 1) / 10 or c == b == 0]
        total += abs(sum(y - c for c, y in inside))
    return total / len(confidence)


def naive_ece_mass(confidence, correct):
    """Without ties, for a number of items that ten divides."""
    ranked = sorted(zip(confidence, correct, strict=True))
    size = len(ranked) // 10
    bins = [ranked[k : k + size] for k in range(0, len(ranked), size)]
    return sum(abs(sum(y - c for c, y in b)) for b in bins) / len(ranked)


def naive_aurc(confidence, correct):
    """Averaged over shuffles that decide between equal confidences."""
    random = np.random.default_rng(0)
    areas = []
    for _ in range(3000):
        order = np.lexsort([random.random(len(confidence)), -np.asarray(confidence)])
        wrong = 1 - np.asarray(correct)[order]
        areas.append((wrong.cumsum() / np.arange(1, len(wrong) + 1)).mean())
    return np.mean(areas)


def naive_half(confidence, correct):
    order = np.argsort(-np.asarray(confidence), kind="stable")[: len(confidence) // 2]
    return np.asarray(correct)[order].mean()


NAIVE = {
    "auc": naive_auc,
    "auc_within": naive_auc_within,
    "auc_gain_within": naive_auc_gain_within,
    "tpr_at_1_percent_fpr": naive_tpr,
    "ece_equal_width": naive_ece,
    "ece_equal_mass": naive_ece_mass,
    "aurc": naive_aurc,
    "selective_accuracy_50": naive_half,
}


def random_columns(name, n, *, ties, seed=0):
    random = np.random.default_rng(seed)
    label = (random.random(n) < 0.4).astype(float)
    names = FUNCTIONALS[name].columns
    strata = [np.arange(n) % 3] if "stratum" in names else []
    scores = [1 / (1 + np.exp(-random.normal(size=n) - label)) for _ in names[1 + len(strata) :]]
    return np.stack([*(np.round(s, 1) if ties else s for s in scores), label, *strata])


@pytest.mark.parametrize("name", NAIVE)
def test_each_equals_its_naive_version(name):
    ties = name not in ("ece_equal_mass", "selective_accuracy_50")  # whose naive versions cannot divide a tie
    columns = random_columns(name, 40, ties=ties)
    tolerance = 5e-3 if name == "aurc" else 1e-12  # a mean of shuffles
    assert FUNCTIONALS[name].value(columns) == pytest.approx(NAIVE[name](*columns.tolist()), abs=tolerance)


@pytest.mark.parametrize("name", NAIVE)
def test_a_weight_is_a_number_of_copies_and_order_says_nothing(name):
    columns = random_columns(name, 30, ties=True)
    times = np.random.default_rng(1).integers(0, 4, size=(5, 30))
    together = FUNCTIONALS[name](columns, times.astype(float))
    copied = [FUNCTIONALS[name].value(np.repeat(columns, row, axis=1)) for row in times]
    np.testing.assert_allclose(together, copied, atol=1e-12)
    shuffled = np.random.default_rng(2).permutation(30)
    assert FUNCTIONALS[name].value(columns[:, shuffled]) == pytest.approx(FUNCTIONALS[name].value(columns), abs=1e-12)


def test_ece_by_hand():
    """Bins (0.9, 1]: 0.95 right, 0.95 wrong, so |0.5 − 0.95|; (0.7, 0.8]: 0.8 right; (0.4, 0.5]: 0.45 wrong."""
    columns = np.array([[0.95, 0.95, 0.8, 0.45], [1, 0, 1, 0]])
    assert FUNCTIONALS["ece_equal_width"].value(columns) == pytest.approx((2 * 0.45 + 0.2 + 0.45) / 4)
    # Ten bins of 0.4 items: the third holds a fifth of the two least confident, −0.09 and +0.04, which cancel in part.
    assert FUNCTIONALS["ece_equal_mass"].value(columns) == pytest.approx((0.36 + 0.05 + 0.16 + 0.9) / 4)
    crossing = np.array([[0.2, 0.9], [1, 0]])  # a bin never mixes the two, so nothing cancels
    assert FUNCTIONALS["ece_equal_mass"].value(crossing) == pytest.approx((0.8 + 0.9) / 2)


def test_equal_mass_divides_an_item_at_a_border():
    """15 items, so 1.5 a bin: the second bin holds half of item 2 and item 3 whole."""
    confidence = np.arange(1, 16) / 20
    correct = np.array([1, 0, 1, 1, 0, 0, 1, 0, 1, 1, 1, 0, 1, 0, 1.0])
    gap = correct - confidence
    pairs = [(gap[k] + gap[k + 1] / 2, gap[k + 1] / 2 + gap[k + 2]) for k in range(0, 15, 3)]
    expected = sum(abs(a) + abs(b) for a, b in pairs) / 15
    assert FUNCTIONALS["ece_equal_mass"].value(np.stack([confidence, correct])) == pytest.approx(expected)


def test_bins_are_closed_on_the_right():
    assert bin_of(np.array([0.0, 0.1, 0.1000001, 0.3, 0.7, 0.9, 1.0])).tolist() == [0, 0, 1, 2, 6, 8, 9]


def test_aurc_by_hand():
    """Most confident first: right, wrong, right. Risks 0, 1/2, 1/3."""
    columns = np.array([[0.9, 0.8, 0.7], [1, 0, 1]])
    assert FUNCTIONALS["aurc"].value(columns) == pytest.approx((0 + 1 / 2 + 1 / 3) / 3)
    equal = np.array([[0.5, 0.5, 0.5, 0.4], [1, 0, 1, 0]])  # any order of the three has an expected risk of 1/3
    assert FUNCTIONALS["aurc"].value(equal) == pytest.approx((1 / 3 * 3 + 1 / 2) / 4)


def test_a_calibrated_model_is_near_zero_and_its_interval_reaches_zero():
    random = np.random.default_rng(4)
    confidence = random.uniform(0.25, 1, 3000)
    correct = (random.random(3000) < confidence).astype(float)
    names = [str(k) for k in range(3000)]
    for name in ("ece_equal_width", "ece_equal_mass"):
        found = estimate(name, np.stack([confidence, correct]), names, draws=1000)
        assert found.value < 0.03
        assert found.low == 0
        over = estimate(name, np.stack([np.sqrt(confidence), correct]), names, draws=1000)
        assert over.low > 0.08


def test_separation_is_an_auc_of_one_whose_interval_has_width():
    columns = np.array([[*range(40)], [0] * 20 + [1] * 20], dtype=float)
    found = estimate("auc", columns, [str(k) for k in range(40)])
    assert (found.value, found.high) == (1, 1)
    assert 0.85 < found.low < 0.95  # by hand: (1 − θ)² = z²·θ(1 − θ)(1 + 19(1 − θ)/(2 − θ) + 19θ/(1 + θ))/400
    assert found.low == pytest.approx(auc_interval(1, 20, 20)[0])
    mirrored = estimate("auc", np.stack([-columns[0], columns[1]]), [str(k) for k in range(40)])
    assert (mirrored.low, mirrored.value) == (0, 0)
    assert 0 < mirrored.high < 0.15


def test_the_auc_interval_solves_its_equation():
    low, high = auc_interval(0.8, 30, 50)
    z = stats.norm.ppf(0.975)
    for theta in (low, high):
        variance = theta * (1 - theta) * (1 + 39 * (1 - theta) / (2 - theta) + 39 * theta / (1 + theta)) / 1500
        assert abs(theta - 0.8) == pytest.approx(z * np.sqrt(variance))


@pytest.mark.parametrize(
    ("columns", "why"),
    [
        ([[0.1, 0.2, 0.3] * 8, [1.0] * 24], r"same label \(1\)"),
        ([[0.5] * 24, [0.0, 1.0] * 12], r"same score \(0.5\)"),
        ([[0.1 * k for k in range(24)], [1.0] + [0.0] * 23], "resamples hold only one"),
    ],
)
def test_what_has_no_value_says_why(columns, why):
    with pytest.raises(UndefinedError, match=why):
        estimate("auc", np.array(columns), [str(k) for k in range(24)])


def test_a_spread_of_nothing_is_no_interval():
    columns = np.array([[0.9, 0.1] * 15, [0.8, 0.2] * 15, [1.0, 0.0] * 15, [0.0] * 30])
    with pytest.raises(UndefinedError, match="same value"):
        estimate("auc_gain_within", columns, [str(k) for k in range(30)])


def test_a_score_that_only_tells_languages_apart_tells_nothing_within_them():
    """30 questions in a language where half is wrong, 30 in one where all is; answers are long in the second."""
    wrong = np.array([0.0, 1.0] * 15 + [1.0] * 30)
    language = np.repeat([0.0, 1.0], 30)
    random = np.random.default_rng(6)
    length = random.permutation(np.tile(np.arange(15.0), 2))
    columns = np.stack([np.concatenate([length, random.normal(50, 1, 30)]), wrong, language])
    names = [str(k) for k in range(60)]
    assert estimate("auc", columns[:2], names).low > 0.65
    found = estimate("auc_within", columns, names)
    assert found.value == pytest.approx(naive_auc(length, wrong[:30]))
    assert found.low < 0.5 < found.high
    split = np.stack([wrong, wrong, language])
    perfect = estimate("auc_within", split, names)
    assert (perfect.value, perfect.low) == (1, pytest.approx(auc_interval(1, 15, 15)[0]))  # the 30 others count nothing
    with pytest.raises(UndefinedError, match="none of them can be compared"):
        estimate("auc_within", np.stack([length, np.repeat([0.0, 1.0], 15), np.repeat([0.0, 1.0], 15)]), names[:30])


def test_clusters_are_drawn_whole():
    """Twenty copies of each item in one cluster say no more than the item."""
    columns = random_columns("auc", 30, ties=False)
    alone = estimate("auc", columns, [str(k) for k in range(30)])
    copied = estimate("auc", np.repeat(columns, 20, axis=1), [str(k) for k in range(30) for _ in range(20)])
    assert (copied.low, copied.high, copied.clusters, copied.n) == (
        pytest.approx(alone.low),
        pytest.approx(alone.high),
        30,
        600,
    )


def test_blocks_do_not_change_the_draws(monkeypatch):
    columns, names = random_columns("aurc", 50, ties=True), [str(k) for k in range(50)]
    whole = estimate("aurc", columns, names)
    monkeypatch.setattr(functionals, "CELLS", 333)
    assert estimate("aurc", columns, names) == whole
    assert estimate("aurc", columns, names, seed=1) != whole


def test_coverage_of_the_auc_interval():
    """500 samples of 80 items, true AUC 0.76. Its 95 % interval covers 0.97 to 0.98 of the time: a little wide."""
    random = np.random.default_rng(7)
    true, hits = stats.norm.cdf(1 / np.sqrt(2)), 0
    for seed in range(500):
        label = (random.random(80) < 0.3).astype(float)
        found = estimate("auc", np.stack([random.normal(size=80) + label, label]), [*map(str, range(80))], draws=300, seed=seed)  # fmt: skip # noqa: E501
        hits += found.low <= true <= found.high
    assert 0.94 <= hits / 500 <= 0.99


# ----------------------------------------------------------------------------------------------------- before and after


def test_a_paired_difference_is_sharper_than_two_intervals():
    random = np.random.default_rng(9)
    label = (random.random(200) < 0.5).astype(float)
    score = random.normal(size=200) + label
    better = score + 0.4 * label
    names = [str(k) for k in range(200)]
    found = paired("auc", np.stack([score, label]), np.stack([better, label]), names)
    assert 0 < found.low < found.difference < found.high < 0.2
    assert found.difference == pytest.approx(found.after - found.before)
    assert found.p_value < 0.05
    assert found.high - found.low < estimate("auc", np.stack([score, label]), names).high - found.before
    same = paired("auc", np.stack([score, label]), np.stack([score, label]), names)
    assert (same.difference, same.p_value, same.smallest_detectable) == (0, 1, None)


def test_pairs_need_the_same_items():
    with pytest.raises(ValueError, match="same items"):
        paired("auc", np.ones((2, 3)), np.ones((2, 4)), ["a", "b", "c"])


def spec(**changes):
    fields = {
        "name": "s.auc",
        "metric": "x",
        "kind": "statistic",
        "statistic": "auc",
        "columns": ("x", "y"),
        "unit": "AUC",
        "better": "higher",
        "method": "s.auc@1()",
    }
    return Spec(**(fields | changes))


def items(columns):
    return [Item(f"i{k}", f"c{k}", {}, {"x": x, "y": y}) for k, (x, y) in enumerate(columns.T.tolist())]


def test_a_statistic_becomes_a_measure_and_a_change():
    columns = random_columns("auc", 60, ties=False)
    rows = [*items(columns), Item("other", "other", {}, {"x": 1.0})]  # an item without both columns does not count
    (measure,) = summarise(rows, [spec()], FRAME)
    assert measure.value == pytest.approx(naive_auc(*columns))
    assert (measure.n, measure.clusters, measure.state) == (60, 60, "measured")
    assert "bootstrap of clusters" in measure.interval
    sharper = np.stack([columns[0] + columns[1], columns[1]])
    change = paired_change(spec(), {}, items(columns), items(sharper))
    assert change.verdict == "better"
    assert change.after == 1
    assert change.sentence.startswith("s.auc: better, 0.")
    apart = paired_change(spec(better="nearer zero"), {}, items(columns), items(sharper))
    assert apart.verdict == "worse"


def test_without_both_labels_the_evidence_is_insufficient():
    columns = np.stack([np.linspace(0, 1, 30), np.ones(30)])
    (measure,) = summarise(items(columns), [spec()], FRAME)
    assert (measure.state, measure.value) == ("insufficient evidence", None)
    assert measure.note == "30 items, and every item has the same label (1)."
    change = paired_change(spec(), {}, items(columns), items(columns))
    assert change.verdict == "insufficient evidence"
    assert "same label (1)" in change.sentence
    (few,) = summarise(items(random_columns("auc", 9, ties=False)), [spec()], FRAME)
    assert "at least 10" in few.note


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"statistic": "auk"}, "no statistic is called 'auk'"),
        ({"columns": ("x",)}, "takes the columns"),
        ({"columns": ("y", "x")}, "`metric` first"),
        ({"weight": "x"}, "neither weight nor link"),
        ({"link": "exp"}, "neither weight nor link"),
        ({"kind": "mean"}, "only a spec of kind 'statistic'"),
    ],
)
def test_a_spec_that_makes_no_sense_is_refused(changes, why):
    with pytest.raises(ValidationError, match=why):
        spec(**changes)
