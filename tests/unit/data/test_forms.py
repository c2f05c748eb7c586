"""The forms an example can be written in: which one is recognised, and what it becomes."""

import json
from pathlib import Path
from typing import Any

import pytest

from limpide.core.errors import DataError
from limpide.data.columns import recognise
from limpide.data.examples import Example
from limpide.data.reading import LOOKED_AT, Reading, read_examples

Row = dict[str, Any]


def written(folder: Path, rows: list[Row], name: str = "a.jsonl") -> Path:
    (folder / name).write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
    return folder / name


def read(folder: Path, *rows: Row, **options: Any) -> Reading:
    return read_examples(written(folder, list(rows)), **options)


def one(folder: Path, row: Row) -> Example:
    (example,) = read(folder, row).examples
    return example


def refusal(folder: Path, *rows: Row, **options: Any) -> str:
    with pytest.raises(DataError) as caught:
        read(folder, *rows, **options)
    return str(caught.value)


def turn(role: str, content: str) -> Row:
    return {"role": role, "content": content}


USER, GOOD, BAD = turn("user", "Q"), turn("assistant", "Good."), turn("assistant", "Bad.")
SYSTEM = turn("system", "S")
ASKED = [SYSTEM, USER, turn("assistant", "Which one?"), turn("user", "Mine.")]


# --- what a file is read as ---


@pytest.mark.parametrize(
    ("columns", "form", "title"),
    [
        (["prompt", "answer"], "prompt", "prompt and answer"),
        (["instruction", "input", "output"], "prompt", "Alpaca"),
        (["Instruction", "Output"], "prompt", "Alpaca"),
        (["instruction", "response"], "prompt", "prompt and answer"),
        (["messages", "label"], "messages", "chat messages"),
        (["conversations", "id"], "conversations", "ShareGPT conversations"),
        (["instruction", "input", "chosen", "rejected"], "prompt", "prompt and answer, with rejected answers"),
        (["messages", "rejected"], "messages", "chat messages, with rejected answers"),
        (["chosen", "rejected", "score_chosen"], "chosen", "preference pairs"),
        (["prompt", "prompt_id", "chosen", "rejected", "messages"], "messages", "chat messages, with rejected answers"),
        (["text", "label"], "text", "text and label"),
        (["avis", "étiquette"], "text", "text and label"),
        (["Phrase", "Classe"], "text", "text and label"),
        (["question", "intent"], "text", "text and label"),
        (["text", "label", "prompt", "answer"], "prompt", "prompt and answer"),
    ],
)
def test_the_form_is_recognised_and_named(columns: list[str], form: str, title: str) -> None:
    found = recognise("a.csv", columns, {})
    assert (found.form, found.title) == (form, title)
    assert found.record()["read_as"] == title


def test_a_file_that_fits_two_forms_says_which_was_taken_and_how_to_ask_for_the_other(tmp_path: Path) -> None:
    rows = [{"question": f"Q{n}", "answer": f"A{n}", "sentence": f"S{n}", "class": "ab"[n % 2]} for n in range(6)]
    reading = read(tmp_path, *rows)
    (note,) = reading.warnings
    assert "it was read as prompt and answer; the columns 'sentence' and 'class' could be texts to classify" in note
    assert "data.columns: {text: sentence, label: class}" in note
    other = read(tmp_path, *rows, columns={"text": "sentence", "label": "class"})
    assert [e.label for e in other.examples] == ["a", "b"] * 3
    assert other.warnings == ()
    assert other.columns.guessed == {}


def test_columns_that_are_given_decide_the_form(tmp_path: Path) -> None:
    row = {"messages": [USER, GOOD], "q": "Q2", "a": "A2", "note": "N"}
    reading = read(tmp_path, row, columns={"prompt": "q", "answer": "a", "input": "note"})
    assert [m.content for m in reading.examples[0].messages] == ["Q2\n\nN", "A2"]
    text = refusal(tmp_path, {"messages": [USER, GOOD], "class": "x"}, columns={"label": "class"})
    assert "a.jsonl is read as chat messages, where 'label' of data.columns has no place." in text


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        (["text"], "no column for the label."),
        (["text"], "a running text without questions or labels goes into data.documents"),
        (["label", "id"], "no column for the text."),
        (["text", "output"], "no column for the question."),
        (["chosen"], "no column for the question."),
        (["prompt", "rejected"], "no column for the answer."),
        (["a", "b"], "no column for the question nor the answer."),
        (["sentence", "review", "label"], "2 columns could be the text: sentence, review."),
        (["text", "category", "sentiment"], "data.columns: {label: category}"),
    ],
)
def test_columns_that_fit_no_form(columns: list[str], said: str) -> None:
    with pytest.raises(DataError) as caught:
        recognise("a.csv", columns, {})
    assert said in str(caught.value)


