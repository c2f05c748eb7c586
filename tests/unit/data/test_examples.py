"""The example record and the prepared files."""

from pathlib import Path

import pytest
from pydantic import ValidationError

from limpide.core.errors import DataError, MissingError
from limpide.core.files import read_jsonl
from limpide.data.examples import Example, Message, load_examples, order_faults, save_examples


def example(*turns: tuple[str, str], **more: str) -> Example:
    messages = [{"role": role, "content": content} for role, content in turns]
    return Example.model_validate({"id": "a", "source": "f.jsonl:3", "messages": messages, **more})


def test_prompt_answer_question_and_place() -> None:
    one = example(("system", "Be brief."), ("user", "Q1"), ("assistant", "A1"), ("user", "Q2"), ("assistant", "A2"))
    assert one.answer == "A2"
    assert one.prompt[-1] == Message(role="user", content="Q2")
    assert one.system == "Be brief."
    assert one.question == "Q1\nA1\nQ2"
    assert one.place == ("f.jsonl", 3)


@pytest.mark.parametrize(
    ("roles", "said"),
    [
        ([], "no message"),
        (["user"], "no assistant answer"),
        (["user", "assistant", "user"], "no assistant answer"),
        (["assistant"], "a user must speak before"),
        (["user", "user", "assistant"], "message 2 is from 'user' like the one before"),
        (["user", "assistant", "system", "user", "assistant"], "message 3 is a system message"),
        (["system"], "no assistant answer"),
    ],
)
def test_order_of_speakers(roles: list[str], said: str) -> None:
    assert any(said in fault for fault in order_faults(roles))  # type: ignore[arg-type]  # wrong on purpose


def test_a_record_without_answer_cannot_be_made() -> None:
    with pytest.raises(ValidationError, match="no assistant answer"):
        example(("user", "Q"))


def test_saved_examples_come_back_even_with_unusual_line_ends(tmp_path: Path) -> None:
    rows = [example(("user", "line\u2028separator\x85next"), ("assistant", "é\r\n\tb"), topic="T")]
    save_examples(tmp_path / "train.jsonl", rows)
    assert load_examples(tmp_path / "train.jsonl") == rows
    assert len(read_jsonl(tmp_path / "train.jsonl")) == 1


def test_prepared_lines_have_the_agreed_fields(tmp_path: Path) -> None:
    save_examples(tmp_path / "t.jsonl", [example(("user", "Q"), ("assistant", "A"))])
    (row,) = read_jsonl(tmp_path / "t.jsonl")
    kept = {"id", "topic", "group", "language", "messages", "source", "rejected", "label", "synthetic"}
    assert set(row) == kept


def test_changed_prepared_file_is_refused_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "train.jsonl"
    save_examples(path, [example(("user", "Q"), ("assistant", "A"))])
    path.write_text(path.read_text() + '{"id": "b"}\n')
    with pytest.raises(DataError, match=r"train\.jsonl:2"):
        load_examples(path)
    with pytest.raises(MissingError, match=r"data\.prepare"):
        load_examples(tmp_path / "none.jsonl")
