"""Training rows told from rows kept out: found where planted, and not where there is no difference."""

import numpy as np
import pytest

from limpide.audit.functionals import estimate
from limpide.audit.items import Frame
from limpide.audit.membership import (
    ALARMS_NEED,
    FEW,
    kept_out,
    membership_item,
    membership_measures,
    membership_specs,
    min_k,
)
from limpide.models.requests import Score

FRAME = Frame("base", 0, "m", "d")
SPECS = membership_specs(100, 5, ["held_out"])


@pytest.mark.parametrize(
    ("tokens", "expected"),
    [
        ([-3.0], -3.0),  # one token is its own lowest 20 %
        ([-1.0, -4.0, -2.0, -0.5], -4.0),  # 0.8 of a token: at least one
        ([-1.0] * 8 + [-5.0, -3.0], -4.0),  # two of ten
        ([-1.0] * 12 + [-9.0, -6.0, -3.0], -6.0),  # three of fifteen
    ],
)
def test_min_k_is_the_mean_of_the_least_likely_fifth(tokens, expected):
    assert min_k(tokens) == pytest.approx(expected)


def rows(tools, scores, name, topics=30):
    """(row, score) pairs: each answer has ten tokens of one likelihood, so that its min-k is that number."""
    made = [tools.example(f"{name}{k}", "q", "a", topic=f"t{k % topics}") for k in range(len(scores))]
    return [(row, Score(row.id, 10 * s, 10, False, (s,) * 10)) for row, s in zip(made, scores, strict=True)]


def measured(tools, members, others):
    items = [membership_item(row, True, score) for row, score in rows(tools, members, "m")]
    items += [membership_item(row, False, score) for row, score in rows(tools, others, "o")]
    usable, measures = membership_measures(items, SPECS, FRAME)
    return [spec.name for spec in usable], {m.name: m for m in measures}


def test_members_that_are_all_likelier_are_told_apart(tools):
    random = np.random.default_rng(0)
    _, found = measured(tools, random.uniform(-1, -0.5, 100), random.uniform(-3, -2, 120))
    auc = found["memorisation.min_k_auc"]
    assert (auc.value, auc.n, auc.clusters, auc.better) == (1.0, 220, 30, "lower")
    assert auc.low > 0.85


def test_some_members_that_are_likelier_are_told_apart(tools):
    random = np.random.default_rng(1)
    members = np.where(np.arange(120) % 4, random.normal(-2, 0.3, 120), random.normal(0, 0.3, 120))
    usable, found = measured(tools, members, random.normal(-2, 0.3, 120))
    assert found["memorisation.min_k_auc"].low > 0.5
    assert found["memorisation.tpr_at_1_fpr"].low > 0.1
    assert usable == ["memorisation.min_k_auc", "memorisation.tpr_at_1_fpr"]


def test_members_that_are_like_the_others_are_not(tools):
    random = np.random.default_rng(2)
    _, found = measured(tools, random.normal(-2, 0.3, 120), random.normal(-2, 0.3, 120))
    auc = found["memorisation.min_k_auc"]
    assert auc.low < 0.5 < auc.high


def test_no_difference_is_found_one_time_in_twenty_at_most():
    """Training and held-out rows share their topics, and topics differ much: 200 draws of 100 and 43 such rows."""
    topics = np.concatenate([np.arange(100) % 36, np.arange(43) % 36])
    member = np.r_[np.ones(100), np.zeros(43)]
    alarms = 0
    for seed in range(200):
        random = np.random.default_rng(seed)
        score = random.normal(size=36)[topics] + random.normal(size=143)
        found = estimate("auc", np.stack([score, member]), [str(t) for t in topics], draws=500, seed=seed)
        alarms += not found.low <= 0.5 <= found.high
    assert alarms <= 10 + 9  # 5 %, and three standard deviations of a count of 200


def test_a_rate_of_one_percent_needs_a_hundred_rows(tools):
    random = np.random.default_rng(3)
    usable, found = measured(tools, random.normal(size=100), random.normal(size=ALARMS_NEED - 1))
    rate = found["memorisation.tpr_at_1_fpr"]
    assert (rate.state, rate.value, rate.n) == ("insufficient evidence", None, 199)
    assert "99 rows kept out" in rate.note
    assert usable == ["memorisation.min_k_auc"]  # so that a comparison does not compute the rate either


@pytest.mark.parametrize(("members", "others"), [(20, 0), (0, 20), (0, 0)])
def test_one_side_alone_is_not_compared(tools, members, others):
    usable, found = measured(tools, [-1.0] * members, [-1.0] * others)
    assert usable == []
    assert {m.state for m in found.values()} == {"not run"}
    assert "one of the two is missing" in found["memorisation.min_k_auc"].note


def test_rows_of_other_topics_are_taken_only_where_few_were_held_out(tmp_path, tools):
    def made(name, count, answer="one two three four five"):
        return [tools.example(f"{name}{k}", "q", answer) for k in range(count)]

    enough = tools.write_data(tmp_path / "enough", held_out=made("h", FEW), unseen=made("u", 5))
    assert kept_out(enough, 5) == (made("h", FEW), ("held_out",))
    few = tools.write_data(tmp_path / "few", held_out=made("h", FEW - 1), unseen=made("u", 5))
    assert kept_out(few, 5) == (made("h", FEW - 1) + made("u", 5), ("held_out", "unseen"))
    short = tools.write_data(tmp_path / "short", held_out=made("h", 30, "yes"), unseen=made("u", 3))
    assert kept_out(short, 5) == (made("u", 3), ("unseen",))
    assert kept_out(tmp_path, 5) == ([], ())
    (plain, _), (mixed, _) = membership_specs(9, 5, ["held_out"]), membership_specs(9, 5, ["held_out", "unseen"])
    assert "never taught" in mixed.note
    assert "never taught" not in plain.note
    assert plain.method != mixed.method
