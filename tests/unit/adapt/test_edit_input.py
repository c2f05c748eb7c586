"""What a person can get wrong about an edit, and what they are told."""

import json
from pathlib import Path
from typing import Any

import pytest

from limpide.adapt.correct.edit_rows import EditSettings, edits_of
from limpide.core.errors import DataError, MissingError, UsageError

GOOD: dict[str, Any] = {"prompt": "The capital of France is", "subject": "France", "answer": "Lyon"}


def told(error: pytest.ExceptionInfo[UsageError]) -> str:
    return str(error.value)


def write(folder: Path, *rows: object) -> Path:
    path = folder / "edits.jsonl"
    path.write_text("\n".join(row if isinstance(row, str) else json.dumps(row) for row in rows), encoding="utf-8")
    return path


def test_settings_make_one_edit() -> None:
    (edit,) = edits_of(EditSettings(**GOOD, paraphrases=("France has as its capital",)))
    assert (edit.prompt, edit.subject, edit.answer) == tuple(GOOD.values())
    assert edit.subject_span == (15, 21)
    assert edit.paraphrases == ("France has as its capital",)


def test_the_last_mention_of_the_subject_is_meant() -> None:
    (edit,) = edits_of(EditSettings(prompt="France: the capital of France is", subject="France", answer="Lyon"))
    assert edit.subject_span == (23, 29)


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        (
            {"subject": "Frence"},
            "not in the prompt 'The capital of France is'. Did you mean 'France'?",
        ),
        ({"answer": " "}, "'answer' is empty"),
        ({"instead_of": " Lyon"}, "the new answer is the old one, 'Lyon'"),
        ({"neighbours": ("The capital of Spain is", "")}, "one of 'neighbours' is empty"),
    ],
)
def test_a_wrong_edit_says_what_is_wrong(changed: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError) as error:
        edits_of(EditSettings(**GOOD | changed))
    assert words in told(error)


def test_all_faults_of_an_edit_are_told_together() -> None:
    with pytest.raises(UsageError) as error:
        edits_of(EditSettings(prompt="The capital of France is", subject="Spain", answer=""))
    assert "not in the prompt" in told(error)
    assert "'answer' is empty" in told(error)


def test_what_is_missing_is_named() -> None:
    with pytest.raises(UsageError, match="no subject, no answer"):
        edits_of(EditSettings(prompt="The capital of France is"))


def test_a_file_and_an_edit_are_too_much(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="come from a file"):
        edits_of(EditSettings(**GOOD, file=write(tmp_path, GOOD)))


def test_a_file_makes_several_edits(tmp_path: Path) -> None:
    other = {"prompt": "The capital of Spain is", "subject": "Spain", "answer": "Vigo", "instead_of": None}
    path = write(tmp_path, GOOD | {"neighbours": ["The capital of Italy is"]}, "", other)
    first, second = edits_of(EditSettings(file=path))
    assert first.neighbours == ("The capital of Italy is",)
    assert second.answer == "Vigo"


def test_every_fault_of_a_file_is_told_with_its_line(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        GOOD,
        {"prompt": "The capital of France is", "subjekt": "France", "answer": "Lyon"},
        "[1, 2]",
        '{"prompt": ',
        {"prompt": 3, "subject": "France", "answer": "Lyon", "paraphrases": "one"},
        GOOD | {"subject": "Spain"},
        GOOD | {"answer": "Nice"},
    )
    with pytest.raises(DataError) as error:
        edits_of(EditSettings(file=path))
    found = [(fault.line, fault.what) for fault in error.value.faults]
    assert [line for line, _ in found] == [2, 2, 3, 4, 5, 5, 6, 6, 7]
    said = "\n".join(what for _, what in found)
    for words in (
        "'subject' is missing. Did you mean 'subjekt'?",
        "unknown key 'subjekt'. Did you mean 'subject'?",
        "a row must be an object",
        "broken JSON",
        "'prompt' must be text, not a number",
        "'paraphrases' must be a list of texts, not text",
        "the subject 'Spain' is not in the prompt",
        "line 1 already edits this prompt",
    ):
        assert words in said
    assert "in 6 of its rows" in told(error)


def test_an_empty_file_and_none_are_told_apart(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="holds no edit"):
        edits_of(EditSettings(file=write(tmp_path, "")))
    with pytest.raises(MissingError, match=r"Did you mean 'edits.jsonl'"):
        edits_of(EditSettings(file=tmp_path / "edit.jsonl"))
