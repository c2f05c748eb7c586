"""Probes that tell a group from activations, linear and not, judged on sentences and persons that they never met.

Sources: Alain and Bengio 2017, 'Understanding intermediate layers using linear classifier probes' (arXiv:1610.01644);
Gonen and Goldberg 2019, 'Lipstick on a Pig' (arXiv:1903.03862), why a probe that is not linear; Cameron, Gelbach and
Miller 2011, 'Robust Inference with Multiway Clustering', JBES 29(2), the variance of items that share a template or a
pair of persons.
"""

import copy
import math
import random
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import stats
from torch import Tensor, nn

from limpide.data.templates import Part

FOLDS = 8  # of the pairs, at most: one judged, one to stop on, the others learnt from
RIDGES = (1.0, 0.1, 0.01, 0.001)  # times the sum of squared coefficients, beside the mean loss
HIDDEN = 64
STEPS, EVERY, PATIENCE = 300, 5, 20  # of the other probe; how often it is checked, and how many checks without gain
RATE, MOMENTUM, DECAY = 0.1, 0.9, 1e-2  # with Adam it remembers persons before it finds what they have in common
KINDS = ("linear", "nonlinear")

Bools = NDArray[np.bool_]
Floats = NDArray[np.float64]
Probe = Callable[[Tensor], Tensor]  # float[items, width] → logits float[items, groups]
Names = Sequence[object]


@dataclass(frozen=True)
class Item:
    """One text with the group of its person. person: the pair, or the pairs that share a person."""

    context: str
    outcome: str
    axis: str
    language: str
    group: str
    template: str
    part: Part
    person: str

    @property
    def label(self) -> tuple[str, str]:
        return self.axis, self.group


@dataclass(frozen=True, eq=False)
class Seen:
    """states: float[items, width]; groups: long[items]; weights: float[groups], so that each group counts alike."""

    states: Tensor
    groups: Tensor
    weights: Tensor

    def loss(self, network: Probe) -> Tensor:
        """Mean cross-entropy, in nats."""
        return nn.functional.cross_entropy(network(self.states), self.groups, self.weights)


def read_off(states: Tensor, items: Sequence[Item], seed: int) -> dict[str, Bools]:
    """{kind of probe: was the group of each item told by a probe that met neither its template nor its pair}.

    states: float[items, width]. Items to learn from are False.
    """
    told = {kind: np.zeros(len(items), dtype=np.bool_) for kind in KINDS}
    for axis in dict.fromkeys(item.axis for item in items):
        places = [place for place, item in enumerate(items) if item.axis == axis]
        own = [items[place] for place in places]
        folds = folds_of(own, seed)
        for fold in set(folds.values()):
            with torch.random.fork_rng(devices=[]), torch.enable_grad():
                torch.manual_seed(seed)
                for kind, hits in _fold(states[places], own, folds, fold).items():
                    told[kind][[places[k] for k in hits]] = True
    return told


def _fold(states: Tensor, items: Sequence[Item], folds: Mapping[str, int], fold: int) -> dict[str, list[int]]:
    """{kind: items whose group was told}, of those judged and those that probes stop on."""
    learn, check, judge = split(items, folds, fold)
    check = check or learn  # a person may stand in no template of that part
    names = {group: k for k, group in enumerate(dict.fromkeys(item.group for item in items))}
    groups = torch.tensor([names[item.group] for item in items])
    mean, scale = states[learn].mean(0), states[learn].std(0, correction=0)
    states = (states - mean) / torch.where(scale > 0, scale, 1.0)
    counts = torch.bincount(groups[learn], minlength=len(names)).clamp(min=1)
    weights = len(learn) / (len(names) * counts)
    seen, checked = (Seen(states[part], groups[part], weights) for part in (learn, check))
    asked = [*judge, *check]
    told = {}
    for kind, fit in zip(KINDS, (_linear, _nonlinear), strict=True):
        network = fit(seen, checked)
        with torch.no_grad():
            right = (network(states[asked]).argmax(1) == groups[asked]).tolist()
        told[kind] = [place for place, hit in zip(asked, right, strict=True) if hit]
    return told


def split(items: Sequence[Item], folds: Mapping[str, int], fold: int) -> tuple[list[int], list[int], list[int]]:
    """(items to learn from, to stop on, to judge on), of which no two share a template or a person.

    folds: {person: its fold}. Judged are those of this fold; the next fold is stopped on.
    """
    every = set(folds.values())
    following = (fold + 1) % len(every)
    wanted: tuple[tuple[Part, set[int]], ...] = (
        ("fit", every - {fold, following}),
        ("choose", {following}),
        ("judge", {fold}),
    )
    learn, check, judge = (
        [place for place, item in enumerate(items) if item.part == part and folds[item.person] in own]
        for part, own in wanted
    )
    return learn, check, judge


