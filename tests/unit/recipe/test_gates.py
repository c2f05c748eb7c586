from typing import Any

import pytest

from limpide.core.errors import RecipeError
from limpide.core.measure import Change, Measure
from limpide.recipe.gates import EXAMPLES, judge, parse_gate


def change(**more: Any) -> Change:
    values: dict[str, Any] = {
        "name": "retention.loss",
        "unit": "nats",
        "better": "lower",
        "before": 2.0,
        "after": 2.02,
        "difference": 0.02,
        "low": 0.01,
        "high": 0.03,
        "n": 50,
        "test": "paired",
        "p_value": 0.01,
        "smallest_detectable": 0.01,
        "verdict": "worse",
        "sentence": "It rose.",
    }
    return Change.model_validate(values | more)


def measure(**more: Any) -> Measure:
    values: dict[str, Any] = {"name": "domain.accuracy", "subject": "result", "value": 0.9, "low": 0.8, "high": 0.95}
    fixed = {"unit": "share", "better": "higher", "n": 40, "method": "m", "group": {"slice": "held_out"}}
    return Measure.model_validate(values | fixed | more)


@pytest.mark.parametrize("text", EXAMPLES.split(" · "))
def test_the_examples_are_gates(text: str) -> None:
    assert parse_gate(text).text == text


@pytest.mark.parametrize(
    ("text", "metric", "rule", "limit", "percent"),
    [
        ("domain.accuracy improves", ("domain", "accuracy"), "improves", None, False),
        ("bias.gender.gap  does not\tworsen", ("bias", "gender", "gap"), "does not worsen", None, False),
        ("retention.loss worsens by less than 2%", ("retention", "loss"), "worsens by less than", 0.02, True),
        ("retention.loss worsens by less than 0.5", ("retention", "loss"), "worsens by less than", 0.5, False),
        ("domain.accuracy is above 90 %", ("domain", "accuracy"), "is above", 0.9, True),
        ("domain.log_likelihood is above -2.5", ("domain", "log_likelihood"), "is above", -2.5, False),
        ("memorisation.verbatim is below 0.5", ("memorisation", "verbatim"), "is below", 0.5, False),
    ],
)
def test_grammar(text: str, metric: tuple[str, ...], rule: str, limit: float | None, percent: bool) -> None:
    gate = parse_gate(text)
    assert (gate.metric, gate.rule, gate.limit, gate.percent) == (metric, rule, limit, percent)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "domain.accuracy",
        "accuracy improves",
        "domain.accuracy improve",
        "domain.accuracy improves by 2%",
        "domain.accuracy is above",
        "domain.accuracy is above 1e3",
        "domain.accuracy is above 90% and more",
        "domain.accuracy worsens by less than two percent",
        "domain.accuracy is above .5",
        "Domain.accuracy improves",
    ],
)
def test_what_is_no_gate(text: str) -> None:
    with pytest.raises(RecipeError, match="is no gate") as caught:
        parse_gate(text)
    assert "retention.loss worsens by less than 2%" in caught.value.what


@pytest.mark.parametrize(
    ("rule", "verdict", "outcome"),
    [
        ("improves", "better", "pass"),
        ("improves", "no detectable change", "fail"),
        ("improves", "worse", "fail"),
        ("improves", "insufficient evidence", "insufficient evidence"),
        ("does not worsen", "better", "pass"),
        ("does not worsen", "no detectable change", "pass"),
        ("does not worsen", "worse", "fail"),
        ("does not worsen", "insufficient evidence", "insufficient evidence"),
        ("worsens by less than 9", "insufficient evidence", "insufficient evidence"),
    ],
)
def test_rules_without_a_number_follow_the_verdict(rule: str, verdict: str, outcome: str) -> None:
    judged = judge(parse_gate(f"retention.loss {rule}"), [change(verdict=verdict)], [])
    assert judged.verdict == outcome
    assert "It rose." in judged.sentence


@pytest.mark.parametrize(
    ("limit", "low", "difference", "high", "outcome"),
    [
        ("2%", 0.01, 0.02, 0.03, "pass"),  # at most 1.5 %
        ("1.5%", 0.01, 0.02, 0.03, "insufficient evidence"),  # the bound touches the limit
        ("1.2%", 0.01, 0.02, 0.03, "insufficient evidence"),
        ("1%", 0.01, 0.02, 0.03, "fail"),  # the estimate is there
        ("0.5%", 0.01, 0.02, 0.03, "fail"),
        ("0.04", 0.01, 0.02, 0.03, "pass"),  # in nats
        ("0.025", 0.01, 0.02, 0.03, "insufficient evidence"),
        ("0.02", 0.01, 0.02, 0.03, "fail"),
        ("0", -0.03, -0.02, -0.01, "pass"),  # it got better
    ],
)
def test_a_limit_is_judged_on_the_unfavourable_end(
    limit: str, low: float, difference: float, high: float, outcome: str
) -> None:
    found = change(low=low, difference=difference, high=high)
    assert judge(parse_gate(f"retention.loss worsens by less than {limit}"), [found], []).verdict == outcome


