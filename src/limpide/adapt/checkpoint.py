"""Training state on disk, as safetensors and JSON: never pickle. Written beside, then renamed."""

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from safetensors.torch import load_file, save_file

from limpide.core import files

if TYPE_CHECKING:
    from limpide.adapt.training import Trainer
    from limpide.models.model import Precision

NAME = "checkpoint"
TRUNK = "trunk"  # what the frozen layers gave: adapt/trunk.py
KEPT = (
    "precision",
    "step",
    "micro",
    "seconds",
    "tokens",
    "stale",
    "judged",
    "best_loss",
    "best_step",
    "losses",
    "notes",
)


def save(folder: Path, state: "Trainer") -> None:
    """Keep weights, optimiser, position, best weights and random state; the last checkpoint is replaced whole."""
    tensors = {f"master/{name}": m.detach() for name, m in state.masters.items()}
    tensors |= {f"best/{name}": m for name, m in state.best.items()}
    for place, weight in enumerate(_optimised(state)):
        for key, value in state.optimiser.state.get(weight, {}).items():
            tensors[f"optimiser/{key}/{place}"] = value
    tensors["random"] = torch.get_rng_state()
    new, old, last = folder / f"{NAME}.new", folder / f"{NAME}.old", folder / NAME
    if old.exists() and not last.exists():  # killed between the two renames below
        old.rename(last)
    for stale in (new, old):
        shutil.rmtree(stale, ignore_errors=True)
    new.mkdir(parents=True)
    with files.clear_write_errors(new):
        save_file({k: v.contiguous() for k, v in tensors.items()}, str(new / "state.safetensors"))
    files.write_json(new / "state.json", {key: getattr(state, key) for key in KEPT if hasattr(state, key)})
    if last.exists():
        last.rename(old)
    new.rename(last)
    shutil.rmtree(old, ignore_errors=True)


def load(folder: Path, state: "Trainer") -> bool:
    """Bring `state` to the last whole checkpoint under `folder`. False when there is none."""
    found = _last(folder)
    if found is None:
        return False
    for key, value in files.read_json(found / "state.json").items():
        setattr(state, key, value)
    tensors = load_file(str(found / "state.safetensors"))
    torch.set_rng_state(tensors.pop("random"))
    with torch.no_grad():
        for name, master in state.masters.items():
            master.copy_(tensors[f"master/{name}"])
            state.weights[name].copy_(master)
    state.best = {k.removeprefix("best/"): v for k, v in tensors.items() if k.startswith("best/")}
    for place, weight in enumerate(_optimised(state)):
        keys = {k.split("/")[1] for k in tensors if k.startswith("optimiser/") and k.endswith(f"/{place}")}
        if keys:
            state.optimiser.state[weight] = {k: tensors[f"optimiser/{k}/{place}"] for k in keys}
    return True


def _optimised(state: "Trainer") -> list[torch.Tensor]:
    """What the optimiser moves, in its order."""
    return [weight for group in state.optimiser.param_groups for weight in group["params"]]


def precision(folder: Path) -> "Precision | None":
    """The precision in which the training to resume was begun; None when there is none."""
    found = _last(folder)
    kept: Precision | None = None if found is None else files.read_json(found / "state.json").get("precision")
    return kept


def _last(folder: Path) -> Path | None:
    return next((p for p in (folder / NAME, folder / f"{NAME}.old") if (p / "state.json").exists()), None)


def remove(folder: Path) -> None:
    """Remove what only a run that goes on would need."""
    for name in (NAME, f"{NAME}.new", f"{NAME}.old", TRUNK):
        shutil.rmtree(folder / name, ignore_errors=True)
