"""Words taken away in an order, against random orders: by definition, on games whose best order is known."""

import json
import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from limpide.core.errors import ModelError, UsageError
from limpide.core.progress import Quiet
from limpide.models.row import Row, embed, final_hidden, target_log_likelihoods
from limpide.understand import faithfulness
from limpide.understand.attribution import explain, neutral_token
from limpide.understand.curves import (
    Curves,
    answer_values,
    counts,
    curves,
    descending,
    random_orders,
    rationales,
    removable,
    removed_sets,
)
from limpide.understand.faithfulness import BETTER, NO_BETTER, TOO_LITTLE, check, over_questions
from limpide.understand.question import Question, ask
from limpide.understand.sanity import judge, random_models, rank_correlation, sanity
from limpide.understand.settings import AttributionSettings, FaithfulnessSettings

QUICK = FaithfulnessSettings(sanity=False)
Tiny = Callable[[str], Any]


def played(weights: list[float], orders: list[list[int]], at: tuple[int, ...]) -> Curves:
    """Curves of a game in which each word that is there adds its weight."""
    words = range(len(weights))
    values = {gone: sum(weights[w] for w in words if w not in gone) for gone in removed_sets(orders, at)}
    return curves(orders, at, values)


def statistic(found: Curves) -> Any:
    return found.area(found.insertion) - found.area(found.deletion)


# ------------------------------------------------------------------------------------------------------ the curves


def test_curves_of_three_words_by_hand() -> None:
    found = played([4.0, 2.0, 0.0], [[0, 1, 2], [2, 1, 0]], (0, 1, 2, 3))
    assert found.deletion.tolist() == [[6, 2, 0, 0], [6, 6, 4, 0]]
    assert found.insertion.tolist() == [[0, 4, 6, 6], [0, 0, 2, 6]]
    assert found.area(found.deletion).tolist() == pytest.approx([(4 + 1 + 0) / 3, (6 + 5 + 2) / 3])
    assert statistic(found).tolist() == pytest.approx([8 / 3, -8 / 3])  # an order and its reverse are opposite


def test_comprehensiveness_and_sufficiency_are_means_over_five_sizes() -> None:
    weights = [float(k) for k in range(20, 0, -1)]
    found = played(weights, [list(range(20))], counts(20, 10))
    sizes = [1, 1, 2, 4, 10]  # 1, 5, 10, 20 and 50 % of twenty words
    assert rationales(20) == sizes
    assert found.comprehensiveness().tolist() == pytest.approx([np.mean([sum(weights[:k]) for k in sizes])])
    assert found.sufficiency().tolist() == pytest.approx([np.mean([sum(weights[k:]) for k in sizes])])


@pytest.mark.parametrize("words", [1, 2, 5, 9, 40])
def test_curves_go_from_none_to_all_in_at_most_so_many_steps(words: int) -> None:
    at = counts(words, 10)
    assert at[0] == 0
    assert at[-1] == words
    assert list(at) == sorted(set(at))
    assert set(rationales(words)) <= set(at)
    assert len(at) <= min(words, 10) + 1 + len(set(rationales(words)))


def test_random_orders_are_pairs_of_an_order_and_its_reverse() -> None:
    orders = random_orders(7, 21, np.random.default_rng(0))
    assert len(orders) == 22
    assert all(sorted(order) == list(range(7)) for order in orders)
    assert all(one == other[::-1] for one, other in zip(orders[::2], orders[1::2], strict=True))


def test_equal_scores_are_ordered_at_random() -> None:
    assert descending([1, 3, 2], np.random.default_rng(0)) == [1, 2, 0]
    firsts = {descending([1, 1, 1, 0], np.random.default_rng(seed))[0] for seed in range(40)}
    assert firsts == {0, 1, 2}


# -------------------------------------------------------------------------------------------- values of the answer


def plainly(model: Any, row: Row) -> float:
    with torch.inference_mode():
        return float(target_log_likelihoods(model, row, final_hidden(model, row, embed(model, row.ids)[None])).sum())


def question_of(model: Any, name: str, against: bool) -> Question:
    if name == "bert":
        return ask(model, "The doctor said that [MASK] was late", answer="e", against="a" if against else None)
    return ask(model, "The valve closes and it", answer="opens red", against="is the pump" if against else None)


