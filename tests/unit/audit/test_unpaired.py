"""Changes without pairs: a slice whose items are others after the change, and ranks among random candidates."""

import numpy as np
import pytest

from limpide.audit.compare import compare, holm_adjusted
from limpide.audit.items import Frame, Item, Spec, save_evidence, summarise
from limpide.audit.memorisation import canary_measures
from limpide.audit.unpaired import ranked_change, unpaired_change
from limpide.core.measure import Measure, save_measures

FRAME = Frame("x", 0, "m", "d")
LEAN = Spec(name="b.lean", metric="lean", kind="mean", unit="score", better="nearer zero", method="b.lean@1()")
BROKEN = Spec(name="r.broken", metric="broken", kind="share", unit="share", better="lower", method="r.broken@1()")


def rank(value, low, high, **more):
    own = {"unit": "rank", "better": "higher", "n": 256, "name": "m.rank", "method": "m.rank@1()"}
    return Measure(subject="x", value=value, low=low, high=high, **(own | more))


def write(folder, spec, values):
    """values: by item, None where the item does not have the metric."""
    folder.mkdir()
    rows = [
        Item(f"i{k}", f"c{k}", {}, {"asked": 1.0} if value is None else {"asked": 1.0, spec.metric: float(value)})
        for k, value in enumerate(values)
    ]
    save_evidence(folder, rows, [spec])
    save_measures(folder / "measures.jsonl", summarise(rows, [spec], FRAME))
    return folder


def changed(tmp_path, spec, before, after):
    (change,) = compare(write(tmp_path / "b", spec, before), write(tmp_path / "a", spec, after))
    return change


def test_measures_without_items_are_compared_by_their_intervals():
    change = unpaired_change(rank(130, 114, 146), rank(1, 1, 4.8))
    assert change.verdict == "worse"
    assert change.difference == -129
    assert change.low < -129 < change.high < 0
    assert change.p_value < 0.001
    assert unpaired_change(rank(130, 114, 146), rank(125, 109, 141)).verdict == "no detectable change"
    missing = unpaired_change(rank(130, 114, 146), rank(None, None, None, state="insufficient evidence"))
    assert missing.verdict == "insufficient evidence"
    assert missing.difference is None


def test_the_p_of_two_intervals_agrees_with_their_difference():
    apart = [unpaired_change(rank(0, -1, 1), rank(d, d - 1, d + 2)) for d in np.linspace(-5, 5, 41)]
    assert {c.p_value < 0.05 for c in apart} == {True, False}
    assert all((c.p_value < 0.05) == (c.low > 0 or c.high < 0) for c in apart)


def test_distances_from_zero_are_compared_without_pairs_too():
    gap = {"better": "nearer zero", "unit": "nats"}
    nearer = unpaired_change(rank(-1.0, -1.1, -0.9, **gap), rank(0.1, -0.1, 0.3, **gap))
    assert (nearer.verdict, nearer.difference) == ("better", pytest.approx(-0.9))
    assert (nearer.before, nearer.after) == (-1.0, 0.1)
    mirrored = unpaired_change(rank(-1.0, -1.1, -0.9, **gap), rank(1.0, 0.9, 1.1, **gap))
    assert (mirrored.verdict, mirrored.difference) == ("no detectable change", 0)


def test_items_that_count_on_one_side_only_do_not_hide_a_change(tmp_path):
    """25 of 25 lean one way; then all hundred answer, and the new ones lean the other way: 1.0 and −0.5."""
    before = [1.0 if k < 24 else 0.99 if k == 24 else None for k in range(100)]
    after = [1.0 if k < 25 else -1.0 for k in range(100)]
    change = changed(tmp_path, LEAN, before, after)
    assert (change.before, change.after) == (pytest.approx(1.0, abs=1e-3), -0.5)
    assert change.verdict == "better"
    assert change.test == "the two intervals, unpaired: 25 of 100 items count on both sides"
    assert change.difference == pytest.approx(-0.5, abs=1e-3)
    assert change.test in change.sentence


def test_more_questions_that_break_are_seen_where_others_were_right(tmp_path):
    """The base breaks 1 of 50; the result, right on 50 others, breaks 25 of them."""
    before = [float(k == 0) if k < 50 else None for k in range(90)]
    after = [float(k % 2) if k >= 40 else None for k in range(90)]
    change = changed(tmp_path, BROKEN, before, after)
    assert (change.verdict, change.after) == ("worse", 0.5)
    assert "10 of 50 items count on both sides" in change.sentence
    assert holm_adjusted([change, change])[0].p_value == pytest.approx(2 * change.p_value)


def test_nine_items_in_ten_are_still_paired(tmp_path):
    shared = changed(tmp_path, BROKEN, [0.0] * 50, [1.0] * 45 + [None] * 5)
    assert (shared.test, shared.n) == ("McNemar exact", 45)


def test_what_is_lost_is_named_where_one_side_is_too_small(tmp_path):
    change = changed(tmp_path, BROKEN, [0.0] * 40, [1.0] * 3 + [None] * 37)
    assert (change.verdict, change.difference) == ("insufficient evidence", None)
    assert "3 of 40 items count on both sides, too few to be paired" in change.sentence


# ------------------------------------------------------------------------------------------------------- the canary


def planted(k, n=255):
    """Rank and exposure of a canary that `k` of `n` candidates beat."""
    return canary_measures([0.0, *([1.0] * k), *([-1.0] * (n - k))], FRAME)


@pytest.mark.parametrize("which", [0, 1])
def test_a_canary_that_is_learned_is_worse_and_one_that_is_forgotten_better(which):
    never, known = planted(140)[which], planted(0)[which]
    learned = ranked_change(never, known)
    assert (learned.verdict, learned.p_value) == ("worse", None)
    assert "as high by chance: base 0.55, result 0.0039" in learned.sentence
    assert ranked_change(known, never).verdict == "better"
    assert ranked_change(known, known).verdict == "no detectable change"
    assert ranked_change(planted(200)[which], planted(30)[which]).verdict == "no detectable change"


def test_ranks_on_either_side_of_the_limit_are_no_change():
    assert ranked_change(planted(6)[0], planted(5)[0]).verdict == "no detectable change"


def test_among_few_candidates_no_rank_is_told_from_chance():
    change = ranked_change(planted(10, n=15)[0], planted(0, n=15)[0])
    assert (change.verdict, change.difference) == ("insufficient evidence", None)
    assert "16 phrases are too few" in change.sentence


@pytest.mark.parametrize("which", [0, 1])
def test_two_models_that_never_saw_the_canary_seldom_get_a_verdict(which):
    """Each ranks it anywhere. 2,000 pairs: at most 5 % and what chance adds; their intervals alone tell two thirds."""
    draws = np.random.default_rng(0).integers(0, 256, size=(2000, 2))
    of_rank = {k: planted(int(k))[which] for k in np.unique(draws)}
    pairs = [(of_rank[first], of_rank[second]) for first, second in draws]
    false = sum(ranked_change(*pair).verdict != "no detectable change" for pair in pairs)
    assert 0.01 * len(pairs) < false < 0.06 * len(pairs)
    assert sum(unpaired_change(*pair).verdict != "no detectable change" for pair in pairs[:200]) > 100


def test_a_comparison_of_folders_takes_a_canary_as_a_rank(tmp_path):
    folders = []
    for side, k in (("b", 200), ("a", 30)):
        folders.append(tmp_path / side)
        folders[-1].mkdir()
        save_evidence(folders[-1], [], [])
        save_measures(folders[-1] / "measures.jsonl", planted(k))
    assert {c.verdict for c in compare(*folders)} == {"no detectable change"}
