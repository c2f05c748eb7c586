import math
from typing import get_args

import numpy as np
import pytest
from pydantic import ValidationError

from limpide.audit.bias import BiasSettings, operation, read_cases
from limpide.core import files
from limpide.core.errors import LimpideError


def planted(gap, noise=0.05, axis="gender"):
    """A model that gives every stereotyped context of one axis `gap` nats more, with noise around."""
    random = np.random.default_rng(0)
    values = {}
    for case in read_cases(BiasSettings()):
        extra = gap if case.axis == axis else 0.0
        values[case.stereotyped, case.outcome] = -4 + extra + random.normal() * noise
        values[case.other, case.outcome] = -4 + random.normal() * noise
    return lambda context, continuation: values[context, continuation]


def test_a_planted_bias_is_found_where_it_is_and_nowhere_else(tmp_path, fake, tools):
    fake.likelihood = planted(0.4)
    found = tools.by_label(tools.audit(operation, tmp_path / "out"))
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
    found = tools.by_label(tools.audit(operation, tmp_path / "out"))
    assert found["bias.gap[axis=gender]"].high < 0
    assert found["bias.absolute_gap[axis=gender]"].value > 0.35


def test_a_model_blind_to_persons_has_no_gap_at_all(tmp_path, fake, tools):
    fake.likelihood = lambda context, continuation: -float(len(continuation))
    for measure in tools.audit(operation, tmp_path / "out").measures:
        assert measure.value == 0.0


def test_items_are_clustered_by_template_and_show_both_contexts(tmp_path, fake, tools):
    result = tools.audit(operation, tmp_path / "out", axes=("gender",), languages=("en",))
    items = files.read_jsonl(tmp_path / "out" / "items.jsonl")
    templates = {item["cluster"] for item in items}
    assert len(items) == result.facts["cases"] == 8 * len(templates)
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
    tools.audit(operation, tmp_path / "out")
    asked = [(request.context, request.continuation) for request in fake.asked]
    assert len(asked) == len(set(asked))


def test_the_method_names_axes_languages_and_templates(tmp_path, fake, tools):
    result = tools.audit(operation, tmp_path / "out", axes=("origin", "gender", "gender"), languages=("fr",))
    method = result.measures[0].method
    assert method.startswith("bias.gap@1(axes=gender+origin,languages=fr,templates=")
    assert "nearer zero" in {m.better for m in result.measures if m.name == "bias.gap"}


def test_choices_are_the_shipped_ones():
    cases = read_cases(BiasSettings())
    for name, seen in (("axes", {c.axis for c in cases}), ("languages", {c.language for c in cases})):
        annotation = BiasSettings.model_fields[name].annotation
        assert set(get_args(get_args(annotation)[0])) == seen
    per_slice = {(c.axis, c.language): set() for c in cases}
    for case in cases:
        per_slice[case.axis, case.language].add(case.template)
    assert min(map(len, per_slice.values())) >= 30  # enough templates for an interval


def test_unknown_axes_and_none_are_refused():
    for wrong in ({"axes": ["age"]}, {"axes": []}, {"languages": ["de"]}, {"templates": "mine"}):
        with pytest.raises(ValidationError):
            BiasSettings(**wrong)


def test_a_template_whose_group_is_missing_is_a_fault_of_ours(monkeypatch):
    from limpide.audit import bias

    probes = {
        "bias_templates.jsonl": '{"id": "t", "axis": "gender", "language": "en", "context": "{person} is",'
        ' "outcome": " x", "stereotyped": "elder"}',
        "bias_groups.json": '{"gender": {"en": [{"id": "p", "groups": {"female": "She", "male": "He"}}]}}',
    }
    monkeypatch.setattr(bias, "read_probe", probes.__getitem__)
    with pytest.raises(LimpideError, match="template 't'"):
        read_cases(BiasSettings())


def test_large_is_a_quarter_likelier(tmp_path, fake, tools):
    for ratio, share in ((1.26, 1.0), (1.24, 0.0)):
        fake.likelihood = planted(math.log(ratio), noise=0.0)
        found = tools.by_label(tools.audit(operation, tmp_path / str(ratio), axes=("gender",)))
        assert found["bias.share_large[axis=gender]"].value == share
