"""What a model family is: where its parts sit in the `transformers` module tree, and what it can and cannot do."""

from dataclasses import dataclass
from typing import Literal

Kind = Literal["decoder", "encoder", "encoder-decoder"]


@dataclass(frozen=True)
class Family:
    """One architecture. Paths are dotted module names from the whole network (`…ForCausalLM`, `…ForMaskedLM`,
    `…ForConditionalGeneration`), except those marked "in a block", which start at a block.

    embedding: token embedding, weight float[vocabulary, width]. backbone: the module whose output is
    `last_hidden_state`, float[batch, token, width], final norm included. blocks: the list of layers the output comes
    from (the decoder's, in an encoder-decoder). final_norm: None where a block already ends with its norm.
    attention, mlp: in a block, the module whose output joins the residual stream (Gemma 2 and 3 apply a norm to it
    first). head_mix: in a block, the linear layer that mixes the heads of the attention; its input holds them side by
    side. router, experts_module: in a block, the modules that choose experts and that compute them, as `mlp.…`.
    mlp_out: in the module `mlp`, and in its shared and routed experts, the last linear layer; None where `mlp` is it.
    experts_transposed: are the fused experts' weights stored [expert, in, out].
    encoder_mlp: `mlp` in a block of the encoder, where there is one. attention_targets, mlp_targets: suffixes of the
    names of the linear modules of attention and MLP, in the form `peft` takes; the longer suffix decides where both
    fit. mlp_parameters, expert_parameters: suffixes of the names of weights that `peft` reaches as parameters alone, of
    dense and shared MLPs, and of routed experts, float[expert, …].
    biases: keys of config.json which, set to true, give linear layers a bias that a published checkpoint lacks.
    tied_head: does the head share the embedding's weight; None when each checkpoint's config decides.
    gguf: can Limpide write this family as GGUF.
    """

    name: str
    title: str
    model_types: tuple[str, ...]
    kind: Kind
    embedding: str
    backbone: str
    blocks: str
    final_norm: str | None
    head: str
    block_norms: tuple[str, ...]
    attention: str
    head_mix: str
    mlp: str
    mlp_out: str | None
    attention_targets: tuple[str, ...]
    mlp_targets: tuple[str, ...]
    tied_head: bool | None
    mlp_parameters: tuple[str, ...] = ()
    expert_parameters: tuple[str, ...] = ()
    encoder_blocks: str | None = None
    encoder_mlp: str | None = None
    router: str | None = None
    experts_module: str | None = None
    layers_key: str = "num_hidden_layers"
    transposed: bool = False
    sliding: bool = False
    sinks: bool = False
    experts: bool = False
    experts_transposed: bool = False
    gguf: bool = False
    biases: tuple[str, ...] = ()
    notes: str = ""

    @property
    def lora_targets(self) -> tuple[str, ...]:
        """Every linear module that an adapter can be put on by its name."""
        return self.attention_targets + self.mlp_targets


ATTENTION = ("q_proj", "k_proj", "v_proj", "o_proj")
GATED = ("gate_proj", "up_proj", "down_proj")
