"""Reading examples: every accepted form, and every bad file with its message."""

import json
import tracemalloc
from pathlib import Path

import pytest

from limpide.core.errors import DataError
from limpide.data import delimited, raw, reading
from limpide.data.reading import MOST_SHOWN, Reading, read_all, read_examples

ROW = {"prompt": "What does E-104 mean?", "answer": "Pump overheated."}
OTHER = {"prompt": "What does E-105 mean?", "answer": "Oil low."}


def jsonl(folder: Path, *rows: object, name: str = "examples.jsonl") -> Path:
    path = folder / name
    path.write_text("".join((r if isinstance(r, str) else json.dumps(r, ensure_ascii=False)) + "\n" for r in rows))
    return path


def turns(reading: Reading, at: int = 0) -> list[tuple[str, str]]:
    return [(m.role, m.content) for m in reading.examples[at].messages]


def refusal(path: Path, columns: dict[str, str | None] | None = None, **options: bool) -> str:
    with pytest.raises(DataError) as caught:
        read_examples(path, columns, **options)
    assert caught.value.exit_code == 2
    return str(caught.value)


# --- accepted forms ---


def test_prompt_and_answer_with_labels(tmp_path: Path) -> None:
    row = ROW | {"id": 7, "topic": "E-104", "group": "g", "language": "EN", "split": "train", "author": "x"}
    reading = read_examples(jsonl(tmp_path, row, "", OTHER))
    first, second = reading.examples
    assert (first.id, first.topic, first.group, first.language) == ("7", "E-104", "g", "en")
    assert first.source == "examples.jsonl:1"
    assert (second.id, second.source, second.topic) == ("examples-3", "examples.jsonl:3", None)
    assert reading.splits == {"7": "train"}
    assert reading.columns.unused == ("author",)
    assert reading.columns.guessed == {}
    assert (reading.rows, reading.skipped, reading.faults) == (2, 0, ())


@pytest.mark.parametrize(
    ("question", "answer"),
    [("question", "response"), ("instruction", "output"), ("Prompt", "completion"), ("question", "Réponse")],
)
def test_usual_names_are_recognised_and_said(tmp_path: Path, question: str, answer: str) -> None:
    reading = read_examples(jsonl(tmp_path, {question: "Q", answer: "A"}))
    assert turns(reading) == [("user", "Q"), ("assistant", "A")]
    assert reading.columns.guessed["answer"] == answer


def test_instruction_takes_its_input(tmp_path: Path) -> None:
    rows = [{"instruction": "Translate.", "input": "Bonjour", "output": "Hello"}, {"instruction": "Hi", "output": "Yo"}]
    reading = read_examples(jsonl(tmp_path, *rows))
    assert turns(reading)[0] == ("user", "Translate.\n\nBonjour")
    assert turns(reading, 1)[0] == ("user", "Hi")


def test_input_alone_is_the_question_and_beside_a_prompt_is_left_out(tmp_path: Path) -> None:
    assert turns(read_examples(jsonl(tmp_path, {"input": "Q", "output": "A"})))[0] == ("user", "Q")
    reading = read_examples(jsonl(tmp_path, ROW | {"input": "ctx"}))
    assert turns(reading)[0] == ("user", ROW["prompt"])
    assert reading.columns.unused == ("input",)


def test_chat_messages_and_system_column(tmp_path: Path) -> None:
    chat = [{"role": "user", "content": "Q", "name": "Bob"}, {"role": "assistant", "content": "A"}]
    reading = read_examples(jsonl(tmp_path, {"messages": chat, "system": "Be brief.", "prompt": "not used"}))
    assert turns(reading) == [("system", "Be brief."), ("user", "Q"), ("assistant", "A")]
    assert reading.columns.unused == ("messages[].name", "prompt")


