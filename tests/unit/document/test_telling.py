"""An explanation in sentences: the first one first, nothing said without its numbers, each language by its rules."""

import re
from typing import Any

import pytest

from explanation_sample import attribution, bare, chance, comparison, explanation, hostile, influence, lens, mixture
from limpide.document import telling
from limpide.document.language import language
from limpide.document.telling import changes, findings, not_said, paragraph
from limpide.document.weighed import (
    Weight,
    ahead_from,
    best_parts,
    clip,
    is_mark,
    ordinal,
    signed,
    strongest,
    unsettled,
    weights,
)


def plain(text: str) -> str:
    return text.replace("\u00a0", " ")


def told(found: dict[str, Any], code: str = "en") -> str:
    return plain(" ".join(paragraph(found, code)))


def only(name: str, record: dict[str, Any], **question: Any) -> dict[str, Any]:
    found = explanation(methods={name: record})
    found["question"] |= question
    return found


def test_what_failed_its_test_says_so_first() -> None:
    assert paragraph(chance(), "en")[0].startswith("This explanation does no better than chance")
    assert paragraph(chance(), "fr")[0].startswith("Cette explication ne fait pas mieux que le hasard")
    assert "By this explanation, the answer would rest most on" in told(chance())
    assert paragraph(explanation(), "en")[0].startswith("Asked “The nurse said")


def test_the_words_are_named_with_their_shares() -> None:
    said = told(explanation())
    total = 3.55  # of the absolute weights of the sample
    assert f"“nurse” (+{100 * 1.31 / total:.0f}%) and “she” (+{100 * 0.92 / total:.0f}%)" in said
    once, twice = (f"{100 * value / total:.0f}%" for value in (0.41, 0.22))
    assert f"Against it speak “tired” (1st, \u2212{once}) and “tired” (2nd, \u2212{twice})." in said
    assert "Marks of the conversation template, which nobody typed, carry 10%" in said


def test_the_template_is_never_named_as_a_word() -> None:
    found = explanation()
    found["methods"]["attribution"]["words"] = [5.0] + [0.1] * 13
    assert [w.text for w in strongest(weights(found), 1)] == []
    assert "No single word stands out" in told(found)


def test_weights_that_are_written_zero_are_no_weights() -> None:
    """Shares of next to nothing would name words, and colour them, as if the answer rested on them."""
    found = explanation()
    found["methods"]["attribution"]["words"] = [w * 1e-4 for w in found["methods"]["attribution"]["words"]]
    assert "No word of the prompt weighs anything that can be measured" in told(found)
    assert "rests most on" not in told(found)
    found["methods"]["attribution"]["words"][2] = 0.0006
    assert [w.text for w in strongest(weights(found), 1)] == ["nurse"]


def test_options_of_the_command_line_are_named_where_there_is_one() -> None:
    found = explanation()
    found["methods"]["faithfulness"] |= {"verdict": "insufficient evidence", "n": 12, "p_value": 0.2}
    assert "--faithfulness.random-orders" in " ".join(telling.tested(found, language("en"), options=True))
    assert "--" not in " ".join(telling.tested(found, language("en"), options=False))
    assert "--method" in " ".join(not_said(only("lens", lens()), "fr"))
    assert "--" not in " ".join(not_said(only("lens", lens()), "fr", options=False))


def test_layers_heads_and_experts_are_counted_from_one() -> None:
    said = told(mixture())
    assert "attention of layer 4 at “</s>” (62%)" in said
    assert "strongest: attention head 2 of layer 4 (28%)" in said
    assert "One expert restores most of it alone: expert 7 of layer 5 (55%)" in said
    assert "the router chose: expert 7 and expert 3" in said
    assert "attention head 2 of layer 4 (+1.12); the MLP of layer 6 (+0.71)" in said


@pytest.mark.parametrize(
    ("first", "said"),
    [
        (3, "decided at layer 3 of 6: from there on “nurse” leads to the end. One layer earlier, “doctor” still led."),
        (0, "“nurse” leads from the very beginning"),
        (None, "“nurse” does not come out first"),
    ],
)  # fmt: skip
def test_where_it_is_decided(first: int | None, said: str) -> None:
    assert said in told(only("lens", lens() | {"first_lead": first}))


def test_the_layer_from_which_a_token_is_ahead_of_its_rival() -> None:
    def of(token: list[float], rival: list[float]) -> int | None:
        return ahead_from({"probability": {"token": token, "rival": rival}})

    assert of([0.3, 0.1, 0.2, 0.3], [0.2, 0.2, 0.1, 0.1]) == 2
    assert of([0.3, 0.3], [0.1, 0.1]) == 0
    assert of([0.3, 0.1], [0.1, 0.1]) is None


@pytest.mark.parametrize(
    ("odds", "said"),
    [(1.1, "“she” 3 times as likely as “he”"), (-1.1, "In fact it finds “he” 3 times"), (0.01, "both equally likely")],
)
def test_two_answers(odds: float, said: str) -> None:
    assert said in told(only("lens", lens(), answer="she", against="he", log_odds=odds))


