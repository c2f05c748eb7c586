"""The least change of a weight, against its definitions computed directly."""

import pytest
import torch

from limpide.adapt.correct.rank_one import RIDGE, least_change, second_moment
from limpide.core.errors import ModelError

WIDTH, OUT, SEEN = 12, 7, 200


@pytest.fixture
def draws() -> torch.Generator:
    return torch.Generator().manual_seed(3)


def moment(draws: torch.Generator) -> torch.Tensor:
    keys = torch.randn(SEEN, WIDTH, generator=draws, dtype=torch.float64) @ torch.randn(
        WIDTH, WIDTH, generator=draws, dtype=torch.float64
    )
    return second_moment(keys.T @ keys, SEEN)


def test_one_edit_is_the_formula_of_rome(draws: torch.Generator) -> None:
    c, weight = moment(draws), torch.randn(OUT, WIDTH, generator=draws)
    key, value = torch.randn(WIDTH, generator=draws), torch.randn(OUT, generator=draws)
    left, right = least_change(c, key[None], (value - weight @ key)[None])
    u = torch.linalg.inv(c) @ key.double()
    direct = torch.outer(value.double() - weight.double() @ key.double(), u) / (u @ key.double())
    assert torch.allclose((left @ right).double(), direct, atol=1e-6)
    assert torch.allclose((weight + left @ right) @ key, value, atol=1e-5)
    assert torch.linalg.matrix_rank(left @ right) == 1


def test_keys_that_are_c_orthogonal_keep_their_values(draws: torch.Generator) -> None:
    c, key = moment(draws), torch.randn(WIDTH, generator=draws)
    left, right = least_change(c, key[None], torch.randn(1, OUT, generator=draws))
    u = torch.linalg.inv(c) @ key.double()
    others = torch.randn(40, WIDTH, generator=draws, dtype=torch.float64)
    others -= torch.outer(others @ u, u) / (u @ u)
    assert (left @ right @ others.float().T).abs().max() < 1e-5


def test_several_edits_are_all_met_and_cost_least(draws: torch.Generator) -> None:
    c = moment(draws)
    keys, changes = torch.randn(3, WIDTH, generator=draws), torch.randn(3, OUT, generator=draws)
    left, right = least_change(c, keys, changes)
    assert torch.allclose(left @ right @ keys.T, changes.T, atol=1e-4)

    def cost(change: torch.Tensor) -> float:
        return float(torch.trace(change.double() @ c @ change.double().T))

    best = cost(left @ right)
    basis = torch.linalg.svd(keys)[2][3:]  # directions that all keys are orthogonal to
    for _ in range(20):  # any other change that meets the edits costs more
        assert cost(left @ right + 0.1 * torch.randn(OUT, len(basis), generator=draws) @ basis) > best


def test_with_give_it_is_the_formula_of_memit(draws: torch.Generator) -> None:
    c = moment(draws)
    keys, changes = torch.randn(3, WIDTH, generator=draws), torch.randn(3, OUT, generator=draws)
    left, right = least_change(c, keys, changes, give=2.5)
    k, r = keys.double().T, changes.double().T
    assert torch.allclose((left @ right).double(), r @ k.T @ torch.linalg.inv(2.5 * c + k @ k.T), atol=1e-5)


def test_two_edits_of_one_key_are_refused_by_one_layer_and_averaged_by_several(draws: torch.Generator) -> None:
    c, key = moment(draws), torch.randn(WIDTH, generator=draws)
    twice, changes = torch.stack([key, key]), torch.randn(2, OUT, generator=draws)
    with pytest.raises(ModelError, match="several layers"):
        least_change(c, twice, changes)
    left, right = least_change(c, twice, changes, give=1e-6)
    assert torch.allclose(left @ right @ key, changes.mean(0), atol=1e-3)


def test_fewer_keys_than_the_width_still_have_an_inverse() -> None:
    keys = torch.eye(WIDTH, dtype=torch.float64)[:4]
    c = second_moment(keys.T @ keys, 4)
    lowest = torch.linalg.eigvalsh(c)[0]
    assert lowest == pytest.approx(RIDGE * (1 + WIDTH / 4) * 0.25)
