from importlib.resources import files as resources
from pathlib import Path
from types import SimpleNamespace

import pytest

from limpide.audit.items import (
    Frame,
    Item,
    Spec,
    frame_of,
    library_versions,
    load_items,
    load_specs,
    method_id,
    not_run,
    save_evidence,
    slices,
    summarise,
)
from limpide.core import files
from limpide.core.errors import LimpideError
from limpide.core.operation import Subject
from limpide.data.personal import mask_values
from limpide.models.respondents import Opened

FRAME = Frame("base", 7, "model-digest", "data-digest")


def spec(**changes):
    fields = {
        "name": "suite.mean",
        "metric": "x",
        "kind": "mean",
        "unit": "nats",
        "better": "lower",
        "method": "suite.mean@1()",
        "note": "a limit",
    }
    return Spec(**(fields | changes))


def items(values, **group):
    return [Item(f"i{k}", f"c{k}", group, {"x": v, "tokens": 1.0 + k}) for k, v in enumerate(values)]


def test_a_measure_carries_all_that_made_it():
    (measure,) = summarise(items([1.0] * 6 + [3.0] * 6), [spec()], FRAME)
    assert measure.value == 2.0
    assert measure.low < 2.0 < measure.high
    assert (measure.n, measure.clusters, measure.seed) == (12, 12, 7)
    assert (measure.model_digest, measure.data_digest, measure.subject) == ("model-digest", "data-digest", "base")
    assert measure.note == "a limit"
    assert {"python", "numpy", "scipy", "torch"} <= set(measure.versions)
    assert "bootstrap of clusters" in measure.interval


def test_few_clusters_are_insufficient_evidence_and_say_what_was_seen():
    nine, many = items([2.0] * 9), [Item(f"i{k}", "one", {}, {"x": 1.0}) for k in range(50)]
    for few, count in ((nine, "9 items in 9"), (many, "50 items in 1")):
        (measure,) = summarise(few, [spec()], FRAME)
        assert measure.state == "insufficient evidence"
        assert (measure.value, measure.low, measure.high, measure.interval) == (None, None, None, None)
        assert count in measure.note
        assert "at least 10" in measure.note
    (share,) = summarise(items([1.0, 1.0, 0.0, 1.0]), [spec(kind="share", unit="share")], FRAME)
    assert share.state == "insufficient evidence"
    assert "plain mean is 0.75" in share.note


def test_a_total_is_divided_by_its_weight():
    weighted = spec(weight="tokens")
    totals = items([(2.0 + (k == 0) - (k == 1) / 2) * (1 + k) for k in range(12)])  # one more of 1, one less of 2
    (measure,) = summarise(totals, [weighted], FRAME)
    assert measure.value == pytest.approx(2.0)
    (exponential,) = summarise(totals, [weighted.model_copy(update={"link": "exp"})], FRAME)
    assert exponential.value == pytest.approx(7.389, abs=1e-3)


@pytest.mark.parametrize("fields", [{}, {"weight": "tokens"}, {"link": "exp"}])
def test_values_that_are_all_equal_have_no_known_spread(fields):
    rows = [Item(f"i{k}", f"c{k}", {}, {"x": 0.1 * (1 + k), "tokens": 1.0 + k}) for k in range(12)]
    rows = rows if "weight" in fields else items([0.1] * 12)
    (measure,) = summarise(rows, [spec(**fields)], FRAME)
    assert (measure.state, measure.value, measure.low) == ("insufficient evidence", None, None)
    assert f"All 12 values are equal ({1.105 if 'link' in fields else 0.1})" in measure.note


@pytest.mark.parametrize(
    ("value", "ends", "expected"),
    [
        (1.0, (0.0, 1.0), (0.7575, 1.0)),  # Wilson's interval of 12 of 12
        (0.5, (-0.5, 0.5), (0.2575, 0.5)),  # the same − 0.5
        (1.0, (-1.0, 1.0), (0.515, 1.0)),  # twice the same − 1
        (-1.0, (-1.0, 1.0), (-1.0, -0.515)),
        (0.0, (-1.0, 1.0), (-0.2425, 0.2425)),
    ],
)
def test_equal_values_between_two_ends_are_no_certainty(value, ends, expected):
    (measure,) = summarise(items([value] * 12), [spec(ends=ends)], FRAME)
    assert (measure.value, measure.low, measure.high) == pytest.approx((value, *expected), abs=1e-4)
    assert measure.interval == "Wilson"
    (clustered,) = summarise([Item(f"i{k}", f"c{k // 10}", {}, {"x": value}) for k in range(120)],
                             [spec(ends=ends)], FRAME)  # fmt: skip
    assert (clustered.low, clustered.high) == pytest.approx((measure.low, measure.high))


@pytest.mark.parametrize(("n", "clusters", "stands"), [(100, 30, True), (99, 30, False), (100, 29, False)])
def test_many_real_numbers_that_are_equal_must_be(n, clusters, stands):
    """As the gaps of a model that never reads the person."""
    rows = [Item(f"i{k}", f"c{k % clusters}", {}, {"x": 0.0}) for k in range(n)]
    (measure,) = summarise(rows, [spec()], FRAME)
    assert (measure.state == "measured") is stands
    assert ((measure.value, measure.low, measure.high) == (0.0, 0.0, 0.0)) is stands


