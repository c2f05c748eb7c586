"""data.prepare with a charter: what it writes to learn it from, and that held-out rows are left as they are."""

import json
from pathlib import Path

import pytest

from limpide.core.operation import Result, Subject
from limpide.core.progress import Quiet
from limpide.data.examples import load_examples
from limpide.data.prepare import PrepareSettings, operation

VERBS = ("open", "bleed", "drain", "grease", "inspect", "replace", "label", "test", "clean", "weigh")


@pytest.fixture
def settings(tmp_path: Path) -> PrepareSettings:
    """Ten rows whose answers all break the one rule of the charter."""
    charter, path = tmp_path / "ours.yaml", tmp_path / "examples.jsonl"
    charter.write_text("style: {no_exclamation: true}\n")
    rows = [{"prompt": f"How do I {verb} part {k}?", "answer": f"Use tool {k}!"} for k, verb in enumerate(VERBS)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return PrepareSettings.model_validate({"examples": [path], "charter": charter})


def prepare(out: Path, settings: PrepareSettings) -> Result:
    out.mkdir()
    result = operation.run(Subject(out=out), settings, Quiet())
    assert isinstance(result, Result)
    return result


def test_a_charter_is_learnt_from_the_training_rows_alone(tmp_path: Path, settings: PrepareSettings) -> None:
    result = prepare(tmp_path / "out", settings)
    train, held_out, learnt = (load_examples(tmp_path / "out" / f"{n}.jsonl") for n in ("train", "held_out", "charter"))
    assert {example.answer[-1] for example in train} == {"."}
    assert {example.synthetic for example in train} == {"charter.yaml, mended: no_exclamation"}
    assert {example.answer[-1] for example in held_out} == {"!"}
    assert {example.question for example in learnt} == {example.question for example in train}
    assert all(example.rejected == f"{example.answer[:-1]}!" for example in learnt)
    assert result.facts["charter"]["mended"] == len(train) == 8
    assert result.facts["charter"]["preferences"] == len(learnt) == 8
    assert any("Held-out answers that break the charter" in warning for warning in result.warnings)


def test_a_charter_may_be_checked_and_not_learnt(tmp_path: Path, settings: PrepareSettings) -> None:
    result = prepare(tmp_path / "out", settings.model_copy(update={"charter_pairs": False}))
    assert not (tmp_path / "out" / "charter.jsonl").exists()
    assert (tmp_path / "out" / "charter.yaml").is_file()
    assert {example.answer[-1] for example in load_examples(tmp_path / "out" / "train.jsonl")} == {"!"}
    assert result.warnings == ()


def test_what_was_put_right_is_told_row_by_row(tmp_path: Path, settings: PrepareSettings) -> None:
    """All of it in report.json, a few in what the step tells."""
    said: list[str] = []

    class Hears(Quiet):
        def say(self, text: str) -> None:
            said.append(text)

    (tmp_path / "out").mkdir()
    result = operation.run(Subject(out=tmp_path / "out"), settings, Hears())
    every = json.loads((tmp_path / "out" / "report.json").read_text())["charter"]["put_right"]
    assert len(every) == 8
    assert all(one["before"] == f"{one['after'][:-1]}!" and one["rules"] == ["no_exclamation"] for one in every)
    assert result.facts["charter"]["put_right"] == every[:5]
    assert f"put right, {every[0]['row']}: {every[0]['before']} → {every[0]['after']}" in said
    assert "put right: 3 more, all in report.json" in said