def test_two_names_for_what_the_form_does_not_need_are_no_fault() -> None:
    found = recognise("a.csv", ["prompt", "answer", "category", "class", "review", "avis"], {})
    assert dict(found.names) == {"prompt": "prompt", "answer": "answer"}


def test_a_column_that_comes_late_is_recognised(tmp_path: Path) -> None:
    rows: list[Row] = [{"prompt": f"Q{n}", "answer": f"A{n}"} for n in range(LOOKED_AT + 5)]
    rows.append({"prompt": "Q", "answer": "Good.", "rejected": "Bad.", "topic": "T"})
    rows.append({"prompt": "Q", "answer": "Fine.", "messages": [USER]})
    reading = read(tmp_path, *rows)
    assert (reading.examples[-2].rejected, reading.examples[-2].topic) == ("Bad.", "T")
    assert reading.columns.form == "prompt"
    assert reading.columns.unused == ("messages",)
    assert "106 of 107 rows have no rejected answer; they are learnt as plain examples." in reading.warnings[0]


# --- preference pairs ---


@pytest.mark.parametrize(
    "row",
    [
        {"prompt": "Q", "chosen": "Good.", "rejected": "Bad."},
        {"prompt": "Q", "answer": "Good.", "rejected": "Bad."},
        {"question": "Q", "response": "Good.", "rejected_response": "Bad."},
        {"instruction": "Q", "input": "", "chosen": "Good.", "rejected": "Bad."},
        {"prompt": "Q", "chosen": [GOOD], "rejected": [BAD]},
        {"prompt": [USER], "chosen": [GOOD], "rejected": [BAD]},
        {"prompt": [USER], "chosen": "Good.", "rejected": "Bad."},
        {"prompt": [USER], "completion": [GOOD], "rejected": "Bad."},
        {"prompt": "Q", "chosen": [USER, GOOD], "rejected": [USER, BAD]},
        {"chosen": [USER, GOOD], "rejected": [USER, BAD]},
        {"messages": [USER], "chosen": "Good.", "rejected": "Bad."},
        {"messages": [USER], "chosen": GOOD, "rejected": BAD},
        {"messages": [USER, GOOD], "rejected": "Bad."},
        {"messages": [USER, GOOD], "chosen": [USER, GOOD], "rejected": [USER, BAD], "prompt": "Q"},
        {
            "conversations": [{"from": "human", "value": "Q"}],
            "chosen": {"from": "gpt", "value": "Good."},
            "rejected": {"from": "gpt", "value": "Bad."},
        },
    ],
)
def test_every_form_of_a_preference_is_the_same_example(tmp_path: Path, row: Row) -> None:
    example = one(tmp_path, row)
    assert [(m.role, m.content) for m in example.messages] == [("user", "Q"), ("assistant", "Good.")]
    assert example.rejected == "Bad."
    assert example.label is None


@pytest.mark.parametrize(
    "row",
    [
        {"prompt": ASKED, "chosen": [GOOD], "rejected": [BAD]},
        {"chosen": [*ASKED, GOOD], "rejected": [*ASKED, BAD]},
        {"messages": ASKED, "chosen": [*ASKED, GOOD], "rejected": "Bad."},
        {"prompt": ASKED[1:], "system": "S", "chosen": "Good.", "rejected": "Bad."},
        {"prompt": ASKED[1:], "system": "S", "chosen": [*ASKED[1:], GOOD], "rejected": [*ASKED[1:], BAD]},
        {"prompt": ASKED[1:], "chosen": [*ASKED, GOOD], "rejected": [*ASKED[1:], BAD]},
    ],
)
def test_preferences_after_several_turns(tmp_path: Path, row: Row) -> None:
    example = one(tmp_path, row)
    assert [m.model_dump() for m in example.messages] == [*ASKED, GOOD]
    assert example.rejected == "Bad."


