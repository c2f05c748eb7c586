import numpy as np
import pytest
import torch
from scipy.linalg import sqrtm

from limpide.adapt.correct.leace import Eraser, Moments, eraser, fit, told

N, WIDTH = 400, 12


def activations(n: int = N, width: int = WIDTH, k: int = 2, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Correlated activations with a mean, that hold k attributes, and a part of each that no predictor sees."""
    rng = torch.Generator().manual_seed(seed)
    z = torch.randint(0, 2, (n, k), generator=rng).double() - 0.5
    mixing = torch.randn(width, width, generator=rng, dtype=torch.float64)
    noise = torch.randn(n, width, generator=rng, dtype=torch.float64) @ mixing
    return noise + z @ torch.randn(k, width, generator=rng, dtype=torch.float64) * 2 + 3, z


def moments_of(x: torch.Tensor, z: torch.Tensor) -> Moments:
    moments = Moments(x.shape[1], z.shape[1])
    moments.add(x, z)
    return moments


def cross_covariance(x: torch.Tensor, z: torch.Tensor) -> float:
    """Largest absolute entry, as a correlation."""
    spread = x.std(0)[:, None] * z.std(0)
    return float((((x - x.mean(0)).T @ (z - z.mean(0)) / len(x)) / spread.clamp_min(1e-9)).abs().max())


def predicted(x: torch.Tensor, z: torch.Tensor) -> torch.Tensor:
    """By least squares, solved directly: float[n, k]."""
    with_one = torch.cat([x, torch.ones(len(x), 1, dtype=x.dtype)], 1).numpy()
    return torch.from_numpy(with_one @ np.linalg.lstsq(with_one, z.numpy(), rcond=1e-10)[0])


def test_equals_the_paper_s_formula_computed_directly() -> None:
    x, z = activations()
    mean, centred = x.mean(0).numpy(), (x - x.mean(0)).numpy()
    whiten = np.linalg.pinv(np.real(sqrtm(centred.T @ centred / N)))
    seen = whiten @ (centred.T @ (z - z.mean(0)).numpy() / N)
    onto = seen @ np.linalg.pinv(seen)
    wanted = x.numpy() - (x.numpy() - mean) @ (np.linalg.pinv(whiten) @ onto @ whiten).T
    assert np.allclose(fit(x, z)(x).numpy(), wanted, atol=1e-9)


@pytest.mark.parametrize("n", [N, 8], ids=["many", "fewer than the width"])
@pytest.mark.parametrize("shrinkage", [0.0, 0.2])
def test_no_linear_predictor_finds_the_attribute(n: int, shrinkage: float) -> None:
    x, z = activations(n)
    assert cross_covariance(x, z) > 0.3
    erased = fit(x, z, shrinkage)(x)
    assert torch.isfinite(erased).all()
    assert cross_covariance(erased, z) < 1e-9
    assert torch.allclose(predicted(erased, z), z.mean(0).expand_as(z), atol=1e-7)
    assert not torch.allclose(predicted(x, z), z.mean(0).expand_as(z), atol=0.1)


def test_a_second_use_changes_nothing_and_the_mean_stays() -> None:
    x, z = activations()
    erase = fit(x, z)
    assert torch.allclose(erase(erase(x)), erase(x), atol=1e-10)
    assert torch.allclose(erase(x).mean(0), x.mean(0), atol=1e-10)
    assert torch.allclose(erase.right @ erase.left, torch.eye(2, dtype=torch.float64), atol=1e-10)


@pytest.mark.parametrize("seed", range(5))
def test_no_other_map_that_erases_changes_less(seed: int) -> None:
    """In the plain inner product and in a random one."""
    x, z = activations(seed=seed)
    moments, erase = moments_of(x, z), fit(x, z)
    rng = torch.Generator().manual_seed(seed)
    root = torch.randn(WIDTH, WIDTH, generator=rng, dtype=torch.float64)
    kept = torch.linalg.pinv(moments.xz) @ torch.eye(WIDTH, dtype=torch.float64)  # [k, width]
    beside = torch.eye(WIDTH, dtype=torch.float64) - moments.xz @ kept  # 0 on the columns of Σ_XZ
    own = erase.left @ erase.right
    for size in (0.01, 0.1, 1.0):
        other = own + size * torch.randn(WIDTH, WIDTH, generator=rng, dtype=torch.float64) @ beside
        change, least = (x - moments.mean) @ other.T, (x - moments.mean) @ own.T
        assert cross_covariance(x - change, z) < 1e-9, "it erases too"
        for inner in (torch.eye(WIDTH, dtype=torch.float64), root @ root.T):
            assert ((change @ inner) * change).sum() > ((least @ inner) * least).sum()


def test_batches_give_what_all_give_at_once_whatever_the_mean() -> None:
    x, z = activations()
    x = x + 1e5
    moments = Moments(WIDTH, 2)
    for first in range(0, N, 37):
        moments.add(x[first : first + 37], z[first : first + 37])
    moments.add(x[:0], z[:0])
    both = torch.cat([x, z], 1)
    wanted = torch.cov(both.T, correction=0)
    assert moments.n == N
    assert torch.allclose(moments.xx, wanted[:WIDTH, :WIDTH], atol=1e-8)
    assert torch.allclose(moments.xz, wanted[:WIDTH, WIDTH:], atol=1e-8)
    assert torch.allclose(moments.zz, wanted[WIDTH:, WIDTH:], atol=1e-8)
    assert torch.allclose(moments.mean, x.mean(0))
    assert torch.allclose(eraser(moments)(x), fit(x, z)(x), atol=1e-7)


def test_shrinkage_erases_and_changes_other_activations_less_where_there_are_few() -> None:
    x, z = activations(2 * WIDTH, seed=3)
    others, _ = activations(2000, seed=3)
    sizes = [float((fit(x, z, share)(others) - others).square().sum()) for share in (0.0, 0.3)]
    assert sizes[1] < sizes[0]


@pytest.mark.parametrize("constant", ["attribute", "activations"])
def test_where_nothing_is_told_nothing_changes(constant: str) -> None:
    x, z = activations()
    x, z = (x, torch.full_like(z, 0.1)) if constant == "attribute" else (torch.full_like(x, 0.1), z)
    erase = fit(x, z)
    assert erase.left.shape == (WIDTH, 0)
    assert torch.equal(erase(x), x)


def test_columns_that_say_the_same_cost_one_direction() -> None:
    x, z = activations(k=1)
    erase = fit(x, torch.cat([z, -2 * z], 1))
    assert isinstance(erase, Eraser)
    assert erase.left.shape == (WIDTH, 1)
    assert torch.allclose(erase(x), fit(x, z)(x), atol=1e-9)


def test_what_is_told_is_the_share_that_least_squares_explains() -> None:
    x, z = activations()
    left_over = (z - predicted(x, z)).square().sum() / (z - z.mean(0)).square().sum()
    assert told(moments_of(x, z)) == pytest.approx(1 - float(left_over), abs=1e-9)
    assert told(moments_of(fit(x, z)(x), z)) < 1e-12
    assert told(moments_of(x, torch.ones_like(z))) == 0
