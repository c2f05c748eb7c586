"""The GGUF files Limpide writes, against transformers (weights, RoPE) and llama.cpp (tokens, distributions)."""

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoModelForCausalLM, AutoTokenizer
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

from limpide.core.progress import Quiet
from limpide.models.gguf_header import read_gguf
from limpide.models.llamacpp import LlamaEngine
from limpide.models.model import quiet_transformers
from limpide.optimise.gguf_writer import SPLIT_RULES, rope_factors, write_gguf
from threads import one_thread
from tiny import tiny_config, tiny_folder

PROMPT = (4, 90, 91, 7, 200, 399, 12, 66, 5)
LLAMA3 = {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0}
# Code points that Unicode has not assigned, and control bytes that SmolLM2's vocabulary lacks, are cut into words
# otherwise by llama.cpp ('¦\U00042000', '{\x16\\'): docs/log.md. Newlines and tabs are in the second alphabet.
ASSIGNED = st.characters(exclude_categories=("Cs", "Cn", "Cc"))
TEXTS = st.text(ASSIGNED, max_size=40) | st.text(alphabet="aàé’l  \n\t019.,'!?ß漢🙂\u0301", max_size=40)
FORCE_STOP = [[5, 1000.0]]  # llama.cpp gives no probabilities beside half a character


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    with one_thread():
        yield


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_folder("llama", tmp_path_factory.mktemp("base"))


@pytest.fixture(scope="module")
def engine(folder: Path) -> Iterator[LlamaEngine]:
    path = write_gguf(folder, folder.parent / "m.gguf", "f16")
    with LlamaEngine(path, context=256, threads=1) as opened:
        yield opened


def log_probabilities(network: Any) -> torch.Tensor:
    with torch.inference_mode():
        found: torch.Tensor = network(torch.tensor([PROMPT])).logits[0, -1].float().log_softmax(-1)
    return found


def served(path: Path) -> torch.Tensor:
    with LlamaEngine(path, context=256, threads=1) as engine:
        answer = engine.complete(PROMPT, n_predict=1, n_probs=1000, logit_bias=FORCE_STOP)
    row = torch.full((400,), math.nan)
    for token in answer["completion_probabilities"][0]["top_logprobs"]:
        row[token["id"]] = token["logprob"]
    return row


@pytest.mark.parametrize(
    "overrides",
    [
        {},
        {"tie_word_embeddings": False, "attention_bias": True, "mlp_bias": True},
        {"num_key_value_heads": 4, "head_dim": 16, "rope_parameters": {"rope_type": "default", "rope_theta": 500.0}},
        {"rope_parameters": {**LLAMA3, "rope_theta": 100.0, "original_max_position_embeddings": 16}},
    ],
    ids=["tiny", "biases", "wide heads", "llama3 rope"],
)
@pytest.mark.parametrize(("kind", "limit"), [("f16", 1e-4), ("q8_0", 3e-2)])
def test_transformers_and_llama_cpp_read_the_file_as_the_folder(
    tmp_path: Path, overrides: dict[str, Any], kind: str, limit: float
) -> None:
    folder = tiny_folder("llama", tmp_path, **overrides)
    if overrides.get("attention_bias"):
        randomise_biases(folder)
    path = write_gguf(folder, tmp_path / "m.gguf", kind)
    wanted = log_probabilities(AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32))
    assert divergence(wanted, served(path)) < limit
    if "rope_type" not in overrides.get("rope_parameters", {}) and "attention_bias" not in overrides:
        with quiet_transformers():
            again = AutoModelForCausalLM.from_pretrained(tmp_path, gguf_file="m.gguf", dtype=torch.float32)
        assert divergence(wanted, log_probabilities(again)) < limit


def randomise_biases(folder: Path) -> None:
    """transformers starts biases at zero, which would hide a bias that is lost."""
    network = AutoModelForCausalLM.from_pretrained(folder)
    random = torch.Generator().manual_seed(0)
    for name, weight in network.named_parameters():
        if name.endswith(".bias"):
            weight.data = torch.randn(weight.shape, generator=random)
    network.save_pretrained(folder)


def divergence(p: torch.Tensor, q: torch.Tensor) -> float:
    return float((p.exp() * (p - q)).sum())


@settings(max_examples=150, deadline=None)
@given(TEXTS)
def test_token_ids_are_the_tokenizers(folder: Path, engine: LlamaEngine, text: str) -> None:
    tokenizer = _tokenizer(folder)
    assert engine.tokenize(text, add_special=True) == tokenizer(text)["input_ids"]


def test_control_tokens_in_the_text(folder: Path, engine: LlamaEngine) -> None:
    text = "<s><|im_start|>user\nétoile <|im_end|>\n <pad></s>"
    assert engine.tokenize(text, add_special=True) == _tokenizer(folder)(text)["input_ids"]


