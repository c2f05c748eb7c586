import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from limpide.core.errors import DataError, LimpideError, ModelError
from limpide.models.given import read_given
from limpide.models.recorder import Recorder, save_questions
from limpide.models.requests import Asked, Sampling
from limpide.models.respondents import GENERATES

QUESTIONS = [Asked.question("q1", "One?"), Asked.question("2", "Two?")]
ROWS = [{"id": "q1", "answer": "one", "other": "un"}, {"id": 2, "answer": "two", "other": "deux"}]


def write(folder: Path, rows: list[Any], name: str = "answers.jsonl") -> Path:
    path = folder / name
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows), encoding="utf-8")
    return path


def test_answers_are_found_by_id(tmp_path: Path) -> None:
    given = read_given(write(tmp_path, [*reversed(ROWS), {"id": "unused", "answer": "x"}]))
    assert given.answer(QUESTIONS, 16) == ["one", "two"]
    assert (given.kind, given.digest, given.can) == ("answers", None, {GENERATES})
    assert given.title == "answers in answers.jsonl"
    facts = given.facts()["answers"]
    assert (facts["rows"], facts["answers_used"], facts["field"]) == (3, 2, "answer")


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.json", json.dumps(ROWS)),
        ("a.csv", "id,answer,other\nq1,one,un\n2,two,deux\n"),
        ("a.csv", "id;other;answer\nq1;un;one\n2;deux;two\n"),
    ],
)
def test_other_formats_and_fields(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text)
    assert read_given(tmp_path / name).answer(QUESTIONS, 16) == ["one", "two"]
    assert read_given(tmp_path / name, "other", name="gpt").answer(QUESTIONS, 16) == ["un", "deux"]


def test_rows_need_no_id_until_a_question_is_asked(tmp_path: Path) -> None:
    given = read_given(write(tmp_path, [{"example_id": 7, "prediction": "B"}]), "prediction")
    assert given.rows[0][given.field] == "B"
    with pytest.raises(DataError, match="no field 'id'") as caught:
        given.answer(QUESTIONS, 16)
    assert "--write-questions questions.jsonl" in str(caught.value.remedy)


def test_missing_answers_are_named(tmp_path: Path) -> None:
    given = read_given(write(tmp_path, ROWS[:1]), suite="truth")
    many = [*QUESTIONS, *(Asked.question(f"more-{k}", "?") for k in range(9))]
    with pytest.raises(DataError, match=r"no answer to 10 of the 11 questions: '2', 'more-0', .*'more-3' …") as caught:
        given.answer(many, 16)
    assert "limpide audit truth --write-questions" in str(caught.value.remedy)


def test_ids_of_several_suites(tmp_path: Path) -> None:
    rows = [{"id": "truth/q1", "answer": "one"}, {"id": "q1", "answer": "wrong"}, {"id": "truth/2", "answer": "two"}]
    path = write(tmp_path, rows)
    assert read_given(path, suite="truth").answer(QUESTIONS, 16) == ["one", "two"]
    assert read_given(path, suite="truth", prefixed=True).answer(QUESTIONS, 16) == ["one", "two"]
    assert read_given(path, suite="other").answer(QUESTIONS[:1], 16) == ["wrong"]
    with pytest.raises(DataError, match="'other/q1'"):
        read_given(path, suite="other", prefixed=True).answer(QUESTIONS[:1], 16)


@pytest.mark.parametrize(
    ("row", "what"),
    [
        ({"id": "q1", "answer": "again"}, "answers.jsonl:3: the id 'q1' is already that of line 1"),
        ({"id": "q3", "answer": 42}, "answers.jsonl:3: 'answer' is not text: 42"),
        ({"id": "q3", "answer": None}, "answers.jsonl:3: 'answer' is not text: None"),
        ({"id": "q3"}, "answers.jsonl:3: no 'answer'"),
        ({"answer": "x"}, "answers.jsonl:3: no 'id'"),
        ({"id": 1.5, "answer": "x"}, "answers.jsonl:3: 'id' is neither text nor a whole number: 1.5"),
    ],
)
def test_faulty_rows_have_their_lines(tmp_path: Path, row: Mapping[str, Any], what: str) -> None:
    given = read_given(write(tmp_path, [*ROWS, row]))
    with pytest.raises(DataError) as caught:
        given.answer(QUESTIONS, 16)
    assert [str(fault) for fault in caught.value.faults] == [what]


