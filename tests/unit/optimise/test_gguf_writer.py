import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from limpide.core.errors import ModelError, UsageError
from limpide.models.gguf_header import read_gguf
from limpide.optimise.gguf_writer import SPLIT_RULES, pre_tokenizer_name, rotary_order, write_gguf
from tiny import tiny_folder

BYTE_LEVEL = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
LLAMA3 = {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_folder("llama", tmp_path_factory.mktemp("base"))


def weights_of(path: Path) -> dict[str, np.ndarray[Any, Any]]:
    """{name: float32 values}, dequantised by the official package."""
    return {t.name: gguf.quants.dequantize(t.data, t.tensor_type) for t in gguf.GGUFReader(path).tensors}


def halves_order(weight: np.ndarray[Any, Any], heads: int) -> np.ndarray[Any, Any]:
    """The inverse of `rotary_order`, written row by row."""
    width = weight.shape[0] // heads
    rows = []
    for head in range(heads):
        block = weight[head * width : (head + 1) * width]
        rows += [block[0::2], block[1::2]]
    return np.concatenate(rows)


def source_name(name: str) -> str:
    parts = {
        "token_embd": "model.embed_tokens",
        "output_norm": "model.norm",
        "attn_q": "self_attn.q_proj",
        "attn_k": "self_attn.k_proj",
        "attn_v": "self_attn.v_proj",
        "attn_output": "self_attn.o_proj",
        "ffn_gate": "mlp.gate_proj",
        "ffn_up": "mlp.up_proj",
        "ffn_down": "mlp.down_proj",
        "attn_norm": "input_layernorm",
        "ffn_norm": "post_attention_layernorm",
    }
    if not name.startswith("blk."):
        return parts[name.removesuffix(".weight")] + ".weight"
    _, layer, part, _ = name.split(".")
    return f"model.layers.{layer}.{parts[part]}.weight"


def in_the_folders_order(path: Path) -> dict[str, np.ndarray[Any, Any]]:
    heads = {"attn_q": 4, "attn_k": 2}
    found = {}
    for name, value in weights_of(path).items():
        part = name.split(".")[-2]
        found[source_name(name)] = halves_order(value, heads[part]) if part in heads else value
    return found


def test_f16_holds_the_folders_weights(folder: Path, tmp_path: Path) -> None:
    found = in_the_folders_order(write_gguf(folder, tmp_path / "new" / "m.gguf", "f16"))
    source = load_file(folder / "model.safetensors")
    assert found.keys() == source.keys()
    for name, value in source.items():
        wanted = value if value.ndim == 1 else value.half().float()
        assert np.array_equal(found[name], wanted.numpy()), name


def test_q8_0_holds_them_within_its_step(folder: Path, tmp_path: Path) -> None:
    path = write_gguf(folder, tmp_path / "m.gguf", "q8_0")
    found = in_the_folders_order(path)
    kinds = {name: tensor.kind for name, tensor in read_gguf(path).tensors.items()}
    for name, value in load_file(folder / "model.safetensors").items():
        wanted = value.numpy()
        if value.ndim == 1:
            assert np.array_equal(found[name], wanted)
        elif value.shape[-1] % 32:  # ffn_down is 48 wide: whole blocks do not fit, so it stays in float16
            assert np.array_equal(found[name], wanted.astype(np.float16))
        else:
            blocks = wanted.reshape(-1, 32)
            step = np.abs(blocks).max(1, keepdims=True) / 127  # half a step of rounding, and the scale's own, in f16
            assert (np.abs(found[name].reshape(-1, 32) - blocks) <= 0.5 * step * 1.01 + 127 * step * 2**-11).all()
            assert not np.array_equal(found[name], wanted)
    assert kinds["blk.0.ffn_down.weight"] == "F16"
    assert kinds["blk.0.ffn_up.weight"] == kinds["token_embd.weight"] == "Q8_0"
    assert kinds["blk.0.attn_norm.weight"] == "F32"


def test_an_untied_head_is_written(tmp_path: Path) -> None:
    folder = tiny_folder("llama", tmp_path, tie_word_embeddings=False)
    found = weights_of(write_gguf(folder, tmp_path / "m.gguf", "f16"))
    head = load_file(folder / "model.safetensors")["lm_head.weight"].half().float().numpy()
    assert np.array_equal(found["output.weight"], head)


def test_rotary_order_puts_pairs_side_by_side() -> None:
    rows = np.arange(8)[:, None] * np.ones((1, 3))
    assert rotary_order(rows, 2)[:, 0].tolist() == [0, 2, 1, 3, 4, 6, 5, 7]
    assert rotary_order(np.arange(8.0), 1).tolist() == [0, 4, 1, 5, 2, 6, 3, 7]
    assert np.array_equal(halves_order(rotary_order(rows, 2), 2), rows)


def test_metadata(folder: Path, tmp_path: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    found = read_gguf(write_gguf(folder, tmp_path / "m.gguf", "q8_0")).metadata
    assert found["general.architecture"] == "llama"
    assert found["general.file_type"] == gguf.LlamaFileType.MOSTLY_Q8_0
    assert found["llama.context_length"] == config["max_position_embeddings"]
    assert found["llama.rope.freq_base"] == config["rope_parameters"]["rope_theta"]
    assert found["llama.attention.head_count_kv"] == config["num_key_value_heads"]
    assert found["llama.vocab_size"] == len(found["tokenizer.ggml.tokens"]) == config["vocab_size"]
    assert found["tokenizer.ggml.tokens"][:6] == ["<pad>", "<s>", "</s>", "<unk>", "<|im_start|>", "<|im_end|>"]
    assert found["tokenizer.ggml.token_type"][:7] == [3, 3, 3, 3, 3, 3, 1]
    assert found["tokenizer.ggml.eos_token_id"] == 5
    assert found["tokenizer.ggml.bos_token_id"] == 1
    assert found["tokenizer.ggml.padding_token_id"] == 0
    assert found["tokenizer.ggml.add_bos_token"] is False
    assert found["tokenizer.ggml.pre"] == "gpt-2"
    assert found["tokenizer.chat_template"] == (folder / "chat_template.jinja").read_text()


@pytest.mark.parametrize(("template", "added"), [(True, False), (False, True)])
def test_bos_is_added_only_where_no_template_decides(tmp_path: Path, template: bool, added: bool) -> None:
    from transformers import AutoTokenizer

    folder = tiny_folder("llama", tmp_path)
    begin_with_bos(folder)
    assert AutoTokenizer.from_pretrained(folder)("a").input_ids[0] == 1
    if not template:
        (folder / "chat_template.jinja").unlink()
    found = read_gguf(write_gguf(folder, tmp_path / "m.gguf", "f16")).metadata
    assert found["tokenizer.ggml.add_bos_token"] is added
    assert ("tokenizer.chat_template" in found) is template


def begin_with_bos(folder: Path) -> None:
    def add(rules: dict[str, Any]) -> None:
        rules["post_processor"] = {
            "type": "TemplateProcessing",
            "single": [{"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
            "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
            "special_tokens": {"<s>": {"id": "<s>", "ids": [1], "tokens": ["<s>"]}},
        }

    change_tokenizer(folder, add)


def change_tokenizer(folder: Path, change: Callable[[dict[str, Any]], None]) -> None:
    path = folder / "tokenizer.json"
    rules = json.loads(path.read_text(encoding="utf-8"))
    change(rules)
    path.write_text(json.dumps(rules), encoding="utf-8")


def change_config(folder: Path, **fields: Any) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **fields}))


def test_rows_without_a_token_are_padding(tmp_path: Path) -> None:
    folder = tiny_folder("llama", tmp_path, vocab_size=416)
    found = read_gguf(write_gguf(folder, tmp_path / "m.gguf", "f16")).metadata
    assert found["tokenizer.ggml.tokens"][400] == "[PAD400]"
    assert set(found["tokenizer.ggml.token_type"][400:]) == {int(gguf.TokenType.UNUSED)}


def test_an_added_token_that_is_not_special_is_the_users(tmp_path: Path) -> None:
    folder = tiny_folder("llama", tmp_path, vocab_size=416)
    token = {"id": 400, "content": "<fault>", "single_word": False, "lstrip": False, "rstrip": False}
    change_tokenizer(
        folder, lambda rules: rules["added_tokens"].append({**token, "normalized": False, "special": False})
    )
    found = read_gguf(write_gguf(folder, tmp_path / "m.gguf", "f16")).metadata
    assert found["tokenizer.ggml.tokens"][400] == "<fault>"
    assert found["tokenizer.ggml.token_type"][400] == gguf.TokenType.USER_DEFINED


def digits(**fields: Any) -> dict[str, Any]:
    return {"type": "Sequence", "pretokenizers": [{"type": "Digits", "individual_digits": True}, BYTE_LEVEL | fields]}


def split(expression: str, **fields: Any) -> dict[str, Any]:
    step = {"type": "Split", "pattern": {"Regex": expression}, "behavior": "Isolated", "invert": False} | fields
    return {"type": "Sequence", "pretokenizers": [step, BYTE_LEVEL | {"use_regex": False}]}


@pytest.mark.parametrize(
    ("rule", "name"),
    [
        (BYTE_LEVEL, "gpt-2"),
        (digits(), "smollm"),
        (split(SPLIT_RULES["llama-bpe"]), "llama-bpe"),
        (split(SPLIT_RULES["qwen2"]), "qwen2"),
    ],
)
def test_pre_tokenizers_by_name(rule: dict[str, Any], name: str) -> None:
    assert pre_tokenizer_name(rule) == name


def test_the_split_rules_are_those_of_transformers() -> None:
    from transformers.convert_slow_tokenizer import TikTokenConverter
    from transformers.models.qwen2.tokenization_qwen2 import PRETOKENIZE_REGEX

    assert SPLIT_RULES["qwen2"] == PRETOKENIZE_REGEX
    assert SPLIT_RULES["llama-bpe"] == TikTokenConverter("x").pattern


@pytest.mark.parametrize(
    "rule",
    [
        None,
        {"type": "Whitespace"},
        {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always"},
        BYTE_LEVEL | {"add_prefix_space": True},
        BYTE_LEVEL | {"use_regex": False},
        digits(use_regex=False),
        {"type": "Sequence", "pretokenizers": [{"type": "Digits", "individual_digits": False}, BYTE_LEVEL]},
        split(SPLIT_RULES["qwen2"] + "|x"),
        split(SPLIT_RULES["qwen2"], behavior="Removed"),
    ],
)
def test_other_pre_tokenizers_are_refused(rule: dict[str, Any] | None) -> None:
    with pytest.raises(ModelError, match="no GGUF name") as caught:
        pre_tokenizer_name(rule)
    assert caught.value.exit_code == 2
    assert "optimise.formats" in str(caught.value.remedy)


def test_another_family_is_refused(tmp_path: Path) -> None:
    refused(tiny_folder("mistral", tmp_path), tmp_path / "out", "this is Mistral")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda rules: rules.update(pre_tokenizer={"type": "Whitespace"}), "no GGUF name"),
        (lambda rules: rules["model"].update(byte_fallback=True), "byte-level BPE"),
        (lambda rules: rules.update(normalizer={"type": "Lowercase"}), "byte-level BPE"),
        (lambda rules: rules.update(model={"type": "WordLevel", "vocab": {"<unk>": 3}, "unk_token": "<unk>"}), "BPE"),
    ],
    ids=["pre-tokenizer", "byte fallback", "normaliser", "word level"],
)
def test_other_tokenizers_are_refused(tmp_path: Path, change: Callable[[dict[str, Any]], None], message: str) -> None:
    folder = tiny_folder("llama", tmp_path)
    change_tokenizer(folder, change)
    refused(folder, tmp_path / "out", message)


