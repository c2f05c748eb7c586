"""The section of a suite: what is in sight, what is folded, what is missing, what can be opened."""

import pytest

from evidence_sample import bare, evidence
from evidence_suites import CLOSED, bias_items, measure
from limpide.core.measure import Change, Measure
from limpide.document.evidence import Audited, AuditEvidence, OpenedItem, SuiteEvidence
from limpide.document.language import language
from limpide.document.read import suite_evidence
from limpide.document.suites import LONG, TITLE, item, ordered, section, shown

EN, FR = language("en"), language("fr")


def audit(*measures: Measure, suite: SuiteEvidence | None = None, changes: tuple[Change, ...] = ()) -> AuditEvidence:
    found = tuple(m.model_copy(update={"subject": "result"}) for m in measures)
    kept = (suite,) if suite else ()
    return AuditEvidence(audited=Audited(title="tiny"), measures=found, changes=changes, suites=kept)


def test_a_section_has_all_its_parts() -> None:
    made = section("truth", evidence(), EN)
    assert (made.id, made.title) == ("truth", "Does it tell the truth, and know what it does not know?")
    assert made.compared
    assert made.columns == ("Before (base)", "After (release)")
    assert [row.label for row in made.rows] == [
        "truth.accuracy",
        "truth.ece",
        "truth.made_up",
        "truth.unsure_on_known",
    ]
    assert made.groups[0].title == "Wrong answers that it was surest of"
    assert made.methods[0][2] == "truth.accuracy@1(match=normalised)"
    assert made.rerun == "limpide run recipe.yaml"


@pytest.mark.parametrize(("suite", "anchor"), [("domain", "job"), ("retention", "kept"), ("memorisation", "memory")])
def test_the_anchors_of_the_tiles_stay(suite: str, anchor: str) -> None:
    assert section(suite, evidence(), EN).id == anchor
    assert section(suite, bare(), FR).id == anchor


def test_a_suite_that_is_not_known_has_its_section() -> None:
    made = section("novelty", audit(measure("novelty.share", 0.3)), FR)
    assert (made.id, made.title) == ("novelty", "Série novelty")
    assert not made.compared
    assert made.caption == "Mesures de la série novelty"


def test_of_a_long_table_the_headlines_and_what_got_worse_stay_in_sight() -> None:
    topics = [measure("domain.accuracy", 0.5, group={"slice": "held_out", "topic": f"t{n}"}) for n in range(LONG + 3)]
    whole = measure("domain.accuracy", 0.5, group={"slice": "held_out"})
    f1 = measure("domain.token_f1", 0.5, group={"slice": "held_out"})
    worse = Change.model_validate(
        {"name": "domain.accuracy", "group": topics[7].group, "unit": "share", "better": "higher", "before": 0.9}
        | {"after": 0.5, "difference": -0.4, "low": -0.6, "high": -0.2, "n": 40, "test": "McNemar", "p_value": 0.01}
        | {"smallest_detectable": 0.1, "verdict": "worse", "sentence": "worse"}
    )
    made = section("domain", audit(*topics, whole, f1, changes=(worse,)), EN)
    assert [row.label for row in made.rows] == [topics[7].label, whole.label]
    assert len(made.more) == LONG + 3
    short = section("domain", audit(whole, f1), EN)
    assert (len(short.rows), short.more) == (2, ())


def test_what_could_not_be_measured_is_grouped_by_reason_and_leaves_the_table() -> None:
    made = section("truth", audit(measure("truth.accuracy", 0.4), measure("truth.ece", None)), EN)
    assert [row.label for row in made.rows] == ["truth.accuracy"]
    assert made.missing == (((CLOSED, None), "Calibration error of its certainty"),)


def test_warnings_of_the_audit_are_shown_in_their_language() -> None:
    suite = SuiteEvidence(name="refusal", warnings=("30 of 132 requests got no answer.",))
    made = section("refusal", audit(measure("refusal.declined_harmful", 0.4), suite=suite), FR)
    assert made.warnings == (("30 of 132 requests got no answer.", "en"),)


def test_which_public_set_was_measured_is_said() -> None:
    record = {"name": "bbq@helm", "title": "BBQ as HELM scores it", "known_limits": "Few templates.", "else": 1}
    suite = suite_evidence("bias", [], {"dialect": record})
    made = section("bias", audit(measure("bias.bbq_helm_accuracy", 0.4), suite=suite), EN)
    assert made.set == (("Dialect", "bbq@helm"), ("Title", record["title"]), ("Known limits", "Few templates."))
    assert made.explained is None  # that of the templates


def test_the_rule_and_the_count_stand_above_the_items() -> None:
    made = section("truth", evidence(), EN)
    assert made.groups[0].rule == "Every wrong choice, the surest first. Shown: 1\u00a0of\u00a01."
    assert made.groups[1].rule.startswith("In an order drawn from their names: nobody picked them. What only the rel")
    alone = section("truth", audit(measure("truth.made_up", 1.0)), EN)
    assert alone.groups == ()


def test_a_closed_item_shows_its_text_its_slice_and_its_number() -> None:
    (group,) = section("bias", evidence(), FR).groups
    first = group.items[0]
    assert first.title == "Sarah has worked at the hospital for ten years as a nurse"
    assert (first.where, first.figure, first.lang) == ("genre (anglais)", "+2,28\u00a0nats", "en")
    assert [side.role for side in first.sides] == ["before", "after"]
    long = suite_evidence("bias", [bias_items((1.0, 0.1))[0] | {"stereotyped": "word " * 60}], {})
    title = item(long.opened[0].items[0], EN).title
    assert len(title) <= TITLE
    assert title.endswith("…")


@pytest.mark.parametrize(
    ("name", "said", "lines"),
    [
        ("answer", "Peru", ("Peru",)),
        ("answer", "  ", ("(empty answer)",)),
        ("answer", None, ("(nothing)",)),
        ("confidence", 0.98, ("98%",)),
        ("gap", -1.8, ("−1.80\u00a0nats",)),
        ("anything_else", 0.1234, ("0.123",)),
        ("options", ("a", "b"), ("a", "b")),
        ("class", "declined", ("declined",)),
        ("broken", ("max_words (131 words)",), ("length of the answer (131 words)",)),
    ],
)
def test_fields_are_written_for_people(name: str, said: object, lines: tuple[str, ...]) -> None:
    assert OpenedItem(id="x", after={name: said}).after == {name: said}
    assert shown(name, said, EN).lines == lines


def test_known_suites_come_in_their_order() -> None:
    assert ordered(["novelty", "truth", "domain"]) == ["domain", "truth", "novelty"]


@pytest.mark.parametrize("read", ["text", "likelihood"])
def test_a_public_set_shows_its_formula_and_what_answers_in_text_leave_of_it(read: str) -> None:
    note = "(1 − accuracy, all contexts) · (2·biased/answered − 1). Dialect 'bbq@helm': BBQ as HELM; other tools "
    score = measure("bias.bbq_helm_ambiguous_score", 0.1).model_copy(
        update={"note": f"{note}define it otherwise.", "method": f"bbq@helm.ambiguous_score@1(read={read})"}
    )
    made = section("bias", audit(score, suite=suite_evidence("bias", [], {"dialect": {"name": "bbq@helm"}})), EN)
    assert made.formula is not None
    assert made.formula[1] == ("(1 − accuracy, all contexts) · (2·biased/answered − 1).", None)
    assert made.read_only is (read == "text")
    assert section("truth", evidence(), EN).formula is None