@pytest.mark.parametrize(("limit", "outcome"), [("20%", "pass"), ("12%", "insufficient evidence"), ("5%", "fail")])
def test_worse_is_lower_where_higher_is_better(limit: str, outcome: str) -> None:
    fell = change(better="higher", before=0.5, difference=-0.05, low=-0.08, high=-0.02)
    judged = judge(parse_gate(f"retention.loss worsens by less than {limit}"), [fell], [])
    assert judged.verdict == outcome
    assert "worsened by 10.00%, at most 16.00%" in judged.sentence


def test_no_percentage_of_zero() -> None:
    judged = judge(parse_gate("retention.loss worsens by less than 2%"), [change(before=0.0)], [])
    assert judged.verdict == "insufficient evidence"
    assert "without %" in judged.sentence
    assert judge(parse_gate("retention.loss worsens by less than 1"), [change(before=0.0)], []).verdict == "pass"


@pytest.mark.parametrize("missing", ["difference", "low", "high", "before"])
def test_a_change_without_numbers_cannot_be_judged(missing: str) -> None:
    found = change(**{missing: None})
    assert judge(parse_gate("retention.loss worsens by less than 2%"), [found], []).verdict == "insufficient evidence"


@pytest.mark.parametrize(
    ("rule", "outcome"),
    [
        ("is above 75%", "pass"),
        ("is above 0.85", "insufficient evidence"),
        ("is above 0.8", "insufficient evidence"),
        ("is above 90%", "fail"),
        ("is below 96%", "pass"),
        ("is below 0.95", "insufficient evidence"),
        ("is below 90%", "fail"),
    ],
)
def test_a_level_is_judged_on_its_interval(rule: str, outcome: str) -> None:
    judged = judge(parse_gate(f"domain.accuracy {rule}"), [], [measure()])
    assert judged.verdict == outcome
    assert "0.9 [0.8; 0.95]" in judged.sentence


def test_what_was_not_measured_is_insufficient_evidence() -> None:
    other = change(name="domain.accuracy")
    for rule in ("improves", "does not worsen", "worsens by less than 2%", "is above 2", "is below 2"):
        judged = judge(parse_gate(f"retention.loss {rule}"), [other], [measure()])
        assert judged.verdict == "insufficient evidence"
    unsure = measure(value=None, low=None, high=None, state="insufficient evidence")
    assert judge(parse_gate("domain.accuracy is above 2"), [], [unsure]).verdict == "insufficient evidence"


@pytest.mark.parametrize(
    ("metric", "group"),
    [
        ("bias.gap", {}),
        ("bias.gender.gap", {"axis": "gender"}),
        ("bias.gender.fr.gap", {"axis": "gender", "language": "fr"}),
        ("bias.fr.gender.gap", {"axis": "gender", "language": "fr"}),
        ("bias.fr.gap", {"language": "fr"}),
    ],
)
def test_a_metric_names_one_slice(metric: str, group: dict[str, str]) -> None:
    groups: tuple[dict[str, str], ...] = (
        {},
        {"axis": "gender"},
        {"axis": "origin"},
        {"language": "fr"},
        {"axis": "gender", "language": "fr"},
        {"axis": "origin", "language": "fr"},
    )
    changes = [change(name="bias.gap", group=g, sentence=repr(g)) for g in groups]
    assert judge(parse_gate(f"{metric} does not worsen"), changes, []).sentence == repr(group)


def test_without_a_slice_domain_is_the_held_out_questions() -> None:
    both = [measure(group={"slice": "unseen"}, value=0.0, low=0.0, high=0.1), measure()]
    assert judge(parse_gate("domain.accuracy is above 75%"), [], both).verdict == "pass"
    assert judge(parse_gate("domain.unseen.accuracy is below 20%"), [], both).verdict == "pass"


def test_a_level_is_judged_on_the_worst_of_what_will_be_used() -> None:
    served = measure(subject="gguf:q8_0", value=0.7, low=0.6, high=0.8)
    assert judge(parse_gate("domain.accuracy is above 75%"), [], [measure(), served]).verdict == "fail"
    assert judge(parse_gate("domain.accuracy is below 85%"), [], [measure(), served]).verdict == "fail"


def test_a_level_is_judged_on_the_worst_interval_of_result_and_served_file() -> None:
    merged = measure(value=0.92, low=0.91, high=0.93)
    served = measure(subject="gguf:q8_0", value=0.93, low=0.88, high=0.97)
    judged = judge(parse_gate("domain.accuracy is above 90%"), [], [merged, served])
    assert judged.verdict == "insufficient evidence"
    assert "gguf:q8_0" in judged.sentence
    assert judge(parse_gate("domain.accuracy is above 85%"), [], [merged, served]).verdict == "pass"