@pytest.mark.parametrize("name", ["llama", "gpt2", "bert", "t5", "mistral"])
@pytest.mark.parametrize("against", [False, True])
def test_values_are_those_of_plain_runs_without_the_words(tiny_model: Tiny, name: str, against: bool) -> None:
    model = tiny_model(name)
    question = question_of(model, name, against)
    words = removable(model, question)
    sets = [frozenset[int](), frozenset(words[:1]), frozenset(words[1:3]), frozenset(words)]
    found = answer_values(model, question, sets)
    for gone in sets:
        away = {place for word in gone for place in question.words[word].tokens}
        wanted = plainly(model, shorter(model, question.row, away))
        if question.against_row is not None:
            wanted -= plainly(model, shorter(model, question.against_row, away))
        assert found[gone] == pytest.approx(wanted, abs=1e-4)


def shorter(model: Any, row: Row, away: set[int]) -> Row:
    """The row without some places of its prompt, read where it was; the neutral token where nothing is left of it."""
    prompt = row.ids if model.kind != "decoder" else row.ids[: row.read[0] + 1]
    kept = [token for place, token in enumerate(prompt) if place not in away] or [neutral_token(model)]
    moved = len(prompt) - len(kept)
    read = row.read
    if model.kind == "encoder":
        read = tuple(place - sum(k in away for k in range(place)) for place in row.read)
    elif model.kind == "decoder":
        read = tuple(place - moved for place in row.read)
    return replace(row, ids=(*kept, *row.ids[len(prompt) :]), read=read)


def test_an_order_and_its_reverse_look_at_the_same_prompts() -> None:
    for words in range(1, 40):
        order, at = list(range(words)), counts(words, 10)
        assert set(removed_sets([order], at)) == set(removed_sets([order[::-1]], at))
        assert len(at) <= 21


def test_what_is_taken_away_is_not_what_occlusion_writes(tiny_model: Tiny) -> None:
    model = tiny_model("llama")
    question = question_of(model, "llama", False)
    [first, *_] = removable(model, question)
    whole, gone = answer_values(model, question, [frozenset(), frozenset([first])]).values()
    occluded = explain(model, question, AttributionSettings()).words[first]
    assert abs((whole - gone) - occluded) > 1e-3


def test_the_template_and_masks_are_never_taken_away(tiny_model: Tiny) -> None:
    chat = tiny_model("llama")
    question = ask(chat, "The valve closes", answer="red")
    assert [question.words[k].text for k in removable(chat, question)] == ["The", "valve", "closes"]
    bert = tiny_model("bert")
    question = ask(bert, "The valve is [MASK]", answer="e")
    assert "[MASK]" not in [question.words[k].text for k in removable(bert, question)]


# ------------------------------------------------------------------------------------------------------ the verdict


def test_random_rankings_are_better_than_chance_one_time_in_twenty() -> None:
    """At most: the level holds although half of the orders are the reverse of the other half."""
    rng, better, runs = np.random.default_rng(3), 0, 1000
    for _ in range(runs):
        weights = rng.normal(size=12).tolist()
        orders = [rng.permutation(12).tolist(), *random_orders(12, 20, rng)]
        better += faithfulness.judge(statistic(played(weights, orders, counts(12, 10))), 1e-9)[1] == BETTER
    assert 0.03 < better / runs < 0.06  # 1/22 = 0.045


def test_the_right_order_of_many_words_is_better_than_chance() -> None:
    rng = np.random.default_rng(0)
    weights = rng.normal(size=12).tolist()
    orders = [descending(weights, rng), *random_orders(12, 20, rng)]
    assert faithfulness.judge(statistic(played(weights, orders, counts(12, 10))), 1e-9) == (1 / 21, BETTER)


