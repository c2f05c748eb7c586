"""An adapter as what it adds to each weight: one product of two thin matrices a module, read from its `peft` folder.

`peft` adds scale · B · A to a weight; here the scale is folded into B, so that adapters of different rank and alpha
are added, compared and factored again by plain algebra.
"""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import Tensor

from limpide.adapt.imported import CONFIG, WEIGHTS, take_adapter
from limpide.core import files
from limpide.core.errors import ModelError
from limpide.models import safety
from limpide.models.embedded import alias_of_folder

PREFIX = "base_model.model."
A, B = ".lora_A.weight", ".lora_B.weight"
# Ways of starting an adapter that also change the base's weights, so that B·A alone is not what was learnt.
MOVES_THE_BASE = ("pissa", "olora", "corda", "loftq", "lora_ga")
# Settings of `peft` under which a layer computes something else than W·x + scale·B·A·x.
OTHERWISE = ("use_dora", "use_qalora", "alora_invocation_tokens", "arrow_config", "kasa_config", "monteclora_config")
LISTED = 3  # names shown in a message


@dataclass(frozen=True, eq=False)
class Factors:
    """What is added to one weight, up · down. up: float32[out, rank], the scale in it; down: float32[rank, in]."""

    up: Tensor
    down: Tensor

    @property
    def rank(self) -> int:
        return int(self.down.shape[0])

    @property
    def delta(self) -> Tensor:
        """float32[out, in]."""
        return self.up @ self.down


@dataclass(frozen=True, eq=False)
class Adapter:
    """name: as people are told of it. config: adapter_config.json. factors: {module of the base: its own}, sorted."""

    folder: Path
    name: str
    config: Mapping[str, Any]
    factors: Mapping[str, Factors]

    @property
    def base(self) -> str:
        """The last part of the base's name: 'SmolLM2-135M' of 'owner/SmolLM2-135M' and of a path."""
        name = Path(str(self.config.get("base_model_name_or_path") or "")).name
        return alias_of_folder(name) or name

    @property
    def rank(self) -> int:
        return max(one.rank for one in self.factors.values())


def inner(first: Factors, second: Factors) -> float:
    """Sum over entries of the product of both additions: tr((upᵃ downᵃ)ᵀ upᵇ downᵇ), from [rank, rank] matrices."""
    written = first.up.double().T @ second.up.double()
    read = first.down.double() @ second.down.double().T
    return float((written * read).sum())


def load_adapters(folders: Sequence[Path]) -> list[Adapter]:
    """Each under the shortest end of its path that tells it from the others: all are called 'adapter' otherwise."""
    every = [folder.absolute().parts for folder in folders]
    depths = range(1, max(map(len, every)) + 1)
    told = next((depth for depth in depths if len({parts[-depth:] for parts in every}) == len(set(every))), 1)
    return [replace(load_adapter(f), name="/".join(parts[-told:])) for f, parts in zip(folders, every, strict=True)]


def load_adapter(folder: Path) -> Adapter:
    """Read the two files of a LoRA adapter, after the safety checks; what a training left beside them stays closed.

    Raises UntrustedInput, or ModelError for an adapter that adds more.
    """
    from safetensors.torch import load_file

    with TemporaryDirectory() as taken:
        take_adapter(folder, Path(taken))
        safety.check_folder(Path(taken))
        config = _plain_config(folder, files.read_json(Path(taken) / CONFIG))
        tensors: dict[str, Tensor] = load_file(str(Path(taken) / WEIGHTS))
    others = sorted(name for name in tensors if not name.endswith((A, B)))
    if others:
        raise ModelError(
            f"{folder} holds more than low-rank factors, which cannot be added or compared module by module.",
            received=f"{len(others)} other tensors: {', '.join(others[:LISTED])}",
            expected="tensors called lora_A and lora_B of linear layers",
            remedy="merge this adapter into its base instead (a recipe with `imported` does)",
        )
    modules = sorted(name.removesuffix(A) for name in tensors if name.endswith(A))
    if not modules or {f"{m}{B}" for m in modules} != {name for name in tensors if name.endswith(B)}:
        raise ModelError(f"{folder} does not hold a lora_A and a lora_B for each module.", received=len(tensors))
    factors = {}
    for module in modules:
        up, down = tensors[f"{module}{B}"].float(), tensors[f"{module}{A}"].float()
        name = module.removeprefix(PREFIX)
        _check_pair(folder, name, up, down)
        factors[name] = Factors(scale(config, name, int(down.shape[0])) * up, down)
    return Adapter(folder, folder.name, config, factors)


def _plain_config(folder: Path, config: Any) -> dict[str, Any]:
    """adapter_config.json of an adapter whose effect is B·A alone. Raises ModelError for another kind."""
    found: dict[str, Any] = config if isinstance(config, dict) else {}
    wrong = [key for key in (*OTHERWISE, "target_parameters", "layer_replication") if found.get(key)]
    wrong += ["init_lora_weights"] if moves_the_base(found) else []
    wrong += ["peft_type"] if found.get("peft_type") != "LORA" else []
    if wrong:
        raise ModelError(
            f"What the adapter {folder} adds to a weight is not the product of its two factors alone.",
            received=", ".join(f"{key}: {found.get(key)}" for key in wrong),
            expected="a plain LoRA adapter (rank-stabilised too)",
            remedy="merge it into its base with the tool that made it, and go on from the merged model",
        )
    return found


def moves_the_base(config: Mapping[str, Any]) -> bool:
    start = config.get("init_lora_weights")
    return isinstance(start, str) and start.lower().startswith(MOVES_THE_BASE)


def scale(config: Mapping[str, Any], module: str, rank: int) -> float:
    """alpha ÷ rank, or alpha ÷ √rank where the adapter is rank-stabilised (Kalajdzievski 2023), as `peft` has it.

    Raises ModelError where the configuration gives no such number.
    """
    from peft.utils.other import get_pattern_key

    own = config.get("alpha_pattern") or {}
    try:
        alpha = float(own.get(get_pattern_key(own.keys(), module), config.get("lora_alpha", rank)))
    except (TypeError, ValueError, AttributeError, re.error):
        alpha = math.nan
    if not math.isfinite(alpha):
        raise ModelError(
            f"{CONFIG} does not say by how much '{module}' is scaled.",
            received=f"lora_alpha: {config.get('lora_alpha')!r}, alpha_pattern: {str(own)[:80]}",
            expected="lora_alpha: a number; alpha_pattern: numbers by names of modules",
            remedy="take that file again from where the adapter was made",
        )
    return alpha / (math.sqrt(rank) if config.get("use_rslora") else rank)


def _check_pair(folder: Path, module: str, up: Tensor, down: Tensor) -> None:
    if up.dim() != 2 or down.dim() != 2 or up.shape[1] != down.shape[0]:
        raise ModelError(
            f"The two factors of '{module}' in {folder} do not fit each other.",
            received=f"lora_B {list(up.shape)}, lora_A {list(down.shape)}",
            expected="[out, rank] and [rank, in]",
        )
    if not (bool(torch.isfinite(up).all()) and bool(torch.isfinite(down).all())):
        raise ModelError(
            f"A weight of '{module}' in {folder} is not a finite number.",
            remedy="take an earlier checkpoint of the training that made it",
        )