def test_a_long_answer_is_given_a_probability_a_token() -> None:
    tokens = [{"id": 1, "text": "a", "part": "assistant", "nats": -0.6931}] * 20
    assert "each token of this answer a probability of 50.0%" in told(
        only("lens", lens(), answer_tokens=tokens, log_likelihood=-13.862)
    )


def test_weights_that_miss_their_sum_are_told() -> None:
    assert "miss the sum" not in told(explanation())
    assert "miss the sum that they should have, 2.31 nats, by 0.40 nats" in told(
        only("attribution", attribution() | {"gap": 0.4})
    )
    wide = only("attribution", attribution() | {"gap": -2.0})
    assert unsettled(wide)
    assert "Do not rely on them." in " ".join(findings(wide, "en")[1])


def test_runs_that_hardly_differ_say_little() -> None:
    found = explanation()
    found["methods"]["patching"] |= {"clean": 0.2, "corrupted": 0.1}
    assert "The two runs hardly differ" in told(found)
    assert "restore the answer most" not in told(found)


def test_examples_that_taught_it_and_examples_that_did_not() -> None:
    assert "changes by \u22121.27 nats; without as many at random, by \u22120.01 nats: they did teach it" in told(
        explanation()
    )
    chance_like = influence()
    chance_like["check"] |= {"verdict": "no more than chance", "removed": 1}
    assert "no more than chance" in told(only("influence", chance_like))
    assert "None of the 120 training examples" in told(only("influence", influence() | {"raises": []}))
    unchecked = not_said(only("influence", influence() | {"check": None}), "en")
    assert any("no model was trained again" in line for line in unchecked)


def test_an_explanation_that_weights_do_not_matter_to_is_named() -> None:
    found = explanation()
    found["methods"]["faithfulness"]["sanity"] |= {"verdict": "does not depend on the weights"}
    assert "A network with random weights gives much the same explanation" in told(found)


def test_every_method_may_be_missing() -> None:
    assert paragraph(bare(), "en")[0].startswith("Asked")
    for name in explanation()["methods"]:
        assert paragraph(only(name, explanation()["methods"][name]), "fr")
    assert any("Nobody tested" in line for line in not_said(only("lens", lens()), "en"))


@pytest.mark.parametrize("made", [explanation, chance, mixture, bare, hostile])
def test_french_typography(made: Any) -> None:
    said = [line for line in paragraph(made(), "fr") if "script" not in line and "?" not in line]
    assert said
    for line in [*said, *changes(comparison(), "fr")]:
        assert re.search(r"[^\s\d\u202f\u00a0][;!%]", line) is None, line
        assert re.search(r" [:;!?%»]|« ", line) is None, line


def test_changes_between_two_models() -> None:
    said = changes(comparison(), "en")
    assert said[0] == "Both explanations do better than chance."
    assert plain(said[1]) == "“the nurse” became likelier, by 0.52 nats."
    assert "The word “nurse” weighs less for the answer than before: +1.31 nats before, +0.30 nats after." in map(
        plain, said
    )
    assert not any("“she”" in line for line in said)  # its share of the weight grew, its weight did not
    assert said[-1] == "“nurse” is decided at layer 5 instead of 3, of 6."


def test_changes_name_the_side_that_failed_its_test_and_other_answers() -> None:
    found = comparison()
    found["before"]["methods"]["faithfulness"]["verdict"] = "no better than chance"
    found["after"]["question"]["answer"] = "the doctor"
    said = changes(found, "en")
    assert said[0] == "The explanation of the first model does no better than chance."
    assert said[1] == "The explanation of the second model does better than chance."
    assert said[2] == "The answers differ: “the nurse” before, “the doctor” after."


def test_nothing_to_compare_is_said() -> None:
    sides = {side: bare() for side in ("before", "after")}
    sides["after"]["question"]["log_likelihood"] = None
    assert changes({"kind": "comparison", **sides}, "en") == ["Nothing in the two explanations can be compared."]


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        (1.0, 2.0, "weighs more for the answer than before: +1.00 nats before, +2.00 nats after"),
        (2.0, 1.0, "weighs less for the answer than before"),
        (2.0, -0.05, "no longer speaks for the answer: +2.00 nats before, \u22120.05 nats after"),
        (-2.0, 0.05, "no longer speaks against the answer"),
        (-0.05, 2.0, "weighs more for the answer than before"),
        (-2.0, -1.0, "speaks less against the answer than before: \u22122.00 nats before, \u22121.00 nats after"),
        (-1.0, -2.0, "speaks more against the answer than before"),
        (-1.0, 1.0, "spoke against the answer and now speaks for it"),
        (1.0, -1.0, "spoke for the answer and now speaks against it"),
    ],
)
def test_how_the_weight_of_a_word_moved(old: float, new: float, said: str) -> None:
    found = comparison()
    for side, value in (("before", old), ("after", new)):
        found[side]["methods"]["attribution"]["words"] = [0.0, 0.0, value, *[0.0] * 11]
    moved = [plain(line) for line in changes(found, "en") if "The word" in line]
    assert len(moved) == 1
    assert moved[0].startswith(f"The word “nurse” {said}")


