"""Merged adapters: exact where they can be, the papers' definitions otherwise, refused where they make no sense."""

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from pydantic import ValidationError
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from limpide.adapt.factors import load_adapter
from limpide.adapt.imported import CONFIG, WEIGHTS
from limpide.adapt.merge import RECORD, dare, factored, merge, threshold, ties
from limpide.adapt.merge_settings import MergeSettings
from limpide.core import files
from limpide.core.errors import ModelError, UntrustedInput, UsageError
from limpide.core.progress import Quiet
from shared_adapters import deltas, logits, random_adapter

Folders = Callable[[str], Path]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, tiny_path: Folders) -> tuple[Path, Path, Path]:
    """(base, adapter of rank 4, rank-stabilised adapter of rank 2 that changes other modules too)."""
    root, base = tmp_path_factory.mktemp("adapters"), tiny_path("llama")
    first = random_adapter(base, root / "first", 1)
    return base, first, random_adapter(
        base, root / "second", 2, r=2, lora_alpha=3, use_rslora=True, target_modules=["q_proj", "up_proj", "down_proj"]
    )  # fmt: skip


def dense(settings: MergeSettings, first: Path, second: Path) -> dict[str, torch.Tensor]:
    """What TIES or DARE wants to add to each module, before it is factored."""
    adapters = [load_adapter(first), load_adapter(second)]
    shares = settings.shares(2)
    made = ties(adapters, shares, settings.density) if settings.method == "ties" else dare(adapters, shares, settings)
    return {module: made(module) for module in sorted({*adapters[0].factors, *adapters[1].factors})}


def test_linear_adds_what_peft_adds(made: tuple[Path, Path, Path], tmp_path: Path) -> None:
    base, first, second = made
    merged = merge([first, second], MergeSettings(weights=(0.7, -0.4)), tmp_path / "both", Quiet())
    alone = [deltas(base, first), deltas(base, second)]
    together = deltas(base, merged.folder)
    assert set(together) == set(alone[0]) | set(alone[1])
    for name, found in together.items():
        parts = [w * side[name] for w, side in zip((0.7, -0.4), alone, strict=True) if name in side]
        torch.testing.assert_close(found, sum(parts[1:], parts[0]), atol=2e-6, rtol=0)
    assert merged.record["rank"] == 6
    assert files.read_json(merged.folder / RECORD) == merged.record


def test_linear_gives_the_logits_of_the_sum(made: tuple[Path, Path, Path], tmp_path: Path) -> None:
    base, first, second = made
    folder = merge([first, second], MergeSettings(weights=(1.0, 1.0)), tmp_path / "both", Quiet()).folder
    network = AutoModelForCausalLM.from_pretrained(base)
    with torch.no_grad():
        for side in (first, second):
            for name, delta in deltas(base, side).items():
                network.get_parameter(name).add_(delta)
    loaded = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base), str(folder))
    torch.testing.assert_close(logits(loaded), logits(network), atol=1e-4, rtol=0)
    assert float((logits(network) - logits(AutoModelForCausalLM.from_pretrained(base))).abs().max()) > 0.1


def test_adapters_of_the_same_modules_keep_their_short_names(
    made: tuple[Path, Path, Path], tmp_path: Path, tiny_path: Folders
) -> None:
    other = random_adapter(tiny_path("llama"), tmp_path / "other", 5, layers_to_transform=[1])
    folder = merge([made[1], other], MergeSettings(), tmp_path / "both", Quiet()).folder
    config = files.read_json(folder / CONFIG)
    assert sorted(config["target_modules"]) == ["q_proj", "v_proj"]
    assert config["layers_to_transform"] is None
    assert (config["r"], config["lora_alpha"]) == (8, 8)


def test_patterns_of_rank_and_alpha_count(tmp_path: Path, tiny_path: Folders) -> None:
    base = tiny_path("llama")
    pattern = {"rank_pattern": {"v_proj": 2}, "alpha_pattern": {"layers.1.self_attn.v_proj": 5}}
    first = random_adapter(base, tmp_path / "first", 1, **pattern)
    second = random_adapter(base, tmp_path / "second", 2)
    together = deltas(base, merge([first, second], MergeSettings(weights=(1, 1)), tmp_path / "both", Quiet()).folder)
    a, b = deltas(base, first), deltas(base, second)
    for name in together:
        torch.testing.assert_close(together[name], a[name] + b[name], atol=2e-6, rtol=0)