@pytest.mark.parametrize("column", ["id", "answer", "other", "half \ud83d"])
def test_half_a_character_has_its_line(tmp_path: Path, column: str) -> None:
    """Of any column: a suite may read it. A whole character that was escaped in two halves is read as it is."""
    path = write(
        tmp_path, [*ROWS, {"id": "q3", "answer": "\U0001f600"}, {"id": "q4", "answer": "x", column: "a \ud83d"}]
    )
    with pytest.raises(DataError) as caught:
        read_given(path)
    name = column.replace("\ud83d", r"\ud83d")
    assert [str(f) for f in caught.value.faults] == [
        f"answers.jsonl:4: '{name}' holds half a character (a lone surrogate)"
    ]
    assert caught.value.exit_code == 2


def test_an_empty_answer_is_an_answer(tmp_path: Path) -> None:
    given = read_given(write(tmp_path, [{"id": "q1", "answer": ""}]))
    assert given.answer(QUESTIONS[:1], 16) == [""]


def test_files_that_will_not_do(tmp_path: Path) -> None:
    path = write(tmp_path, ROWS)
    with pytest.raises(DataError, match="Did you mean 'answer'") as caught:
        read_given(path, "anwser")
    assert "--answer-field" in str(caught.value.remedy)
    with pytest.raises(DataError, match=r"Did you mean 'answers.jsonl'"):
        read_given(tmp_path / "anwsers.jsonl")
    with pytest.raises(DataError, match=r"'\.txt' files"):
        read_given(write(tmp_path, ROWS, "answers.txt"))
    with pytest.raises(DataError, match="it holds no row"):
        read_given(write(tmp_path, [], "empty.jsonl"))
    path.write_text('{"id": 1, "answer": "x"}\n[1]\n{"id"\n')
    with pytest.raises(DataError) as caught:
        read_given(path)
    assert [fault.line for fault in caught.value.faults] == [2, 3]


def test_what_a_file_cannot_tell(tmp_path: Path) -> None:
    given = read_given(write(tmp_path, ROWS))
    with pytest.raises(ModelError, match="likelihood of given words"):
        given.score([])
    with pytest.raises(ModelError, match="several answers to each question"):
        given.sample(QUESTIONS, Sampling(count=2))


# ------------------------------------------------------------------------------------------------------ the questions


def test_a_recorder_writes_down_what_it_is_asked(tmp_path: Path) -> None:
    recorder = Recorder()
    assert recorder.answer(QUESTIONS, 16) == ["", ""]
    assert recorder.answer(QUESTIONS[:1], 16) == [""]
    assert [[a.text for a in of] for of in recorder.sample(QUESTIONS[:1], Sampling(count=2))] == [["", ""]]
    assert [len(asked) for asked, _ in recorder.calls] == [2, 1, 1]
    assert recorder.questions() == QUESTIONS
    save_questions(tmp_path / "q.jsonl", recorder.questions(), "truth/")
    rows = [json.loads(line) for line in (tmp_path / "q.jsonl").read_text().splitlines()]
    assert rows[0] == {"id": "truth/q1", "messages": [{"role": "user", "content": "One?"}]}
    recorder.answer([Asked.question("q1", "Another?")], 16)
    with pytest.raises(LimpideError, match="Two questions of this audit have the id 'q1'"):
        recorder.questions()
    with pytest.raises(ModelError, match="cannot be asked as a question"):
        recorder.score([])
