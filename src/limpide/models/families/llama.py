"""Llama 2 to 3.3, SmolLM2, DeepSeek-R1-Distill-Llama: every checkpoint of the `llama` architecture."""

from limpide.models.families.family import ATTENTION, GATED, Family

LLAMA = Family(
    name="llama",
    title="Llama",
    model_types=("llama",),
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
    gguf=True,
    biases=("attention_bias", "mlp_bias"),
)
