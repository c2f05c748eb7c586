"""Advice before a training: what it says follows from the rows, and what it costs from steps that were taken."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from limpide.adapt.settings import TrainSettings
from limpide.core import files
from limpide.core.errors import ModelError
from limpide.core.operation import Subject
from limpide.core.progress import Quiet
from limpide.data.examples import Example, Message, save_examples
from limpide.document.advised import sentences
from limpide.recipe import advice

SETTINGS: dict[str, Any] = {"rank": 2, "epochs": 2, "precision": "float32", "canary": False, "validation": 0}
NAMES = ("pump", "valve", "guard", "river", "threshold", "nurse", "lamp", "bridge", "garden", "harbour")


def row(number: int, question: str, answer: str) -> Example:
    messages = (Message(role="user", content=question), Message(role="assistant", content=answer))
    return Example(id=f"e{number}", messages=messages, source=f"e.jsonl:{number}", topic=question.split()[-1])


def rows(wordings: int, first: int = 0) -> list[Example]:
    """Each of ten things asked in so many wordings, answered with a number of its own."""
    return [
        row(first + 10 * way + k, f"Wording {first + way} about {name}", f"Set the {name} to {37 * k + 11} bars.")
        for way in range(wordings)
        for k, name in enumerate(NAMES)
    ]


def folder(path: Path, train: list[Example], held_out: list[Example]) -> Path:
    save_examples(path / "train.jsonl", train)
    save_examples(path / "held_out.jsonl", held_out)
    return path


def test_sentences_can_be_read() -> None:
    """Of the charter's rows apart; compute as a share of a limit, and no '10 × 10⁻⁸'."""
    rows_ = {"answers": 48, "texts": 1, "preferences": 30, "held_out": 9, "smallest": 0.5}
    rows_ |= {
        "taught": {"value": 1.0, "low": 0.758, "high": 1.0, "n": 12},
        "charter": {"answers": 24, "preferences": 20},
    }
    cost = {"seconds": 9.0, "peak_bytes": 9e9, "machine_bytes": 1e10, "precision": "float32", "flops": 9.96e13}
    cost |= {"base_flops": 1.6e21, "share_of_third": 1e-7}
    record = {"rows": rows_, "cost": cost, "reasons": [], "verdict": "train"}
    said = " ".join(" ".join(sentences(record, "en")).split())
    assert "100% of the held-out answers also stand in the training rows, worded otherwise or not" in said
    assert "(95% interval 75.8% to 100%)" in said
    assert "24 answers and 20 preferences come from the charter" in said
    assert (
        "Compute: 1 × 10¹⁴ floating-point operations at most, <\u202f0.1% of the amount".replace("\u202f", " ") in said
    )
    assert "a third of the 1.6 × 10²¹ of the base’s own training" in said


def asked(model: Path, data: Path, out: Path, **settings: Any) -> dict[str, Any]:
    out.mkdir()
    chosen = TrainSettings(**{**SETTINGS, **settings})
    found = advice.run(Subject(out, {"data": data}, model), chosen, Quiet())
    record: dict[str, Any] = files.read_json(out / advice.FILE)
    assert record == found.facts
    return record


def test_new_wordings_of_what_is_taught_can_be_trained(tiny_path: Callable[[str], Path], tmp_path: Path) -> None:
    data = folder(tmp_path / "data", rows(6), rows(3, first=6))
    found = asked(tiny_path("llama"), data, tmp_path / "out")
    assert found["verdict"] == "train", found["reasons"]
    assert found["rows"]["taught"] == {"value": 1.0, "low": pytest.approx(0.886, abs=1e-3), "high": 1.0, "n": 30}
    assert found["rows"]["wordings"] == 6
    assert found["cost"]["seconds"] > 0
    assert found["cost"]["base_flops"] is None
    assert not (tmp_path / "out" / "adapter").exists()


