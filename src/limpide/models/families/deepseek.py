"""DeepSeek-V2, V3 and R1: latent attention, and a mixture of experts after the first dense layers."""

from dataclasses import replace

from limpide.models.families.family import GATED, Family

DEEPSEEK_V3 = Family(
    name="deepseek_v3",
    title="DeepSeek-V3 and R1",
    model_types=("deepseek_v3",),
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
    # q_proj stands where q_a_proj and q_b_proj are absent (no query compression).
    attention_targets=("q_proj", "q_a_proj", "q_b_proj", "kv_a_proj_with_mqa", "kv_b_proj", "o_proj"),
    # peft 0.21 turns the names gate_proj, up_proj and down_proj into the fused routed experts for this architecture:
    # the dense layers and shared experts that own them are named by their parameters.
    mlp_targets=(),
    mlp_parameters=tuple(f"{part}.{name}.weight" for part in ("mlp", "shared_experts") for name in GATED),
    expert_parameters=("mlp.experts.gate_up_proj", "mlp.experts.down_proj"),
    tied_head=None,
    biases=("attention_bias",),
    experts=True,
    router="mlp.gate",
    experts_module="mlp.experts",
    notes="routed experts are fused tensors, which adapters reach when asked to; the router is left as it is",
)

DEEPSEEK_V2 = replace(DEEPSEEK_V3, name="deepseek_v2", title="DeepSeek-V2", model_types=("deepseek_v2",))
