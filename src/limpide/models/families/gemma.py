"""Gemma 1, 2 and 3 (text). The embedding multiplies its output by √width; norms multiply by 1 + weight."""

from dataclasses import replace

from limpide.models.families.family import ATTENTION, GATED, Family

GEMMA = Family(
    name="gemma",
    title="Gemma",
    model_types=("gemma",),
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
    biases=("attention_bias",),
    tied_head=True,
    notes="the embedding scales its output by the square root of the width; norms multiply by 1 + weight",
)

_FOUR_NORMS = (
    "input_layernorm",
    "post_attention_layernorm",
    "pre_feedforward_layernorm",
    "post_feedforward_layernorm",
)

GEMMA2 = replace(
    GEMMA,
    name="gemma2",
    title="Gemma 2",
    model_types=("gemma2",),
    block_norms=_FOUR_NORMS,
    sliding=True,
    notes=GEMMA.notes + "; attention and final logits are capped by tanh; one layer in two slides",
)

GEMMA3 = replace(
    GEMMA,
    name="gemma3",
    title="Gemma 3 (text)",
    model_types=("gemma3_text",),
    block_norms=_FOUR_NORMS,
    sliding=True,
    notes=GEMMA.notes + "; queries and keys are normalised; five layers in six slide",
)
