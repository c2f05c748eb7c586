"""Integrated gradients of an answer's log-likelihood, along the straight path from a baseline to the prompt.

By Gauss–Legendre's rule: F is smooth between its steps, and for smooth functions no rule errs less at as many points.
Where a router chooses among experts F jumps, and no gradient sees a jump: the gap stays, and is shown. With all
experts at work it closes (tests/unit/understand/test_attribution.py).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from limpide.core.errors import ModelError
from limpide.core.progress import Progress, Quiet
from limpide.models.gradients import gradient, nats, rows_at_once
from limpide.models.row import Row, embed

if TYPE_CHECKING:
    from limpide.models.model import Model

RULE = 4  # points of a piece of the path: enough for a bend, few enough to cut a step out


@dataclass(frozen=True)
class Term:
    """A signed part of F: log-likelihood of the row's targets, less that of `against` where both read alike."""

    row: Row
    against: Row | None = None
    sign: int = 1


def path_gradients(
    model: "Model",
    term: Term,
    baseline: torch.Tensor,
    nodes: Sequence[float],
    *,
    each_token: bool = False,
    progress: Progress | None = None,
) -> torch.Tensor:
    """(x − x′) · ∂F/∂x at x′ + α(x − x′), summed over the width, for each α of `nodes`.

    baseline: x′, float[tokens, width]. Returns float64[nodes, tokens], or with each_token float64[read, nodes, tokens],
    in nats. Its integral over α from 0 to 1 are the integrated gradients (Sundararajan et al. 2017, eq. 1).
    """
    whole = embed(model, term.row.ids)
    way = whole - baseline  # [tokens, width]
    at = torch.tensor(nodes, dtype=torch.float64).to(way.dtype)[:, None, None]
    parts = []
    with (progress or Quiet()).task(f"integrated gradients, {len(at)} points", total=len(at)) as task:
        for alphas in torch.split(at, rows_at_once(term.row)):
            points = baseline + alphas * way  # [points, tokens, width]
            _, slopes = gradient(model, term.row, points, against=term.against, each_token=each_token)
            parts.append((slopes * way).sum(-1, dtype=torch.float64))
            task.advance(len(alphas))
    return finite(model, torch.cat(parts, -2)) * term.sign


def gauss_legendre(points: int, start: float = 0.0, end: float = 1.0) -> tuple[list[float], torch.Tensor]:
    """(nodes, weights float64[points]) of the rule that is exact for polynomials of degree 2·points − 1."""
    nodes, weights = np.polynomial.legendre.leggauss(points)
    return [start + (end - start) * (node + 1) / 2 for node in nodes], torch.tensor((end - start) / 2 * weights)


@dataclass(frozen=True)
class _Piece:
    """A part of the path from x′ to x. first, last: F at its ends; share: float64[tokens], its integral."""

    start: float
    end: float
    first: float
    last: float
    share: torch.Tensor

    @property
    def gap(self) -> float:
        return abs(float(self.share.sum()) - (self.last - self.first))


class StraightPath:
    """The straight way from a baseline to the prompt, cut into pieces where F bends.

    A network's F has steps so narrow that evenly spread points fall into them or miss them, and doubling the points
    does not converge. But each piece has a completeness of its own: what it integrates to, held against F at its
    ends. So pieces whose gap is largest are halved, and all others are kept as they are.
    """

    def __init__(self, model: "Model", chosen: Sequence[tuple[Term, torch.Tensor]], progress: Progress) -> None:
        self.model, self.chosen, self.progress = model, chosen, progress
        self.shortest = min(len(term.row) for term, _ in chosen)
        first, last = self._values([0.0, 1.0])
        self.total = last - first
        self.ends = (first, last)
        self.pieces: list[_Piece] = []
        self.points = 0

    @property
    def gap(self) -> float:
        """Nats: the pieces' gaps together, so that they cannot cancel; at least the completeness gap of the whole."""
        return sum(piece.gap for piece in self.pieces)

    def refine(self, steps: int, most: int, limit: float) -> None:
        """From about `steps` points, halve pieces until `gap` is within the limit or `most` points are used."""
        pieces = max(1, steps // RULE)
        cuts = [k / pieces for k in range(pieces + 1)]
        values = [self.ends[0], *self._values(cuts[1:-1]), self.ends[1]]
        self._add(list(zip(cuts, cuts[1:], values, values[1:], strict=False)))
        while self.gap > limit and self.points + 2 * RULE <= most:
            fair = limit / len(self.pieces)
            worst = sorted((p for p in self.pieces if p.gap > fair), key=lambda piece: -piece.gap)
            worst = worst[: (most - self.points) // (2 * RULE)]
            middles = [(piece.start + piece.end) / 2 for piece in worst]
            self.pieces = [piece for piece in self.pieces if piece not in worst]
            halves = []
            for piece, middle, value in zip(worst, middles, self._values(middles), strict=True):
                halves += [(piece.start, middle, piece.first, value), (middle, piece.end, value, piece.last)]
            self._add(halves)

    def share(self) -> torch.Tensor:
        """float64[tokens]."""
        return torch.stack([piece.share for piece in self.pieces]).sum(0)

    def each_token(self) -> torch.Tensor:
        """float64[read, tokens]: the same points once more, each target alone. Of one term only."""
        (term, baseline), rules = self.chosen[0], [gauss_legendre(RULE, p.start, p.end) for p in self.pieces]
        nodes = [node for rule, _ in rules for node in rule]
        found = path_gradients(self.model, term, baseline, nodes, each_token=True, progress=self.progress)
        return (found * torch.cat([weights for _, weights in rules])[:, None]).sum(1)

    def _add(self, ends: Sequence[tuple[float, float, float, float]]) -> None:
        rules = [gauss_legendre(RULE, start, end) for start, end, _, _ in ends]
        nodes = [node for rule, _ in rules for node in rule]
        of_terms = [
            path_gradients(self.model, term, baseline, nodes, progress=self.progress)[:, : self.shortest]
            for term, baseline in self.chosen
        ]
        found = torch.stack(of_terms).sum(0).reshape(len(ends), RULE, -1)  # [pieces, RULE, tokens]
        for end, (_, weights), shares in zip(ends, rules, found, strict=True):
            self.pieces.append(_Piece(*end, weights @ shares))
        self.points += len(nodes)

    def _values(self, alphas: Sequence[float]) -> list[float]:
        """F at points of the path."""
        if not alphas:
            return []
        found = torch.zeros(len(alphas), dtype=torch.float64)
        at = torch.tensor(alphas)[:, None, None]
        for term, baseline in self.chosen:
            points = baseline + at.to(baseline.dtype) * (embed(self.model, term.row.ids) - baseline)
            found += nats(self.model, term.row, points, term.against).double().sum(1) * term.sign
        return [float(value) for value in found]


def finite(model: "Model", shares: torch.Tensor) -> torch.Tensor:
    """The shares as they are. Raises ModelError where they hold NaN or infinity."""
    if not bool(shares.isfinite().all()):
        raise ModelError(
            "The gradients of this model are not numbers.",
            received=f"NaN or infinity in {model.precision}",
            expected="finite gradients",
            remedy="open it in float32, or use occlusion, which needs no gradients: --method occlusion",
        )
    return shares