def folds_of(items: Sequence[Item], seed: int) -> dict[str, int]:
    """{person: fold}, each language's persons dealt out in turn."""
    language_of = {item.person: item.language for item in items}
    persons = sorted(language_of)
    random.Random(seed).shuffle(persons)
    persons.sort(key=lambda person: language_of[person])  # stable: shuffled inside a language
    return {person: number % min(FOLDS, len(persons)) for number, person in enumerate(persons)}


def _linear(seen: Seen, checked: Seen) -> Probe:
    """Logistic regression; the ridge is the one with the smallest loss on what is checked."""
    width, best, least = seen.states.shape[1], None, math.inf
    network = nn.Linear(width, len(seen.weights))
    nn.init.zeros_(network.weight)
    for ridge in RIDGES:  # the strongest first, each from where the last one ended
        optimiser = torch.optim.LBFGS(
            network.parameters(), max_iter=20, tolerance_grad=1e-4, line_search_fn="strong_wolfe"
        )

        def closure(ridge: float = ridge, optimiser: torch.optim.Optimizer = optimiser) -> float:
            optimiser.zero_grad()
            loss = seen.loss(network) + ridge * network.weight.square().sum()
            loss.backward()  # type: ignore[no-untyped-call]
            return float(loss.detach())

        optimiser.step(closure)  # type: ignore[no-untyped-call]
        with torch.no_grad():
            now = float(checked.loss(network))
        if best is None or now < least:
            best, least = copy.deepcopy(network), now
    assert best is not None
    return best


def _nonlinear(seen: Seen, checked: Seen) -> Probe:
    """One hidden layer of ReLU units, as it was when the loss on what is checked was smallest."""
    out = nn.Linear(HIDDEN, len(seen.weights))
    nn.init.zeros_(out.weight)  # so that it starts at chance
    nn.init.zeros_(out.bias)
    network = nn.Sequential(nn.Linear(seen.states.shape[1], HIDDEN), nn.ReLU(), out)
    optimiser = torch.optim.SGD(network.parameters(), lr=RATE, momentum=MOMENTUM, nesterov=True, weight_decay=DECAY)
    best, least, waited = copy.deepcopy(network), math.inf, 0
    for step in range(STEPS):
        if step % EVERY == 0:
            with torch.no_grad():
                now = float(checked.loss(network))
            waited = 0 if now < least else waited + 1
            if waited == PATIENCE:
                break
            if now < least:
                best, least = copy.deepcopy(network), now
        optimiser.zero_grad()
        seen.loss(network).backward()  # type: ignore[no-untyped-call]
        optimiser.step()
    return best


# -------------------------------------------------------------------------------------------------- how well they tell


def accuracy(hits: Bools, groups: Names, templates: Names, persons: Names) -> dict[str, Any]:
    """Balanced accuracy with Wilson's interval on the effective number of items.

    hits: bool[items]; the names: one an item. The variance counts what items of one template share and what those of
    one pair share (at least the larger of the two), with Student's t for the fewer of them; where nothing varies, they
    are what is counted.
    """
    sizes = Counter(groups)
    weights = np.array([1 / (len(sizes) * sizes[group]) for group in groups])
    recall = {g: float(np.mean([h for h, of in zip(hits, groups, strict=True) if of == g])) for g in sizes}
    value = float(np.mean(list(recall.values())))
    residuals = weights * (hits - np.array([recall[group] for group in groups]))
    by_template, by_person = _between(residuals, templates), _between(residuals, persons)
    both = by_template + by_person - _between(residuals, list(zip(templates, persons, strict=True)))
    variance = max(by_template, by_person, both)
    clusters = min(len(set(templates)), len(set(persons)))
    independent = min(len(hits), value * (1 - value) / variance) if variance > 0 else clusters
    z, t = stats.norm.ppf(0.975), stats.t.ppf(0.975, clusters - 1)
    low, high = _wilson(value, max(1.0, independent * float(z / t) ** 2), float(z))
    return {"value": value, "low": low, "high": high, "n": len(hits)}


def _between(residuals: Floats, names: Names) -> float:
    """Variance of the sum of residuals when items that share a name vary together."""
    numbers: dict[object, int] = {}
    totals = np.bincount([numbers.setdefault(name, len(numbers)) for name in names], residuals)
    return float(totals @ totals) * len(totals) / max(1, len(totals) - 1)


def _wilson(share: float, n: float, z: float) -> tuple[float, float]:
    centre = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(max(0.0, share * (1 - share)) / n + z * z / (4 * n * n))
    return max(0.0, centre - half), min(1.0, centre + half)