def test_sharegpt(tmp_path: Path) -> None:
    chat = [{"from": "system", "value": "S"}, {"from": "human", "value": "Q"}, {"from": "gpt", "value": "A"}]
    reading = read_examples(jsonl(tmp_path, {"conversations": chat}))
    assert turns(reading) == [("system", "S"), ("user", "Q"), ("assistant", "A")]


def test_json_list_and_data_object_give_line_numbers(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text(json.dumps([ROW, OTHER], indent=1))
    assert [e.source for e in read_examples(path).examples] == ["a.json:2", "a.json:6"]
    path.write_text(json.dumps({"version": {"data": []}, "data": [ROW, OTHER], "end": 1}, indent=1))
    assert [e.source for e in read_examples(path).examples] == ["a.json:6", "a.json:10"]


@pytest.mark.parametrize(
    ("end", "fault"),
    [
        (', "data": [{}]}', "the key 'data' is given twice"),
        ("} [{}]", "there is more text after the end of the list"),
        (', "end": 1', "Expecting ',' or '}'"),
    ],
)
def test_rows_after_the_end_of_a_list_are_not_lost_in_silence(tmp_path: Path, end: str, fault: str) -> None:
    path = tmp_path / "a.json"
    path.write_text('{"data": ' + json.dumps([ROW, OTHER]) + end)
    assert fault in refusal(path)


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_csv_delimiters_quotes_and_line_numbers(tmp_path: Path, delimiter: str) -> None:
    path = tmp_path / "a.csv"
    lines = ["topic,prompt,answer", 'T,"How, ""now""\nthen?",A', "", "T,Q2,A2"]
    path.write_text("\r\n".join(line.replace(",", delimiter) for line in lines), newline="")
    reading = read_examples(path)
    assert turns(reading)[0] == ("user", f'How{delimiter} "now"\nthen?')
    assert [e.source for e in reading.examples] == ["a.csv:2", "a.csv:5"]


def test_byte_order_mark_is_passed_over_and_said(tmp_path: Path) -> None:
    for name, text in (("a.csv", "prompt;answer\nQ;A\n"), ("a.jsonl", json.dumps(ROW)), ("a.json", json.dumps([ROW]))):
        (tmp_path / name).write_text(text, encoding="utf-8-sig")
        reading = read_examples(tmp_path / name)
        assert len(reading.examples) == 1
        assert "byte order mark" in reading.warnings[0]


def test_columns_of_the_user_win(tmp_path: Path) -> None:
    path = jsonl(tmp_path, {"prompt": "old", "Frage": "Q", "Antwort": "A", "split": "2024"})
    columns = {"prompt": "Frage", "answer": "Antwort", "split": None}
    reading = read_examples(path, columns)
    assert turns(reading) == [("user", "Q"), ("assistant", "A")]
    assert reading.columns.unused == ("prompt", "split")


def test_digest_is_of_the_bytes(tmp_path: Path) -> None:
    from limpide.core.digests import of_file

    path = jsonl(tmp_path, ROW, OTHER)
    assert read_examples(path).digest == of_file(path)


# --- bad rows ---


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ('{"prompt": "a" "answer": "b"}', "examples.jsonl:2: broken JSON at column 16"),
        ('{"prompt": "a", "prompt": "b", "answer": "c"}', "the key 'prompt' is given twice"),
        ("[" * 100_000, "nested too deep"),
        ('{"prompt": ' + "1" * 5000 + "}", "a number is too long"),
        ("[1, 2]", "a row must be an object {…}, not a list"),
        ({"prompt": "a"}, "'answer' is missing"),
        ({"prompt": "a", "awnser": "b"}, "'answer' is missing. Did you mean 'awnser'?"),
        ({"prompt": 3, "answer": "b"}, "'prompt' must be text, not a number"),
        ({"prompt": None, "answer": "b"}, "'prompt' must be text, not nothing (null)"),
        ({"prompt": "a", "answer": " \n"}, "'answer' is empty"),
        ({"prompt": "a\0b", "answer": "b"}, "NUL character (U+0000) at character 2"),
        ({"prompt": "a", "answer": "b\x1b[0m"}, "control character (U+001B) at character 2"),
        ('{"prompt": "a", "answer": "\\ud83d"}', "half of a surrogate pair (U+D83D)"),
        (OTHER | {"topic": ["x"]}, "'topic' must be text, not a list"),
        (OTHER | {"id": True}, "'id' must be text, not true or false"),
        (OTHER | {"id": "one"}, "examples.jsonl:2: the id 'one' is already that of examples.jsonl:1"),
        (OTHER | {"split": "test"}, "unknown split 'test': expected train, held_out, unseen. Did you mean 'held_out'?"),
    ],
)
def test_bad_row(tmp_path: Path, row: object, said: str) -> None:
    labels = {"topic": "t", "id": "one", "split": "train"}
    text = refusal(jsonl(tmp_path, ROW | labels, row))
    assert said in text
    assert "1 thing is wrong" in text
    assert "skip_bad_rows: true" in text