@pytest.mark.parametrize(
    "fields",
    [
        {"rope_parameters": {"rope_type": "linear", "factor": 2.0, "rope_theta": 10000.0}},
        {"rope_parameters": None, "rope_theta": 10000.0, "rope_scaling": {"type": "linear", "factor": 2.0}},
    ],
    ids=["present spelling", "older spelling"],
)
def test_an_unknown_rope_is_refused(tmp_path: Path, fields: dict[str, Any]) -> None:
    folder = tiny_folder("llama", tmp_path)
    change_config(folder, **fields)
    refused(folder, tmp_path / "out", "RoPE scaling")


def test_a_weight_without_a_name_is_refused(tmp_path: Path) -> None:
    folder = tiny_folder("llama", tmp_path)
    weights = load_file(folder / "model.safetensors")
    save_file(weights | {"model.extra.weight": torch.ones(2)}, folder / "model.safetensors")
    refused(folder, tmp_path / "out", "no name for the weight 'model.extra.weight'")


def refused(folder: Path, out: Path, message: str) -> None:
    with pytest.raises(ModelError, match=message) as caught:
        write_gguf(folder, out / "m.gguf", "f16")
    assert caught.value.exit_code == 2
    assert "optimise.formats" in str(caught.value.remedy)
    assert not list(out.glob("*"))


