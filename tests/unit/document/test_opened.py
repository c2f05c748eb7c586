"""Which items are opened: by rule, the worst first, and nobody picks."""

from typing import Any

import pytest

from evidence_suites import bias_items, item, others, truth_items
from limpide.document.opened import LONGEST, RULES, SHOWN, choose, is_drawn, shared_out


def wrong(number: int, confidence: float) -> dict[str, Any]:
    return item(f"q{number}", {"language": "en"}, {"correct": 0.0, "confidence": confidence}, question="?", answer="no")


def test_the_largest_gaps_come_first_whatever_their_direction() -> None:
    (found,) = choose("bias", bias_items((0.4, -1.8)), bias_items((0.5, 0.1)))
    assert (found.why, found.total) == ("bias.gap", 2)
    first, second = found.items
    assert first.asked["stereotyped"] == "Ma sœur garde des enfants, elle est très patiente"
    assert (first.before, first.after) == ({"gap": 0.1}, {"gap": -1.8})
    assert second.group == {"axis": "gender", "language": "en"}


def test_the_surest_wrong_answers_and_the_inventions_share_the_places() -> None:
    rows = [wrong(number, number / 100) for number in range(30)]
    rows += [item(f"m{number}", {}, {"made_up": 1.0}, question="?", answer="yes") for number in range(3)]
    sure, made_up = choose("truth", rows)
    assert (sure.why, sure.total, len(sure.items)) == ("truth.sure", 30, 7)
    assert [one.id for one in sure.items][:2] == ["q29", "q28"]
    assert (made_up.why, made_up.total, len(made_up.items)) == ("truth.made_up", 3, 3)


def test_right_answers_and_admissions_are_not_failures() -> None:
    assert choose("truth", truth_items("Ecuador", 0.7, "I do not know.")) == ()


def test_what_only_the_later_model_gets_wrong_comes_first() -> None:
    rows = [item(f"d{n}", {"slice": "held_out"}, {"normalised": 0.0}, prompt="?", expected="a") for n in range(20)]
    before = [row | {"metric": {"normalised": float(row["id"] in ("d7", "d13"))}} for row in rows]
    (found,) = choose("domain", rows, before)
    assert {one.id for one in found.items[:2]} == {"d7", "d13"}
    assert len(found.items) == SHOWN


def test_the_drawn_order_depends_on_names_alone() -> None:
    rows = [item(f"d{n}", {"slice": "held_out"}, {"normalised": 0.0}, prompt="?", expected="a") for n in range(20)]
    one, other = (choose("domain", given)[0] for given in (rows, rows[::-1]))
    assert one == other
    assert [i.id for i in one.items] != [f"d{n}" for n in range(SHOWN)]


@pytest.mark.parametrize("suite", ["robustness", "refusal", "charter"])
def test_failures_of_each_suite_are_found(suite: str) -> None:
    before, after = others()[suite]
    (found,) = choose(suite, after, before)
    assert found.total == 1
    assert found.items[0].before is not None
    assert is_drawn(found.why)


def test_broken_rules_are_told_with_what_was_found() -> None:
    before, _ = others()["charter"]
    (found,) = choose("charter", before)
    assert found.items[0].after["broken"] == ("forbidden: guaranteed", "max_words (131 words)")


def test_the_public_sets_have_their_own_rules() -> None:
    pair = item("c1", {}, {"preferred": 1.0}, sent_more="A", sent_less="B", score={"more": -10.0, "less": -12.5})
    answer = item("b1", {}, {"lean": 1.0}, question="Who?", options=["x", "y"], expected="x", chosen="y")
    pronoun = item("w1", {}, {"pro": 1.0, "anti": 0.0, "gap": 1.0}, pro="he", anti="she", meant="nurse", other="cook")
    triple = item("s1", {}, {"stereotype": 1.0}, context="c", sentences={"stereotype": "s"}, score={"stereotype": -1})
    found = choose("bias", [pair, answer, pronoun, triple])
    assert [one.why for one in found] == ["bias.preferred", "bias.answer", "bias.sentence", "bias.pronoun"]
    assert found[0].items[0].after == {"score": ("more: -10.0", "less: -12.5")}


def test_an_unknown_suite_shows_its_first_items_with_all_they_hold() -> None:
    rows = [item(f"x{n}", {}, {"score": n / 10}, asked="why?", answer="because") for n in range(12)]
    (found,) = choose("novelty", rows)
    assert (found.why, found.total) == ("first", 12)
    assert [one.id for one in found.items] == [f"x{n}" for n in range(SHOWN)]
    assert (found.items[1].asked, found.items[1].after) == ({"asked": "why?"}, {"answer": "because", "score": 0.1})


def test_long_texts_are_cut() -> None:
    (found,) = choose("novelty", [item("x", {}, {}, answer="a" * 9000)])
    answer = found.items[0].after["answer"]
    assert isinstance(answer, str)
    assert len(answer) == LONGEST
    assert answer.endswith("…")


@pytest.mark.parametrize(
    ("counts", "shares"), [([30, 3], [7, 3]), ([1, 30], [1, 9]), ([40, 40, 40], [4, 3, 3]), ([2], [2]), ([], [])]
)
def test_places_are_shared_out_evenly(counts: list[int], shares: list[int]) -> None:
    assert shared_out(counts) == shares


def test_a_rule_forgives_rows_of_other_parts_of_its_suite() -> None:
    for suite in RULES:
        assert choose(suite, [item("other", {"part": "else"}, {"something": 1.0})]) == ()


def test_a_right_answer_that_goes_with_a_stereotype_is_not_listed() -> None:
    right = item("b1", {"context": "disambiguated"}, {"clear_lean": 1.0, "correct": 1.0}, question="Who?", chosen="x")
    wrong_one = item(
        "b2", {"context": "disambiguated"}, {"clear_lean": 1.0, "correct": 0.0}, question="Who?", chosen="y"
    )
    found = choose("bias", [right, wrong_one])
    assert [one.id for one in found[0].items] == ["b2"]
