"""Rows of the tables: gates in words, differences with intervals, reasons."""

import pytest

from evidence_sample import evidence
from limpide.core.measure import Change
from limpide.document import tables
from limpide.document.evidence import Gate, Parity, ParityCheck
from limpide.document.language import Language, language

EN, FR = language("en"), language("fr")


@pytest.mark.parametrize(
    ("rule", "english", "french"),
    [
        ("domain.accuracy improves", "Expected answers: must improve", "Réponses attendues\u00a0: doit s’améliorer"),
        ("bias.gender.gap does not worsen", "Bias gap – gender: must not get worse", None),
        ("retention.loss worsens by less than 2.5%", None, "moins de 2,5\u202f%"),
        ("domain.accuracy is above 90%", "Expected answers: must be above 90%", None),
        ("something.else glows", "something.else glows", "something.else glows"),
    ],
)
def test_rules_in_words(rule: str, english: str | None, french: str | None) -> None:
    if english is not None:
        assert tables.rule_in_words(rule, EN) == english
    if french is not None:
        assert tables.rule_in_words(rule, FR).endswith(french)


def test_a_gate_shows_the_numbers_of_its_own_slice() -> None:
    sample = evidence()
    assert "0.41\u00a0nats to 0.39\u00a0nats" in (tables.gate_fact("bias.gender.gap does not worsen", sample, EN) or "")
    assert "from 0% to 91.7%" in (tables.gate_fact("domain.accuracy improves", sample, EN) or "")
    assert "at worst +1.3%" in (tables.gate_fact("retention.loss worsens by less than 2%", sample, EN) or "")
    assert "78.2% to 97.1%" in (tables.gate_fact("domain.accuracy is above 50%", sample, EN) or "")
    assert tables.gate_fact("truth.unknown improves", sample, EN) == "not measured on both models"


@pytest.mark.parametrize(
    ("language", "further", "nearer", "share"),
    [
        (EN, "0.10 nats further from 0 (distance +0.05 to +0.15)", "0.020 nats nearer to 0", "distance from 0 +333.3%"),
        (FR, "0,10 nats plus loin de 0 (distance +0,05 à +0,15)", "0,020 nats plus près de 0", "distance à 0 +333,3 %"),
    ],
)
def test_a_bias_that_grew_below_zero_is_not_shown_as_a_plain_plus(
    language: Language, further: str, nearer: str, share: str
) -> None:
    grown = Change(
        name="bias.gap", unit="nats", better="nearer zero", before=-0.03, after=-0.13, difference=0.10, low=0.05,
        high=0.15, n=100, test="", p_value=0.001, smallest_detectable=None, verdict="worse", sentence="",
    )  # fmt: skip
    less = grown.model_copy(update={"difference": -0.02, "low": None, "high": None})
    seen = evidence().model_copy(update={"changes": (grown,)})
    fact, limited = (
        tables.gate_fact(f"bias.gap {rule}", seen, language) for rule in ("does not worsen", "worsens by less than 2%")
    )
    said = [tables.difference(grown, language), tables.difference(less, language), fact or "", limited or ""]
    plain = [text.replace("\xa0", " ").replace("\u202f", " ") for text in said]
    assert plain[:2] == [further, nearer]
    assert further in plain[2]
    assert share in plain[3]
    same = tables.difference(grown.model_copy(update={"difference": 0.0, "low": None, "high": None}), language)
    assert same.replace("\xa0", " ") in ("0.000 nats", "0,000 nats", "0.00 nats", "0,00 nats")


def test_reasons_are_in_the_readers_language() -> None:
    sample = evidence().model_copy(
        update={
            "verdict": "hold",
            "gates": (Gate(rule="domain.accuracy improves", verdict="fail", sentence="English."),),
        }
    )
    ((said, foreign),) = tables.reasons(sample, FR)
    assert foreign is None
    assert said.startswith("Réponses attendues\u00a0: doit s’améliorer – échoue\u00a0: de 0\u202f% à 91,7\u202f%")


def test_a_failed_parity_is_a_reason() -> None:
    failed = Parity(passed=False, checks=(ParityCheck(name="token ids", target="gguf:q8_0", passed=False),))
    sample = evidence().model_copy(update={"verdict": "hold", "gates": (), "parity": failed})
    assert tables.reasons(sample, EN) == [("Same tokens read (gguf:q8_0) – fails.", None)]


def test_recorded_reasons_are_used_when_no_check_explains() -> None:
    sample = evidence().model_copy(update={"verdict": "hold", "gates": (), "reasons": ("stopped by hand",)})
    assert tables.reasons(sample, FR) == [("stopped by hand", "en")]
    assert tables.reasons(evidence(), EN) == []


def test_compared_rows_have_a_cell_a_model_and_the_paired_difference() -> None:
    rows = tables.compared(evidence(), EN, "domain.", ["base", "result"])
    first, french = rows[0], rows[2]
    assert first.cells == ("0%", "91.7%")
    assert first.ranges == ("0% to 9.6%", "78.2% to 97.1%")
    assert (first.difference, first.difference_range) == ("+91.7\u00a0points", "+75.0 to +97.1")
    assert french.cells == ("too little evidence", "too little evidence")
    assert (french.difference, french.tone) == ("–", "doubt")


def test_more_repetition_is_told_and_not_judged() -> None:
    row = tables.compared(evidence(), EN, "memorisation.verbatim", ["base", "result"])[0]
    assert (row.verdict, row.tone) == ("rises", "doubt")


def test_a_served_file_gets_its_column() -> None:
    sample = evidence()
    served = sample.measures[1].model_copy(update={"subject": "gguf:q8_0"})
    assert tables.subjects((*sample.measures, served)) == ["base", "result", "gguf:q8_0"]


def test_a_parity_check_that_did_not_run_is_not_passed() -> None:
    checks = (ParityCheck(name="greedy text", target="gguf:q8_0", passed=None),)
    row = tables.parity_rows(evidence().model_copy(update={"parity": Parity(checks=checks)}), EN)[0]
    assert (row.word, row.tone, row.value) == ("not decided", "doubt", "–")