_tokenizers: dict[Path, Any] = {}


def _tokenizer(folder: Path) -> Any:
    if folder not in _tokenizers:
        _tokenizers[folder] = AutoTokenizer.from_pretrained(folder)
    return _tokenizers[folder]


@pytest.mark.parametrize("name", ["smollm", "llama-bpe", "qwen2"])
def test_token_ids_by_pre_tokenizer(tmp_path: Path, name: str) -> None:
    """Merges across the boundaries that the rules set, so that a wrong rule gives other ids."""
    folder = tiny_folder("llama", tmp_path, vocab_size=432)
    path = folder / "tokenizer.json"
    rules = json.loads(path.read_text(encoding="utf-8"))
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": name == "smollm"}
    first: dict[str, Any] = {"type": "Digits", "individual_digits": True}
    if name != "smollm":
        first = {"type": "Split", "pattern": {"Regex": SPLIT_RULES[name]}, "behavior": "Isolated", "invert": False}
    rules["pre_tokenizer"] = {"type": "Sequence", "pretokenizers": [first, byte_level]}
    for left, right in [
        ("1", "2"),
        ("12", "3"),
        ("123", "4"),
        ("Ġ", "1"),
        ("Ġ", "Ġ"),
        (".", "Ċ"),
        ("(", "a"),
        ("'", "S"),
    ]:
        rules["model"]["merges"].append([left, right])
        rules["model"]["vocab"].setdefault(left + right, len(rules["model"]["vocab"]))
    path.write_text(json.dumps(rules), encoding="utf-8")
    tokenizer = AutoTokenizer.from_pretrained(folder)
    assert tokenizer.backend_tokenizer.pre_tokenizer is not None
    written = write_gguf(folder, tmp_path / "m.gguf", "f16")
    assert read_gguf(written).metadata["tokenizer.ggml.pre"] == name
    texts = ["12345 12  123", "it'S (a) x.\n\ny", "  1\n 2", "été\u00a012", "a\n\n\nb  c", "don't 'S", "١٢٣4"]
    with LlamaEngine(written, context=256, threads=1) as engine:
        for text in texts:
            assert engine.tokenize(text, add_special=True) == tokenizer(text)["input_ids"], text
            assert engine.detokenize(engine.tokenize(text, add_special=False)) == text


@pytest.mark.parametrize("original", [16, 64, 8192])
@pytest.mark.parametrize("width", [8, 64])
@pytest.mark.parametrize("theta", [100.0, 500000.0])
def test_rope_factors_are_those_of_transformers(original: int, width: int, theta: float) -> None:
    rope = {**LLAMA3, "rope_theta": theta, "original_max_position_embeddings": original}
    config = tiny_config("llama", head_dim=width, rope_parameters=rope, max_position_embeddings=8 * original)
    wanted, _ = ROPE_INIT_FUNCTIONS["llama3"](config, torch.device("cpu"))
    factors = rope_factors(config.to_dict())
    assert factors is not None
    plain = theta ** -(np.arange(0, width, 2) / width)
    np.testing.assert_allclose(plain / factors, wanted.numpy(), rtol=1e-5)
    assert factors.dtype == np.float32


def test_no_rope_factors_without_scaling() -> None:
    assert rope_factors(tiny_config("llama").to_dict()) is None


@pytest.fixture(scope="module")
def embedded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, LlamaEngine]]:
    from limpide.models import sources

    folder = sources.resolve("smollm2-135m-instruct", Quiet()).folder
    path = write_gguf(folder, tmp_path_factory.mktemp("embedded") / "m.gguf", "q8_0")
    with LlamaEngine(path, context=256, threads=1) as engine:
        yield folder, engine
    path.unlink()


@pytest.mark.whole
@settings(max_examples=300, deadline=None)
@given(TEXTS)
def test_token_ids_of_the_embedded_model(embedded: tuple[Path, LlamaEngine], text: str) -> None:
    folder, engine = embedded
    assert engine.tokenize(text, add_special=True) == _tokenizer(folder)(text)["input_ids"]


@pytest.mark.whole
def test_vocabulary_and_prompt_of_the_embedded_model(embedded: tuple[Path, LlamaEngine]) -> None:
    folder, engine = embedded
    tokenizer = _tokenizer(folder)
    assert read_gguf(engine.gguf).metadata["tokenizer.ggml.tokens"] == tokenizer.convert_ids_to_tokens(
        list(range(len(tokenizer)))
    )
    messages = [{"role": "user", "content": "L'été 2024, x = 10  20\n\n— don't"}]
    text = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    assert engine.apply_template(messages) == text
    assert engine.tokenize(text, add_special=True) == tokenizer(text, add_special_tokens=False)["input_ids"]
