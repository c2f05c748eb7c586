"""A model as a recipe has made it so far: the base, an adapter merged into it, corrections folded in."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from limpide.core import digests
from limpide.core.errors import ModelError
from limpide.core.operation import Subject
from limpide.models.model import Precision, open_model
from limpide.models.update import Update, fold, load_update, update_digest

if TYPE_CHECKING:
    from limpide.models.model import Model

WHOLE = "model"  # in the folder of a training that changed every weight
KEPT = "kept"  # in a correction's folder: the update accepted, with those of the corrections before it


def open_changed(
    base: Path, *, adapter: Path | None = None, correction: Path | None = None, precision: Precision = "float32"
) -> "Model":
    """The model with nothing left beside its weights but the maps that none of them can hold.

    adapter: a `peft` folder. correction: the folder of an update, at strength 1. Raises UntrustedInput, ModelError.
    """
    model = open_model(base, precision=precision, adapter=adapter)
    if adapter is not None:
        model = replace(model, network=model.network.merge_and_unload())
    if correction is not None:
        update = load_update(correction)
        fold(model, update)
        model = replace(model, digest=digests.of_value([model.digest, update_digest(update)]))
    return model


def of_steps(subject: Subject) -> "Model":
    """The subject's model with what a recipe's earlier steps made of it: 'adapt', and the last 'correct'."""
    base, adapted = subject.the_model(), subject.inputs.get("adapt")
    if adapted is not None and is_whole(adapted):
        return open_changed(adapted / WHOLE, correction=correction_of(subject))
    return open_changed(base, adapter=adapted / "adapter" if adapted else None, correction=correction_of(subject))


def is_whole(adapted: Path) -> bool:
    """Did a training change every weight, so that it left an ordinary model folder and no adapter?"""
    return (adapted / WHOLE).is_dir()


def correction_of(subject: Subject) -> Path | None:
    """The folder of the update that corrections left, where one of them was accepted."""
    corrected = subject.inputs.get("correct")
    return corrected / KEPT if corrected is not None and (corrected / KEPT).is_dir() else None


def one_after_another(first: Update, second: Update) -> Update:
    """Two updates of one model as one. Raises ModelError where both map what one module gives."""
    if twice := set(first.maps) & set(second.maps):
        raise ModelError("Two corrections change what one module gives.", received=", ".join(sorted(twice)))
    factors = dict(first.factors)
    for name, (left, right) in second.factors.items():
        if name in factors:
            before = factors[name]
            left, right = _beside(before[0], left, -1), _beside(before[1], right, -2)
        factors[name] = left, right
    vectors = dict(first.vectors)
    for name, vector in second.vectors.items():
        vectors[name] = vectors[name] + vector if name in vectors else vector
    return Update(factors, vectors, {**first.maps, **second.maps})


def _beside(first: torch.Tensor, second: torch.Tensor, dim: int) -> torch.Tensor:
    """Along the rank, so that the products add up; a product for all experts is written out for each."""
    lead = torch.broadcast_shapes(first.shape[:-2], second.shape[:-2])  # type: ignore[no-untyped-call]  # torch
    return torch.cat([part.expand(*lead, *part.shape[-2:]) for part in (first, second)], dim)
