"""BERT with its masked-language head."""

from limpide.models.families.family import Family

BERT = Family(
    name="bert",
    title="BERT",
    model_types=("bert",),
    kind="encoder",
    embedding="bert.embeddings.word_embeddings",
    backbone="bert",
    blocks="bert.encoder.layer",
    final_norm=None,
    head="cls",
    block_norms=("attention.output.LayerNorm", "output.LayerNorm"),
    attention="attention.output.dense",
    head_mix="attention.output.dense",
    mlp="output.dense",
    mlp_out=None,
    attention_targets=("query", "key", "value", "attention.output.dense"),
    mlp_targets=("intermediate.dense", "output.dense"),
    tied_head=True,
    notes="predicts masked tokens, does not generate; norms come after each sum; the head transforms before it decodes",
)
