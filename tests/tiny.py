"""Tiny random models, one per family: complete Hugging Face folders made offline in well under a second.

    folder = tiny_folder("llama", tmp_path)
    folder = tiny_folder("mistral", tmp_path, sliding_window=4, num_hidden_layers=3)

Same family, same overrides: same bytes. Width 32, two layers, 400 tokens, context 256. The tokenizer is byte-level
BPE, so any text goes through it and back. Decoders except GPT-2 have a ChatML template with <|im_start|> and
<|im_end|>; `BOS_FAMILIES` also start every text with <s>, and their template writes it too.
"""

import json
from functools import cache
from pathlib import Path
from typing import Any

VOCABULARY = 400
CONTEXT = 256
SEED = 20261122
FAMILY_NAMES = (
    "gpt2",
    "bert",
    "t5",
    "llama",
    "qwen2",
    "mistral",
    "gemma",
    "gemma2",
    "gemma3",
    "deepseek_v2",
    "deepseek_v3",
    "gpt_oss",
)
CHAT_FAMILIES = tuple(name for name in FAMILY_NAMES if name not in ("gpt2", "bert", "t5"))
BOS_FAMILIES = ("mistral", "gemma", "gemma2", "gemma3", "deepseek_v2", "deepseek_v3")

CHATML = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>\\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)

# Enough French and English for the merges below; written for this file.
_TEXT = """
The operator stops the press, reads the fault code and calls the maintenance team before opening the guard.
L'opérateur arrête la presse, lit le code de défaut et prévient l'équipe de maintenance avant d'ouvrir le capot.
When the pressure drops below the threshold, the valve closes and the light turns red until the pump is checked.
Quand la pression tombe sous le seuil, la vanne se ferme et le voyant passe au rouge jusqu'au contrôle de la pompe.
The doctor said that she was late because the nurse had lost the key. Le médecin a dit qu'elle était en retard.
Where does the water come from? It comes from the river. D'où vient l'eau ? Elle vient de la rivière.
the user asks a question and the assistant answers; the system gives the rules: user assistant system
"""

_SPECIAL = {
    "decoder": {"pad_token": "<pad>", "bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"},
    "bert": {
        "pad_token": "[PAD]",
        "cls_token": "[CLS]",
        "sep_token": "[SEP]",
        "mask_token": "[MASK]",
        "unk_token": "[UNK]",
    },
    "t5": {"pad_token": "<pad>", "eos_token": "</s>", "unk_token": "<unk>"},
}


def special_tokens(name: str) -> dict[str, str]:
    """{role: token} of the tokenizer of family `name`; a chat model ends its turns with <|im_end|>."""
    roles = dict(_SPECIAL.get(name, _SPECIAL["decoder"]))
    if name in CHAT_FAMILIES:
        roles["eos_token"] = "<|im_end|>"
    return roles


@cache
def _tokenizer_json(name: str) -> str:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers

    special = list(_SPECIAL.get(name, _SPECIAL["decoder"]).values())
    special += ["<|im_start|>", "<|im_end|>"] if name in CHAT_FAMILIES else []
    special += [f"<extra_id_{i}>" for i in range(8)] if name == "t5" else []
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=special,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator([_TEXT] * 4, trainer)
    around = {"bert": ("[CLS] $A [SEP]", ["[CLS]", "[SEP]"]), "t5": ("$A </s>", ["</s>"])}
    if name in BOS_FAMILIES:
        around[name] = ("<s> $A", ["<s>"])
    if name in around:
        single, tokens = around[name]
        tokenizer.post_processor = processors.TemplateProcessing(
            single=single, special_tokens=[(t, tokenizer.token_to_id(t)) for t in tokens]
        )
    text: str = tokenizer.to_str()
    return text


def tiny_tokenizer(name: str) -> Any:
    """The `transformers` tokenizer of family `name`."""
    from tokenizers import Tokenizer
    from transformers import PreTrainedTokenizerFast

    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_str(_tokenizer_json(name)), model_max_length=CONTEXT, **special_tokens(name)
    )
    if name in CHAT_FAMILIES:
        tokenizer.chat_template = ("{{ bos_token }}" if name in BOS_FAMILIES else "") + CHATML
    return tokenizer


