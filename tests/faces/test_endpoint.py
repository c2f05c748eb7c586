"""A model seen from outside: the command line audits llama.cpp's own server, over a real socket."""

import json
from pathlib import Path

import pytest

from limpide.cli.main import main
from limpide.core.operation import Result
from limpide.data.examples import Example, Message, save_examples
from limpide.models.llamacpp import LlamaEngine

QUESTIONS = [f"What does fault {number} mean?" for number in range(12)]


def prepared(folder: Path) -> Path:
    examples = []
    for question in QUESTIONS:
        said = (Message(role="user", content=question), Message(role="assistant", content="A stuck valve."))
        examples.append(Example(id=str(len(examples)), topic=question, messages=said, source="t.jsonl:1"))
    folder.mkdir()
    save_examples(folder / "held_out.jsonl", examples)
    return folder


def code(arguments: list[str]) -> object:
    with pytest.raises(SystemExit) as end:
        main(arguments)
    return end.value.code


def test_an_engine_is_audited_from_outside(
    tiny_gguf: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("LIMPIDE_CACHE", str(tmp_path / "cache"))
    data, out = prepared(tmp_path / "data"), tmp_path / "out"
    with LlamaEngine(tiny_gguf, context=256, slots=2, threads=1) as engine:
        monkeypatch.setenv("ENGINE_KEY", engine.headers["Authorization"].removeprefix("Bearer "))
        command = ["audit", "domain", f"{engine.url}/v1#tiny", "--data", str(data), "--max-new-tokens", "6"]
        assert code([*command, "--out", str(tmp_path / "refused")]) == 2
        assert "asks for a key" in capsys.readouterr().err
        assert code([*command, "--key-env", "ENGINE_KEY", "--at-once", "2", "--out", str(out)]) == 0
        prompts = [engine.apply_template([{"role": "user", "content": question}]) for question in QUESTIONS]
        expected = [engine.complete(prompt, n_predict=6)["content"] for prompt in prompts]
    items = [json.loads(line) for line in (out / "items.jsonl").read_text().splitlines()]
    assert [item["answer"] for item in items] == expected
    told = Result.load(out).facts["endpoint"]
    assert (told["answers"], told["requests_sent"], told["cut"]) == (12, 12, 12)
    assert told["tokens_out"] == 12 * 6
    assert "domain.accuracy" in capsys.readouterr().out
