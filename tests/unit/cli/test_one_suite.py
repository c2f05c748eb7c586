"""A suite run alone from the command line: its lists, its record, the command that comes next."""

import json
from pathlib import Path

import pytest

from commands import calling
from limpide.audit.bias import BiasSettings
from limpide.cli import suites, whom
from limpide.cli.audit import answered, spread
from limpide.document.read import read_audited
from limpide.models.address import EndpointSettings


@pytest.mark.parametrize(
    "given", [["--axes", "gender,age"], ["--axes=gender, age"], ["--axes", "gender", "--axes=age"]]
)
def test_a_list_takes_commas_and_repeats(given: list[str]) -> None:
    expected = ["audit", "bias", "m", "--axes", "gender", "--axes", "age", "--seed", "1"]
    assert spread(["audit", "bias", "m", *given, "--seed", "1"]) == expected


def test_other_options_keep_their_commas() -> None:
    for words in (["audit", "all", "m", "--suites", "a,b"], ["audit", "bias", "--out", "a,b"], ["audit"]):
        assert spread(words) == words
    assert spread(["audit", "bias", "--axes"]) == ["audit", "bias", "--axes"]


def test_a_wrong_value_points_to_the_help_of_the_suite(capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = calling(capsys, "audit")("bias", "m", "--axes", "gender,agee")
    assert (code, "received 'agee'" in err) == (2, True)
    assert "limpide audit bias --help" in err


def test_answers_that_nothing_reads_are_an_error(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    answers = tmp_path / "a.jsonl"
    answers.write_text('{"id": "1", "answer": "yes"}\n')
    code, out, err = calling(capsys, "audit")("bias", "--answers", answers, "--out", tmp_path / "out")
    assert (code, out) == (2, "")
    assert "The bias suite asks nothing that an answer in text can tell" in err
    assert "--dialect" in err
    assert not (tmp_path / "out").exists()


def test_a_suite_alone_tells_who_when_and_how(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    questions, answers, out = tmp_path / "q.jsonl", tmp_path / "a.jsonl", tmp_path / "out"
    code, said, err = calling(capsys, "audit")("truth", "--languages", "fr", "--write-questions", questions)
    assert code == 0, err
    assert "limpide audit truth --languages fr --answers ANSWERS.jsonl" in said
    rows = [json.loads(line) for line in questions.read_text().splitlines()]
    answers.write_text("".join(json.dumps({"id": row["id"], "answer": "Je ne sais pas."}) + "\n" for row in rows))
    code, _, err = calling(capsys, "audit")("truth", "gpt-9", "--languages", "fr", "--answers", answers, "--out", out)
    assert code == 0, err
    record = json.loads((out / "suite.json").read_text())
    assert record["answers"]["file"] == str(answers)
    assert len(record["answers"]["file_digest"]) >= 64
    told, _ = read_audited(out)
    assert (told.title, told.kind, told.digest) == ("gpt-9", "answers", None)
    assert told.command == f"limpide audit truth gpt-9 --out {out} --languages fr --answers {answers}"
    page = (out / "report.html").read_text()
    assert str(told.date)[:4] in page
    assert "limpide audit truth gpt-9" in page
    assert "Report without a date" not in page
    assert "The command was not recorded" not in page


def test_the_command_has_every_option_that_was_given() -> None:
    asked = whom.Outside(write_questions=Path("q.jsonl"), answer_field="pred")
    order = answered(whom.Order(None, {"data": Path("d")}, 3, EndpointSettings(), asked, False))
    settings = BiasSettings(languages=("fr",), dialect="bbq@parrish", file=Path("a b.jsonl"))
    assert suites.command_line(order, settings, None, "bias") == (
        "limpide audit bias --data d --seed 3 --languages fr --dialect bbq@parrish --file 'a b.jsonl' "
        "--answers ANSWERS.jsonl --answer-field pred"
    )
