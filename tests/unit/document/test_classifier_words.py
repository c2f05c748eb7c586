"""What the documents say of a classifier: what it is, what it is better than, and what does not apply to it."""

import pytest

from evidence_sample import evidence
from limpide.core.measure import Measure
from limpide.document import findings
from limpide.document.card import card, kind_of
from limpide.document.evidence import Evidence, LossPoint, SuiteEvidence
from limpide.document.language import language
from limpide.document.leanings import bias
from limpide.document.limits import limits
from limpide.document.suites import aside

EN, FR = language("en"), language("fr")
WORDLESS = "needs words from the model, and a classifier gives only the probability of each class"


def measure(name: str, value: float | None, **more: object) -> Measure:
    ends = {} if value is None else {"low": value - 0.1, "high": value + 0.1}
    given = {"subject": "result", "unit": "share", "better": "higher", "n": 30, "method": "m", "group": {}}
    return Measure.model_validate({"name": name, "value": value, **ends, **given, **more})


def classifier(*measures: Measure, **training: object) -> Evidence:
    sample = evidence()
    classes = {"classes": {"invoice": 40, "praise": 12}} | training
    return sample.model_copy(
        update={"measures": measures, "changes": (), "training": sample.training.model_copy(update=classes)}
    )


def labelled(gain: float) -> tuple[Measure, ...]:
    held_out = {"group": {"slice": "held_out"}}
    return (
        measure("domain.accuracy", 0.8, **held_out),
        measure("domain.majority", 0.5, better="neither", **held_out),
        measure("domain.gain", gain, **held_out),
        measure("domain.accuracy", None, subject="base", state="not run", note="no head"),
    )


@pytest.mark.parametrize(
    ("gain", "tone", "said"),
    [(0.3, "good", "does better than that"), (0.05, "doubt", "may be chance"), (-0.3, "bad", "does worse than that")],
)
def test_what_it_learned_is_beside_the_commonest_class(gain: float, tone: str, said: str) -> None:
    found = findings.learned(classifier(*labelled(gain)), EN)
    assert found.tone == tone
    assert said in found.sentence
    assert "would be right 50%" in found.sentence
    assert found.sentence.endswith("The base model has no classification head, so it could not be asked.")


def test_what_it_is_names_the_classes() -> None:
    record = classifier()
    assert "sorts texts into 2 classes (invoice; praise) and writes nothing" in findings.what_it_is(record, EN)
    assert "range des textes dans 2 classes" in findings.what_it_is(record, FR)
    many = classifier(classes={f"c{k:02}": 1 for k in range(30)})
    assert "c09 …)" in findings.what_it_is(many, EN)
    assert kind_of(record) == "classifier"
    text = card(record, "en")
    assert "pipeline_tag: text-classification" in text
    assert 'pipeline("text-classification", model=".")' in text


def test_without_anything_to_serve_no_command_is_shown() -> None:
    assert "limpide serve" in card(evidence(), "en")
    quiet = classifier().model_copy(update={"how_to_serve": ()})
    assert "limpide serve" not in card(quiet, "en")


def test_losses_are_per_text_and_macro_f1_is_told() -> None:
    points = tuple(
        LossPoint(step=k, epoch=k, train=None if k == 0 else 1.0, held_out=loss, macro_f1=f1)
        for k, (loss, f1) in enumerate([(1.2, 0.2), (0.7, 0.65), (0.9, 0.6)])
    )
    said = findings.training(classifier(losses=points), EN)
    assert "nats a text" in said
    assert "Macro-F1 on the stopping examples went from 20% to 65%." in said
    assert "nats par texte" in findings.training(classifier(losses=points), FR)


def test_what_does_not_apply_says_why_in_both_languages() -> None:
    off = {"state": "not run", "note": WORDLESS}
    base = {"subject": "base", "group": {"axis": "gender", "language": "en"}, "unit": "nats"}
    record = classifier(
        measure("retention.loss", None, **off),
        measure("memorisation.verbatim", None, **off),
        measure("bias.gap", None, **off),
        measure("bias.gap", 0.1, **base),
    )
    for found in (findings.retention(record, EN), findings.memorisation(record, EN), bias(record, EN)):
        assert found.sentence == f"Not applicable here: {WORDLESS}."
        assert found.tone == "doubt"
    assert bias(record, FR).sentence.startswith("Sans objet ici\u00a0: il faut des mots du modèle")
    assert not [line for line in limits(record, EN) if line.startswith("Bias was looked at")]  # of the base alone


@pytest.mark.parametrize(("value", "tone"), [(0.3, "bad"), (0.05, "doubt")])
def test_choices_that_follow_gender_are_said(value: float, tone: str) -> None:
    record = classifier(measure("bias.own_flipped", value, group={"axis": "gender"}, better="lower"))
    found = bias(record, EN)
    assert found.tone == tone
    assert "only the gender of the person changes" in found.sentence


def test_new_topics_are_judged_as_new_topics() -> None:
    """A label is taught, so a right one on a topic never taught is no alarm."""
    on = {"group": {"slice": "unseen"}}
    record = classifier(measure("domain.accuracy", 0.8, **on), measure("domain.majority", 0.5, **on))
    assert "holds for topics it never saw" in findings.unseen(record, EN)


def test_confusions_are_listed_and_their_absence_told() -> None:
    pair = {"expected": "praise", "said": "invoice", "count": 3}
    other = {"expected": "invoice", "said": None, "count": 1}
    for confused, said in (
        ([pair, other], "“praise” taken for “invoice”: 3 texts; “invoice” taken for “(nothing)”: 1 text."),
        ([], "No text kept out of training got another class than its own."),
    ):
        suite = SuiteEvidence(name="domain", facts={"confusion": {"confused": confused}})
        record = classifier().model_copy(update={"suites": (suite,)})
        assert aside("domain", record, EN)[0] == ("Which classes it takes for one another", said, ())
    assert len(aside("domain", evidence(), EN)) == 1
