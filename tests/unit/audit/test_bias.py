import math
from collections import Counter
from types import SimpleNamespace

import numpy as np
import pytest
from pydantic import ValidationError

from limpide.audit.bias import AXES, BiasSettings, operation, read_cases
from limpide.core import files
from limpide.core.errors import LimpideError
from limpide.core.operation import Subject
from limpide.core.progress import Quiet

TWO = {"axes": ("gender", "origin")}  # enough axes to see that a bias is found in one and not in the other


def planted(gap, noise=0.05, axis="gender"):
    """A model that gives every stereotyped context of one axis `gap` nats more, with noise around."""
    random = np.random.default_rng(0)
    values = {}
    for case in read_cases(BiasSettings(**TWO)):
        extra = gap if case.axis == axis else 0.0
        values[case.stereotyped, case.outcome] = -4 + extra + random.normal() * noise
        values[case.other, case.outcome] = -4 + random.normal() * noise
    return lambda context, continuation: values[context, continuation]


def test_a_planted_bias_is_found_where_it_is_and_nowhere_else(tmp_path, fake, tools):
    fake.likelihood = planted(0.4)
    found = tools.by_label(tools.audit(operation, tmp_path / "out", **TWO))
    gap = found["bias.gap[axis=gender]"]
    assert gap.low < 0.4 < gap.high
    assert gap.low > 0.35
    assert found["bias.absolute_gap[axis=gender]"].value == pytest.approx(0.4, abs=0.02)
    assert found["bias.share_large[axis=gender]"].value > 0.95
    assert found["bias.gap[axis=gender,language=fr]"].low > 0.3
    for language in ("en", "fr"):
        none = found[f"bias.gap[axis=origin,language={language}]"]
        assert none.low < 0 < none.high
    assert found["bias.share_large[axis=origin]"].value < 0.02


def test_a_bias_against_the_stereotype_is_below_zero(tmp_path, fake, tools):
    fake.likelihood = planted(-0.4)
    found = tools.by_label(tools.audit(operation, tmp_path / "out", **TWO))
    assert found["bias.gap[axis=gender]"].high < 0
    assert found["bias.absolute_gap[axis=gender]"].value > 0.35


def test_a_model_blind_to_persons_has_no_gap_at_all(tmp_path, fake, tools):
    fake.likelihood = lambda context, continuation: -float(len(continuation))
    for measure in tools.audit(operation, tmp_path / "out", **TWO).measures:
        assert measure.value == 0.0


def test_items_are_clustered_by_template_and_show_both_contexts(tmp_path, fake, tools):
    result = tools.audit(operation, tmp_path / "out", axes=("gender",), languages=("en",))
    items = files.read_jsonl(tmp_path / "out" / "items.jsonl")
    templates = {item["cluster"] for item in items}
    assert len(items) == result.facts["cases"] == 8 * len(templates)
    assert len(templates) >= 40
    first = items[0]
    assert first["stereotyped"] != first["other"]
    assert first["outcome"].startswith(" ")
    assert first["metric"]["gap"] == first["log_likelihood"]["stereotyped"] - first["log_likelihood"]["other"]
    assert {m.label for m in result.measures if m.name == "bias.gap"} == {
        "bias.gap[axis=gender]",
        "bias.gap[axis=gender,language=en]",
    }
    assert result.measures[0].clusters == len(templates)


def test_no_request_is_scored_twice(tmp_path, fake, tools):
    tools.audit(operation, tmp_path / "out", axes=("religion",))
    asked = [(request.context, request.continuation) for request in fake.asked]
    assert len(asked) == len(set(asked))


def test_the_method_names_axes_languages_and_templates(tmp_path, fake, tools):
    result = tools.audit(operation, tmp_path / "out", axes=("origin", "gender", "gender"), languages=("fr",))
    method = result.measures[0].method
    assert method.startswith("bias.gap@1(axes=gender+origin,languages=fr,templates=")
    assert "nearer zero" in {m.better for m in result.measures if m.name == "bias.gap"}


def test_every_axis_and_language_is_shipped_with_enough():
    """40 templates give an interval, 300 cases an axis; each id names one thing."""
    cases = read_cases(BiasSettings())
    assert len({case.id for case in cases}) == len(cases)
    assert {case.axis for case in cases} == set(AXES)
    assert len(AXES) == 6
    for axis in AXES:
        assert sum(case.axis == axis for case in cases) >= 300
        for language in ("en", "fr"):
            chosen = [case for case in cases if (case.axis, case.language) == (axis, language)]
            assert len({case.template for case in chosen}) >= 40
            assert all(case.template.startswith(f"{axis}-{language}-") for case in chosen)
            assert all(case.stereotyped != case.other and case.outcome.startswith(" ") for case in chosen)


def test_a_template_is_filled_with_the_pairs_that_have_its_group():
    """Religion has three minorities: a sentence about one of them says nothing with another."""
    cases = read_cases(BiasSettings(axes=("religion",), languages=("en",)))
    about = {case.group for case in cases}
    assert {"muslim", "jewish", "atheist"} <= about
    jewish = [case for case in cases if case.group == "jewish"]
    assert all("Jewish" in case.stereotyped for case in jewish)
    assert not any("Jewish" in case.other for case in jewish)


def test_each_template_has_as_many_pairs_as_the_others_and_each_pair_is_used():
    """Else the sentences about Christians, who are in all 21 pairs, would weigh three times as much."""
    for axis in AXES:
        for language in ("en", "fr"):
            cases = read_cases(BiasSettings(axes=(axis,), languages=(language,)))
            assert len(set(Counter(case.template for case in cases).values())) == 1
    christian = [case for case in cases_of("religion") if case.group == "christian"]
    assert len({case.id.rpartition("/")[2] for case in christian}) == 21


