"""The sentences follow the numbers: direction, doubt, absence."""

from typing import Any

import pytest

from evidence_sample import bare, evidence
from limpide.core.measure import Change, Measure
from limpide.document import findings, leanings
from limpide.document.evidence import Evidence, Gate, Parity, ParityCheck
from limpide.document.language import language
from limpide.document.limits import limits
from limpide.document.tiles import but, tiles

EN, FR = language("en"), language("fr")


def with_change(verdict: str, name: str = "domain.accuracy", **group: str) -> Evidence:
    sample = evidence()
    changed = tuple(
        c.model_copy(update={"verdict": verdict}) if c.name == name and c.group == group else c for c in sample.changes
    )
    return sample.model_copy(update={"changes": changed})


@pytest.mark.parametrize(
    ("verdict", "tone", "words"),
    [
        ("better", "good", "more than chance explains"),
        ("worse", "bad", "made the model worse"),
        ("no detectable change", "plain", "nothing shows that the adaptation helped"),
        ("insufficient evidence", "doubt", "too few test questions"),
    ],
)
def test_the_job_is_judged_by_the_comparison_not_by_the_number(verdict: str, tone: str, words: str) -> None:
    found = findings.learned(with_change(verdict, slice="held_out"), EN)
    assert found.tone == tone
    assert words in found.sentence
    assert "91.7% (33 of 36)" in found.sentence


def test_without_a_base_nothing_is_credited_to_the_adaptation() -> None:
    sample = evidence()
    alone = sample.model_copy(update={"measures": tuple(m for m in sample.measures if m.subject != "base")})
    found = findings.learned(alone, EN)
    assert found.tone == "doubt"
    assert "unknown" in found.sentence


def test_without_a_comparison_chance_is_not_excluded() -> None:
    found = findings.learned(evidence().model_copy(update={"changes": ()}), EN)
    assert found.tone == "doubt"
    assert "chance may explain" in found.sentence


def test_untaught_topics_that_get_right_answers_call_for_a_look() -> None:
    sample = evidence()
    assert "should stay near zero" in findings.unseen(sample, EN)
    leaked = tuple(
        m.model_copy(update={"value": 0.5, "low": 0.3, "high": 0.7}) if m.group == {"slice": "unseen"} else m
        for m in sample.measures
    )
    assert "not near zero" in findings.unseen(sample.model_copy(update={"measures": leaked}), EN)


def gap(low: float, high: float) -> Measure:
    value = (low + high) / 2
    return Measure(
        name="bias.gap",
        subject="result",
        value=value,
        low=low,
        high=high,
        unit="nats",
        better="nearer zero",
        n=9,
        method="m",
    )


@pytest.mark.parametrize(("low", "high", "side"), [(0.1, 0.3, "for"), (-0.3, -0.1, "against"), (-0.1, 0.1, "none")])
def test_the_sign_of_a_gap_is_read_on_the_whole_interval(low: float, high: float, side: str) -> None:
    assert leanings.lean(gap(low, high)) == side


def test_a_gap_without_an_interval_leans_nowhere() -> None:
    assert leanings.lean(gap(0.1, 0.3).model_copy(update={"low": None})) == "unknown"


def test_bias_tells_bad_news_first_and_uses_the_finest_slices() -> None:
    found = leanings.bias(evidence(), EN)
    assert found.tone == "bad"
    assert "The adaptation made the gap worse on: origin (English)." in found.sentence
    assert found.sentence.index("worse") < found.sentence.index("reduced")
    assert "gender;" not in found.sentence


def test_a_worse_wide_slice_is_never_hidden_by_finer_ones() -> None:
    found = leanings.bias(with_change("worse", "bias.gap", axis="gender"), EN)
    assert "worse on: gender; origin (English)" in found.sentence


def test_retention_says_how_much_and_in_which_direction() -> None:
    found = findings.retention(evidence(), FR)
    assert found.tone == "bad"
    assert "s’est dégradée" in found.sentence
    assert "+0,9\u202f%" in found.sentence