def test_the_older_spelling_of_llama3_rope_is_read(tmp_path: Path) -> None:
    rope = LLAMA3 | {"original_max_position_embeddings": 64}
    folder = tiny_folder("llama", tmp_path, rope_parameters={**rope, "rope_theta": 10000.0})
    present = weights_of(write_gguf(folder, tmp_path / "a.gguf", "f16"))["rope_freqs.weight"]
    change_config(folder, rope_parameters=None, rope_theta=10000.0, rope_scaling=rope)
    older = weights_of(write_gguf(folder, tmp_path / "b.gguf", "f16"))["rope_freqs.weight"]
    assert np.array_equal(present, older)
    assert present.max() == 8.0


def test_a_failed_write_leaves_the_file_before(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_gguf(folder, tmp_path / "m.gguf", "f16")
    before = path.read_bytes()

    def stop(self: Any, **_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(gguf.GGUFWriter, "write_tensors_to_file", stop)
    with pytest.raises(UsageError, match="is full"):
        write_gguf(folder, path, "q8_0")
    assert [p.name for p in tmp_path.iterdir()] == ["m.gguf"]
    assert path.read_bytes() == before


def test_the_same_folder_gives_the_same_bytes(folder: Path, tmp_path: Path) -> None:
    first = write_gguf(folder, tmp_path / "a.gguf", "q8_0").read_bytes()
    assert write_gguf(folder, tmp_path / "b.gguf", "q8_0").read_bytes() == first