def test_rows_without_a_rejected_answer_are_plain_examples(tmp_path: Path) -> None:
    rows = [
        {"prompt": "Q1", "chosen": "Good.", "rejected": "Bad."},
        {"prompt": "Q2", "chosen": "Good.", "rejected": None},
        {"prompt": "Q3", "chosen": "", "answer": "Fine."},
    ]
    reading = read(tmp_path, *rows)
    assert [(e.answer, e.rejected) for e in reading.examples] == [("Good.", "Bad."), ("Good.", None), ("Fine.", None)]
    assert "2 of 3 rows have no rejected answer" in reading.warnings[0]
    (tmp_path / "a.csv").write_text("prompt,chosen,rejected\nQ1,Good.,Bad.\nQ2,Good.,\n")
    assert [e.rejected for e in read_examples(tmp_path / "a.csv").examples] == ["Bad.", None]


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"prompt": "Q", "chosen": "Same. ", "rejected": "Same."}, "'rejected' says the same as the preferred answer"),
        ({"prompt": "Q", "rejected": "Bad."}, "'chosen' is missing"),
        ({"prompt": "Q", "chosen": "", "rejected": "Bad."}, "'chosen' is empty"),
        ({"prompt": "Q", "chosen": "Good.", "rejected": 7}, "'rejected' must be text, not a number"),
        ({"prompt": "Q", "chosen": "Good.", "rejected": "a\0"}, "'rejected' holds a NUL character"),
        (
            {"prompt": "Q", "chosen": [turn("user", "Q"), GOOD], "rejected": [turn("user", "R"), BAD]},
            "message 1 of 'rej",
        ),
        (
            {"prompt": "Q", "chosen": [turn("user", "R"), GOOD], "rejected": "Bad."},
            "message 1 of 'chosen' is not the one",
        ),
        ({"prompt": ASKED, "chosen": [*ASKED, GOOD], "rejected": [USER, BAD]}, "only the last message may differ"),
        ({"prompt": "Q", "chosen": "Good.", "rejected": [USER, GOOD, USER]}, "only the last message may differ"),
        ({"prompt": "Q", "chosen": "Good.", "rejected": [turn("user", "Bad.")]}, "'rejected' ends with a message from"),
        ({"prompt": "Q", "chosen": "Good.", "rejected": [turn("robot", "x")]}, "message 1 of 'rejected': unknown role"),
        ({"prompt": "Q", "chosen": [], "rejected": [BAD]}, "'chosen' must be text, not a list"),
    ],
)
def test_a_preference_at_fault(tmp_path: Path, row: Row, said: str) -> None:
    good = {"prompt": "Q0", "chosen": "Good.", "rejected": "Bad."}
    text = refusal(tmp_path, good, row)
    assert f"a.jsonl:2: {said}" in text or (said in text and "a.jsonl:2: " in text)
    assert "1 thing is wrong" in text


def test_two_preferred_answers_that_differ(tmp_path: Path) -> None:
    row = {"messages": [USER, GOOD], "chosen": "Other.", "rejected": "Bad."}
    assert "the conversation already ends with another answer than 'chosen'" in refusal(tmp_path, row)


def test_whole_texts_without_a_prompt_are_refused(tmp_path: Path) -> None:
    text = refusal(
        tmp_path, {"chosen": "\n\nHuman: Q\n\nAssistant: Good.", "rejected": "\n\nHuman: Q\n\nAssistant: Bad."}
    )
    assert "'chosen' is an answer without its question" in text


# --- texts and labels ---


def test_text_and_label(tmp_path: Path) -> None:
    rows = [{"texte": f"T{n}", "catégorie": label} for n, label in enumerate(["panne", " panne ", "devis", "panne"])]
    reading = read(tmp_path, *rows)
    first = reading.examples[1]
    assert [(m.role, m.content) for m in first.messages] == [("user", "T1"), ("assistant", "panne")]
    assert [e.label for e in reading.examples] == ["panne", "panne", "devis", "panne"]
    assert reading.columns.guessed == {"text": "texte", "label": "catégorie"}


