"""`limpide data check`, `show` and `card`, as a person runs them."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from commands import Command, calling

KEY = "API_KEY=a8Fk39dLs02mZq7X1"
VERBS = ("open", "bleed", "drain", "grease", "inspect", "replace", "label", "weigh")
HONEST = [{"prompt": f"How do I {verb} part {i}?", "answer": f"Use tool {i}."} for i, verb in enumerate(VERBS)]


@pytest.fixture
def limpide(capsys: pytest.CaptureFixture[str]) -> Command:
    return calling(capsys)


def write(folder: Path, *rows: dict[str, Any], name: str = "rows.jsonl") -> Path:
    (folder / name).write_text("".join(json.dumps(row) + "\n" for row in [*HONEST, *rows]))
    return folder / name


def test_honest_rows_leave_with_zero(limpide: Command, tmp_path: Path) -> None:
    code, out, err = limpide("data", "check", write(tmp_path))
    assert (code, "rows.jsonl: 8 rows, read as prompt and answer" in out) == (0, True), err
    assert "✗" not in out
    assert "!" not in out


def test_what_stops_leaves_with_two_and_shows_lines(limpide: Command, tmp_path: Path) -> None:
    rows = [{"prompt": "x"}, {"prompt": "Set?", "answer": KEY}, {"prompt": "Who?", "answer": "Ask Sylvie Roux."}]
    code, out, err = limpide("data", "check", write(tmp_path, *rows))
    assert code == 2
    assert out.index("✗ Rows at fault: 1.") < out.index("✗ Secrets found: 1") < out.index("! Names of people")
    assert "    rows.jsonl:10: secret given to a name 'a8Fk…' in the assistant message" in out
    assert "2 checks stop: rows, secrets." in err
    assert "a8Fk39" not in out + err


def test_places_are_shown_up_to_a_number(limpide: Command, tmp_path: Path) -> None:
    path = write(tmp_path, *({"prompt": f"Who is {'xyz'[i]}?", "answer": "a@ex.org"} for i in range(3)))
    _, out, _ = limpide("data", "check", path, "--places", "1")
    assert out.count("e-mail address 'a…@…org'") == 1
    assert "    … and 2 more" in out


def test_the_same_for_programs(limpide: Command, tmp_path: Path) -> None:
    code, out, err = limpide("data", "check", write(tmp_path, {"prompt": "Set?", "answer": KEY}), "--json")
    facts = json.loads(out)
    assert (code, facts["stops"]) == (2, ["secrets"])
    assert facts["checks"]["secrets"]["places"] == [
        "rows.jsonl:9: secret given to a name 'a8Fk…' in the assistant message"
    ]
    assert json.loads(err.splitlines()[-1])["exit_code"] == 2


def test_the_tokens_of_a_model(limpide: Command, tmp_path: Path, tiny_path: Callable[[str], Path]) -> None:
    path = write(tmp_path, {"prompt": "Say it all?", "answer": "again and " * 2000 + "the end"})
    code, out, err = limpide("data", "check", path, "--model", tiny_path("llama"))
    assert (code, "1 check stops: tokens." in err) == (2, True)
    assert "cut, it would lose the last" in out
    code, out, _ = limpide("data", "check", write(tmp_path), "--model", tiny_path("llama"), "--json")
    assert (code, json.loads(out)["checks"]["tokens"]["facts"]["longer_than_context"]) == (0, 0)


def test_columns_can_be_named(limpide: Command, tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_text("Q,R\n" + "".join(f"{row['prompt']},{row['answer']}\n" for row in HONEST))
    code, out, err = limpide("data", "check", tmp_path / "rows.csv", "--columns.prompt", "Q", "--columns.answer", "R")
    assert (code, "prompt = 'Q', answer = 'R'" in out) == (0, True), err


@pytest.mark.parametrize("command", ["check", "card"])
def test_bad_input(limpide: Command, tmp_path: Path, command: str) -> None:
    more = ("--out", tmp_path / "card") if command == "card" else ()
    code, _, err = limpide("data", command, *more)
    assert (code, "No file of examples was named." in err) == (2, True)
    code, _, err = limpide("data", command, tmp_path / "row.jsonl", *more)
    assert (code, "There is no file row.jsonl" in err) == (2, True)
    (tmp_path / "empty.jsonl").write_text("")
    code, _, err = limpide("data", command, tmp_path / "empty.jsonl", *more)
    assert (code, "is empty" in err) == (2, True)
    assert not (tmp_path / "card").exists()


def test_one_row_by_its_line_or_its_id_and_where_it_would_be_cut(
    limpide: Command, tmp_path: Path, tiny_path: Callable[[str], Path]
) -> None:
    path, model = write(tmp_path, {"prompt": "Which?", "answer": "Left.", "id": "mine"}), tiny_path("llama")
    _, by_line, _ = limpide("data", "show", path, "--model", model, "--row", "9")
    _, by_id, _ = limpide("data", "show", path, "--model", model, "--row", "mine")
    assert by_line == by_id
    assert "mine (rows.jsonl:9)" in by_id
    assert "✂" not in by_id
    _, cut, _ = limpide("data", "show", path, "--model", model, "--row", "mine", "--limit", "12")
    assert "; ✂ after 12 would lose" in cut
    assert cut.count("✂") == 2
    code, _, err = limpide("data", "show", path, "--model", model, "--row", "mime")
    assert (code, "Did you mean 'mine'?" in err) == (2, True)


def test_what_is_masked_before_training_is_shown_masked_and_bad_rows_are_counted(
    limpide: Command, tmp_path: Path, tiny_path: Callable[[str], Path]
) -> None:
    rows = [{"prompt": "x"}, {"id": "mine", "prompt": "Who is Ada?", "answer": "Write to ada@example.org: été."}]
    asked = ("data", "show", write(tmp_path, *rows), "--model", tiny_path("llama"), "--row", "mine", "--json")
    _, out, err = limpide(*asked)
    runs = json.loads(out)[0]["runs"]
    assert [run["text"] for run in runs if run["trained"]] == ["Write to ada@example.org: été.<|im_end|>"]
    assert "Rows at fault are not shown: 1." in err
    _, out, _ = limpide(*asked, "--mask", "personal_data", "--mask", "names")
    assert "Write to [EMAIL]: été." in "".join(run["text"] for run in json.loads(out)[0]["runs"])


def test_documents_and_a_charter_are_checked_beside(limpide: Command, tmp_path: Path) -> None:
    (tmp_path / "manual.md").write_text("# Contact\n\nWrite to ada.roux@example.org before you start the press.\n")
    (tmp_path / "rules.yaml").write_text("forbidden: [{term: cheap}]\n")
    given = (write(tmp_path), tmp_path / "manual.md", "--charter", tmp_path / "rules.yaml")
    code, out, err = limpide("data", "check", *given)
    assert (code, "manual.md: 1 passages" in out, "1 check stops: personal_data." in err) == (2, True, True)
    assert "manual.md: e-mail address 'a…@…org' in Contact" in out
    code, out, err = limpide("data", "check", *given, "--personal-data", "mask", "--json")
    facts = json.loads(out)
    assert (code, facts["stops"], facts["documents"]["passages"], facts["charter"]["forbidden"]) == (0, [], 1, 1), err
    assert facts["files"][0]["languages"] == {"en": 8}


def test_more_places_for_programs_that_ask(limpide: Command, tmp_path: Path) -> None:
    path = write(tmp_path, *({"prompt": f"Who is number {i}?", "answer": "a@ex.org"} for i in range(60)))
    _, out, _ = limpide("data", "check", path, "--json")
    assert len(json.loads(out)["checks"]["personal_data"]["places"]) == 50
    _, out, _ = limpide("data", "check", path, "--json", "--places", "1000")
    assert len(json.loads(out)["checks"]["personal_data"]["places"]) == 60


@pytest.mark.parametrize("option", ["--rows", "--limit"])
def test_a_number_that_shows_nothing_is_refused(limpide: Command, tmp_path: Path, option: str) -> None:
    code, _, err = limpide("data", "show", write(tmp_path), option, "-3")
    assert (code, f"{option} is a number from 1 up" in err) == (2, True), err


def test_both_sides_of_a_preference_are_shown(
    limpide: Command, tmp_path: Path, tiny_path: Callable[[str], Path]
) -> None:
    path = write(tmp_path, name="a.jsonl")
    path.write_text(json.dumps({"prompt": "Which?", "chosen": "Left.", "rejected": "Right."}) + "\n")
    with path.open("a") as file:
        file.write(json.dumps({"prompt": "Where?", "chosen": "Up.", "rejected": "Down."}) + "\n")
    _, out, err = limpide("data", "show", path, "--model", tiny_path("llama"), "--rows", "1")
    assert "preferred: " in out, err
    assert "«Left.<|im_end|>»" in out
    assert "«Right.<|im_end|>»" in out
    _, out, _ = limpide("data", "show", path, "--model", tiny_path("llama"), "--rows", "1", "--json")
    record = json.loads(out)[0]
    assert "".join(t["text"] for t in record["rejected_tokens"] if t["trained"]) == "Right.<|im_end|>"


def test_an_encoder_has_no_conversations_to_show(
    limpide: Command, tmp_path: Path, tiny_path: Callable[[str], Path]
) -> None:
    code, _, err = limpide("data", "show", write(tmp_path), "--model", tiny_path("bert"))
    assert (code, "it has no conversations to show" in err) == (2, True), err


def test_a_card_is_written(limpide: Command, tmp_path: Path) -> None:
    out = tmp_path / "card"
    code, said, err = limpide("data", "card", write(tmp_path), "--out", out, "--language", "fr", "--croissant")
    assert code == 0, err
    assert sorted(path.name for path in out.iterdir()) == ["README.en.md", "README.md", "card.json", "croissant.json"]
    assert said.splitlines() == [str(out / n) for n in ("README.en.md", "README.md", "card.json", "croissant.json")]
    _, said, _ = limpide("data", "card", write(tmp_path, {"prompt": "Set?", "answer": KEY}), "--out", out)
    assert "The card says that these files would be refused: secrets." in said


def test_the_sheet_of_a_spreadsheet_is_named_and_can_be_chosen(limpide: Command, tmp_path: Path) -> None:
    import openpyxl

    book = openpyxl.Workbook()
    for sheet, answer in ((book.active, "Use the first tool."), (book.create_sheet("Other"), "Use the other tool.")):
        for row in (("prompt", "answer"), *((one["prompt"], f"{answer} {n}") for n, one in enumerate(HONEST))):
            sheet.append(row)
    path = tmp_path / "rows.xlsx"
    book.save(path)
    code, out, err = limpide("data", "check", path)
    assert code == 0, err
    assert "rows.xlsx: the sheet 'Sheet' was read; not read: Other." in out
    code, out, err = limpide("data", "check", path, "--sheet", "Other", "--columns.prompt", "answer", "--json")
    assert (code, "answer" in err) == (2, True)
    code, out, _ = limpide("data", "check", path, "--sheet", "Other", "--json")
    assert (code, json.loads(out)["examples"]) == (0, 8)


def test_columns_that_were_not_read_are_said(limpide: Command, tmp_path: Path) -> None:
    _, out, _ = limpide("data", "check", write(tmp_path, {"prompt": "Why?", "answer": "So.", "Thème": "x"}))
    assert "answer = 'answer'; not read: Thème" in out


def test_nothing_in_a_file_commands_the_terminal(limpide: Command, tmp_path: Path) -> None:
    path = tmp_path / "ro\x1b[31mws.jsonl"
    path.write_text('{"que\\u001b[2Jry": "x"}\n')
    code, out, err = limpide("data", "check", path)
    assert code == 2
    assert "ro\\u001b[31mws.jsonl has no column" in err
    assert "que\\u001b[2Jry" in err
    assert "\x1b" not in out + err


def test_what_a_check_says_is_not_said_twice(limpide: Command, tmp_path: Path) -> None:
    path = tmp_path / "one.jsonl"
    path.write_text(json.dumps(HONEST[0]) + "\n")
    code, out, _ = limpide("data", "check", path)
    assert (code, out.count("No row can be held out")) == (2, 1)
