"""`limpide score`: lines in, lines out, and a record of how."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from limpide.cli.main import main

LINES = [
    {"id": "a", "context": "The press", "continuation": " is hot"},
    {"id": 2, "context": "The press", "continuation": " is cold", "other": "kept out"},
    {"id": "ids", "context": [5, 6], "continuation": [7]},
]


def scored(arguments: list[str]) -> int:
    with pytest.raises(SystemExit) as left:
        main(["score", *arguments])
    return int(left.value.code or 0)


@pytest.fixture
def requests(tmp_path: Path) -> Path:
    path = tmp_path / "requests.jsonl"
    path.write_text("\n".join(json.dumps(row) for row in LINES))
    return path


def test_each_request_gets_its_line(requests: Path, tmp_path: Path, tiny_path: Any, tiny_model: Any) -> None:
    from limpide.models.requests import Request
    from limpide.models.scoring import score

    out = tmp_path / "scores.jsonl"
    assert scored([str(requests), "--model", str(tiny_path("llama")), "--out", str(out), "--bos", "always"]) == 0
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    assert [row["id"] for row in rows] == ["a", 2, "ids"]
    assert all(set(row) == {"id", "log_likelihood", "tokens", "greedy"} for row in rows)
    (alone,) = score(tiny_model("llama"), [Request("", (5, 6), (7,))])
    assert rows[2]["log_likelihood"] == pytest.approx(alone.log_likelihood, abs=1e-5)
    record = json.loads((tmp_path / "scores.jsonl.record.json").read_text())
    assert (record["bos"], record["overlong"], record["precision"]) == ("always", "refuse", "float32")
    assert record["largest_difference_nats"] < 1e-4
    assert record["parity_sample"] >= 1


def test_without_a_file_the_lines_are_printed(
    requests: Path, tiny_path: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    assert scored([str(requests), "--model", str(tiny_path("llama"))]) == 0
    assert [json.loads(line)["id"] for line in capsys.readouterr().out.splitlines()] == ["a", 2, "ids"]


def test_all_faults_are_told_with_their_lines(
    tmp_path: Path, tiny_path: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "bad.jsonl"
    faulty: list[Any] = [
        {"id": "a", "context": "x"},
        [1],
        {"id": "b", "context": "x", "continuation": ""},
        {"id": "c", "context": "x", "continuation": [1]},
        {"id": "d", "context": 3, "continuation": "y"},
        {"id": None, "context": "x", "continuation": "y"},
        LINES[0],
        LINES[0],
    ]
    path.write_text("\n".join(json.dumps(row) for row in faulty) + "\n{broken")
    out = tmp_path / "scores.jsonl"
    assert scored([str(path), "--model", str(tiny_path("llama")), "--out", str(out)]) == 2
    told = capsys.readouterr().err
    for line, words in (
        (1, "lacks continuation; it has id, context"),
        (2, "is no object"),
        (3, "continuation is empty"),
        (4, "one is text, the other token ids"),
        (5, "context: neither text nor a list of token ids"),
        (6, "neither text nor a number"),
        (8, "that of line 7"),
        (9, "broken JSON"),
    ):
        assert f"bad.jsonl:{line}: " in told
        assert words in told
    assert not out.exists()


@pytest.mark.parametrize("field", ["id", "context", "continuation"])
def test_half_a_character_is_told_with_its_line(
    field: str, tmp_path: Path, tiny_path: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "bad.jsonl"
    path.write_text("\n".join(json.dumps(row) for row in [LINES[0], LINES[1] | {field: "hi \ud83d"}]))
    assert scored([str(path), "--model", str(tiny_path("llama"))]) == 2
    assert f"bad.jsonl:2: '{field}' holds half a character (a lone surrogate)" in capsys.readouterr().err


def test_an_adapter_alone_is_no_model(
    requests: Path, tiny_path: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    adapter = tmp_path / "adapter"
    adapter.mkdir()
    base = {"peft_type": "LORA", "r": 2, "base_model_name_or_path": str(tiny_path("llama"))}
    (adapter / "adapter_config.json").write_text(json.dumps(base))
    weights = {"base_model.model.x.lora_A.weight": np.zeros((2, 4), np.float32)}
    save_file(weights, adapter / "adapter_model.safetensors")
    assert scored([str(requests), "--model", str(adapter)]) == 2
    told = capsys.readouterr().err
    assert "is an adapter; what is measured is a whole model" in told
    assert "merge it into its base first" in told


def test_the_requests_are_never_overwritten(requests: Path, tiny_path: Any, capsys: pytest.CaptureFixture[str]) -> None:
    before = requests.read_bytes()
    assert scored([str(requests), "--model", str(tiny_path("llama")), "--out", str(requests)]) == 2
    assert "would overwrite the requests" in capsys.readouterr().err
    assert requests.read_bytes() == before


def test_a_missing_file_is_told(tiny_path: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert scored([str(tmp_path / "none.jsonl"), "--model", str(tiny_path("llama"))]) == 2
    assert "There is no file" in capsys.readouterr().err