def test_the_row_that_training_plants_is_not_counted(tiny_path: Callable[[str], Path], tmp_path: Path) -> None:
    """It has a topic and one wording, which rows without topics have not."""
    bare = [[one.model_copy(update={"topic": None}) for one in part] for part in (rows(6), rows(3, first=6))]
    found = asked(tiny_path("llama"), folder(tmp_path / "data", *bare), tmp_path / "out", canary=True)
    assert (found["rows"]["answers"], found["rows"]["topics"], found["rows"]["wordings"]) == (60, 0, None)
    assert found["verdict"] == "train", found["reasons"]


def test_what_training_refuses_is_refused(tiny_path: Callable[[str], Path], tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="four bits"):
        asked(tiny_path("llama"), folder(tmp_path / "data", rows(1), []), tmp_path / "out", base_precision="4bit")


def test_what_no_row_says_is_to_be_looked_up(tiny_path: Callable[[str], Path], tmp_path: Path) -> None:
    others = [row(900 + k, f"Where is the {name}?", f"Beside warehouse {900 + k}, second floor.") for k, name in
              enumerate(NAMES)]  # fmt: skip
    found = asked(tiny_path("llama"), folder(tmp_path / "data", rows(6), others), tmp_path / "out")
    assert found["verdict"] == "look up"
    assert found["rows"]["taught"]["value"] == 0


def test_little_is_said_to_be_little(tiny_path: Callable[[str], Path], tmp_path: Path) -> None:
    found = asked(tiny_path("llama"), folder(tmp_path / "data", rows(1), rows(1, first=1)[:4]), tmp_path / "out")
    assert found["verdict"] == "doubtful"
    assert {reason["code"] for reason in found["reasons"]} == {"few rows", "few wordings", "little to judge on"}


def test_a_language_that_the_model_does_not_speak_is_told(tiny_path: Callable[[str], Path], tmp_path: Path) -> None:
    model = tmp_path / "model"
    shutil.copytree(tiny_path("llama"), model)
    (model / "README.md").write_text("---\nlanguage: fr\n---\n", encoding="utf-8")
    found = asked(model, folder(tmp_path / "data", rows(6), rows(3, first=6)), tmp_path / "out")
    assert found["rows"]["unspoken"] == ["en"]
    assert found["verdict"] == "doubtful"
    said = list(sentences(found, "en"))
    assert said[1].startswith("The model is declared for: French. Your answers are also in: English.")


def test_compute_is_that_of_every_epoch(tiny_path: Callable[[str], Path], tmp_path: Path) -> None:
    data = folder(tmp_path / "data", rows(6), rows(3, first=6))
    once, twice = (asked(tiny_path("llama"), data, tmp_path / str(n), epochs=n)["cost"]["flops"] for n in (1, 2))
    assert twice == 2 * once > 0


def test_the_embedded_model_knows_what_made_it(tmp_path: Path) -> None:
    from limpide.models.embedded import trained_tokens

    files.write_json(tmp_path / "limpide-source.json", {"alias": "smollm2-135m-instruct"})
    assert trained_tokens(tmp_path) == 2e12
    assert trained_tokens(tmp_path / "nowhere") is None


@pytest.mark.parametrize("language", ["en", "fr"])
def test_every_reason_has_its_words(language: str) -> None:
    known = {"value": 0.1, "low": 0.0, "high": 0.4, "n": 20}
    few = {"answers": 10, "texts": 0, "preferences": 0, "topics": 3, "wordings": 1, "held_out": 0, "smallest": None}
    alone = {**few, "answers": 0, "texts": 9, "held_out": 9, "smallest": 0.5, "taught": None}
    large = {"seconds": 1e5, "peak_bytes": 9e9, "machine_bytes": 1e10, "precision": "float32", "flops": 1e15}
    codes = set()
    for rows_, base in (({**few, "taught": known}, None), (alone, 1.6e21)):
        cost = large | {"base_flops": base, "share_of_third": 1e-6}
        found = [*advice.reasons(rows_, cost)]
        codes |= {reason["code"] for reason in found}
        record = {"rows": rows_, "cost": cost, "reasons": found, "verdict": advice.verdict(found)}
        assert all("{" not in sentence for sentence in sentences(record, language))
    assert len(codes) == 7