@pytest.mark.parametrize(
    ("messages", "said"),
    [
        ([], "'messages' is empty"),
        ("hello", "'messages' must be a list, not text"),
        (["hello"], "message 1 must be an object {role, content}, not text"),
        ([{"role": "user", "content": "Q"}], "no assistant answer to learn from"),
        ([{"role": "user", "content": "Q"}, {"role": "asistant", "content": "A"}], "Did you mean 'assistant'?"),
        ([{"role": "human", "content": "Q"}, {"role": "assistant", "content": "A"}], "Did you mean 'user'?"),
        ([{"role": "user", "content": "Q"}, {"role": "robot", "content": "A"}], "unknown role 'robot'. Known: system"),
        ([{"role": "developer", "content": "Q"}, {"role": "assistant", "content": "A"}], "Did you mean 'system'?"),
        ([{"role": "user", "content": ""}, {"role": "assistant", "content": "A"}], "message 1: 'content' is empty"),
        ([{"role": "user", "content": ["Q"]}, {"role": "assistant", "content": "A"}], "must be text, not a list"),
        ([{"rôle": "user", "content": "Q"}, {"role": "assistant", "content": "A"}], "message 1 has no 'role'"),
        ([{"role": "user"}, {"role": "assistant", "content": "A"}], "message 1: 'content' is missing"),
        (
            [{"role": "user", "content": "Q"}, {"role": "user", "content": "Q"}, {"role": "assistant", "content": "A"}],
            "must alternate",
        ),
    ],
)
def test_bad_messages(tmp_path: Path, messages: object, said: str) -> None:
    good = {"messages": [{"role": "user", "content": "Q"}, {"role": "assistant", "content": "A"}]}
    assert said in refusal(jsonl(tmp_path, good, {"messages": messages}))


def test_two_system_messages(tmp_path: Path) -> None:
    chat = [{"role": r, "content": r} for r in ("system", "user", "assistant")]
    assert "two system messages" in refusal(jsonl(tmp_path, {"messages": chat, "system": "S"}))


def test_sharegpt_role_typo(tmp_path: Path) -> None:
    chat = [{"from": "humam", "value": "Q"}, {"from": "gpt", "value": "A"}]
    assert "unknown role 'humam'. Did you mean 'human'?" in refusal(jsonl(tmp_path, {"conversations": chat}))


def test_all_faults_are_reported_together_and_capped(tmp_path: Path) -> None:
    rows = [{"prompt": "", "answer": ""} if i % 10 < 3 else ROW | {"id": f"r{i}"} for i in range(100)]
    with pytest.raises(DataError) as caught:
        read_examples(jsonl(tmp_path, OTHER, *rows))
    assert "60 things are wrong in the examples. The first 50 are shown, 10 more follow." in str(caught.value)
    assert len(caught.value.faults) == MOST_SHOWN
    assert [f.line for f in caught.value.faults[:3]] == [2, 2, 3]


