"""GPT-2. Its linear layers are `Conv1D`: weight float[in, out], the transpose of `Linear`'s."""

from limpide.models.families.family import Family

GPT2 = Family(
    name="gpt2",
    title="GPT-2",
    model_types=("gpt2",),
    kind="decoder",
    embedding="transformer.wte",
    backbone="transformer",
    blocks="transformer.h",
    final_norm="transformer.ln_f",
    head="lm_head",
    block_norms=("ln_1", "ln_2"),
    attention="attn",
    head_mix="attn.c_proj",
    mlp="mlp",
    mlp_out="c_proj",
    attention_targets=("c_attn", "attn.c_proj"),
    mlp_targets=("c_fc", "mlp.c_proj"),
    tied_head=True,
    transposed=True,
    notes="learned positions; query, key and value are one matrix (c_attn), so an adapter on it moves the three",
)