def naive_ties(sides: list[dict[str, torch.Tensor]], weights: list[float], density: float) -> dict[str, torch.Tensor]:
    """Algorithm 1 of Yadav et al. 2023, entry by entry, on vectors of all modules together."""
    names = sorted({*sides[0], *sides[1]})
    shape = {name: next(side[name].shape for side in sides if name in side) for name in names}
    vectors = []
    for side, weight in zip(sides, weights, strict=True):
        own = torch.cat([side[name].flatten() for name in names if name in side])
        least = sorted(own.abs().tolist(), reverse=True)[math.ceil(density * len(own)) - 1]
        values = [
            weight * v if abs(v) >= least else 0.0
            for name in names
            for v in side.get(name, torch.zeros(shape[name])).flatten().tolist()
        ]
        vectors.append(values)
    result = []
    for entries in zip(*vectors, strict=True):
        sign = math.copysign(1, sum(entries)) if sum(entries) else 0
        agreeing = [v for v in entries if v * sign > 0]
        result.append(sum(agreeing) / len(agreeing) if agreeing else 0.0)
    parts = torch.tensor(result).split([shape[name].numel() for name in names])
    return {name: part.view(shape[name]) for name, part in zip(names, parts, strict=True)}


def test_ties_is_the_papers_algorithm(made: tuple[Path, Path, Path]) -> None:
    _, first, second = made
    sides = [{m: f.delta for m, f in load_adapter(folder).factors.items()} for folder in (first, second)]
    settings = MergeSettings(method="ties", density=0.3, weights=(1.0, 0.5))
    expected = naive_ties(sides, [1.0, 0.5], 0.3)
    found = dense(settings, first, second)
    assert set(found) == set(expected)
    for name, delta in found.items():
        torch.testing.assert_close(delta, expected[name], atol=1e-6, rtol=0)


def test_ties_of_one_entry_is_known_by_hand(tmp_path: Path, made: tuple[Path, Path, Path]) -> None:
    """Signs +, +, −: the two that agree are averaged, the third is left out; what disagrees evenly is 0."""
    folders = []
    for k, (large, small) in enumerate(((4.0, 0.5), (2.0, -3.0), (-1.0, 3.0))):
        folder = random_adapter(made[0], tmp_path / f"a{k}", k, r=1, lora_alpha=1, layers_to_transform=[0])
        tensors = {name: torch.zeros_like(t) for name, t in load_file(folder / WEIGHTS).items()}
        q = "base_model.model.model.layers.0.self_attn.q_proj.lora_"
        tensors[f"{q}A.weight"][0, :2] = torch.tensor([large, small])
        tensors[f"{q}B.weight"][0, 0] = 1.0
        save_file(tensors, folder / WEIGHTS)
        folders.append(load_adapter(folder))
    merged = ties(folders, (1.0, 1.0, 1.0), 1.0)("model.layers.0.self_attn.q_proj")
    assert merged[0, :2].tolist() == [3.0, (0.5 + 3.0) / 2]
    assert int((merged != 0).sum()) == 2


def test_dare_drops_its_share_rescales_and_follows_its_seed(made: tuple[Path, Path, Path]) -> None:
    _, first, _ = made
    adapter = load_adapter(first)
    settings = MergeSettings(method="dare", density=0.25, weights=(1.0,), seed=3)
    kept = rescaled = 0
    for module, one in adapter.factors.items():
        found = dare([adapter], (1.0,), settings)(module)
        assert torch.equal(found, dare([adapter], (1.0,), settings)(module))
        assert not torch.equal(found, dare([adapter], (1.0,), settings.model_copy(update={"seed": 4}))(module))
        torch.testing.assert_close(found[found != 0], (one.delta / 0.25)[found != 0])
        kept, rescaled = kept + int((found != 0).sum()), rescaled + found.numel()
    assert abs(kept / rescaled - 0.25) < 4 * math.sqrt(0.25 * 0.75 / rescaled)