def test_slices_are_every_value_or_one():
    rows = items([0.0] * 12, language="en", slice="held_out")
    rows += [Item(f"f{k}", f"f{k}", {"language": "fr", "slice": "unseen"}, {"x": 1.0}) for k in range(12)]
    rows += [Item("none", "none", {}, {"x": 5.0}), Item("other", "other", {"language": "de"}, {"y": 1.0})]
    found = slices(spec(slices=({}, {"language": "*"}, {"slice": "unseen", "language": "*"}, {"slice": "gone"})), rows)
    assert [(group, len(chosen)) for group, chosen in found] == [
        ({}, 25),
        ({"language": "en"}, 12),
        ({"language": "fr"}, 12),
        ({"slice": "unseen", "language": "fr"}, 12),
    ]


def test_evidence_survives_the_disk(tmp_path):
    rows = [Item("a", "c", {"language": "fr"}, {"x": 0.5}, {"prompt": "é ?", "topic": None})]
    save_evidence(tmp_path, rows, [spec()])
    assert load_items(tmp_path) == rows
    assert load_specs(tmp_path) == [spec()]


def test_personal_data_is_masked_in_all_that_is_shown_and_in_nothing_else(tmp_path):
    shown = {
        "prompt": "Write to ann.lee@example.org",
        "options": ["+33 6 12 34 56 78", "E-104 at 48 °C"],
        "broken": [{"entry": "a", "said": "06 12 34 56 78"}],
        "log_likelihoods": [-1.5, 33612345678.0],
        "topic": None,
    }
    save_evidence(tmp_path, [Item("a", "c", {"language": "fr"}, {"x": 612345678.0}, shown)], [spec()])
    (row,) = load_items(tmp_path)
    assert row.shown == {
        "prompt": "Write to [EMAIL]",
        "options": ["[PHONE]", "E-104 at 48 °C"],
        "broken": [{"entry": "a", "said": "[PHONE]"}],
        "log_likelihoods": [-1.5, 33612345678.0],
        "topic": None,
    }
    assert row.metric == {"x": 612345678.0}
    assert row.group == {"language": "fr"}


def test_no_shipped_probe_looks_like_personal_data():
    """Else what was asked would be shown otherwise than it was."""
    folder = resources("limpide.data") / "probes"
    probes = [file for file in Path(str(folder)).rglob("*") if file.suffix in (".json", ".jsonl")]
    rows = [
        row
        for file in probes
        for row in (files.read_jsonl(file) if file.suffix == ".jsonl" else [files.read_json(file)])
    ]
    assert len(rows) > 1000
    assert [row for row in rows if mask_values(row) != row] == []


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), float("-inf")])
def test_numbers_that_are_not_finite_stop_the_audit(tmp_path, bad):
    with pytest.raises(LimpideError, match="not finite for item 'i1'") as caught:
        save_evidence(tmp_path, items([1.0, bad]), [spec()])
    assert "float32" in caught.value.remedy
    assert not list(tmp_path.iterdir())


def test_an_id_met_twice_stops_the_audit(tmp_path):
    with pytest.raises(LimpideError, match="id 'i0'"):
        save_evidence(tmp_path, items([1.0]) * 2, [spec()])


def test_free_fields_never_hide_the_items_own():
    assert Item("a", "c", {}, {"x": 1.0}, {"id": "forged", "answer": "x"}).record()["id"] == "a"


def test_method_ids_hold_every_parameter():
    made = method_id("bias.gap", 1, axes=["gender", "origin"], templates="abc")
    assert made == "bias.gap@1(axes=gender+origin,templates=abc)"


def test_the_precision_is_in_every_method_unless_it_is_float32():
    def methods(precision, **fields):
        frame, one = Frame("base", 0, "m", "d", precision), spec(**fields)
        return {summarise(items([1.0, 2.0] * 6), [one], frame)[0].method, not_run(one, frame, "why").method}

    assert methods("float32", method="s.q@1(a=b)") == {"s.q@1(a=b)"}
    assert methods("bfloat16", method="s.q@1(a=b)") == {"s.q@1(a=b,precision=bfloat16)"}
    assert methods("fast", method="s.q@1()") == {"s.q@1(precision=fast)"}


def test_the_precision_of_a_frame_is_the_opened_models(tmp_path):
    subject = Subject(out=tmp_path)
    model = SimpleNamespace(digest="m", precision="bfloat16")
    assert frame_of(subject, Opened(model), "d").precision == "bfloat16"
    assert frame_of(subject, Opened(model, exact=lambda: model), "d").precision == "fast"
    closed = SimpleNamespace(digest=None)
    assert frame_of(subject, closed, "d") == Frame(subject.label, subject.seed, None, "d", "float32")


def test_versions_leave_out_what_is_not_installed(monkeypatch):
    from importlib.metadata import PackageNotFoundError

    from limpide.audit import items as module

    def missing(name):
        raise PackageNotFoundError(name)

    monkeypatch.setattr(module, "version", missing)
    library_versions.cache_clear()
    found = set(library_versions())
    library_versions.cache_clear()
    assert found == {"python"}
