"""What a suite says it measures is what it measures: names, units and slices, before and after a run."""

import pytest

from limpide.audit import bias_classes
from limpide.audit.items import Spec
from limpide.audit.measurable import measurable
from limpide.core import catalogue
from limpide.core.operation import Measurable

SMALL = {
    "bias": {"axes": ("gender", "origin"), "languages": ("fr",)},
    "truth": {"limit": 12, "parts": ("options", "short", "unanswerable")},  # several answers to one question: below
    "robustness": {"questions": 12, "perturbations": ("typos", "spacing")},
    "memorisation": {"candidates": 15},
    "refusal": {"languages": ("en",)},
}
CHARTER = """\
glossary: [{term: pump, ask: What is it?}]
forbidden: [{term: guy}]
required: [{when: question, say: call}]
style: {no_lists: true, max_words: 50}
"""


def fits(group, pattern):
    return set(group) == set(pattern) and all(pattern[key] in ("*", value) for key, value in group.items())


def check(measures, given):
    """Every measure was told, with its unit, its direction and its slice."""
    told = {one.name: one for one in given}
    for measure in measures:
        one = told[measure.name]
        assert (measure.unit, measure.better) == (one.unit, one.better)
        if measure.state != "not run":  # which is said of the whole
            assert any(fits(measure.group, pattern) for pattern in one.slices), measure.label
    return {measure.name for measure in measures}


@pytest.mark.parametrize("suite", catalogue.suites())
def test_a_suite_measures_what_it_says_and_all_of_it(tmp_path, fake, tools, suite):
    operation = catalogue.find(f"audit.{suite}")
    rows = [tools.example(f"r{k}", f"question {k}", f"one two three four {k}", topic=f"t{k % 6}") for k in range(36)]
    unseen = [row.model_copy(update={"id": f"u{row.id}"}) for row in rows[:12]]
    data = tools.write_data(tmp_path / "data", train=rows, held_out=rows, unseen=unseen)
    (data / "charter.yaml").write_text(CHARTER)
    settings = SMALL.get(suite, {})
    result = tools.audit(operation, tmp_path / "out", data, **settings)
    given = operation.gives(operation.settings(**settings))
    found = check(result.measures, given)
    if suite == "domain":  # has other measures where every answer is a label
        labelled = [row.model_copy(update={"label": row.answer}) for row in rows]
        sorted_rows = tools.write_data(tmp_path / "labels", train=labelled, held_out=labelled)
        found |= check(tools.audit(operation, tmp_path / "sorted", sorted_rows).measures, given)
    if suite == "bias":  # has measures of its own for a classifier
        found |= {spec.name for spec in bias_classes.specs()}
    assert found == {one.name for one in given}
    closed = tools.audit(operation, tmp_path / "closed", data, respondent=tools.closed(), **settings)
    assert check(closed.measures, (*given, *also(suite, operation, settings))) <= {one.name for one in given} | {
        "truth.unreadable"  # which takes the place of likelihoods where there are none
    }


def also(suite, operation, settings):
    return operation.gives(operation.settings(**settings, choices="letter")) if suite == "truth" else ()


def test_settings_decide_what_can_be_measured():
    def names(suite, **settings):
        operation = catalogue.find(f"audit.{suite}")
        return {one.name: one.slices for one in operation.gives(operation.settings(**settings))}

    assert {"axis": "age"} in names("bias")["bias.gap"]
    assert {"axis": "age"} not in names("bias", axes=["gender"])["bias.gap"]
    assert "memorisation.exposure" not in names("memorisation", canary=False)
    assert "retention.truth_accuracy" not in names("retention", questions=0)
    assert {"language": "fr"} not in names("retention", languages=["en"])["retention.loss"]
    assert set(names("truth", parts=["semantic"])) == {
        "truth.semantic_entropy_auc",
        "truth.length_auc",
        "truth.semantic_entropy_gain",
    }
    assert "truth.ece" not in names("truth", choices="letter")
    assert {"slice": "held_out", "topic": "*"} in names("domain")["domain.accuracy"]


@pytest.mark.parametrize(
    "dialect",
    ["crows@lm-eval", "crows@nangia", "bbq@helm", "stereoset", "winobias", "pronouns@limpide", "written@limpide"],
)
def test_a_dialect_takes_the_place_of_the_templates(dialect):
    operation = catalogue.find("audit.bias")
    given = operation.gives(operation.settings(dialect=dialect))
    slug = dialect.replace("@", "_").replace("-", "_")
    assert given
    assert all(one.name.startswith(f"bias.{slug}_") for one in given)


def test_values_that_are_known_are_spelled_out():
    spec = Spec(
        name="s.q",
        metric="x",
        kind="mean",
        unit="nats",
        better="lower",
        method="m",
        slices=({}, {"axis": "*"}, {"axis": "*", "part": "b", "topic": "*"}),
    )
    spelled = [{}, {"axis": "x"}, {"axis": "y"}]
    spelled += [{"axis": axis, "part": "b", "topic": "*"} for axis in "xy"]
    assert measurable([spec], axis=("x", "y", "x")) == (Measurable("s.q", "nats", "lower", tuple(spelled)),)
