"""A Llama-family folder as GGUF, with the official `gguf` package.

What GGUF calls the pre-tokeniser is a name, not a rule; it is found here by the rule that tokenizer.json holds, and
the parity certificate then compares token ids with llama.cpp itself.
"""

import json
import math
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gguf
import numpy as np
from numpy.typing import NDArray
from safetensors import safe_open

from limpide.core import files
from limpide.core.errors import ModelError
from limpide.models.families.registry import family_of

Array = NDArray[Any]
TYPES = {
    "f16": (gguf.GGMLQuantizationType.F16, gguf.LlamaFileType.MOSTLY_F16),
    "q8_0": (gguf.GGMLQuantizationType.Q8_0, gguf.LlamaFileType.MOSTLY_Q8_0),
}
BLOCK = 32  # numbers that share a scale in Q8_0
FLOAT16_MAX = float(np.finfo(np.float16).max)
# llama.cpp's name of the pre-tokeniser → the expression that cuts text there. They differ in how digits are grouped.
_SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|DIGITS| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
SPLIT_RULES = {
    "llama-bpe": _SPLIT.replace("DIGITS", r"\p{N}{1,3}"),
    "qwen2": _SPLIT.replace("DIGITS", r"\p{N}"),
}
REMEDY = "remove the gguf formats from optimise.formats in the recipe"


def write_gguf(folder: Path, path: Path, kind: str) -> Path:
    """Write `folder` (a Llama-family model) as GGUF of `kind` ('f16' or 'q8_0'), whole or not at all.

    Raises ModelError for other families, tokenizers that are not byte-level BPE, unknown RoPE scalings, and weights
    too large for float16.
    """
    from transformers import AutoConfig

    family = family_of(files.read_json(folder / "config.json"))
    if not family.gguf:
        raise ModelError(f"Limpide writes GGUF for the Llama family; this is {family.title}.", remedy=REMEDY)
    # Read by transformers, so that older spellings of the fields (rope_scaling …) are brought to one form.
    config = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False).to_dict()
    beside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    writer = gguf.GGUFWriter(str(beside), "llama")
    try:
        with files.clear_write_errors(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            _add_architecture(writer, config, kind)
            _add_tokenizer(writer, folder, config)
            for name, tensor, dtype in _tensors(folder, config, kind):
                writer.add_tensor(name, tensor, raw_dtype=dtype)
            writer.write_header_to_file()
            writer.write_kv_data_to_file()
            writer.write_tensors_to_file()
            writer.close()
            beside.replace(path)
    finally:
        writer.close()
        beside.unlink(missing_ok=True)
    return path


def _add_architecture(writer: gguf.GGUFWriter, config: dict[str, Any], kind: str) -> None:
    heads = config["num_attention_heads"]
    head_width = config.get("head_dim") or config["hidden_size"] // heads
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(heads)
    writer.add_head_count_kv(config.get("num_key_value_heads") or heads)
    writer.add_key_length(head_width)
    writer.add_value_length(head_width)
    writer.add_rope_dimension_count(head_width)
    writer.add_rope_freq_base(float(config["rope_parameters"]["rope_theta"]))
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    writer.add_vocab_size(config["vocab_size"])
    writer.add_file_type(TYPES[kind][1])
    writer.add_quantization_version(gguf.GGML_QUANT_VERSION)


def _add_tokenizer(writer: gguf.GGUFWriter, folder: Path, config: dict[str, Any]) -> None:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    rules = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
    _check_tokenizer(rules)
    size = config["vocab_size"]
    added = {row["id"]: row for row in rules["added_tokens"]}
    by_id = {i: token for token, i in rules["model"]["vocab"].items()} | {i: r["content"] for i, r in added.items()}
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(pre_tokenizer_name(rules["pre_tokenizer"]))
    writer.add_token_list([by_id.get(i, f"[PAD{i}]") for i in range(size)])
    writer.add_token_types([_token_type(i, by_id, added) for i in range(size)])
    writer.add_token_merges([m if isinstance(m, str) else " ".join(m) for m in rules["model"]["merges"]])
    ids = {"bos": tokenizer.bos_token_id, "eos": tokenizer.eos_token_id, "pad": tokenizer.pad_token_id}
    for name, token in (*ids.items(), ("unk", tokenizer.unk_token_id)):
        if token is not None:
            getattr(writer, f"add_{name}_token_id")(token)
    # A chat template writes all that the model saw in training: a BOS that the runtime adds would change or double it.
    probe = tokenizer("a")["input_ids"]
    writer.add_add_bos_token(not tokenizer.chat_template and probe[:1] == [tokenizer.bos_token_id])
    writer.add_add_space_prefix(False)
    if tokenizer.chat_template:
        writer.add_chat_template(tokenizer.chat_template)


def _check_tokenizer(rules: dict[str, Any]) -> None:
    """llama.cpp applies neither byte fallback nor a normaliser to BPE. NFC is let through: it leaves what keyboards
    write alone, and the parity certificate compares the ids."""
    kind, normaliser = rules["model"]["type"], (rules.get("normalizer") or {}).get("type", "NFC")
    if kind == "BPE" and not rules["model"].get("byte_fallback") and normaliser == "NFC":
        return
    fallback = " with byte fallback" if rules["model"].get("byte_fallback") else ""
    raise ModelError(
        "Limpide writes GGUF for byte-level BPE tokenizers that leave the text as it is.",
        received=f"{kind}{fallback}, normaliser {normaliser}",
        remedy=REMEDY,
    )


def _token_type(index: int, by_id: dict[int, str], added: dict[int, dict[str, Any]]) -> gguf.TokenType:
    if index not in by_id:
        return gguf.TokenType.UNUSED
    if index in added:
        return gguf.TokenType.CONTROL if added[index]["special"] else gguf.TokenType.USER_DEFINED
    return gguf.TokenType.NORMAL


def pre_tokenizer_name(rule: dict[str, Any] | None) -> str:
    """llama.cpp's name for the way a tokenizer.json cuts text before merging. Raises ModelError when unknown."""
    steps = (rule.get("pretokenizers") or [rule]) if rule else []
    kinds = [step["type"] for step in steps]
    if kinds[-1:] == ["ByteLevel"] and not steps[-1].get("add_prefix_space", True):
        regex = steps[-1].get("use_regex", True)
        if kinds == ["ByteLevel"] and regex:
            return "gpt-2"
        if kinds == ["Digits", "ByteLevel"] and regex and steps[0].get("individual_digits"):
            return "smollm"
        if kinds == ["Split", "ByteLevel"] and not regex and steps[0]["behavior"] == "Isolated":
            for name, expression in SPLIT_RULES.items():
                if steps[0]["pattern"] == {"Regex": expression}:
                    return name
    raise ModelError(
        "This tokenizer cuts text in a way Limpide has no GGUF name for.",
        received=json.dumps(rule)[:200],
        expected="the rule of GPT-2, SmolLM, Llama 3 or Qwen 2",
        remedy=REMEDY,
    )


def _tensors(folder: Path, config: dict[str, Any], kind: str) -> Iterator[tuple[str, Array, Any]]:
    """(GGUF name, array, raw type) of every weight: norms in float32, matrices in `kind`."""
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.LLAMA, config["num_hidden_layers"])
    heads = config["num_attention_heads"]
    key_heads = config.get("num_key_value_heads") or heads
    for source in sorted(folder.glob("*.safetensors")):
        with safe_open(str(source), framework="pt") as opened:
            for name in opened.keys():  # noqa: SIM118  # safe_open is no mapping
                weight = opened.get_tensor(name).float().numpy()
                if name.endswith(("q_proj.weight", "q_proj.bias")):
                    weight = rotary_order(weight, heads)
                elif name.endswith(("k_proj.weight", "k_proj.bias")):
                    weight = rotary_order(weight, key_heads)
                target = names.get_name(name, try_suffixes=(".weight", ".bias"))
                if target is None:
                    raise ModelError(f"GGUF has no name for the weight '{name}'.", remedy=REMEDY)
                yield target, *_stored(weight, kind)
    factors = rope_factors(config)
    if factors is not None:
        yield "rope_freqs.weight", factors, None