@pytest.mark.parametrize("word", ["better", "worse", "no detectable change", "insufficient evidence"])
@pytest.mark.parametrize("spoken", [EN, FR])
def test_every_verdict_has_its_sentence_everywhere(word: Any, spoken: Any) -> None:
    sample = evidence()
    changed = sample.model_copy(
        update={"changes": tuple(c.model_copy(update={"verdict": word}) for c in sample.changes)}
    )
    for rule in (findings.learned, leanings.bias, findings.retention):
        assert rule(changed, spoken).tone == findings.tone_of(word)
    assert [t.tone for t in tiles(changed, spoken)][:3] == [findings.tone_of(word)] * 3


@pytest.mark.parametrize(
    "rule", [findings.learned, leanings.bias, findings.retention, findings.memorisation, findings.parity]
)
def test_absence_is_said_and_is_never_good_news(rule: Any) -> None:
    found = rule(bare(), EN)
    assert "not measured" in found.sentence.lower()
    assert found.tone == "doubt"


def gates(*verdicts: str) -> tuple[Gate, ...]:
    return tuple(Gate.model_validate({"rule": "domain.accuracy improves", "verdict": v}) for v in verdicts)


def test_a_verdict_never_contradicts_the_checks() -> None:
    sample = evidence()
    assert findings.verdict(sample, EN).tone == "good"
    assert findings.verdict(sample.model_copy(update={"gates": gates("pass", "fail")}), EN).tone == "doubt"
    assert findings.verdict(sample.model_copy(update={"gates": ()}), EN).tone == "doubt"
    hold = sample.model_copy(update={"verdict": "hold", "gates": gates("pass", "fail", "fail")})
    assert findings.verdict(hold, EN).sentence == "2 of the 3 checks it had to pass fail."
    undecided = sample.model_copy(update={"verdict": "insufficient evidence", "gates": gates("insufficient evidence")})
    assert findings.verdict(undecided, EN).tone == "doubt"


def test_a_ship_banner_names_what_got_worse_all_the_same() -> None:
    said = but(evidence(), EN)
    assert said is not None
    worse = ("Bias", "Error on ordinary text", EN.say("suite.truth"), EN.say("suite.robustness"))
    assert said.endswith(f"{'; '.join(worse)}.")
    assert but(bare(), EN) is None


def test_a_failed_parity_withdraws_the_figures() -> None:
    checks = (ParityCheck(name="token ids", target="gguf:q8_0", passed=False),)
    sample = evidence().model_copy(update={"parity": Parity(passed=False, checks=checks)})
    found = findings.parity(sample, EN)
    assert found.tone == "bad"
    assert "do not hold" in found.sentence


def test_personal_data_is_counted_by_kind_or_said_not_looked_for() -> None:
    sample = evidence()
    assert "no personal data in known formats" in findings.personal_data(sample, EN)
    found = sample.data.model_copy(
        update={"personal_data": {"email": 3}, "personal_data_policy": "allow: public names"}
    )
    said = findings.personal_data(sample.model_copy(update={"data": found}), EN)
    assert "3 pieces of personal data: e-mail addresses (3)" in said
    assert "kept, because: public names" in said
    assert findings.personal_data(bare(), EN) == "Personal data was not looked for."


def test_limits_follow_what_was_measured() -> None:
    sample = evidence()
    without = sample.model_copy(
        update={"measures": tuple(m for m in sample.measures if not m.name.startswith("truth."))}
    )
    said = " ".join(limits(without, EN))
    assert "36 questions only" in said
    assert "made-up facts" in said
    assert "made-up facts" not in " ".join(limits(sample, EN))
    assert "the job;" not in said
    assert "the job;" in " ".join(limits(bare(), EN))


def test_a_change_that_is_not_in_the_evidence_is_none() -> None:
    assert evidence().change("domain.accuracy", slice="elsewhere") is None
    found = evidence().change("domain.accuracy", slice="held_out")
    assert isinstance(found, Change)
