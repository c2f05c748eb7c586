"""Two adapters of one base, layer by layer: how much each changes, and how far they change the same directions.

Nothing of the size of a weight is made: norms, angles and singular values of up · down follow from matrices of the
size of the rank.
"""

import re
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from limpide.adapt.factors import Adapter, Factors, inner, load_adapters
from limpide.adapt.imported import WEIGHTS
from limpide.adapt.merge import check_same_base
from limpide.core import digests
from limpide.core.errors import ModelError

LARGEST = 8  # directions compared of each side, at most: the main ones of an adapter are few


@dataclass(frozen=True)
class Side:
    """What one adapter adds to a weight. norm: Frobenius. effective_rank: exp of the entropy of the singular values
    made to sum to 1, from 1 to the rank (Roy and Vetterli 2007)."""

    norm: float
    effective_rank: float


@dataclass(frozen=True)
class Difference:
    """One module in both adapters; a side that does not change it is None, and so is all that compares.

    cosine: of both additions as vectors, −1 to 1. read, written: overlap φ of the `directions` main directions that
    each reads from and writes to, 0 to 1; of directions drawn at random it would be about by_chance_read,
    by_chance_written. What it does not say: two adapters may change one direction in opposite ways; the cosine tells.
    """

    module: str
    layer: int | None
    kind: str
    first: Side | None
    second: Side | None
    cosine: float | None = None
    directions: int | None = None
    read: float | None = None
    written: float | None = None
    by_chance_read: float | None = None
    by_chance_written: float | None = None


def compare(first: Path, second: Path) -> dict[str, Any]:
    """The record of `limpide adapters compare`: both sides, the whole, each module. Raises ModelError for two bases."""
    one, other = load_adapters((first, second))
    adapters = one, other
    check_same_base(adapters)
    modules = sorted({module for one in adapters for module in one.factors}, key=_order)
    found = [difference(module, *(one.factors.get(module) for one in adapters)) for module in modules]
    if not any(one.first and one.second for one in found):
        raise ModelError(
            "These adapters change no module in common.",
            received=f"{_few(adapters[0])}; {_few(adapters[1])}",
            remedy="adapters that share no module can be merged, and do not touch each other",
        )
    return {
        "base": adapters[0].config.get("base_model_name_or_path"),
        "adapters": [
            {"name": one.name, "rank": one.rank, "modules": len(one.factors), "digest": digests.of_file(f / WEIGHTS)}
            for one, f in zip(adapters, (first, second), strict=True)
        ],
        "whole": whole(adapters),
        "modules": [asdict(one) for one in found],
    }


def difference(module: str, first: Factors | None, second: Factors | None) -> Difference:
    name = re.search(r"\.(\d+)\.(?!.*\.\d+\.)", f".{module}.")
    layer, kind = (int(name[1]), module.rpartition(".")[2]) if name else (None, module)
    if first is None or second is None:
        sides = [None if one is None else _side(one) for one in (first, second)]
        return Difference(module, layer, kind, sides[0], sides[1])
    (left_a, values_a, right_a), (left_b, values_b, right_b) = thin_svd(first), thin_svd(second)
    count = min(LARGEST, _meant(values_a), _meant(values_b))
    norms = float(values_a.norm() * values_b.norm())
    return Difference(
        module,
        layer,
        kind,
        Side(float(values_a.norm()), effective_rank(values_a)),
        Side(float(values_b.norm()), effective_rank(values_b)),
        cosine=inner(first, second) / norms if norms else None,
        directions=count,
        read=overlap(right_a[:, :count], right_b[:, :count]) if count else None,
        written=overlap(left_a[:, :count], left_b[:, :count]) if count else None,
        by_chance_read=count / right_a.shape[0] if count else None,
        by_chance_written=count / left_a.shape[0] if count else None,
    )


def whole(adapters: tuple[Adapter, Adapter]) -> dict[str, Any]:
    """Norms and cosine of all additions taken together as one vector."""
    a, b = adapters
    squares = [sum(inner(f, f) for f in one.factors.values()) for one in adapters]
    product = sum(inner(a.factors[m], b.factors[m]) for m in a.factors.keys() & b.factors.keys())
    size = (squares[0] * squares[1]) ** 0.5
    return {"norms": [square**0.5 for square in squares], "cosine": product / size if size else None}


# ---------------------------------------------------------------------------------------------------------- the algebra


def thin_svd(factors: Factors) -> tuple[Tensor, Tensor, Tensor]:
    """(directions written [out, rank], singular values [rank] falling, directions read [in, rank]) of up · down."""
    written, upper = torch.linalg.qr(factors.up.double())
    read, lower = torch.linalg.qr(factors.down.double().T)
    left, values, right = torch.linalg.svd(upper @ lower.T)
    return written @ left[:, : len(values)], values, read @ right.T[:, : len(values)]


def overlap(first: Tensor, second: Tensor) -> float:
    """φ = ‖firstᵀ second‖² ÷ directions: 1 where both span one space, 0 where they are orthogonal.

    Orthonormal columns, [size, directions] each. Source: Hu et al. 2021, LoRA, section 7.2, eq. 4.
    """
    return float((first.T @ second).square().sum() / min(first.shape[1], second.shape[1]))


def effective_rank(values: Tensor) -> float:
    """exp of the entropy of the singular values divided by their sum; 0 where all are 0. Source: Roy, Vetterli 2007."""
    total = float(values.sum())
    if not total:
        return 0.0
    shares = values[values > 0] / total
    return float(torch.exp(-(shares * shares.log()).sum()))


def _side(factors: Factors) -> Side:
    _, values, _ = thin_svd(factors)
    return Side(float(values.norm()), effective_rank(values))


def _meant(values: Tensor) -> int:
    """Singular values that are no rounding: directions of the others are noise."""
    return int((values > 1e-5 * values.max()).sum()) if bool(values.any()) else 0


def _order(module: str) -> tuple[tuple[int, str | int], ...]:
    """Names in the order of their numbers: layer 2 before layer 10."""
    return tuple((0, int(part)) if part.isdigit() else (1, part) for part in module.split("."))


def _few(adapter: Adapter) -> str:
    kinds = sorted({module.rpartition(".")[2] for module in adapter.factors})
    return f"{adapter.name} changes {', '.join(kinds[:4])}"