@pytest.mark.parametrize(
    ("both", "verdict"),
    [
        ([0.0] + [0.0] * 20, NO_BETTER),  # nothing that is taken away matters
        ([5e-4] + [-1e-4, 1e-4] * 10, NO_BETTER),  # nor by more than rounding
        ([5.0] + [5.0, -5.0] * 2 + [1.0, -1.0] * 8, TOO_LITTLE),  # as good as the best, as others are
        ([2.0] + [5.0, -5.0] * 2 + [1.0, -1.0] * 8, NO_BETTER),
        ([6.0] + [5.0, -5.0] * 2 + [1.0, -1.0] * 8, BETTER),
    ],
)
def test_verdicts(both: list[float], verdict: str) -> None:
    assert faithfulness.judge(np.array(both), 1e-3)[1] == verdict


def test_four_words_are_too_few_for_a_verdict(tiny_model: Tiny) -> None:
    model = tiny_model("gpt2")
    question = ask(model, "The valve closes now", answer="red")
    found = check(model, question, {"a": [4.0, 3.0, 2.0, 1.0]}, QUICK, Quiet())
    assert (found.n, found.verdict) == (4, TOO_LITTLE)


def test_a_check_is_plain_json_and_the_same_each_time(tiny_model: Tiny) -> None:
    model = tiny_model("llama")
    question = ask(model, "The valve closes and the light turns red", answer="opens", against="pump")
    rankings = {"a": list(range(len(question.words))), "b": [1.0] * len(question.words)}
    one, two = (check(model, question, rankings, QUICK, Quiet(), 5).record() for _ in range(2))
    assert one == two == json.loads(json.dumps(one))
    assert one["of"] == "a"
    assert one["n"] == 8
    assert one["random_orders"] == 20
    assert one["sanity"] is None
    assert one["agreement"] == {
        "methods": ["a", "b"],
        "rank_correlation": [[1.0, None], [None, None]],  # a ranking of equal values ranks nothing
        "same_first_word": one["agreement"]["same_first_word"],
    }
    for curve in (one["deletion"], one["insertion"]):
        assert curve["share"][0] == 0
        assert curve["share"][-1] == 1
        assert curve["curve"][0] == curve["random"][0] == curve["random_low"][0]  # all orders begin and end alike
        assert curve["low"] <= curve["difference"] <= curve["high"]
    assert one["deletion"]["curve"][0] == one["insertion"]["curve"][-1]
    deletion, insertion = one["deletion"], one["insertion"]
    assert deletion["difference"] == pytest.approx(deletion["random_area"] - deletion["area"], abs=1e-4)
    assert insertion["difference"] == pytest.approx(insertion["area"] - insertion["random_area"], abs=1e-4)


def test_rankings_that_do_not_fit_are_refused(tiny_model: Tiny) -> None:
    model = tiny_model("gpt2")
    question = ask(model, "The valve closes now", answer="red")
    with pytest.raises(UsageError, match="no ranking of words"):
        check(model, question, {}, QUICK, Quiet())
    for wrong in ([1.0], [math.nan] * 4):
        with pytest.raises(UsageError, match="'a' does not fit") as caught:
            check(model, question, {"a": wrong}, QUICK, Quiet())
        assert caught.value.expected == "one finite number for each of its 4 words"
    nothing = replace(question, tokens=tuple(replace(token, part="frame") for token in question.tokens))
    with pytest.raises(ModelError, match="no word that could be taken away"):
        check(model, nothing, {"a": [1.0] * 4}, QUICK, Quiet())


def test_fewer_orders_than_could_show_anything_are_refused() -> None:
    with pytest.raises(ValidationError, match="random_orders"):
        FaithfulnessSettings(random_orders=19)


# ------------------------------------------------------------------------------------------------ random weights


def test_random_models_keep_the_law_of_each_tensor_and_leave_the_model_alone(tiny_model: Tiny) -> None:
    model = tiny_model("llama")
    before = {name: value.clone() for name, value in model.network.state_dict().items()}
    for other in random_models(model, 2, seed=1):
        assert other.digest != model.digest
        for name, value in other.network.named_parameters():
            own = before[name].float()
            assert value.mean().item() == pytest.approx(
                own.mean().item(), abs=5 * own.std().item() / own.numel() ** 0.5
            )
            assert own.numel() < 1000 or value.std().item() == pytest.approx(own.std().item(), rel=0.1)
            assert own.std() == 0 or not torch.equal(value, before[name])
    assert all(torch.equal(value, before[name]) for name, value in model.network.state_dict().items())
    draws = [[float(m.network.lm_head.weight[0, 0]) for m in random_models(model, 2, seed=1)] for _ in range(2)]
    assert draws[0] == draws[1]
    assert draws[0][0] != draws[0][1]


