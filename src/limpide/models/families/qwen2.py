"""Qwen 2 and 2.5: the architecture of most distilled DeepSeek-R1 checkpoints."""

from limpide.models.families.family import ATTENTION, GATED, Family

QWEN2 = Family(
    name="qwen2",
    title="Qwen 2 (DeepSeek-R1-Distill-Qwen)",
    model_types=("qwen2",),
    kind="decoder",
    embedding="model.embed_tokens",
    backbone="model",
    blocks="model.layers",
    final_norm="model.norm",
    head="lm_head",
    block_norms=("input_layernorm", "post_attention_layernorm"),
    attention="self_attn",
    head_mix="self_attn.o_proj",
    mlp="mlp",
    mlp_out="down_proj",
    attention_targets=ATTENTION,
    mlp_targets=GATED,
    tied_head=None,
    sliding=True,
    notes="query, key and value have biases; a sliding window only where the config turns it on",
)
