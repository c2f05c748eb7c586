"""A LoRA adapter on a model that is to be corrected, and what it learnt as an `Update`."""

from dataclasses import replace
from typing import TYPE_CHECKING

import torch

from limpide.models.families.registry import lora_targets, plain
from limpide.models.update import Update

if TYPE_CHECKING:
    from limpide.models.model import Model

ADAPTER = "default"  # what peft calls an adapter without a name


def with_adapter(model: "Model", rank: int, seed: int) -> "Model":
    """The model, whose network now has a fresh adapter that changes nothing yet on its attention and MLP.

    The caller's random state is left as it was. Source: Hu et al. 2021.
    """
    from peft import LoraConfig, get_peft_model

    config = LoraConfig(
        r=rank,
        lora_alpha=rank,
        target_modules=lora_targets(model.network, model.family),
        lora_dropout=0.0,
        bias="none",
        fan_in_fan_out=model.family.transposed,
    )
    model.network.requires_grad_(False)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = get_peft_model(model.network, config, autocast_adapter_dtype=False)
    network.eval()  # no dropout: a step must not depend on how it is cut
    return replace(model, network=network)


def update_of(model: "Model") -> Update:
    """What the adapter adds to each weight, as the weight is stored, its scaling included.

    Names are those of the network without the adapter.
    """
    from peft.tuners.lora import LoraLayer

    factors = {}
    for name, module in plain(model.network).named_modules():
        if not isinstance(module, LoraLayer):
            continue
        a, b = (part[ADAPTER].weight.detach().float().clone() for part in (module.lora_A, module.lora_B))
        scaled = module.scaling[ADAPTER] * b  # [out, rank]; a: [rank, in]
        factors[f"{name}.weight"] = (
            (a.T.contiguous(), scaled.T.contiguous()) if model.family.transposed else (scaled, a)
        )
    return Update(factors)
