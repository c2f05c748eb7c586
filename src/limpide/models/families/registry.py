"""Which family a model is of, and its parts by role instead of by name.

Nothing here imports torch: a passport is read without it.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from limpide.core.errors import ModelError, nearest
from limpide.models.families.bert import BERT
from limpide.models.families.deepseek import DEEPSEEK_V2, DEEPSEEK_V3
from limpide.models.families.family import Family
from limpide.models.families.gemma import GEMMA, GEMMA2, GEMMA3
from limpide.models.families.gpt2 import GPT2
from limpide.models.families.gpt_oss import GPT_OSS
from limpide.models.families.llama import LLAMA
from limpide.models.families.mistral import MISTRAL
from limpide.models.families.qwen2 import QWEN2
from limpide.models.families.t5 import T5

if TYPE_CHECKING:
    from torch import Tensor, nn

FAMILIES: dict[str, Family] = {
    family.name: family
    for family in (
        GPT2,
        BERT,
        T5,
        LLAMA,
        QWEN2,
        MISTRAL,
        GEMMA,
        GEMMA2,
        GEMMA3,
        DEEPSEEK_V2,
        DEEPSEEK_V3,
        GPT_OSS,
    )
}
_BY_TYPE = {model_type: family for family in FAMILIES.values() for model_type in family.model_types}


def supported() -> list[str]:
    """Every `model_type` that Limpide knows."""
    return sorted(_BY_TYPE)


def family_of(config: Any) -> Family:
    """The family of a `config.json` (as a mapping) or of a `transformers` config. Raises ModelError."""
    model_type = config.get("model_type") if isinstance(config, Mapping) else getattr(config, "model_type", None)
    if not isinstance(model_type, str):
        raise ModelError(
            "The config does not say which architecture the model has.",
            received=f"model_type = {model_type!r}",
            expected=f"one of {', '.join(supported())}",
            remedy="add the key 'model_type' to config.json, as the publisher of the model wrote it",
        )
    if model_type not in _BY_TYPE:
        raise ModelError(
            f"Limpide does not know the architecture '{model_type}'.{nearest(model_type, supported())}",
            received=f"model_type = {model_type!r}",
            expected=f"one of {', '.join(supported())}",
            remedy="choose a model of a supported family",
        )
    return _BY_TYPE[model_type]


def plain(network: "nn.Module") -> Any:
    """The `transformers` network itself, also when `peft` has wrapped it."""
    return network.get_base_model() if hasattr(network, "get_base_model") else network  # type: ignore[operator] # peft


def get(network: "nn.Module", path: str) -> Any:
    """The module at `path` of the network. Raises ModelError where there is none."""
    try:
        return plain(network).get_submodule(path)
    except AttributeError as error:
        raise ModelError(
            f"{type(network).__name__} has no module '{path}'.",
            received=str(error),
            remedy="install the version of transformers that constraints.txt names",
        ) from error


def backbone(network: "nn.Module", family: Family) -> Any:
    """The module whose output is `last_hidden_state`, float[batch, token, width]."""
    return get(network, family.backbone)


def head(network: "nn.Module", family: Family) -> Any:
    """The module that scores the vocabulary (before scaling or cap: see `logits_from_hidden`)."""
    return get(network, family.head)


def blocks(network: "nn.Module", family: Family) -> list[Any]:
    """The layers that lead to the output, first to last."""
    return list(get(network, family.blocks))


def lora_targets(network: "nn.Module", family: Family) -> list[str]:
    """Those of `family.lora_targets` that this network has, for `peft`'s `target_modules`."""
    return _present(family.lora_targets, [name for name, _ in plain(network).named_modules()])


def _present(suffixes: Sequence[str], names: Sequence[str]) -> list[str]:
    return [suffix for suffix in suffixes if any(name.endswith(f".{suffix}") for name in names)]


def logits_from_hidden(network: "nn.Module", family: Family, hidden: "Tensor") -> "Tensor":
    """Logits of final hidden states, exactly as the network computes them.

    hidden: float[…, width], `last_hidden_state` or rows of it. Returns float[…, vocabulary]. Applies T5's scaling
    before a tied head and Gemma's tanh cap after the head.
    """
    network = plain(network)
    config: Any = network.config
    if family.kind == "encoder-decoder" and getattr(config, "scale_decoder_outputs", False):
        hidden = hidden * (config.d_model**-0.5)
    logits: Tensor = head(network, family)(hidden)
    cap = getattr(config, "final_logit_softcapping", None)
    if cap is not None:
        logits = (logits / cap).tanh() * cap
    return logits


def check(network: "nn.Module", family: Family) -> None:
    """Raise ModelError unless every part the family names is in `network`, with the shapes its config gives."""
    network = plain(network)
    config: Any = network.config
    for path in (family.embedding, family.backbone, family.blocks, family.head, family.final_norm):
        if path is not None:
            get(network, path)
    rows, width = get(network, family.embedding).weight.shape
    layers = blocks(network, family)
    _expect("rows of the token embedding", rows, config.vocab_size)
    _expect("width of the token embedding", width, config.hidden_size)
    _expect("number of layers", len(layers), getattr(config, family.layers_key))
    for layer in layers:
        for path in (*family.block_norms, family.attention, family.mlp):
            get(layer, path)
    if family.encoder_blocks is not None:
        _expect("number of encoder layers", len(get(network, family.encoder_blocks)), config.num_layers)
    if family.tied_head is True and not config.tie_word_embeddings:
        raise ModelError(
            f"{family.title} shares the weights of its embedding and head; this checkpoint says it does not.",
            received="tie_word_embeddings = false",
            expected="tie_word_embeddings = true",
            remedy="check config.json against the publisher's",
        )
    if not lora_targets(network, family):
        raise ModelError(f"No linear layer of {type(network).__name__} has the names that {family.title} uses.")


def _expect(what: str, received: int, expected: int) -> None:
    if received != expected:
        raise ModelError(
            f"The {what} is not what config.json says.",
            received=received,
            expected=expected,
            remedy="download the model again: its weights and its config do not belong together",
        )