def _stored(weight: Array, kind: str) -> tuple[Array, Any]:
    if weight.ndim == 1:
        return weight, None
    if kind == "q8_0" and weight.shape[-1] % BLOCK == 0:
        wanted = TYPES[kind][0]
        return gguf.quants.quantize(weight, wanted), wanted
    largest = float(np.abs(weight).max(initial=0.0))
    if largest > FLOAT16_MAX:
        raise ModelError(
            "A weight is too large for GGUF F16.",
            received=f"{largest:.3g}",
            expected=f"at most {FLOAT16_MAX:.5g}",
            remedy="remove gguf:f16 from optimise.formats in the recipe",
        )
    return weight.astype(np.float16), None


def rotary_order(weight: Array, heads: int) -> Array:
    """Rows of a query or key matrix in llama.cpp's order: rotated pairs side by side. weight: [heads·width, …]."""
    width = weight.shape[0] // heads
    halves = weight.reshape(heads, 2, width // 2, *weight.shape[1:])
    return np.ascontiguousarray(halves.swapaxes(1, 2).reshape(weight.shape))


def rope_factors(config: dict[str, Any]) -> Array | None:
    """Divisors of the rotary frequencies for Llama 3's scaling, float32[head width ÷ 2]; None without scaling."""
    rope = config.get("rope_parameters") or {}
    if rope.get("rope_type", "default") == "default":
        return None
    if rope["rope_type"] != "llama3":
        raise ModelError(
            "Limpide writes GGUF without RoPE scaling or with Llama 3's.",
            received=rope["rope_type"],
            remedy=REMEDY,
        )
    width = config.get("head_dim") or config["hidden_size"] // config["num_attention_heads"]
    wavelengths = 2 * math.pi * float(rope["rope_theta"]) ** (np.arange(0, width, 2) / width)
    turns = rope["original_max_position_embeddings"] / wavelengths  # rotations over the original context
    low, high = rope["low_freq_factor"], rope["high_freq_factor"]
    blend = np.clip((turns - low) / (high - low), 0, 1)
    factors: Array = (1 / ((1 - blend) / rope["factor"] + blend)).astype(np.float32)
    return factors
