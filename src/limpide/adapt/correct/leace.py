"""LEACE: the smallest change of activations after which no linear predictor finds an attribute in them.

Source: Belrose et al. 2023, 'LEACE: Perfect linear concept erasure in closed form', arXiv:2306.03819:
r(x) = x − W⁺ P W (x − μ), with W = (Σ_XX^½)⁺ and P the orthogonal projection on the columns of W Σ_XZ.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

UNCORRELATED = 1e-9  # correlation with the attribute below which a direction is rounding, not signal


class Moments:
    """Means and covariances of activations x, float[n, width], and of an attribute z, float[n, k], batch by batch.

    In float64, and about the running mean, so that a large mean costs no digits. Memory is (width + k)², whatever n.
    """

    def __init__(self, width: int, k: int) -> None:
        self.width, self.n = width, 0
        self._rounding = 0.0  # relative, of the format in which activations came
        self._mean = torch.zeros(width + k, dtype=torch.float64)
        self._scatter = torch.zeros(width + k, width + k, dtype=torch.float64)

    def add(self, x: Tensor, z: Tensor) -> None:
        if not len(x):
            return
        self._rounding = max(self._rounding, torch.finfo(x.dtype).eps)
        both = torch.cat([x.double(), z.double()], 1)
        mean = both.mean(0)
        centred, moved = both - mean, mean - self._mean
        total = self.n + len(both)
        self._scatter += centred.T @ centred + torch.outer(moved, moved) * (self.n * len(both) / total)
        self._mean += moved * (len(both) / total)
        self.n = total

    @property
    def mean(self) -> Tensor:
        """Of the activations, float64[width]."""
        return self._mean[: self.width]

    @property
    def xx(self) -> Tensor:
        """Σ_XX, float64[width, width]."""
        return self._covariance[: self.width, : self.width]

    @property
    def xz(self) -> Tensor:
        """Σ_XZ, float64[width, k]."""
        return self._covariance[: self.width, self.width :]

    @property
    def zz(self) -> Tensor:
        """Σ_ZZ, float64[k, k]."""
        return self._covariance[self.width :, self.width :]

    @property
    def floor(self) -> float:
        """Variance that rounding alone can give a direction: activations are sums of some `width` rounded products."""
        return self.width * self._rounding**2 * float((self.xx.diagonal() + self.mean.square()).max())

    @property
    def _covariance(self) -> Tensor:
        return self._scatter / max(1, self.n)


@dataclass(frozen=True, eq=False)
class Eraser:
    """r(x) = x − left · (right · (x − mean)), all float64. left: [width, rank]; right: [rank, width]; mean: [width].

    right · left is the identity: an oblique projection, so that a second use changes nothing. rank: at most k, and 0
    where nothing is to be erased.
    """

    left: Tensor
    right: Tensor
    mean: Tensor

    def __call__(self, x: Tensor) -> Tensor:
        """x: float[…, width]. Returns float64[…, width]."""
        return x.double() - (x.double() - self.mean) @ self.right.T @ self.left.T


def fit(x: Tensor, z: Tensor, shrinkage: float = 0.0) -> Eraser:
    """The eraser of the attribute z, float[n, k], in the activations x, float[n, width]."""
    moments = Moments(x.shape[1], z.shape[1])
    moments.add(x, z)
    return eraser(moments, shrinkage)


def eraser(moments: Moments, shrinkage: float = 0.0) -> Eraser:
    """On the activations that the moments are of, r(x) is uncorrelated with z, so that the best linear predictor of z
    from it is constant; and of all affine maps of which this is true, r changes x least, in the mean square and in
    every inner product. It says nothing of predictors that are not linear, nor of other activations.

    shrinkage: share λ by which Σ_XX is drawn to the mean of its variances, (1 − λ) Σ + λ tr(Σ)/width · I. The
    attribute is erased all the same; the change is then not the least on these activations, but where they are few
    against their width it is less on others.
    """
    widen, whiten = _roots(_drawn(moments.xx, shrinkage), moments.floor)
    directions, strength, _ = torch.linalg.svd(whiten @ moments.xz, full_matrices=False)
    spread = float(moments.zz.diagonal().max().sqrt())
    basis = directions[:, strength > UNCORRELATED * spread]  # of the columns of W Σ_XZ
    return Eraser(widen @ basis, basis.T @ whiten, moments.mean.clone())


def told(moments: Moments) -> float:
    """Share of the variance of z that the best linear predictor explains from x, from 0 to 1; where n is not far above
    width it is high whatever x holds."""
    _, whiten = _roots(moments.xx, moments.floor)
    total = float(moments.zz.diagonal().sum())
    return min(1.0, float((whiten @ moments.xz).square().sum()) / total) if total else 0.0


def _drawn(covariance: Tensor, shrinkage: float) -> Tensor:
    if not shrinkage:
        return covariance
    level = covariance.diagonal().mean()
    return (1 - shrinkage) * covariance + shrinkage * level * torch.eye(len(covariance), dtype=covariance.dtype)


def _roots(covariance: Tensor, floor: float) -> tuple[Tensor, Tensor]:
    """(Σ^½ on the space that Σ spans, its pseudo-inverse W), float64[width, width].

    Variances that rounding makes, of the activations or of these sums, count as none: with fewer activations than
    width most are.
    """
    values, vectors = torch.linalg.eigh(covariance)
    kept = values > max(floor, float(values[-1]) * len(values) * torch.finfo(values.dtype).eps)
    values, vectors = values[kept].sqrt(), vectors[:, kept]
    return (vectors * values) @ vectors.T, (vectors / values) @ vectors.T