def test_dare_keeps_the_expectation(made: tuple[Path, Path, Path]) -> None:
    adapter = load_adapter(made[1])
    module = next(iter(adapter.factors))
    total = torch.zeros_like(adapter.factors[module].delta)
    for seed in range(400):
        total += dare([adapter], (1.0,), MergeSettings(method="dare", density=0.5, seed=seed))(module) / 400
    error = (total - adapter.factors[module].delta).abs().max()
    assert float(error) < 5 * float(adapter.factors[module].delta.abs().max()) / math.sqrt(400)


@pytest.mark.parametrize("method", ["ties", "dare"])
def test_what_factoring_loses_is_measured(method: Any, made: tuple[Path, Path, Path], tmp_path: Path) -> None:
    base, first, second = made
    settings = MergeSettings(method=method, density=0.5, rank=3)
    merged = merge([first, second], settings, tmp_path / "both", Quiet())
    wanted = dense(settings, first, second)
    found = {name.removesuffix(".weight"): delta for name, delta in deltas(base, merged.folder).items()}
    lost = sum(float((found[name] - delta).square().sum()) for name, delta in wanted.items())
    whole = sum(float(delta.square().sum()) for delta in wanted.values())
    assert merged.record["relative_error"] == pytest.approx(math.sqrt(lost / whole), rel=1e-4)
    best = sum(float(torch.linalg.svdvals(delta.double())[3:].square().sum()) for delta in wanted.values())
    assert lost == pytest.approx(best, rel=1e-4)
    exact = merge([first, second], settings.model_copy(update={"rank": 48}), tmp_path / "exact", Quiet())
    assert exact.record["relative_error"] < 1e-6


def test_threshold_is_the_kth_largest() -> None:
    parts = [torch.randn(7, 9, generator=torch.Generator().manual_seed(k)) for k in range(3)]
    parts[1][:, 0] = 0.0
    ordered = torch.cat([part.abs().flatten() for part in parts]).sort(descending=True).values
    for density in (0.001, 0.2, 0.5, 0.999, 1.0):
        assert threshold(lambda: iter(parts), density) == float(ordered[math.ceil(density * len(ordered)) - 1])


def test_a_tall_matrix_is_factored_as_a_wide_one() -> None:
    delta = torch.randn(9, 5, generator=torch.Generator().manual_seed(0))
    for one in (delta, delta.T.contiguous()):
        made, lost = factored(one, 2)
        assert lost == pytest.approx(float(torch.linalg.svdvals(one.double())[2:].square().sum()), rel=1e-5)
        assert made.rank == 2


def test_same_bytes_twice(made: tuple[Path, Path, Path], tmp_path: Path) -> None:
    written = []
    for name in ("a", "b"):
        settings = MergeSettings(method="dare", density=0.5, rank=2)
        folder = merge([made[1], made[2]], settings, tmp_path / name, Quiet()).folder
        written.append({p.name: p.read_bytes() for p in folder.iterdir()})
    assert written[0] == written[1]


# --------------------------------------------------------------------------------------------------------- bad input


def edited(folder: Path, target: Path, **changes: Any) -> Path:
    target.mkdir()
    for path in folder.iterdir():
        (target / path.name).write_bytes(path.read_bytes())
    config = files.read_json(target / CONFIG) | changes
    (target / CONFIG).write_text(json.dumps(config))
    return target


@pytest.mark.parametrize(
    "changes",
    [
        {"use_dora": True},
        {"peft_type": "IA3"},
        {"init_lora_weights": "pissa_niter_4"},
        {"target_parameters": ["mlp.experts.down_proj"]},
    ],
)
def test_adapters_that_are_no_plain_product_are_refused(
    changes: dict[str, Any], made: tuple[Path, Path, Path], tmp_path: Path
) -> None:
    other = edited(made[1], tmp_path / "other", **changes)
    with pytest.raises(ModelError, match="not the product of its two factors") as error:
        merge([made[1], other], MergeSettings(), tmp_path / "both", Quiet())
    assert next(iter(changes)) in str(error.value)
    assert not (tmp_path / "both").exists()


