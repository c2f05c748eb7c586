"""How often something is found where nothing is: at most 5 % of the time, over five hundred draws of items.

Items are drawn, not asked of a model, and go the real way: `summarise` for an interval, `paired_change` for a verdict.
A rate far below 5 % would pass as well, and would mean that little is ever found, so each must also reach 1 %, save
where the test says why it does not.
"""

import numpy as np
import pytest
from scipy import stats

from limpide.audit import bias, domain, memorisation, retention
from limpide.audit.compare import paired_change
from limpide.audit.items import Frame, Item, summarise
from limpide.audit.membership import membership_specs

SEEDS = 500
# 5 % of them are 25; chance makes them more than 38 in one simulation of two hundred.
MOST = int(stats.binom.ppf(0.995, SEEDS, 0.05))
LEAST = SEEDS // 100
TEMPLATES, PAIRS = 24, 4
GAP, _, LARGE = (spec.model_copy(update={"slices": ({},)}) for spec in bias.specs(bias.BiasSettings(), ""))
ACCURACY = domain.accuracy_spec().model_copy(update={"slices": ({},)})
LOSS = retention.specs(retention.RetentionSettings(), "")[0]
AUC = membership_specs(100, 5, ["held_out"])[0]


def items(grid, name, **more):
    """grid: [clusters, items]. more: other metrics, of the same shape."""
    columns = {name: grid, **more}
    return [
        Item(f"{c}/{k}", f"c{c}", {}, {key: float(column[c, k]) for key, column in columns.items()})
        for c, k in np.ndindex(grid.shape)
    ]


def alarms(spec, make, outside, seeds=SEEDS):
    """In how many draws the interval leaves out `outside`, the truth."""
    count = 0
    for seed in range(seeds):
        (measure,) = summarise(make(np.random.default_rng(seed)), [spec], Frame("base", seed, None, "d"))
        count += not measure.low <= outside <= measure.high
    return count


def verdicts(spec, make, seeds=SEEDS):
    """(better, worse): in how many draws a change is claimed."""
    counts = {"better": 0, "worse": 0, "no detectable change": 0}
    for seed in range(seeds):
        counts[paired_change(spec, {}, *make(np.random.default_rng(seed)), seed=seed, draws=1000).verdict] += 1
    return counts["better"], counts["worse"]


# ----------------------------------------------------------------------------------------------------------- one model


def gaps(random, around=0.0, heavy=False):
    """Templates differ, and pairs inside a template; both around `around`. heavy: some templates differ much."""
    own = random.standard_t(4, (TEMPLATES, 1)) if heavy else random.normal(size=(TEMPLATES, 1))
    return around + 0.3 * own + 0.4 * random.normal(size=(TEMPLATES, PAIRS))


@pytest.mark.parametrize("heavy", [False, True])
def test_no_bias_is_found_in_a_model_without_one(heavy):
    assert LEAST <= alarms(GAP, lambda random: items(gaps(random, heavy=heavy), "gap"), 0) <= MOST


def rows(random, topics, a_topic, differ):
    """Rows of which every second one was trained on; none is likelier for it. differ: how much topics do, in nats."""
    score = differ * random.normal(size=(topics, 1)) + random.normal(size=(topics, a_topic))
    member = (np.arange(topics * a_topic) % 2).reshape(topics, a_topic)
    return items(score, "min_k", member=member)


def test_no_member_is_told_from_rows_like_it():
    assert LEAST <= alarms(AUC, lambda random: rows(random, 50, 1, 0), 0.5) <= MOST


def test_topics_that_differ_raise_no_more_alarms():
    """With both sorts in each topic the interval is wider than it need be: hardly any alarm, so 1 % is not reached."""
    assert alarms(AUC, lambda random: rows(random, 20, 2, 1), 0.5, 100) <= 11


def test_a_canary_that_was_not_planted_is_first_by_chance_alone():
    """Of 64 phrases one must be first: in 8 of 500 draws, and in 2 with the 256 phrases of a report."""
    first = 0
    for seed in range(SEEDS):
        rank, _ = memorisation.canary_measures(np.random.default_rng(seed).normal(size=64), Frame("b", seed, None, "d"))
        first += rank.value == 1
    assert 1 <= first <= int(stats.binom.ppf(0.995, SEEDS, 1 / 64))


# ---------------------------------------------------------------------------------------------------------- two models


def two_gaps(around):
    def make(random):
        common = gaps(random, around)
        return [items(common + 0.2 * random.normal(size=common.shape), "gap") for _ in range(2)]

    return make


def two_shares(topics, wordings, right, name="normalised"):
    """Topics differ in difficulty; an answer is drawn anew on each side for half of the questions."""

    def make(random):
        ease = random.beta(3 * right, 3 * (1 - right), size=(topics, 1))
        kept = random.random((topics, wordings)) < ease
        anew = [(random.random(kept.shape) < 0.5, random.random(kept.shape) < ease) for _ in range(2)]
        return [items(np.where(drawn, other, kept), name) for drawn, other in anew]

    return make


def two_losses(random):
    """Texts of 10 to 90 tokens; each side reads each text a little better or worse."""
    tokens = random.integers(10, 90, size=(48, 1))
    hard = 3 + 0.5 * random.normal(size=tokens.shape)
    return [items(tokens * (hard + 0.1 * random.normal(size=tokens.shape)), "loss", tokens=tokens) for _ in range(2)]


def two_areas(random):
    member = (np.arange(60) % 2)[:, None]
    common = random.normal(size=member.shape) + 0.5 * member
    return [items(common + 0.7 * random.normal(size=member.shape), "min_k", member=member) for _ in range(2)]


@pytest.mark.parametrize(
    ("spec", "make"),
    [
        (GAP, two_gaps(0.5)),
        (LARGE, two_shares(TEMPLATES, PAIRS, 0.3, "large")),
        (ACCURACY, two_shares(24, 4, 0.5)),
        (ACCURACY, two_shares(120, 1, 0.6)),
        (LOSS, two_losses),
    ],
    ids=["gap", "share of large gaps", "accuracy by topic", "accuracy", "loss"],
)
def test_nothing_changed_and_nothing_is_claimed(spec, make):
    better, worse = verdicts(spec, make)
    assert LEAST <= better + worse <= MOST
    assert max(better, worse) <= stats.binom.ppf(0.999, SEEDS, 0.025)  # neither good news nor bad is favoured


def test_areas_that_did_not_change():
    assert LEAST <= sum(verdicts(AUC, two_areas)) <= MOST


@pytest.mark.parametrize("around", [0.0, 0.1])
def test_where_both_models_have_hardly_a_bias_the_comparison_is_more_cautious_still(around):
    """Distances from zero are drawn too large near zero, so 1 % is not reached."""
    assert sum(verdicts(GAP, two_gaps(around))) <= MOST
