"""Several adapters of one base as one: their weighted sum, TIES, or DARE.

A weighted sum of products is a product of the factors side by side, so `linear` is exact at the sum of the ranks, and
adapters may differ in rank and in the modules they change. TIES and DARE choose among single entries of what each
adapter adds to a weight, which no thin product keeps: their result is factored again, at the nearest product of the
rank asked for (Eckart and Young 1936), and what that loses is measured.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import pad

from limpide.adapt.factors import PREFIX, A, Adapter, B, Factors, inner, load_adapters
from limpide.adapt.imported import CONFIG, WEIGHTS
from limpide.adapt.merge_settings import MergeSettings
from limpide.core import digests, files
from limpide.core.errors import ModelError, UsageError
from limpide.core.progress import Progress

RECORD = "merge.json"
NOTHING = 1e-10  # of the squared norms of the adapters: less is rounding
HALF, LOW = 16, 0xFFFF  # bits of half a float32, and the largest number they hold


@dataclass(frozen=True)
class Merged:
    """folder: the new adapter. record: merge.json, how it was made and what the factoring lost."""

    folder: Path
    record: Mapping[str, Any]


def merge(folders: Sequence[Path], settings: MergeSettings, out: Path, progress: Progress) -> Merged:
    """Write the adapter that `folders` make together, in `peft`'s form, into `out`, with merge.json.

    Raises UsageError for one adapter alone or a wrong number of weights, ModelError for adapters of different bases.
    """
    if len(folders) < 2:
        raise UsageError("Merging takes two adapters or more.", received=len(folders))
    adapters = load_adapters(folders)
    check_same_base(adapters)
    shares = settings.shares(len(adapters))
    made, lost = combined(adapters, shares, settings, progress)
    parts = sum(inner(f, f) for one in adapters for f in one.factors.values())
    if sum(inner(one, one) for one in made.values()) <= NOTHING * parts:
        raise ModelError(
            "The merged adapter would change nothing.",
            received=f"weights {', '.join(f'{share:g}' for share in shares)}",
            remedy="choose other weights: these cancel, or are all zero",
        )
    record = {
        "method": settings.method,
        "adapters": [
            {"name": one.name, "weight": share, "rank": one.rank, "digest": digests.of_file(one.folder / WEIGHTS)}
            for one, share in zip(adapters, shares, strict=True)
        ],
        "base": adapters[0].config.get("base_model_name_or_path"),
        "rank": max(one.rank for one in made.values()),
        "modules": len(made),
        **({} if settings.method == "linear" else {"density": settings.density, "relative_error": lost}),
        **({"seed": settings.seed} if settings.method == "dare" else {}),
    }
    write_adapter(out, made, config_of(adapters, list(made)))
    files.write_json(out / RECORD, record)
    return Merged(out, record)


def check_same_base(adapters: Sequence[Adapter]) -> None:
    """Raise ModelError where two adapters name different bases, or change a weight of different shapes."""
    first = adapters[0]
    for other in adapters[1:]:
        if not first.base or first.base.casefold() != other.base.casefold():
            raise ModelError(
                "These adapters were trained on different bases; what one adds means nothing to the other's weights.",
                received=f"{first.name}: {first.base or 'no base named'}; {other.name}: {other.base or 'none named'}",
                expected="one base_model_name_or_path, up to the folder it is in",
                remedy="choose adapters of one base; where the name alone is wrong, correct it in adapter_config.json",
            )
        for module in first.factors.keys() & other.factors.keys():
            shapes = [(one.up.shape[0], one.down.shape[1]) for one in (first.factors[module], other.factors[module])]
            if shapes[0] != shapes[1]:
                raise ModelError(
                    f"Both adapters name one base, and yet '{module}' has another shape in each.",
                    received=f"{first.name}: {list(shapes[0])}; {other.name}: {list(shapes[1])}",
                    remedy="choose adapters of one base",
                )


# --------------------------------------------------------------------------------------------------------- the methods


def combined(
    adapters: Sequence[Adapter], shares: Sequence[float], settings: MergeSettings, progress: Progress
) -> tuple[dict[str, Factors], float]:
    """({module: factors of the merged adapter}, share of its norm that factoring lost; 0 for linear)."""
    modules = sorted({module for one in adapters for module in one.factors})
    if settings.method == "linear":
        return {module: beside(adapters, shares, module) for module in modules}, 0.0
    rank = settings.rank or sum(one.rank for one in adapters)
    delta = ties(adapters, shares, settings.density) if settings.method == "ties" else dare(adapters, shares, settings)
    made: dict[str, Factors] = {}
    lost = whole = 0.0
    with progress.task(f"{settings.method}, factored at rank {rank}", total=len(modules)) as task:
        for module in modules:
            wanted = delta(module)
            made[module], error = factored(wanted, rank)
            lost, whole = lost + error, whole + float(wanted.double().square().sum())
            task.advance()
    return made, (lost / whole) ** 0.5 if whole else 0.0


def beside(adapters: Sequence[Adapter], shares: Sequence[float], module: str) -> Factors:
    """Σ share · up · down, exactly: the factors side by side along the rank."""
    found = [(share, one.factors[module]) for one, share in zip(adapters, shares, strict=True) if module in one.factors]
    return Factors(torch.cat([share * f.up for share, f in found], 1), torch.cat([f.down for _, f in found], 0))


def ties(adapters: Sequence[Adapter], shares: Sequence[float], density: float) -> Callable[[str], Tensor]:
    """module → float32[out, in]. Trim, elect sign, merge what agrees with it.

    Of each adapter the `density` largest entries over all its modules are kept, the others are 0. An entry's sign is
    that of the weighted sum; the result is the mean of the kept entries of that sign, each times its weight.
    Source: Yadav et al. 2023, TIES-Merging, algorithm 1 (there all weights are 1).
    """
    least = [threshold(partial(_deltas, one), density) for one in adapters]

    def delta(module: str) -> Tensor:
        kept = []
        for one, share, smallest in zip(adapters, shares, least, strict=True):
            if module in one.factors:
                found = one.factors[module].delta
                kept.append(share * torch.where(found.abs() >= smallest, found, 0.0))
        stacked = torch.stack(kept)  # [adapters, out, in]
        agrees = (stacked.sign() == stacked.sum(0).sign()) & (stacked != 0)
        return torch.where(agrees, stacked, 0.0).sum(0) / agrees.sum(0).clamp(min=1)

    return delta


def _deltas(adapter: Adapter) -> Iterator[Tensor]:
    return (one.delta for one in adapter.factors.values())


def dare(adapters: Sequence[Adapter], shares: Sequence[float], settings: MergeSettings) -> Callable[[str], Tensor]:
    """module → float32[out, in]. Each entry is dropped with probability 1 − density and else divided by the density,
    so that its expectation stays; then the weighted sum. What is dropped follows from the seed, the adapter's place and
    the module's name alone. Source: Yu et al. 2024, Language Models are Super Mario, section 3.
    """

    def delta(module: str) -> Tensor:
        total: Tensor | None = None
        for place, (one, share) in enumerate(zip(adapters, shares, strict=True)):
            if module not in one.factors:
                continue
            found = one.factors[module].delta
            seed = int(digests.of_value([settings.seed, place, module])[:15], 16)
            kept = torch.rand(found.shape, generator=torch.Generator().manual_seed(seed)) < settings.density
            part = share / settings.density * torch.where(kept, found, 0.0)
            total = part if total is None else total + part
        assert total is not None
        return total

    return delta


def threshold(deltas: Callable[[], Iterator[Tensor]], density: float) -> float:
    """The magnitude of the k-th largest entry of all `deltas`, k = ⌈density · entries⌉, exactly.

    One delta is held at a time: magnitudes keep their order when their 32 bits are read as an integer, so a histogram
    of the upper halves finds the half that the number has, and one of the lower halves beside it the number itself.
    """
    upper = _counts(bits >> HALF for bits in _bits(deltas()))
    wanted = math.ceil(density * int(upper.sum()))
    high, above = _reach(upper, wanted)
    lower = _counts((bits & LOW)[(bits >> HALF) == high] for bits in _bits(deltas()))
    low, _ = _reach(lower, wanted - above)
    return float(torch.tensor([high << HALF | low]).to(torch.int32).view(torch.float32))


def _bits(deltas: Iterator[Tensor]) -> Iterator[Tensor]:
    return (delta.abs().flatten().view(torch.int32).to(torch.int64) for delta in deltas)


def _counts(halves: Iterator[Tensor]) -> Tensor:
    """How often each half occurs, long[65536]."""
    total = torch.zeros(LOW + 1, dtype=torch.int64)
    for one in halves:
        total += torch.bincount(one, minlength=LOW + 1)
    return total


def _reach(counts: Tensor, wanted: int) -> tuple[int, int]:
    """(the largest half such that it and those above it are `wanted` entries or more, entries above it)."""
    from_above = counts.flip(0).cumsum(0).flip(0)  # entries of this half or a larger one
    found = int((from_above >= wanted).nonzero()[-1])
    return found, int(from_above[found] - counts[found])


def factored(delta: Tensor, rank: int) -> tuple[Factors, float]:
    """(the nearest product of that rank, squared norm of what it lacks). delta: float32[out, in].

    The projection on the main directions of the smaller side, in float64. Source: Eckart and Young 1936.
    """
    exact = delta.double()
    tall = exact.shape[0] > exact.shape[1]
    gram = exact.T @ exact if tall else exact @ exact.T
    main = torch.linalg.eigh(gram).eigenvectors[:, -rank:]  # [smaller side, rank]
    up, down = (exact @ main, main.T) if tall else (main, main.T @ exact)
    made = Factors(up.float().contiguous(), down.float().contiguous())
    return made, float((exact - made.up.double() @ made.down.double()).square().sum())


# --------------------------------------------------------------------------------------------------------- the folder


def config_of(adapters: Sequence[Adapter], modules: Sequence[str]) -> dict[str, Any]:
    """The configuration of an adapter of these modules: that of one of the adapters where it changes all of them, which
    says it in short names and by layers; else with every module by its whole name."""
    whole = next((one for one in adapters if one.factors.keys() >= set(modules)), None)
    config = dict((whole or adapters[0]).config)
    if whole is None:
        config |= {"target_modules": list(modules), "layers_to_transform": None, "layers_pattern": None}
        config |= {"exclude_modules": None}
    return config


def write_adapter(folder: Path, factors: Mapping[str, Factors], config: Mapping[str, Any]) -> None:
    """Write a `peft` folder whose scale is 1. One rank for all modules, the others filled up with zeros: not every
    program that serves adapters reads a rank a module."""
    from safetensors.torch import save

    rank = max(one.rank for one in factors.values())
    tensors: dict[str, Tensor] = {}
    for module, one in factors.items():
        lacking = rank - one.rank
        tensors[f"{PREFIX}{module}{A}"] = pad(one.down, (0, 0, 0, lacking)).contiguous()
        tensors[f"{PREFIX}{module}{B}"] = pad(one.up, (0, lacking)).contiguous()
    plain = {"r": rank, "lora_alpha": rank, "use_rslora": False, "rank_pattern": {}, "alpha_pattern": {}}
    plain |= {"inference_mode": True, "init_lora_weights": True, "lora_dropout": 0.0}
    with files.clear_write_errors(folder):
        files.write_bytes(folder / WEIGHTS, save(tensors, metadata={"format": "pt"}))
        files.write_json(folder / CONFIG, {**config, **plain})