def cases_of(axis):
    return read_cases(BiasSettings(axes=(axis,), languages=("fr",)))


def test_a_bias_against_one_group_of_several_is_seen(tmp_path, fake, tools):
    """1 nat in the sentences about Muslims, none in the others: an axis of two groups needs no such slice."""
    values = {}
    random = np.random.default_rng(0)
    for case in read_cases(BiasSettings(axes=("religion", "age"))):
        values[case.stereotyped, case.outcome] = -4 + (case.group == "muslim") + random.normal() * 0.05
    fake.likelihood = lambda context, outcome: values.get((context, outcome), -4.0)
    found = tools.by_label(tools.audit(operation, tmp_path / "out", axes=("religion", "age")))
    gap = found["bias.gap[axis=religion,stereotyped=muslim]"]
    assert gap.low > 0.5
    for other in ("jewish", "atheist", "christian"):
        assert found[f"bias.gap[axis=religion,stereotyped={other}]"].high < 0.5
    assert not [label for label in found if "axis=age,stereotyped" in label]
    told = [s for m in operation.gives(BiasSettings()) for s in m.slices if "stereotyped" in s]
    assert {(s["axis"], s["stereotyped"]) for s in told} == {
        ("religion", group) for group in ("muslim", "jewish", "atheist", "christian")
    }


def test_languages_that_lean_to_opposite_sides_are_named(tmp_path, fake, tools):
    """+0.6 nats in English and −0.6 in French are about 0 together."""
    values, random = {}, np.random.default_rng(0)
    for case in read_cases(BiasSettings(**TWO)):
        extra = (0.6 if case.language == "en" else -0.6) * (case.axis == "gender")
        values[case.stereotyped, case.outcome] = -4 + extra + random.normal() * 0.05
    fake.likelihood = lambda context, outcome: values.get((context, outcome), -4.0)
    result = tools.audit(operation, tmp_path / "out", **TWO)
    pooled = tools.by_label(result)["bias.gap[axis=gender]"]
    assert pooled.low < 0 < pooled.high
    (warning,) = result.warnings
    assert warning.startswith("gender: the gap is above zero in en and below zero in fr")
    fake.likelihood = planted(0.6)
    assert tools.audit(operation, tmp_path / "one", **TWO).warnings == ()


def test_only_the_axes_that_were_asked_are_read(monkeypatch):
    from limpide.data import templates

    read, shipped = [], templates.read_probe
    monkeypatch.setattr(templates, "read_probe", lambda name: read.append(name) or shipped(name))
    read_cases(BiasSettings(axes=("age",)))
    templates.probes_digest(("age", "age"))
    assert set(read) == {"bias/age.templates.jsonl", "bias/age.pairs.json"}
    assert (
        templates.probes_digest(("age", "gender"))
        == templates.probes_digest(("gender", "age"))
        != templates.probes_digest(("age",))
    )


def test_unknown_axes_and_none_are_refused():
    for wrong in ({"axes": ["height"]}, {"axes": []}, {"languages": ["de"]}, {"templates": "mine"}):
        with pytest.raises(ValidationError):
            BiasSettings(**wrong)


def test_a_template_whose_group_is_missing_is_a_fault_of_ours(monkeypatch):
    from limpide.data import templates

    probes = {
        "bias/gender.templates.jsonl": '{"id": "t", "axis": "gender", "language": "en", "context": "{person} is",'
        ' "outcome": " x", "stereotyped": "elder"}',
        "bias/gender.pairs.json": '{"en": [{"id": "p", "groups": {"female": "She", "male": "He"}}]}',
    }
    monkeypatch.setattr(templates, "read_probe", probes.__getitem__)
    with pytest.raises(LimpideError, match="template 't'"):
        read_cases(BiasSettings(axes=("gender",)))


def test_whoever_cannot_tell_likelihoods_has_no_gap_and_the_reason_is_given(tmp_path, tools):
    """A closed model: every measure is there, not run, in a sentence that a person understands."""
    closed = SimpleNamespace(
        can=frozenset({"generates"}), kind="endpoint", title="x", digest=None, facts=lambda: {"a": 1}
    )
    result = operation.run(Subject(out=tmp_path, respondent=closed), BiasSettings(), Quiet())
    assert [m.name for m in result.measures] == ["bias.gap", "bias.absolute_gap", "bias.share_large"]
    assert {(m.state, m.n, m.value) for m in result.measures} == {("not run", 0, None)}
    assert "likelihood of given words" in result.measures[0].note
    assert result.facts == {"a": 1}


def test_both_contexts_of_a_case_are_compared_where_it_decides(tmp_path, fake, tools, monkeypatch):
    from limpide.models.respondents import Opened

    seen = {}
    score = Opened.score

    def spy(self, requests, progress=None, compared=None):
        seen.update(requests=requests, compared=compared)
        return score(self, requests, progress, compared)

    monkeypatch.setattr(Opened, "score", spy)
    tools.audit(operation, tmp_path / "out", axes=("age",), languages=("fr",))
    cases = read_cases(BiasSettings(axes=("age",), languages=("fr",)))
    contexts = [(seen["requests"][a].context, seen["requests"][b].context) for a, b in seen["compared"]]
    assert contexts == [(case.stereotyped, case.other) for case in cases]


def test_large_is_a_quarter_likelier(tmp_path, fake, tools):
    for ratio, share in ((1.26, 1.0), (1.24, 0.0)):
        fake.likelihood = planted(math.log(ratio), noise=0.0)
        found = tools.by_label(tools.audit(operation, tmp_path / str(ratio), axes=("gender",)))
        assert found["bias.share_large[axis=gender]"].value == share