def test_parts_that_moved_are_named() -> None:
    found = comparison()
    found["changes"]["parts"] = [
        {"kind": "head", "layer": 3, "index": 1, "before": 1.12, "after": -0.2},
        {"kind": "mlp", "layer": 5, "index": None, "before": 0.71, "after": 0.7},
    ]
    assert changes(found, "en")[-1] == (
        "Inside the network, what these write changed most, in logits: attention head 2 of layer 4 (+1.12 before, "
        "\u22120.20 after)."
    )


def test_best_parts_are_in_order_and_skip_what_has_no_number() -> None:
    patching = {"stacks": [{"name": "text", "heads": [[0.1, None], [0.7, -1.0]]}]}
    assert best_parts(patching, "heads") == [(1, 0, 0.7), (0, 0, 0.1), (1, 1, -1.0)]


def test_long_texts_keep_both_ends() -> None:
    assert clip("a" * 300 + " the question?", 60).endswith("the question?")
    assert len(clip("word " * 100, 60)) <= 70
    assert language("fr").say("explain.quote", text="{nats}") == "«\u00a0{nats}\u00a0»"


def test_what_could_not_be_tested_is_said_second_with_its_reason_and_a_remedy() -> None:
    found = explanation()
    found["methods"]["faithfulness"] |= {"verdict": "insufficient evidence", "n": 4, "p_value": 0.381}
    said = plain(" ".join(findings(found, "en")[1]))
    assert said.startswith("There is too little evidence to say")
    assert "Only 4 words could be tested (p = 0.38)" in said
    assert "A longer prompt would tell more." in said
    assert "random-orders" not in said
    found["methods"]["faithfulness"]["n"] = 12
    assert "--faithfulness.random-orders" in findings(found, "fr")[1][0]


def test_which_token_is_explained_where_the_answer_has_several() -> None:
    held = "Layers, places and parts are explained for “nurse”, the token of the answer that owes the prompt most"
    assert findings(explanation(), "en")[2][0].startswith(held)
    assert held in told(only("parts", explanation()["methods"]["parts"]))
    one = [{"id": 8, "text": " nurse", "part": "assistant", "nats": -0.33}]
    assert held not in told(only("lens", lens(), answer_tokens=one))
    assert held not in told(only("attribution", attribution()))


def test_the_word_that_the_model_prefers_is_named() -> None:
    found = lens() | {"first_lead": None}
    found["top"][-1] = [{"text": " cat", "probability": 0.31}]
    assert "at the end the model prefers “cat” here (31%)" in told(only("lens", found))


def test_places_are_in_the_order_of_what_they_restore_and_random_words_are_called_so() -> None:
    found = explanation()
    patching = found["methods"]["patching"]
    patching["stacks"][0]["sites"]["mlp"][0][2] = 0.93
    said = told(found)
    assert "answer most: the MLP of layer 1 at “nurse” (93%); attention of layer 4" in said
    assert "need not make 100%" in said
    assert "at random" not in said.split("need not make")[0].split("The same prompt")[1]
    patching["twin"]["how"] = "replaced word"
    assert "“nurse” replaced by “doctor”, a word drawn at random" in told(found)


def test_marks_of_the_template_are_not_counted_among_equal_words() -> None:
    found = explanation()
    found["question"]["words"][0]["text"] = "nurse"
    assert [(w.text, w.nth) for w in weights(found) if w.text in ("nurse", "was")] == [
        ("nurse", 0), ("nurse", 0), ("was", 1), ("was", 2),
    ]  # fmt: skip


def test_marks_are_not_words_but_symbols_are() -> None:
    assert [is_mark(text) for text in ("?", "…", "« »", "+", "a.", "7")] == [True, True, True, False, False, False]


def test_ordinals() -> None:
    assert [ordinal(n, language("en")) for n in (1, 2, 3, 4, 11, 21, 112)] == [
        "1st", "2nd", "3rd", "4th", "11th", "21st", "112th",
    ]  # fmt: skip
    assert [ordinal(n, language("fr")) for n in (1, 2, 21)] == ["1er", "2e", "21e"]


@pytest.mark.parametrize(
    ("value", "share", "words"),
    [
        (2.0, 0.12, "+12%"),
        (-2.0, 0.12, "−12%"),
        (2.0, 0.999, ">\u202f+99%"),
        (-2.0, 0.999, ">\u202f−99%"),
        (2.0, 0.001, "<\u202f+1%"),
        (0.0, 0.0, "0%"),
        (2.0, 1.0, "+100%"),
    ],
)
def test_a_share_has_its_sign_beside_its_number(value: float, share: float, words: str) -> None:
    assert signed(Weight("a", "prompt", value, share), language("en")) == words
