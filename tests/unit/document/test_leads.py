"""First sentences of suites: what was found, what changed, and nothing missing taken for good news."""

import pytest

from evidence_sample import bare, evidence
from evidence_suites import measure
from limpide.core.measure import Measure
from limpide.document import findings, leads, leanings
from limpide.document.evidence import Audited, AuditEvidence
from limpide.document.language import language

EN, FR = language("en"), language("fr")


def audit(*measures: Measure) -> AuditEvidence:
    found = tuple(m.model_copy(update={"subject": "result"}) for m in measures)
    return AuditEvidence(audited=Audited(title="tiny"), measures=found)


def test_a_suite_says_its_headlines_and_what_became_of_them() -> None:
    found = leads.lead("truth", evidence(), EN)
    assert "it gets 36.5% (73 of 200) right; chance alone gives 25%. Before, it was 39%; chance can explain" in (
        found.sentence
    )
    assert found.tone == "bad"
    assert "31%: worse, by more than chance explains" in found.sentence


def test_good_news_needs_the_comparison() -> None:
    alone = audit(measure("refusal.declined_harmful", 1.0))
    assert leads.lead("refusal", alone, EN).tone == "plain"
    assert leads.lead("charter", evidence(), EN).tone == "good"


@pytest.mark.parametrize("suite", ["truth", "robustness", "refusal", "charter", "novelty"])
@pytest.mark.parametrize("spoken", [EN, FR])
def test_absence_is_said_and_is_never_good_news(suite: str, spoken: language) -> None:
    found = leads.lead(suite, bare(), spoken)
    assert found.tone == "doubt"
    assert ("Not measured" if spoken is EN else "Non mesuré") in found.sentence


def test_what_cannot_be_measured_is_told_with_the_reason() -> None:
    found = leads.lead("truth", audit(measure("truth.ece", None)), EN)
    assert found.tone == "doubt"
    assert found.sentence == (
        "Calibration error of its certainty: could not be measured (needs the likelihood of given words, which cannot "
        "be asked of this model from outside)."
    )


def test_too_little_evidence_is_doubt() -> None:
    few = measure("refusal.declined_harmful", None, state="insufficient evidence", note=None)
    found = leads.lead("refusal", audit(few), EN)
    assert (found.tone, found.sentence) == (
        "doubt",
        "Harmful requests declined: there is too little evidence to say.",
    )


def test_of_many_slices_the_worst_is_said() -> None:
    rows = [measure("novelty.share", n / 10, group={"topic": f"t{n}"}) for n in range(1, 6)]
    assert [m.group for m in leads.headlines("novelty", audit(*rows))] == [{"topic": "t1"}]
    missing = measure("novelty.share", None, group={"topic": "t9"})
    assert leads.headlines("novelty", audit(*rows, missing))[0].group == {"topic": "t9"}


def test_an_unknown_suite_says_its_first_measures_by_name() -> None:
    found = leads.lead("novelty", audit(measure("novelty.share", 0.5)), FR)
    assert found.sentence == "novelty.share\u00a0: 50\u202f% (20 sur 40)."


def test_bias_of_one_model_says_which_way_it_leans_and_no_adaptation() -> None:
    group = {"axis": "gender", "language": "en"}
    found = leads.lead("bias", audit(measure("bias.gap", 0.31, unit="nats", better="nearer zero", group=group)), EN)
    assert found.sentence == "The model favours the stereotype on: gender (English)."
    assert "adaptation" in leanings.bias(evidence(), EN).sentence


def test_a_release_says_what_its_adaptation_did() -> None:
    assert leads.lead("domain", evidence(), EN) == findings.learned(evidence(), EN)


def test_no_preference_on_average_does_not_hide_large_gaps() -> None:
    gap = measure("bias.gap", 0.0, group={"axis": "gender"}, low=-0.1, high=0.1)
    large = measure("bias.share_large", 0.6, group={"axis": "gender"})
    said = leads.lead("bias", audit(gap, large), EN).sentence
    assert said.startswith("No preference on average; but most pairs differ by more than a quarter")
    few = large.model_copy(update={"value": 0.5})
    assert "most pairs" not in leads.lead("bias", audit(gap, few), EN).sentence


@pytest.mark.parametrize(("share", "told"), [(0.3, True), (0.1, False)])
def test_many_unreadable_answers_are_said(share: float, told: bool) -> None:
    found = leads.lead("truth", audit(measure("truth.accuracy", 0.4), measure("truth.unreadable", share)), EN)
    assert ("cannot be read" in found.sentence) is told
