"""Comparison of adapters: every number against its definition on whole matrices, and against planted answers."""

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from limpide.adapt.differences import compare, difference, effective_rank, overlap, thin_svd
from limpide.adapt.factors import Adapter, Factors, inner, load_adapter
from limpide.core.errors import ModelError
from shared_adapters import random_adapter

MODULE = "model.layers.1.mlp.up_proj"


def some(seed: int, rank: int = 3, out: int = 12, size: int = 9) -> Factors:
    random = torch.Generator().manual_seed(seed)
    return Factors(torch.randn(out, rank, generator=random), torch.randn(rank, size, generator=random))


def test_every_number_is_its_definition() -> None:
    first, second = some(0), some(1, rank=2)
    found = difference(MODULE, first, second)
    a, b = first.delta.double(), second.delta.double()
    assert found.first
    assert found.second
    assert found.first.norm == pytest.approx(float(a.norm()), rel=1e-6)
    assert found.cosine == pytest.approx(float((a * b).sum() / a.norm() / b.norm()), abs=1e-6)
    (left_a, values, right_a), (left_b, _, right_b) = torch.linalg.svd(a), torch.linalg.svd(b)
    shares = values[:3] / values[:3].sum()
    assert found.first.effective_rank == pytest.approx(math.exp(-float((shares * shares.log()).sum())), rel=1e-6)
    assert found.directions == 2
    read = float((right_a[:2] @ right_b[:2].T).square().sum() / 2)
    written = float((left_a[:, :2].T @ left_b[:, :2]).square().sum() / 2)
    assert found.read == pytest.approx(read, abs=1e-6)
    assert found.written == pytest.approx(written, abs=1e-6)
    assert (found.by_chance_read, found.by_chance_written) == (2 / 9, 2 / 12)
    assert (found.layer, found.kind) == (1, "up_proj")


def test_an_adapter_is_like_itself_and_opposite_to_its_negative() -> None:
    one = some(0)
    same, opposite = difference(MODULE, one, one), difference(MODULE, one, replace(one, up=-2 * one.up))
    assert same.cosine == pytest.approx(1)
    assert opposite.cosine == pytest.approx(-1)
    for found in (same, opposite):  # a space and its mirror image are one space
        assert found.read == pytest.approx(1)
        assert found.written == pytest.approx(1)


def test_orthogonal_spaces_do_not_overlap() -> None:
    eye = torch.eye(6)
    found = difference(MODULE, Factors(eye[:, :2], eye[:2]), Factors(eye[:, 2:4], eye[2:4]))
    assert (found.cosine, found.read, found.written) == (0, 0, 0)
    half = difference(MODULE, Factors(eye[:, :2], eye[:2]), Factors(eye[:, 1:3], eye[3:5]))
    assert half.written == pytest.approx(0.5)
    assert half.read == 0


def test_chance_is_what_random_directions_give() -> None:
    random = torch.Generator().manual_seed(0)
    found = []
    for _ in range(300):
        a, b = (torch.linalg.qr(torch.randn(20, 4, generator=random)).Q for _ in range(2))
        found.append(overlap(a, b))
    assert sum(found) / 300 == pytest.approx(4 / 20, abs=0.015)


def test_effective_rank_ends() -> None:
    assert effective_rank(torch.tensor([2.0, 2.0, 2.0])) == pytest.approx(3)
    assert effective_rank(torch.tensor([5.0, 0.0])) == pytest.approx(1)
    assert effective_rank(torch.zeros(3)) == 0


def test_thin_svd_gives_the_product_back() -> None:
    for one in (some(0), some(1, rank=11, out=4), some(2, rank=1)):
        left, values, right = thin_svd(one)
        torch.testing.assert_close((left * values) @ right.T, one.delta.double(), atol=1e-5, rtol=0)


def test_inner_is_the_product_of_both_vectors() -> None:
    one, other = some(0), some(1)
    assert inner(one, other) == pytest.approx(float((one.delta.double() * other.delta.double()).sum()), rel=1e-5)


def test_an_adapter_that_does_nothing_somewhere_has_no_angle_there() -> None:
    found = difference(MODULE, some(0), replace(some(1), up=torch.zeros(12, 3)))
    assert found.cosine is None
    assert found.read is None
    assert found.second
    assert (found.second.norm, found.second.effective_rank) == (0, 0)


def test_whole_folders_are_compared(tmp_path: Path, tiny_path: Callable[[str], Path]) -> None:
    base = tiny_path("llama")
    first = random_adapter(base, tmp_path / "first", 1)
    second = random_adapter(base, tmp_path / "second", 2, target_modules=["q_proj", "down_proj"])
    record = compare(first, second)
    assert [(m["layer"], m["kind"]) for m in record["modules"] if m["cosine"] is not None] == [
        (0, "q_proj"),
        (1, "q_proj"),
    ]
    assert {m["kind"] for m in record["modules"] if m["second"] is None} == {"v_proj"}
    assert {m["kind"] for m in record["modules"]} == {"q_proj", "v_proj", "down_proj"}
    sides = [load_adapter(folder) for folder in (first, second)]
    flat = [torch.cat([_delta(side, m).flatten() for m in _modules(sides)]) for side in sides]
    assert record["whole"]["norms"] == pytest.approx([float(v.norm()) for v in flat], rel=1e-5)
    cosine = float(torch.nn.functional.cosine_similarity(*flat, dim=0))
    assert record["whole"]["cosine"] == pytest.approx(cosine, abs=1e-5)


def _modules(sides: list[Adapter]) -> list[str]:
    return sorted({m for side in sides for m in side.factors})


def _delta(side: Adapter, module: str) -> torch.Tensor:
    if module in side.factors:
        return side.factors[module].delta.double()
    return torch.zeros((32, 48) if "down" in module else (16, 32) if "v_proj" in module else (32, 32)).double()


def test_layer_ten_comes_after_layer_two(tmp_path: Path, tiny_path: Callable[[str], Path]) -> None:
    from tiny import tiny_folder

    base = tiny_folder("llama", tmp_path, num_hidden_layers=11)
    first, second = (random_adapter(base, tmp_path / f"a{k}", k, target_modules=["q_proj"]) for k in range(2))
    assert [m["layer"] for m in compare(first, second)["modules"]] == list(range(11))


def test_nothing_in_common_is_refused(tmp_path: Path, tiny_path: Callable[[str], Path]) -> None:
    base = tiny_path("llama")
    first = random_adapter(base, tmp_path / "first", target_modules=["q_proj"])
    second = random_adapter(base, tmp_path / "second", target_modules=["up_proj"])
    with pytest.raises(ModelError, match="no module in common") as error:
        compare(first, second)
    assert "first changes q_proj; second changes up_proj" in str(error.value)
