"""The whole loop on tiny models whose bias is known: accepted, refused, and nothing to correct."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from limpide.core import catalogue, files
from limpide.core.errors import ModelError
from limpide.core.operation import Subject
from limpide.core.progress import Quiet
from limpide.models.changed import KEPT
from limpide.models.model import open_model
from limpide.recipe.corrections.loop import CORRECTED, RECORD
from planted_bias_models import english, mean_gap, planted

QUICK = {"axes": ["gender"], "languages": ["en"], "watch": [], "written": False, "inside": False}


@pytest.fixture(scope="module")
def biased(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return planted(tmp_path_factory.mktemp("biased"), gap=1.5)


@pytest.fixture
def correct(tmp_path: Path) -> Callable[..., dict[str, Any]]:
    def run(model: Path, goal: str = "bias", inputs: dict[str, Path] | None = None, **settings: Any) -> dict[str, Any]:
        operation = catalogue.find(f"correct.{goal}")
        subject = Subject(tmp_path, inputs or {}, model)
        operation.run(subject, operation.settings(**settings), Quiet()).save(tmp_path)
        record: dict[str, Any] = files.read_json(tmp_path / RECORD)
        return record

    return run


# The limit is for the whole interval, in each language; what is asked for below is the value itself.
PREFERENCE = {"steps": 120, "learning_rate": 0.01, "neutral_texts": 150, "rank": 2, "beta": 3.0, "hold": 5.0}
METHODS: dict[str, dict[str, Any]] = {
    "erasure": {"strength": 1.0, "perplexity": 0.05},
    "counterfactual": {},
    "preference": {"preference": PREFERENCE},
}


@pytest.mark.parametrize("method", METHODS)
def test_a_planted_bias_goes_and_the_model_that_is_written_has_it_no_more(
    method: str, biased: Path, correct: Callable[..., dict[str, Any]], tmp_path: Path
) -> None:
    record = correct(biased, **QUICK, **METHODS[method], method=method)
    assert record["verdict"] == "accepted", record["reasons"]
    assert record["found"]["p_value"] < 0.05
    assert record["target"]["cut"]["value"] >= 0.8
    assert record["target"]["cut"]["low"] > 0.6
    prices = {w["change"]["name"]: w["change"] for w in record["watched"] if not w["change"]["group"]}
    assert prices["retention.perplexity"]["after"] <= 1.02 * prices["retention.perplexity"]["before"]
    assert all(watched["held"] is not False for watched in record["watched"])
    chosen = [trial for trial in record["trials"] if trial["chosen"]]
    assert [(t["method"], t["judged"], t["within_limits"]) for t in chosen] == [(method, True, True)]
    assert abs(mean_gap(open_model(tmp_path / CORRECTED), english())) < 0.25 * mean_gap(open_model(biased), english())
    assert record["served"]["cut"]["value"] >= 0.8
    assert (tmp_path / CORRECTED / "gguf" / "model-q8_0.gguf").is_file()


def test_what_is_too_strong_is_refused_and_what_broke_is_named(
    biased: Path, correct: Callable[..., dict[str, Any]], tmp_path: Path
) -> None:
    record = correct(biased, **QUICK, method="erasure", strength=40)
    assert record["verdict"] == "refused"
    assert "limit broken" in {reason["code"] for reason in record["reasons"]}
    assert any(reason["what"].get("name") == "retention.perplexity" for reason in record["reasons"])
    assert not (tmp_path / KEPT).exists()
    assert not (tmp_path / CORRECTED).exists()


def test_a_model_without_bias_is_left_alone(tmp_path: Path, correct: Callable[..., dict[str, Any]]) -> None:
    record = correct(planted(tmp_path / "models", gap=0.0), **QUICK, method="counterfactual")
    assert record["verdict"] == "nothing to correct"
    assert record["reasons"][0]["code"] == "no bias found"
    assert not (tmp_path / "methods").exists()
    assert not (tmp_path / KEPT).exists()


def test_in_a_recipe_the_update_is_kept_and_no_model_is_written(
    biased: Path, correct: Callable[..., dict[str, Any]], tmp_path: Path
) -> None:
    data = tmp_path / "prepared"
    data.mkdir()
    record = correct(biased, inputs={"data": data}, **QUICK, method="erasure", write=False)
    assert record["verdict"] == "accepted"
    assert (tmp_path / KEPT / "update.safetensors").is_file()
    assert not (tmp_path / CORRECTED).exists()


def test_a_method_that_cannot_do_this_model_is_told_where_others_can(
    biased: Path, correct: Callable[..., dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    from dataclasses import replace

    def unable(*_: object) -> None:
        raise ModelError("It cannot.")

    find = catalogue.find
    broken = replace(find("correct.steering"), run=unable)
    monkeypatch.setattr(catalogue, "find", lambda name: broken if name == "correct.steering" else find(name))
    monkeypatch.setattr("limpide.recipe.corrections.bias.METHODS", ("steering", "erasure"))
    record = correct(biased, **QUICK, method="auto")
    assert record["method"] == "erasure"
    assert [t["error"] for t in record["trials"] if t["method"] == "steering"] == ["It cannot."]
    with pytest.raises(ModelError, match="It cannot"):
        correct(biased, **QUICK, method="steering")
