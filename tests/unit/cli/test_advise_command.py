"""`limpide advise`: sentences or JSON, and nothing left behind."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from limpide.cli.main import main

OPTIONS = ["--rank", "2", "--epochs", "2", "--precision", "float32", "--no-canary"]


def limpide(*arguments: str) -> None:
    with pytest.raises(SystemExit) as ended:
        main(list(arguments))
    assert not ended.value.code


def rows(path: Path) -> Path:
    found = [
        {"prompt": f"Way {way} of asking about the {name}?", "answer": f"Stop the {name}, then call.", "topic": name}
        for name in ("pump", "valve", "guard", "press")
        for way in range(6)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in found), encoding="utf-8")
    return path


@pytest.mark.parametrize(("language", "said"), [("en", "To learn:"), ("fr", "À apprendre")])
def test_it_is_said_in_sentences(
    tiny_path: Callable[[str], Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    language: str,
    said: str,
) -> None:
    data = rows(tmp_path / "rows.jsonl")
    limpide("advise", str(tiny_path("llama")), str(data), *OPTIONS, "--report-language", language)
    out = capsys.readouterr().out
    assert said in out
    following = out.rpartition("limpide adapt ")[2].split()
    assert following[1:4] == [str(data), "--out", "adapted"]
    assert sorted(following[4:]) == sorted(OPTIONS), "what was advised on is what would be done"
    assert [path.name for path in tmp_path.iterdir()] == ["rows.jsonl"]


def test_the_same_as_json(tiny_path: Callable[[str], Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    limpide("advise", str(tiny_path("llama")), str(rows(tmp_path / "rows.jsonl")), *OPTIONS, "--json")
    found = json.loads(capsys.readouterr().out)
    assert found["verdict"] == "doubtful"
    assert found["cost"]["seconds"] > 0
    assert found["rows"]["topics"] == 4


def test_a_file_that_is_not_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["advise", "smollm2-135m-instruct", str(tmp_path / "none.jsonl")])
    assert caught.value.code == 2
    assert "not there" in capsys.readouterr().err
