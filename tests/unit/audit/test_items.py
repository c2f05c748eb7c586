from importlib.resources import files as resources
from pathlib import Path

import pytest

from limpide.audit.items import (
    Frame,
    Item,
    Spec,
    library_versions,
    load_items,
    load_specs,
    method_id,
    save_evidence,
    slices,
    summarise,
)
from limpide.core import files
from limpide.core.errors import LimpideError
from limpide.data.personal import mask_values

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
    (measure,) = summarise(items([2.0 * (1 + k) for k in range(12)]), [weighted], FRAME)
    assert measure.value == pytest.approx(2.0)
    (exponential,) = summarise(
        items([2.0 * (1 + k) for k in range(12)]), [weighted.model_copy(update={"link": "exp"})], FRAME
    )
    assert exponential.value == pytest.approx(7.389, abs=1e-3)


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
    assert row.metric == {"x": 612345678.0} and row.group == {"language": "fr"}


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
