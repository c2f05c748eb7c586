"""Targets are exactly the parts asked for, by names that `peft` takes for nothing else."""

from typing import Any

import pytest

from limpide.models.families import registry
from limpide.models.families.targets import PARTS, Part, adapter_targets
from tiny import FAMILY_NAMES, tiny_network


def adapted(name: str, parts: list[Part]) -> set[str]:
    """The modules and weights that peft adapts."""
    from peft import LoraConfig, get_peft_model

    network: Any = tiny_network(name)
    family = registry.family_of(network.config)
    targets = adapter_targets(network, family, parts)
    config = LoraConfig(
        r=2, target_modules=list(targets.modules), target_parameters=list(targets.parameters) or None,
        fan_in_fan_out=family.transposed,
    )  # fmt: skip
    found = get_peft_model(network, config)
    return {*found.targeted_module_names, *found.targeted_parameter_names}


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")  # peft reads it
@pytest.mark.parametrize("name", FAMILY_NAMES)
def test_parts_are_apart_and_together_all(name: str) -> None:
    network = tiny_network(name)
    family = registry.family_of(network.config)
    has = [part for part in PARTS if part != "experts" or family.experts]
    has = [part for part in has if name != "gpt_oss" or part != "mlp"]
    each = {part: adapted(name, [part]) for part in has}
    assert all(each.values())
    assert sum(map(len, each.values())) == len(set().union(*each.values())), "a module is of two parts"
    assert adapted(name, has) == set().union(*each.values())
    linear = {n for n, m in network.named_modules() if type(m).__name__ in ("Linear", "Conv1D")}
    reached = {n.removesuffix(".weight") for n in set().union(*each.values())}
    blocks = (family.blocks, family.encoder_blocks or family.blocks)
    missed = {n for n in linear - reached if n.startswith(blocks) and n.rpartition(".")[2] not in ("router", "gate")}
    assert not missed
    for part, names in each.items():
        assert all((("ttn" in n or "ttention" in n) == (part == "attention")) for n in names)