def test_an_explanation_that_ignores_the_weights_is_found_out(tiny_model: Tiny) -> None:
    model, rng = tiny_model("llama"), np.random.default_rng(0)
    own = rng.normal(size=12).tolist()
    fixed = sanity(model, own, lambda _: own, 3, seed=0)
    assert fixed is not None
    assert fixed.verdict == "does not depend on the weights"
    assert fixed.draws == 3
    moving = sanity(model, own, lambda _: rng.normal(size=12).tolist(), 8, seed=0)
    assert moving is not None
    assert moving.verdict == "changes with the weights"
    assert sanity(model, [1.0] * 12, lambda _: own, 3, seed=0) is None


def test_the_verdict_on_random_weights_rests_on_the_interval() -> None:
    assert judge([0.1, -0.2, 0.0, 0.1]).verdict == "changes with the weights"
    assert judge([0.95, 0.97, 0.99]).verdict == "does not depend on the weights"
    assert judge([-0.95, -0.97, -0.99]).verdict == "does not depend on the weights"
    wide = judge([0.1, 0.9, 0.5])
    assert wide.verdict == "insufficient evidence"
    assert wide.low < 0.7 < wide.high


def test_the_check_runs_the_sanity_check_on_the_words_that_can_be_taken_away(tiny_model: Tiny) -> None:
    model = tiny_model("llama")
    question = ask(model, "The valve closes and the light turns red", answer="opens")
    scores = [float(k * k % 7) for k in range(len(question.words))]
    found = check(model, question, {"a": scores}, FaithfulnessSettings(draws=3), Quiet(), again=lambda _: scores)
    assert found.sanity is not None
    assert found.sanity.verdict == "does not depend on the weights"


def test_rank_correlation_is_spearman() -> None:
    assert rank_correlation([1, 2, 3, 4], [10, 20, 30, 400]) == pytest.approx(1)
    assert rank_correlation([1, 2, 3, 4], [4, 3, 2, 1]) == pytest.approx(-1)
    assert rank_correlation([1, 1, 2, 3], [1, 2, 3, 3]) == pytest.approx(
        np.corrcoef([1.5, 1.5, 3, 4], [1, 2, 3.5, 3.5])[0, 1]
    )
    assert rank_correlation([1, 1, 1], [1, 2, 3]) is None


# ------------------------------------------------------------------------------------------------- many questions


def test_over_questions_the_interval_covers_the_true_mean() -> None:
    rng = np.random.default_rng(0)
    found = [over_questions(rng.normal(1, 2, size=15).tolist(), [str(k) for k in range(15)], k) for k in range(200)]
    assert 0.91 < np.mean([one.low <= 1 <= one.high for one in found]) < 0.98
    one = found[0]
    assert (one.n, one.clusters) == (15, 15)
    assert one.low < one.difference < one.high


def test_over_questions_clusters_are_what_is_counted() -> None:
    rng = np.random.default_rng(0)
    shared = rng.normal(0, 1, size=12)
    alone = over_questions(np.repeat(shared, 8).tolist(), [str(k) for k in range(96)])
    together = over_questions(np.repeat(shared, 8).tolist(), [str(k // 8) for k in range(96)])
    assert alone.difference == together.difference
    assert (together.n, together.clusters) == (96, 12)
    assert (together.high - together.low) / (alone.high - alone.low) == pytest.approx(math.sqrt(8), rel=0.25)


def test_over_questions_verdicts() -> None:
    names = [str(k) for k in range(12)]
    better = over_questions([1.0, 2.0] * 6, names)
    assert (better.verdict, better.share_better) == (BETTER, 1.0)
    assert over_questions([1.0, -1.0] * 6, names).verdict == NO_BETTER
    assert over_questions([1.0] * 9, names[:9]).verdict == TOO_LITTLE
    assert over_questions([1.0], ["a"]).verdict == TOO_LITTLE
    for differences, clusters in (([], []), ([1.0], ["a", "b"])):
        with pytest.raises(UsageError, match="at least one question"):
            over_questions(differences, clusters)
