from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from limpide.core.measure import Change, Measure, load_measures, save_measures


def measure(**more: Any) -> Measure:
    values = {"name": "bias.gap", "subject": "base", "value": 0.5, "unit": "nats", "better": "nearer zero", "n": 3}
    return Measure.model_validate(values | {"method": "bias.gap/1"} | more)


def test_label_names_the_slice_in_a_fixed_order() -> None:
    assert measure().label == "bias.gap"
    assert measure(group={"language": "fr", "axis": "gender"}).label == "bias.gap[axis=gender,language=fr]"


def test_change_is_labelled_the_same() -> None:
    change = Change(
        name="bias.gap",
        group={"language": "fr", "axis": "gender"},
        unit="nats",
        better="nearer zero",
        before=1.0,
        after=0.5,
        difference=-0.5,
        low=-1,
        high=0,
        n=3,
        test="paired",
        p_value=0.1,
        smallest_detectable=None,
        verdict="better",
        sentence="It fell.",
    )
    assert change.label == measure(group=change.group).label


def test_round_trip(tmp_path: Path) -> None:
    measures = [
        measure(low=0.1, high=0.9, interval="bootstrap", seed=0, versions={"torch": "2"}, note="é\u2028"),
        measure(value=None, state="insufficient evidence", n=0, group={"language": "fr"}),
        measure(value=1 / 3),
    ]
    save_measures(tmp_path / "measures.jsonl", measures)
    assert load_measures(tmp_path / "measures.jsonl") == measures
    assert len((tmp_path / "measures.jsonl").read_text(encoding="utf-8").split("\n")) == 4


def test_a_measure_is_immutable_and_strict() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        measure().value = 1.0  # type: ignore[misc]  # what is tested
    for wrong in ({"n": -1}, {"better": "bigger"}, {"state": "guessed"}, {"extra": 1}):
        with pytest.raises(ValidationError):
            measure(**wrong)
