"""The algebra of editing: the smallest change of a weight that gives some keys other values.

A weight W of an MLP is read as a memory, W k = v, that answers keys it was trained on (second moment C = E[k kᵀ]).
Small is measured where those keys lie: tr(Δ C Δᵀ), the mean squared change of the answers to ordinary keys.
"""

import torch
from torch import Tensor

from limpide.core.errors import ModelError

SAME_KEY = 1e-6  # smallest ÷ largest eigenvalue of KᵀC⁻¹K, below which two keys cannot be given two values
RIDGE = 0.01  # of the median of the diagonal: few texts leave directions in which nothing was seen


def second_moment(total: Tensor, count: int, ridge: float = RIDGE) -> Tensor:
    """C = Σ k kᵀ / n, made positive definite. total: float[width, width], Σ k kᵀ over `count` keys.

    Where there are fewer keys than the width, or hardly more, directions that no key had would cost nothing: each gets
    `ridge` of the median second moment of a coordinate. Keys of the first token of a text are much longer than all
    others, so a mean instead of the median would be theirs alone. Returns float64[width, width].
    """
    moment = total.double() / count
    own = moment.diagonal()
    scale = own[own > 0].median() if bool((own > 0).any()) else own.new_ones(())
    return moment + ridge * (1 + len(own) / count) * scale * torch.eye(len(own), dtype=moment.dtype)


def least_change(moment: Tensor, keys: Tensor, changes: Tensor, give: float = 0.0) -> tuple[Tensor, Tensor]:
    """(left float[out, edits], right float[edits, width]) of the change Δ = left · right for which Δ k = its change.

    moment: C, float64[width, width]. keys: K, float[edits, width]. changes: R, float[edits, out], v* − W k* of each.
    give: λ. 0: exactly so, Δ = R (KᵀC⁻¹K)⁻¹KᵀC⁻¹; for one edit Λ(C⁻¹k*)ᵀ with Λ = (v* − W k*) / ((C⁻¹k*)ᵀk*), Meng et
    al. 2022, eq. 2 (arXiv:2202.05262). Above 0: nearly so, Δ = R Kᵀ(λC + K Kᵀ)⁻¹, Meng et al. 2023, eq. 14
    (arXiv:2210.07229): λ·tr(ΔCΔᵀ) + ‖ΔK − R‖² is least. Both are R (λI + KᵀC⁻¹K)⁻¹KᵀC⁻¹.

    Raises ModelError where two edits have one key and `give` is 0.
    """
    keys, changes = keys.double(), changes.double()
    found = torch.cholesky_solve(keys.T, torch.linalg.cholesky(moment))  # C⁻¹K, [width, edits]
    inner = keys @ found
    if give == 0:
        _check_apart(inner)
    right = torch.linalg.solve(inner + give * torch.eye(len(keys), dtype=inner.dtype), found.T)
    return changes.T.float().contiguous(), right.float().contiguous()


def _check_apart(inner: Tensor) -> None:
    unit = inner.diagonal().rsqrt()
    values = torch.linalg.eigvalsh(unit[:, None] * inner * unit)
    if values[0] < SAME_KEY * values[-1]:
        raise ModelError(
            "Two of the edits are of one subject in the same words, so that one layer cannot tell them apart.",
            received=f"{len(inner)} edits",
            remedy="take form: several layers, or edit one of them alone",
        )