def test_bad_rows_can_be_skipped_and_are_listed(tmp_path: Path) -> None:
    reading = read_examples(jsonl(tmp_path, ROW, {"prompt": "x"}, "{", OTHER), skip_bad_rows=True)
    assert (len(reading.examples), reading.rows, reading.skipped) == (2, 4, 2)
    assert [f.line for f in reading.faults] == [2, 3]
    assert "no row is left" in refusal(jsonl(tmp_path, ROW | {"answer": ""}), skip_bad_rows=True)


def test_mojibake_is_a_warning(tmp_path: Path) -> None:
    damaged = "arrêt d’urgence".encode().decode("cp1252")
    reading = read_examples(jsonl(tmp_path, ROW, {"prompt": damaged, "answer": "A"}, OTHER | {"answer": "a\ufffdb"}))
    (warning,) = reading.warnings
    assert "2 rows" in warning
    assert "line 2, 3" in warning
    assert "'Ãª' looks like a damaged 'ê'" in warning


@pytest.mark.parametrize(
    "text", ["Âge du capitaine", "Ça va ? « Oui »", "SÃO PAULO", "20 °C ± 2", "château", "“naïve”"]
)
def test_ordinary_accents_are_not_mojibake(tmp_path: Path, text: str) -> None:
    assert read_examples(jsonl(tmp_path, ROW | {"answer": text})).warnings == ()


# --- bad files ---


def test_missing_file_names_the_nearest(tmp_path: Path) -> None:
    jsonl(tmp_path, ROW)
    assert "Did you mean 'examples.jsonl'?" in refusal(tmp_path / "exemples.jsonl")
    assert "is not there either" in refusal(tmp_path / "no" / "examples.jsonl")


def test_folder_and_unknown_extension(tmp_path: Path) -> None:
    jsonl(tmp_path, ROW)
    assert "give one of its files: examples.jsonl" in refusal(tmp_path)
    (tmp_path / "a.ods").write_bytes(b"PK")
    text = refusal(tmp_path / "a.ods")
    assert "does not read rows from '.ods' files" in text
    assert "save it from your spreadsheet as .xlsx" in text


@pytest.mark.parametrize(
    ("name", "text"),
    [("a.jsonl", ""), ("a.jsonl", "\n \n"), ("a.json", "[]"), ("a.csv", ""), ("a.csv", "prompt,answer\n")],
)
def test_empty_file(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text)
    assert f"{name} is empty: it holds no row." in refusal(tmp_path / name)


def test_wrong_encoding_names_the_byte_and_the_command(tmp_path: Path) -> None:
    path = tmp_path / "my data.csv"
    path.write_bytes("prompt,answer\nQ,A\nArrêt ?,L’arrêt\n".encode("cp1252"))
    text = refusal(path)
    assert "byte 21 of the file, on line 3, is 0xEA" in text
    assert "probably CP1252, read so it says: …Arrêt ?,L’arrêt…" in text
    assert "iconv -f CP1252 -t UTF-8 '" in text
    path.write_bytes("prompt,answer\nArrêt ?,Non\n".encode("latin-1"))
    assert "iconv -f ISO-8859-1" in refusal(path)
    path.write_bytes("prompt,answer\nQ,é".encode("latin-1"))
    assert "byte 16 of the file, on line 2, is 0xE9" in refusal(path)


def test_encodings_that_were_mixed_are_told_apart_by_line(tmp_path: Path) -> None:
    path = tmp_path / "joined.csv"
    lines = ["prompt,answer", "Arrêt ?,Non", "Début ?,L’été", "No,accent", "Fenêtre ?,Fermée", "Là ?,Ici"]
    path.write_bytes(b"\n".join(t.encode("cp1252" if n in (2, 5) else "utf-8") for n, t in enumerate(lines)))
    text = refusal(path)
    assert "joined.csv mixes two encodings: lines with accents are UTF-8 (2) and another (2: line 3, 6)." in text
    assert "line 3 is probably CP1252, read so it says: …Début ?,L’été…" in text
    assert "convert the part that is in CP1252 alone" in text


