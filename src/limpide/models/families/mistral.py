"""Mistral 7B and its dense successors."""

from limpide.models.families.family import ATTENTION, GATED, Family

MISTRAL = Family(
    name="mistral",
    title="Mistral",
    model_types=("mistral",),
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
    notes="every layer slides where the config gives a window",
)
