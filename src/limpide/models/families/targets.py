"""Which parts of a network an adapter is put on: attention, MLPs, routed experts; and which it leaves as they are."""

from collections.abc import Collection
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from limpide.core.errors import ModelError
from limpide.models.families.family import Family
from limpide.models.families.registry import blocks, plain

if TYPE_CHECKING:
    from torch import nn

Part = Literal["attention", "mlp", "experts"]
PARTS: tuple[Part, ...] = ("attention", "mlp", "experts")


@dataclass(frozen=True)
class Targets:
    """modules, parameters: for `target_modules` and `target_parameters` of a `peft` configuration. left_out: parts of
    the blocks that the network has and the adapter does not reach."""

    modules: tuple[str, ...]
    parameters: tuple[str, ...]
    left_out: tuple[str, ...]


def adapter_targets(network: "nn.Module", family: Family, parts: Collection[Part]) -> Targets:
    """The targets of an adapter on these parts. Raises ModelError where the network lacks one of them.

    Names are suffixes, as in the family's record, where those fit nothing else; whole where they would.
    """
    modules = [name for name, _ in plain(network).named_modules()]
    weights = [name for name, _ in plain(network).named_parameters()]
    by_module = {"attention": family.attention_targets, "mlp": family.mlp_targets, "experts": ()}
    by_weight = {"attention": (), "mlp": family.mlp_parameters, "experts": family.expert_parameters}
    has = [part for part in PARTS if _owned(by_module[part], family, modules) or _ending(by_weight[part], weights)]
    chosen = [part for part in PARTS if part in parts]
    if not set(chosen) <= set(has):
        raise ModelError(
            f"{family.title} has no {' and no '.join(part for part in chosen if part not in has)} to adapt.",
            received=f"targets: {', '.join(chosen)}",
            expected=f"some of {', '.join(has)}",
            remedy="change adapt.targets in the recipe",
        )
    wanted = [name for part in chosen for name in _owned(by_module[part], family, modules)]
    short = [s for part in chosen for s in by_module[part] if _ending([s], modules)]
    return Targets(
        modules=tuple(short if set(_ending(short, modules)) == set(wanted) else wanted),
        parameters=tuple(s for part in chosen for s in by_weight[part] if _ending([s], weights)),
        left_out=tuple(part for part in has if part not in chosen),
    )


def _ending(suffixes: Collection[str], names: Collection[str]) -> list[str]:
    return [name for name in names if any(name.endswith(f".{suffix}") for suffix in suffixes)]


def _owned(suffixes: Collection[str], family: Family, names: Collection[str]) -> list[str]:
    """The modules whose longest fitting suffix is one of these: 'attention.output.dense' of BERT is its attention's."""
    every = sorted(family.lora_targets, key=len, reverse=True)
    return [name for name in names if next((s for s in every if name.endswith(f".{s}")), None) in suffixes]


def upper(targets: Targets, network: "nn.Module", family: Family, layers: int) -> Targets:
    """The targets in the last `layers` blocks (of the decoder, where there is an encoder too), by their whole names, so
    that any tool loads the adapter onto the same ones."""
    network = plain(network)
    count = len(blocks(network, family))
    inside = tuple(f"{family.blocks}.{k}." for k in range(max(0, count - layers), count))
    modules = [name for name, _ in network.named_modules() if name.startswith(inside)]
    weights = [name for name, _ in network.named_parameters() if name.startswith(inside)]
    return replace(
        targets, modules=_whole_names(targets.modules, modules), parameters=_whole_names(targets.parameters, weights)
    )


def _whole_names(wanted: Collection[str], names: Collection[str]) -> tuple[str, ...]:
    return tuple(n for n in names if any(n == target or n.endswith(f".{target}") for target in wanted))
