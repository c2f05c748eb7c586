"""gpt-oss: a mixture of experts with attention sinks; published in MXFP4."""

from limpide.models.families.family import ATTENTION, Family

GPT_OSS = Family(
    name="gpt_oss",
    title="gpt-oss",
    model_types=("gpt_oss",),
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
    experts_transposed=True,
    attention_targets=ATTENTION,
    mlp_targets=(),
    expert_parameters=("mlp.experts.gate_up_proj", "mlp.experts.down_proj"),
    tied_head=None,
    sliding=True,
    sinks=True,
    experts=True,
    router="mlp.router",
    experts_module="mlp.experts",
    notes="every MLP is a set of fused experts, which adapters reach when asked to; one layer in two slides",
)