_WIDTHS = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4}
_DECODER = {**_WIDTHS, "num_key_value_heads": 2, "head_dim": 8, "max_position_embeddings": CONTEXT}
_LATENT = {
    **_DECODER,
    "num_key_value_heads": 4,
    "q_lora_rank": 16,
    "kv_lora_rank": 16,
    "qk_nope_head_dim": 8,
    "qk_rope_head_dim": 8,
    "v_head_dim": 8,
    "n_routed_experts": 4,
    "n_shared_experts": 1,
    "num_experts_per_tok": 2,
    "moe_intermediate_size": 16,
    "n_group": 1,
    "topk_group": 1,
    "first_k_dense_replace": 1,
}
# name → (config class, what makes it tiny). Large initial weights, so that outputs differ clearly between inputs.
_CONFIGS: dict[str, tuple[str, dict[str, Any]]] = {
    "gpt2": ("GPT2Config", {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": CONTEXT}),
    "bert": ("BertConfig", {**_WIDTHS, "max_position_embeddings": CONTEXT}),
    "t5": ("T5Config", {"d_model": 32, "d_kv": 8, "d_ff": 48, "num_layers": 2, "num_heads": 4}),
    "llama": ("LlamaConfig", {**_DECODER, "tie_word_embeddings": True}),
    "qwen2": ("Qwen2Config", dict(_DECODER)),
    "mistral": ("MistralConfig", {**_DECODER, "sliding_window": 6}),
    "gemma": ("GemmaConfig", dict(_DECODER)),
    "gemma2": ("Gemma2Config", {**_DECODER, "sliding_window": 6, "query_pre_attn_scalar": 8}),
    "gemma3": ("Gemma3TextConfig", {**_DECODER, "sliding_window": 6, "query_pre_attn_scalar": 8}),
    "deepseek_v2": ("DeepseekV2Config", {**_LATENT, "head_dim": 8}),
    "deepseek_v3": ("DeepseekV3Config", dict(_LATENT)),
    "gpt_oss": (
        "GptOssConfig",
        {
            **_DECODER,
            "num_local_experts": 4,
            "num_experts_per_tok": 2,
            "sliding_window": 8,
            "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0},
        },
    ),
}


def tiny_config(name: str, **overrides: Any) -> Any:
    """The `transformers` config of a tiny model of family `name`."""
    import transformers

    class_name, values = _CONFIGS[name]
    tokenizer = tiny_tokenizer(name)
    ids = {f"{role}_token_id": getattr(tokenizer, f"{role}_token_id") for role in ("pad", "bos", "eos")}
    if name == "t5":
        ids["decoder_start_token_id"] = tokenizer.pad_token_id
    scale = {} if name == "t5" else {"initializer_range": 0.2}
    values = {"vocab_size": VOCABULARY, **values, **ids, **scale, **overrides}
    if name == "gemma3" and "layer_types" not in values:  # the real pattern, one in six, would leave no full layer
        layers = range(values["num_hidden_layers"])
        values["layer_types"] = ["full_attention" if i % 2 else "sliding_attention" for i in layers]
    return getattr(transformers, class_name)(**values)


def tiny_network(name: str, seed: int = SEED, **overrides: Any) -> Any:
    """A random network of family `name`, eval mode, float32. The caller's random state is left as it was."""
    import torch
    from transformers import AutoModelForCausalLM, AutoModelForMaskedLM, AutoModelForSeq2SeqLM

    auto = {"bert": AutoModelForMaskedLM, "t5": AutoModelForSeq2SeqLM}.get(name, AutoModelForCausalLM)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return auto.from_config(tiny_config(name, **overrides)).eval()


def tiny_folder(family_name: str, tmp_path: Path, *, seed: int = SEED, **overrides: Any) -> Path:
    """Write `tmp_path/<family_name>`: config, safetensors, tokenizer, chat template. Returns the folder.

    overrides: fields of the family's `transformers` config.
    """
    folder = tmp_path / family_name
    tiny_network(family_name, seed, **overrides).save_pretrained(folder)
    tiny_tokenizer(family_name).save_pretrained(folder)
    return folder


def tiny_gguf(path: Path, split: str = "smollm", tokens: int | None = None) -> Path:
    """Write the tiny llama model to `path` as GGUF, F32, with the official writer.

    split: the rule named by tokenizer.ggml.pre. tokens: size of the vocabulary, when it must not fit the embedding.
    """
    import gguf

    network, tokenizer = tiny_network("llama"), json.loads(tiny_tokenizer("llama").backend_tokenizer.to_str())
    config, state = network.config, {k: v.numpy() for k, v in network.state_dict().items()}
    vocabulary = sorted(tokenizer["model"]["vocab"].items(), key=lambda pair: pair[1])
    special = {token["id"] for token in tokenizer["added_tokens"]}
    path.parent.mkdir(exist_ok=True)
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_string("general.license", "mit")
    writer.add_block_count(config.num_hidden_layers)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_rope_freq_base(config.rope_parameters["rope_theta"])
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_vocab_size(config.vocab_size)
    writer.add_rope_dimension_count(config.head_dim)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(split)
    extra = [f"<extra {i}>" for i in range((tokens or len(vocabulary)) - len(vocabulary))]
    writer.add_token_list([token for token, _ in vocabulary] + extra)
    writer.add_token_types([3 if i in special else 1 for _, i in vocabulary] + [1] * len(extra))
    writer.add_token_merges([" ".join(merge) for merge in tokenizer["model"]["merges"]])
    writer.add_bos_token_id(config.bos_token_id)
    writer.add_eos_token_id(config.eos_token_id)
    writer.add_pad_token_id(config.pad_token_id)
    for name, value in state.items():
        if name == "lm_head.weight":
            continue
        heads = {"q_proj": config.num_attention_heads, "k_proj": config.num_key_value_heads}.get(name.split(".")[-2])
        if heads:  # GGUF interleaves the two halves that a rotation turns
            value = value.reshape(heads, 2, -1, value.shape[1]).swapaxes(1, 2).reshape(value.shape)
        writer.add_tensor(_gguf_name(name), value.copy())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def _gguf_name(name: str) -> str:
    names = {
        "model.embed_tokens.weight": "token_embd.weight",
        "model.norm.weight": "output_norm.weight",
        "self_attn.q_proj": "attn_q",
        "self_attn.k_proj": "attn_k",
        "self_attn.v_proj": "attn_v",
        "self_attn.o_proj": "attn_output",
        "mlp.gate_proj": "ffn_gate",
        "mlp.up_proj": "ffn_up",
        "mlp.down_proj": "ffn_down",
        "input_layernorm": "attn_norm",
        "post_attention_layernorm": "ffn_norm",
    }
    if name in names:
        return names[name]
    _, _, layer, rest = name.split(".", 3)
    return f"blk.{layer}.{names[rest.removesuffix('.weight')]}.weight"
