"""T5, Flan-T5 and T5 1.1: an encoder that reads, a decoder that writes."""

from limpide.models.families.family import Family

T5 = Family(
    name="t5",
    title="T5",
    model_types=("t5",),
    kind="encoder-decoder",
    embedding="shared",
    backbone="decoder",
    blocks="decoder.block",
    encoder_blocks="encoder.block",
    encoder_mlp="layer.1.DenseReluDense",
    final_norm="decoder.final_layer_norm",
    head="lm_head",
    block_norms=("layer.0.layer_norm", "layer.1.layer_norm", "layer.2.layer_norm"),
    attention="layer.0.SelfAttention",
    head_mix="layer.0.SelfAttention.o",
    mlp="layer.2.DenseReluDense",
    mlp_out="wo",
    # T5 has wi and wo; T5 1.1 and Flan-T5 have wi_0, wi_1 and wo.
    attention_targets=("q", "k", "v", "o"),
    mlp_targets=("wi", "wi_0", "wi_1", "wo"),
    tied_head=None,
    layers_key="num_decoder_layers",
    notes="relative positions; hidden states are scaled by width^-1/2 before a tied head; cross-attention is layer.1",
)