@pytest.mark.parametrize(
    "changes",
    [
        {"lora_alpha": "many"},
        {"lora_alpha": None},
        {"alpha_pattern": [1]},
        {"alpha_pattern": {"(": 1}},
        {"lora_alpha": math.inf},
    ],
)
def test_a_scale_that_is_no_number_is_refused(
    changes: dict[str, Any], made: tuple[Path, Path, Path], tmp_path: Path
) -> None:
    other = edited(made[1], tmp_path / "other")
    config = json.loads((other / CONFIG).read_text()) | changes
    (other / CONFIG).write_text(json.dumps(config))
    with pytest.raises(ModelError, match="by how much"):
        load_adapter(other)


def test_different_bases_are_refused(made: tuple[Path, Path, Path], tmp_path: Path) -> None:
    other = edited(made[1], tmp_path / "other", base_model_name_or_path="owner/Another-Model")
    with pytest.raises(ModelError, match="trained on different bases") as error:
        merge([made[1], other], MergeSettings(), tmp_path / "both", Quiet())
    assert "Another-Model" in str(error.value)
    unnamed = [edited(made[1], tmp_path / name, base_model_name_or_path=None) for name in ("x", "y")]
    with pytest.raises(ModelError, match="trained on different bases"):
        merge(unnamed, MergeSettings(), tmp_path / "both", Quiet())


def test_same_name_and_other_shapes_are_refused(
    made: tuple[Path, Path, Path], tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    from tiny import tiny_folder

    wider = tiny_folder("llama", tmp_path_factory.mktemp("wide"), hidden_size=64)
    other = random_adapter(wider, tmp_path / "other")
    with pytest.raises(ModelError, match="another shape"):
        merge([made[1], other], MergeSettings(), tmp_path / "both", Quiet())


def test_pickled_weights_are_refused(made: tuple[Path, Path, Path], tmp_path: Path) -> None:
    other = edited(made[1], tmp_path / "other")
    (other / WEIGHTS).rename(other / "adapter_model.bin")
    with pytest.raises(UntrustedInput):
        merge([made[1], other], MergeSettings(), tmp_path / "both", Quiet())


def test_what_a_training_left_beside_stays_closed(made: tuple[Path, Path, Path], tmp_path: Path) -> None:
    other = edited(made[1], tmp_path / "other")
    (other / "training_args.bin").write_bytes(b"\x80\x04")
    assert load_adapter(other).rank == 4


def test_weights_that_are_not_numbers_are_refused(made: tuple[Path, Path, Path], tmp_path: Path) -> None:
    other = edited(made[1], tmp_path / "other")
    tensors = load_file(other / WEIGHTS)
    next(iter(tensors.values()))[0, 0] = math.nan
    save_file(tensors, other / WEIGHTS)
    with pytest.raises(ModelError, match="not a finite number"):
        merge([made[1], other], MergeSettings(), tmp_path / "both", Quiet())


def test_half_a_pair_and_other_tensors_are_refused(made: tuple[Path, Path, Path], tmp_path: Path) -> None:
    tensors = load_file(made[1] / WEIGHTS)
    half, more = edited(made[1], tmp_path / "half"), edited(made[1], tmp_path / "more")
    save_file(dict(list(tensors.items())[1:]), half / WEIGHTS)
    with pytest.raises(ModelError, match="a lora_A and a lora_B for each module"):
        load_adapter(half)
    save_file({**tensors, "base_model.model.lm_head.weight": torch.ones(2, 2)}, more / WEIGHTS)
    with pytest.raises(ModelError, match="more than low-rank factors"):
        load_adapter(more)


def test_weights_that_cancel_are_refused(made: tuple[Path, Path, Path], tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="would change nothing"):
        merge([made[1], made[2]], MergeSettings(weights=(0, 0)), tmp_path / "both", Quiet())
    with pytest.raises(ModelError, match="would change nothing"):
        merge([made[1], made[1]], MergeSettings(weights=(0.3, -0.3)), tmp_path / "both", Quiet())


def test_counts_that_do_not_match_are_refused(made: tuple[Path, Path, Path], tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="two adapters or more"):
        merge([made[1]], MergeSettings(), tmp_path / "both", Quiet())
    with pytest.raises(UsageError, match="one weight an adapter") as error:
        merge([made[1], made[2]], MergeSettings(weights=(1, 2, 3)), tmp_path / "both", Quiet())
    assert "--weights 1,1" in str(error.value)


def test_options_that_nothing_reads_are_refused() -> None:
    with pytest.raises(ValidationError, match="linear keeps every entry"):
        MergeSettings(rank=4)