def test_a_wrong_byte_is_found_wherever_the_blocks_cut(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, text = tmp_path / "a.csv", "prompt,answer\nÀ,é\né’é,€uro\n"
    for size in range(1, 24):
        monkeypatch.setattr(raw, "BLOCK", size)
        path.write_text(text)
        assert len(read_examples(path).examples) == 2
        path.write_bytes(text.encode() + "Où,A\n".encode("latin-1"))
        assert "(2) and another (1: line 4)" in refusal(path)


@pytest.mark.parametrize(
    ("start", "said"),
    [
        (b"\xff\xd8\xff\xe0\0\x10JFIF", "a JPEG picture"),
        (b"PK\x03\x04\x14\0", "spreadsheets are zip archives named .xlsx"),
        (b"%PDF-1.7\n", "a PDF document"),
        (b"\x1f\x8b\x08\0", "compressed with gzip"),
        (b"PAR1\x15\x04", "name it .parquet"),
    ],
)
def test_a_file_that_is_no_text_whatever_its_name(tmp_path: Path, start: bytes, said: str) -> None:
    (tmp_path / "a.csv").write_bytes(start + bytes(range(256)))
    text = refusal(tmp_path / "a.csv")
    assert "a.csv is not a text file" in text
    assert said in text


def test_bytes_of_an_unknown_kind(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(b"prompt,answer\n" + b"ab\x00\xfe" * 9)
    assert "it holds bytes that no text has" in refusal(tmp_path / "a.csv")
    (tmp_path / "a.csv").write_text("prompt,answer\nQ,A\nQ2,a\0b\n")
    assert "a.csv:3: 'answer' holds a NUL character (U+0000) at character 2" in refusal(tmp_path / "a.csv")


@pytest.mark.parametrize(
    ("encoding", "said"), [("utf-16", "UTF-16"), ("utf-16-le", "UTF-16LE"), ("utf-16-be", "UTF-16BE")]
)
def test_utf16(tmp_path: Path, encoding: str, said: str) -> None:
    (tmp_path / "a.csv").write_text("prompt,answer\nQ,A\n", encoding=encoding)
    assert f"it looks like {said}." in refusal(tmp_path / "a.csv")


def test_one_enormous_line_is_never_held(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(raw, "LONGEST_ROW", 1000)
    monkeypatch.setattr(delimited, "LONGEST_ROW", 1000)
    monkeypatch.setattr(raw, "BLOCK", 100)
    path = jsonl(tmp_path, ROW, json.dumps({"prompt": "x" * 5000, "answer": "A"}), OTHER)
    assert "examples.jsonl:2: one row is longer than" in refusal(path)
    reading = read_examples(path, skip_bad_rows=True)
    assert [(e.source, e.answer) for e in reading.examples] == [
        ("examples.jsonl:1", ROW["answer"]),
        ("examples.jsonl:3", OTHER["answer"]),
    ]
    (tmp_path / "a.json").write_text("[" + json.dumps(ROW) + ',\n{"prompt": "' + "x" * 5000)
    assert "a.json:2: one row is longer than" in refusal(tmp_path / "a.json")
    (tmp_path / "a.csv").write_text("prompt,answer\nQ," + "x" * 5000 + "\n")
    assert "a.csv:2: one row is longer than" in refusal(tmp_path / "a.csv")


def test_a_quotation_mark_that_never_closes_stops_where_a_row_would_be_too_long(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(delimited, "LONGEST_ROW", 1000)
    path = tmp_path / "a.csv"
    path.write_text('prompt,answer\nQ,A\n"Q,A\n' + "Q,A\n" * 10_000)
    text = refusal(path, skip_bad_rows=True)
    assert "a.csv:3: a quotation mark opened here is never closed (read up to line 251)" in text


def test_long_texts_of_a_csv_are_read(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(f"prompt,answer\nQ,{'x' * 200_000}\n")
    assert len(read_examples(tmp_path / "a.csv").examples[0].answer) == 200_000


def test_reading_stops_before_the_memory_is_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = jsonl(tmp_path, *(ROW | {"answer": f"A{n}"} for n in range(7)))
    monkeypatch.setattr(reading, "CHECKED", 3)
    assert len(read_examples(path).examples) == 7
    monkeypatch.setattr(reading, "LEAST_FREE", 2**60)
    text = refusal(path)
    assert "The memory is nearly full after 3 rows of examples.jsonl." in text
    assert "learn from a part of the rows" in text


def test_json_is_the_same_wherever_the_blocks_cut(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.json"
    rows = [ROW, OTHER | {"topic": 123456}, OTHER | {"answer": 'é "\\\u00e9" \n', "old": [1.5, None, {"a": True}]}]
    whole = '{"version": 12.5, "data": ' + json.dumps(rows, indent=1) + "}"
    path.write_text(whole)
    expected = read_examples(path)
    (tmp_path / "bad.json").write_text("[" + json.dumps(ROW) + ',\n {"prompt": "a" "answer": 1}]')
    for size in range(1, 40):
        monkeypatch.setattr(raw, "BLOCK", size)
        assert read_examples(path).examples == expected.examples
        assert "bad.json:2: broken JSON at column 17: Expecting ',' delimiter" in refusal(tmp_path / "bad.json")


def test_json_holds_one_row_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(raw, "BLOCK", 4096)
    path = tmp_path / "a.json"
    path.write_text(json.dumps([{"n": i, "text": "x" * 100} for i in range(5000)]))
    rows = raw.json_rows(path)
    tracemalloc.start()
    assert sum(row.fault is None for row in rows) == 5000
    held = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert held < 100_000 < path.stat().st_size


def test_json_and_jsonl_taken_for_each_other(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text(json.dumps([ROW, OTHER], indent=1))
    assert "name it .json" in refusal(tmp_path / "a.jsonl")
    (tmp_path / "a.json").write_text(json.dumps(ROW) + "\n" + json.dumps(OTHER))
    assert "a.json:2: a second JSON value: if the file has one object a line, name it .jsonl" in refusal(
        tmp_path / "a.json"
    )


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('[\n{"prompt": "a",\n "answer" "b"}]', "a.json:3: broken JSON at column 11"),
        ('[{"prompt": "a", "answer": "b"}\n', "a.json:2: broken JSON at column 1: Expecting ',' or ']'"),
        ('[{"prompt": "a", "answer": "b"}]\n[]', "a.json:2: there is more text after the end of the list"),
        ('{"rows": []}', "an object with a list 'data'"),
        ('"hello"', "expected a list [ … ] of objects"),
    ],
)
def test_broken_json_always_stops(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "a.json").write_text(text)
    assert said in refusal(tmp_path / "a.json", skip_bad_rows=True)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("prompt,answer\nQ,A\nQ,A,B\n", "a.csv:3: the first line names 2 columns and this row has 3: put a text"),
        ("prompt,answer\nQ,A\nQ\n", "a.csv:3: the first line names 2 columns and this row has 1"),
        ('prompt,answer\nQ,A\n"Q,A\nQ,A\n', "a.csv:3: a quotation mark opened here is never closed"),
        ('prompt,answer\nQ,A\n"Q" x,A\n', "a.csv:3: text after a closing quotation mark"),
        ("prompt,answer,prompt\nQ,A,Q\n", "two columns are named 'prompt'"),
        ("prompt,answer,\nQ,A,\nQ,A,note\n", "a.csv:3: a value in a column that has no name"),
        ("What is it?,A thing\nQ,A\n", "no column for the question nor the answer"),
    ],
)
def test_bad_csv(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "a.csv").write_text(text)
    assert said in refusal(tmp_path / "a.csv")


def test_unknown_columns(tmp_path: Path) -> None:
    text = refusal(jsonl(tmp_path, {"promt": "Q", "answer": "A"}))
    assert "no column for the question. Did you mean 'promt'?" in text
    assert "data.columns: {prompt: NAME}" in text
    text = refusal(jsonl(tmp_path, {"question": "Q", "instruction": "I", "answer": "A"}))
    assert "2 columns could be the prompt: question, instruction." in text
    assert "no column 'Frge', which data.columns names for 'prompt'. Did you mean 'Frage'?" in refusal(
        jsonl(tmp_path, {"Frage": "Q", "answer": "A"}), {"prompt": "Frge"}
    )
    assert "Did you mean 'answer'?" in refusal(jsonl(tmp_path, ROW), {"anwser": "x"})


def test_identical_rows(tmp_path: Path) -> None:
    assert "All 3 rows are identical" in refusal(jsonl(tmp_path, ROW, ROW, ROW))


# --- several files ---


def test_files_of_one_name_are_told_apart_and_share_ids(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    first, second = jsonl(tmp_path / "a", ROW), jsonl(tmp_path / "b", OTHER)
    readings = read_all([first, second])
    assert [r.examples[0].source for r in readings] == ["a/examples.jsonl:1", "b/examples.jsonl:1"]
    jsonl(tmp_path / "a", ROW | {"id": "x"})
    jsonl(tmp_path / "b", OTHER | {"id": "x"})
    with pytest.raises(DataError, match=r"b/examples\.jsonl:1: the id 'x' is already that of a/examples\.jsonl:1"):
        read_all([first, second])
    with pytest.raises(DataError, match="is given twice"):
        read_all([first, first])


def test_faults_of_all_files_are_reported_together(tmp_path: Path) -> None:
    bad = jsonl(tmp_path, ROW, {"prompt": "x"}, name="bad.jsonl")
    with pytest.raises(DataError) as caught:
        read_all([bad, tmp_path / "none.csv"])
    text = str(caught.value)
    assert "bad.jsonl:2: 'answer' is missing" in text
    assert "none.csv: There is no file none.csv" in text


def test_rows_on_one_line_have_ids_of_their_own(tmp_path: Path) -> None:
    """As json.dump writes a list, without line breaks."""
    path = tmp_path / "rows.json"
    path.write_text(json.dumps([ROW, OTHER, {"prompt": "And E-106?", "answer": "No air."}]))
    assert [example.id for example in read_examples(path).examples] == ["rows-1", "rows-1.2", "rows-1.3"]
    path.write_text(json.dumps([ROW, OTHER, {"prompt": "And E-106?"}]))
    assert "rows.json:1: object 3 of the line: 'answer' is missing" in refusal(path)


@pytest.mark.parametrize("label", [False, "False"])
def test_answers_marked_as_bad_are_never_learnt(tmp_path: Path, label: object) -> None:
    """As trl has unpaired preferences: prompt, completion, label."""
    path = jsonl(tmp_path, ROW | {"label": True}, OTHER | {"label": label})
    assert "examples.jsonl:2: 'label' is false: the answer is marked as a bad one" in refusal(path)
    assert len(read_examples(path, skip_bad_rows=True).examples) == 1


def test_a_link_that_leads_nowhere_is_called_one(tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").symlink_to(tmp_path / "gone.jsonl")
    assert "is a link that leads nowhere" in refusal(tmp_path / "rows.jsonl")


def test_documents_are_told_apart_from_examples(tmp_path: Path) -> None:
    (tmp_path / "guide.PDF").write_bytes(b"%PDF-1.7")
    assert "limpide data draft" in refusal(tmp_path / "guide.PDF")
