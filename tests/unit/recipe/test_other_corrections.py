"""Facts and refusals through the same loop, on tiny models."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from limpide.core import catalogue, files
from limpide.core.errors import DataError, UsageError
from limpide.core.operation import Subject
from limpide.core.progress import Quiet
from limpide.models.changed import KEPT
from limpide.models.model import open_model
from limpide.recipe.corrections.loop import RECORD
from planted_facts import FACTS, PEOPLE, THINGS, WORDINGS, fact_model
from tiny import tiny_folder


def corrected(goal: str, model: Path, out: Path, **settings: Any) -> dict[str, Any]:
    operation = catalogue.find(f"correct.{goal}")
    result = operation.run(Subject(out, {}, model), operation.settings(**settings), Quiet())
    record: dict[str, Any] = files.read_json(out / RECORD)
    assert result.facts["verdict"] == record["verdict"]
    return record


@pytest.fixture(scope="module")
def knowing(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("knowing")
    model = fact_model()
    model.network.save_pretrained(folder)
    model.tokenizer.save_pretrained(folder)
    return folder


def test_a_fact_is_changed_and_its_neighbours_are_not(knowing: Path, tmp_path: Path) -> None:
    person = PEOPLE[3]
    new = next(thing for thing in THINGS if thing != FACTS[person])
    record = corrected(
        "fact",
        knowing,
        tmp_path,
        prompt=WORDINGS[0].format(person),
        subject=person,
        answer=new,
        paraphrases=[wording.format(person) for wording in WORDINGS[1:]],
        neighbours=[WORDINGS[k % 2].format(other) for k, other in enumerate(PEOPLE[4:24])],
        layers=[0, 1],
        form="several layers",
        perplexity=1.0,
        watch=[],
        write=False,
    )
    assert record["verdict"] == "accepted", record["reasons"]
    assert record["target"]["before"] == 0.0
    assert record["target"]["after"] >= 0.9
    (neighbours,) = [w for w in record["watched"] if w["change"]["name"] == "edit.neighbourhood"]
    assert neighbours["change"]["after"] >= 0.95
    assert (tmp_path / KEPT).is_dir()


def test_a_refusal_that_cannot_be_taught_is_refused(tmp_path: Path) -> None:
    """A model with random weights declines nothing, whatever is added to what its layers say."""
    folder, out = tiny_folder("llama", tmp_path, max_position_embeddings=1024), tmp_path / "out"
    out.mkdir()
    record = corrected("refusal", folder, out, languages=["en"], strength=0.5, watch=[], write=False)
    assert record["verdict"] == "refused"
    assert "gap not cut" in {reason["code"] for reason in record["reasons"]}
    assert record["target"]["better"] == "higher"
    assert not (out / KEPT).exists()


def test_a_fact_that_the_model_already_states_is_nothing_to_correct(knowing: Path, tmp_path: Path) -> None:
    person = PEOPLE[3]
    asked = {"prompt": WORDINGS[0].format(person), "subject": person, "answer": FACTS[person]}
    record = corrected("fact", knowing, tmp_path, **asked, layers=[0], watch=[], write=False)
    assert record["verdict"] == "nothing to correct"
    assert record["reasons"]
    assert not (tmp_path / KEPT).exists()


def test_neighbours_that_change_refuse_the_edit(knowing: Path, tmp_path: Path) -> None:
    """The subject itself as its neighbour: all that must stay changes with it."""
    person = PEOPLE[3]
    new = next(thing for thing in THINGS if thing != FACTS[person])
    record = corrected(
        "fact",
        knowing,
        tmp_path,
        prompt=WORDINGS[0].format(person),
        subject=person,
        answer=new,
        paraphrases=[wording.format(person) for wording in WORDINGS[1:]],
        neighbours=[wording.format(person) for wording in WORDINGS] * 3,
        layers=[0, 1],
        form="several layers",
        perplexity=1.0,
        watch=[],
        write=False,
    )
    assert record["verdict"] == "refused"
    assert "edit.neighbourhood" in {reason["what"].get("name") for reason in record["reasons"]}


def test_suites_that_need_data_are_not_left_out_in_silence(tmp_path: Path) -> None:
    folder = tiny_folder("llama", tmp_path, max_position_embeddings=1024)
    with pytest.raises(UsageError, match="prepared data") as error:
        corrected("refusal", folder, tmp_path, languages=["en"], watch=["domain"])
    assert "domain" in str(error.value.received)


# --- a tone, on a model whose answers follow one direction


def two_tones(folder: Path, questions: int = 40) -> dict[str, Path]:
    """The same questions answered with '!!!' and with '...'."""
    paths = {"wanted": folder / "wanted.jsonl", "unwanted": folder / "unwanted.jsonl"}
    for path, ending in zip(paths.values(), ("!!!", "..."), strict=True):
        rows = [{"prompt": f"Is pump {k} shut?", "answer": f"Pump {k} is shut{ending}"} for k in range(questions)]
        path.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    return paths


@pytest.fixture(scope="module")
def calm(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """After '!' its stream holds one direction, and '!' is the likelier the more of it there is."""
    folder = tiny_folder(
        "llama", tmp_path_factory.mktemp("calm"), tie_word_embeddings=False, max_position_embeddings=1024
    )
    model = open_model(folder)
    torch.manual_seed(1)
    along = torch.nn.functional.normalize(torch.randn(32), dim=0)
    for mark in ("!", "!!!", "!!"):
        token = model.tokenizer.encode(mark, add_special_tokens=False)[0]
        model.network.model.embed_tokens.weight.data[token] += 8 * along
        model.network.lm_head.weight.data[token] += 2 * along
    model.network.save_pretrained(folder)
    return folder


def test_a_tone_is_judged_on_questions_it_was_not_fitted_on(calm: Path, tmp_path: Path) -> None:
    record = corrected(
        "tone", calm, tmp_path, **two_tones(tmp_path), strength=0.1, perplexity=1.0, watch=[], write=False
    )
    assert record["verdict"] == "accepted", record["reasons"]
    assert record["target"]["measure"] == "tone.lead"
    assert record["target"]["after"] > record["target"]["before"] + 0.1
    assert record["target"]["clusters"] == 10  # a quarter of the questions


def test_two_files_that_ask_otherwise_are_refused_before_a_model_is_opened(tmp_path: Path) -> None:
    paths = two_tones(tmp_path)
    rows = paths["unwanted"].read_text(encoding="utf-8").replace("Is pump 3 shut", "Is pump 3 open")
    paths["unwanted"].write_text(rows, encoding="utf-8")
    with pytest.raises(DataError, match="same questions") as caught:
        corrected("tone", tmp_path / "nowhere", tmp_path, **paths)
    assert "wanted.jsonl:4" in str(caught.value.received)
    (tmp_path / "unwanted.jsonl").write_text(rows.splitlines()[0] + "\n" + rows.splitlines()[1], encoding="utf-8")
    with pytest.raises(DataError, match="same questions") as caught:
        corrected("tone", tmp_path / "nowhere", tmp_path, **paths)
    assert caught.value.received == "40 and 2 rows"


@pytest.mark.parametrize("questions", [1, 14])
def test_too_few_questions_for_a_tone_are_told_before_a_model_is_opened(tmp_path: Path, questions: int) -> None:
    with pytest.raises(DataError, match="too few questions") as caught:
        corrected("tone", tmp_path / "nowhere", tmp_path, **two_tones(tmp_path, questions))
    assert "16 questions or more" in str(caught.value.remedy)
