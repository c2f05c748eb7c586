import json
from pathlib import Path
from typing import Any

import httpx
import pytest

from limpide.core.errors import DataError, LimpideError, MissingError, ModelError, UntrustedInput, UsageError
from limpide.models.llamacpp import LlamaEngine, event_of
from tiny_gguf import CONTEXT, CONTROL, TEMPLATE, write_gguf

HELLO = [{"role": "user", "content": "hello"}]


@pytest.fixture(scope="module")
def gguf_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_gguf(tmp_path_factory.mktemp("gguf") / "tiny.gguf")


def test_an_engine_reads_the_file_and_answers(gguf_file: Path) -> None:
    with LlamaEngine(gguf_file, context=256, threads=1) as engine:
        assert engine.context == 256
        assert engine.training_context == CONTEXT
        assert engine.control_tokens == CONTROL
        assert engine.has_template
        prompt = engine.apply_template(HELLO)
        assert prompt == "<|im_start|>user\nhello<|im_end|>\n<|im_start|>assistant\n"
        ids = engine.tokenize(prompt, add_special=True)
        assert ids[0] == 0
        assert ids.count(1) == 1
        assert engine.detokenize(ids) == prompt
        answer = engine.complete(ids, n_predict=7)
        assert answer["tokens_predicted"] == 7
        assert answer["tokens_evaluated"] == len(ids)
        assert engine.complete(prompt, n_predict=7)["content"] == answer["content"]
        assert engine.complete(ids, n_predict=7, stop=[answer["content"][3]])["stop_type"] == "word"


def test_a_conversation_that_ends_with_the_assistant_is_not_continued(gguf_file: Path) -> None:
    with LlamaEngine(gguf_file, context=256, threads=1) as engine:
        prompt = engine.apply_template([*HELLO, {"role": "assistant", "content": "yes"}])
    assert prompt.endswith("yes<|im_end|>\n<|im_start|>assistant\n")


def test_only_who_knows_the_key_is_answered(gguf_file: Path) -> None:
    with LlamaEngine(gguf_file, context=256, threads=1) as engine:
        assert engine.url.startswith("http://127.0.0.1:")
        for route in ("/props", "/v1/models", "/slots"):
            assert httpx.get(engine.url + route).status_code == 401
        assert httpx.post(engine.url + "/completion", json={"prompt": "a"}).status_code == 401


def test_a_prompt_too_long_gives_both_numbers(gguf_file: Path) -> None:
    with LlamaEngine(gguf_file, context=256, threads=1) as engine:
        with pytest.raises(DataError) as caught:
            engine.complete("a" * 300)
        with pytest.raises(DataError, match="longer than the context"):
            next(engine.stream("/completion", {"prompt": "a" * 300}))
    assert "300" in str(caught.value.received)
    assert "256" in str(caught.value.expected)


def test_several_engines_at_once_and_after_one_another(gguf_file: Path) -> None:
    first = LlamaEngine(gguf_file, context=256, threads=1)
    second = LlamaEngine(gguf_file, context=512, slots=2, threads=1)
    assert (first.context, second.context) == (256, 512)
    expected = first.complete("abc", n_predict=5)["content"]
    first.close()
    first.close()
    with pytest.raises(LimpideError, match="closed"):
        first.complete("abc")
    assert second.complete("abc", n_predict=5)["content"] == expected
    second.close()
    with LlamaEngine(gguf_file, context=256, threads=1) as third:
        assert third.complete("abc", n_predict=5)["content"] == expected


def test_nothing_is_printed(gguf_file: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with LlamaEngine(gguf_file, context=256, threads=1) as engine:
        engine.complete("abc", n_predict=3)
    damaged = tmp_path / "unknown.gguf"
    damaged.write_bytes(gguf_file.read_bytes().replace(b"blk.0.attn_q", b"blk.0.attn_X"))
    with pytest.raises(ModelError, match="could not open"):
        LlamaEngine(damaged)
    assert capfd.readouterr() == ("", "")


def test_context(gguf_file: Path) -> None:
    with LlamaEngine(gguf_file, threads=1) as engine:
        assert engine.context == CONTEXT
    with pytest.raises(UsageError, match="longer than the model was trained on"):
        LlamaEngine(gguf_file, context=CONTEXT + 1)
    with pytest.raises(UsageError, match="too short"):
        LlamaEngine(gguf_file, context=3)
    with pytest.raises(UsageError, match="slot"):
        LlamaEngine(gguf_file, slots=0)


def test_files_that_are_no_model(tmp_path: Path, gguf_file: Path) -> None:
    with pytest.raises(MissingError):
        LlamaEngine(tmp_path / "none.gguf")
    other = tmp_path / "other.gguf"
    other.write_bytes(b"not a model at all, but long enough")
    with pytest.raises(ModelError, match="not a GGUF file"):
        LlamaEngine(other)
    other.write_bytes(gguf_file.read_bytes()[:-1000])
    with pytest.raises(ModelError, match="truncated"):
        LlamaEngine(other)
    with pytest.raises(UntrustedInput, match="template"):
        LlamaEngine(write_gguf(other, template="{{ ''.__class__ }}"))


def test_a_missing_template_is_known(tmp_path: Path) -> None:
    with LlamaEngine(write_gguf(tmp_path / "plain.gguf", template=None), context=256, threads=1) as engine:
        assert not engine.has_template
    assert "im_start" in TEMPLATE


@pytest.mark.parametrize(
    ("line", "event"),
    [
        ('data: {"a": 1}', {"a": 1}),
        ('error: {"code": 500}', {"error": {"code": 500}}),
        ("data: [DONE]", None),
        ("", None),
        (":", None),
    ],
)
def test_server_sent_lines(line: str, event: dict[str, Any] | None) -> None:
    assert event_of(line) == event
    assert json.dumps(event) is not None