def test_whole_numbers_are_labels_and_said(tmp_path: Path) -> None:
    reading = read(tmp_path, *({"text": f"T{n}", "label": n % 3, "system": "Sort."} for n in range(9)))
    assert reading.examples[4].label == reading.examples[4].answer == "1"
    assert reading.examples[4].system == "Sort."
    assert "the labels are numbers (0, 1, 2)" in reading.warnings[0]


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"text": "T", "label": ""}, "'label' is empty"),
        ({"text": "T", "label": None}, "'label' is empty"),
        ({"text": "T"}, "'label' is missing"),
        ({"text": "", "label": "x"}, "'text' is empty"),
        ({"text": "T", "label": 0.5}, "'label' must be text, not a number"),
        ({"text": "T", "label": ["x", "y"]}, "'label' must be text, not a list"),
        ({"text": "T", "label": True}, "'label' must be text, not true or false"),
    ],
)
def test_text_and_label_at_fault(tmp_path: Path, row: Row, said: str) -> None:
    text = refusal(tmp_path, {"text": "T0", "label": "x"}, row)
    assert f"a.jsonl:2: {said}" in text
    assert "1 thing is wrong" in text


def test_labels_that_never_come_back_are_no_classes(tmp_path: Path) -> None:
    rows = [{"text": f"T{n}", "label": f"Answer {n}"} for n in range(5)]
    text = refusal(tmp_path, *rows)
    assert "'label' holds another value on each of 5 rows: these are not classes." in text
    assert "data.columns: {prompt: text, answer: label}" in text
    assert len(read(tmp_path, *rows, columns={"prompt": "text", "answer": "label"}).examples) == 5
    assert len(read(tmp_path, *rows, {"text": "T", "label": "Answer 0"}).examples) == 6
    assert len(read(tmp_path, *rows[:4]).examples) == 4


# --- ShareGPT, and what no form reads ---


def test_turns_are_read_by_their_own_keys(tmp_path: Path) -> None:
    shared = [{"from": "human", "value": "Q"}, {"from": "gpt", "value": "A"}]
    chat = [USER, turn("assistant", "A")]
    assert one(tmp_path, {"messages": shared}).messages == one(tmp_path, {"conversations": chat}).messages


@pytest.mark.parametrize(
    "turns",
    [
        [{"from": "human", "value": "Q"}, {"from": "function_call", "value": "{}"}, {"from": "gpt", "value": "A"}],
        [{"from": "human", "value": "Q"}, {"from": "observation", "value": "3"}, {"from": "gpt", "value": "A"}],
        [{"from": "human", "value": "Q"}, {"from": "tool", "value": "3"}, {"from": "gpt", "value": "A"}],
        [USER, {"role": "assistant", "content": None, "tool_calls": [{"id": 1}]}, GOOD],
    ],
)
def test_tool_calls_are_refused(tmp_path: Path, turns: list[Row]) -> None:
    text = refusal(tmp_path, {"conversations": turns})
    assert "message 2 calls a tool or is its result: Limpide does not train on tool calls" in text
    assert "1 thing is wrong" in text


def test_empty_values_are_not_left_out_columns(tmp_path: Path) -> None:
    reading = read(tmp_path, {"prompt": "Q", "answer": "A", "old": None, "tags": [], "note": "", "by": "x"})
    assert reading.columns.unused == ("by",)


def test_parts_of_text_are_put_end_to_end(tmp_path: Path) -> None:
    parts = [{"type": "text", "text": "What is "}, {"type": "text", "text": "hot?"}]
    example = one(tmp_path, {"messages": [{"role": "user", "content": parts}, turn("assistant", "The pump.")]})
    assert example.messages[0].content == "What is hot?"


def test_a_picture_among_the_parts_is_a_fault(tmp_path: Path) -> None:
    parts = [{"type": "text", "text": "What is this?"}, {"type": "image_url", "image_url": {"url": "a.png"}}]
    rows = {"messages": [{"role": "user", "content": parts}, turn("assistant", "The pump.")]}
    assert "message 1: 'content' must be text, not a list" in refusal(tmp_path, rows)
