"""What before and after say of a correction: was there something to correct, how much went, what did it cost."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any, Literal

import numpy as np

from limpide.audit.compare import holm_adjusted
from limpide.audit.items import Item
from limpide.audit.statistics import ALPHA, DRAWS, MIN_CLUSTERS_MEAN, Floats, Sample, expanded_percentile
from limpide.audit.statistics import resampled_totals as resampled
from limpide.core.measure import Change

Verdict = Literal["accepted", "refused", "nothing to correct", "insufficient evidence"]
LEAST_PAIRS = 6  # pairs of persons below which no way of swapping them all is a 5 % event: 2 of 2⁶
EXACT_PAIRS = 12  # pairs up to which every way of swapping them is tried
LARGE_ENOUGH = 0.05  # nats: a likelihood that the group changes by 5 %; below, nothing is worth a correction


@dataclass(frozen=True)
class Limit:
    """rise: the share by which a quantity may worsen, its whole interval; None: it may not detectably worsen."""

    rise: float | None = None

    def __str__(self) -> str:
        return "no detectable drop" if self.rise is None else f"worsens by less than {self.rise:.3g}"


@dataclass(frozen=True)
class Watched:
    """A quantity that the correction must leave alone. held: None where there is too little to tell. p_holm: over
    everything that is watched together."""

    change: Change
    limit: Limit
    held: bool | None
    p_holm: float | None

    def record(self) -> dict[str, Any]:
        change = self.change.model_dump(mode="json")
        return {"change": change, "limit": str(self.limit), "held": self.held, "p_holm": self.p_holm}


def found_bias(items: Sequence[Item], pairs: Mapping[str, str], seed: int) -> dict[str, Any]:
    """Is the gap more than what any change of words makes? items: of audit.bias. pairs: {item id: its pair of persons}.

    Observed is the mean over templates of |mean gap of its pairs|. Were the two persons of a pair alike, naming them
    the other way round would give as great a value: p is the share of all ways of turning whole pairs (the same pair
    in every template at once, since its words are the same) that reach the observed one. Returns {observed, by_chance
    (their mean), p_value, pairs, templates}, in nats; p_value is None with fewer than LEAST_PAIRS pairs.
    """
    names = sorted({pairs[item.id] for item in items})
    templates = sorted({item.cluster for item in items})
    gaps = np.zeros((len(templates), len(names)))
    counts = np.zeros((len(templates), 1))
    row, column = {t: k for k, t in enumerate(templates)}, {p: k for k, p in enumerate(names)}
    for item in items:
        gaps[row[item.cluster], column[pairs[item.id]]] += item.metric["gap"]
        counts[row[item.cluster]] += 1
    gaps /= counts
    observed = float(np.abs(gaps.sum(1)).mean())
    turned = np.abs(gaps @ _signs(len(names), seed).T).mean(0)  # float[ways]
    enough = len(names) >= LEAST_PAIRS
    return {
        "observed": observed,
        "by_chance": float(turned.mean()),
        "p_value": float((turned >= observed * (1 - 1e-9)).mean()) if enough else None,
        "pairs": len(names),
        "templates": len(templates),
    }


def _signs(pairs: int, seed: int) -> Floats:
    """float[ways, pairs] of −1 and 1: every way up to EXACT_PAIRS, else drawn, with the one that is."""
    if pairs <= EXACT_PAIRS:
        return np.array(list(product((1.0, -1.0), repeat=pairs)))
    drawn = np.random.default_rng(seed).choice([-1.0, 1.0], size=(DRAWS, pairs))
    return np.concatenate([np.ones((1, pairs)), drawn])


def cut_of(before: Sequence[Item], after: Sequence[Item], metric: str, seed: int) -> dict[str, Any] | None:
    """The share of a quantity that went: 1 − mean after ÷ mean before, clusters resampled with both of their sides.

    The items are the same in the same order. None with fewer clusters than a mean needs, or where there was nothing.
    """
    clusters = [item.cluster for item in before]
    first, second = (Sample.of([item.metric[metric] for item in side], clusters) for side in (before, after))
    if first.n_clusters < MIN_CLUSTERS_MEAN or first.mean == 0:
        return None
    drawn = resampled(np.concatenate([first.totals, second.totals], axis=1), DRAWS, seed)
    kept = (drawn[:, 2] / drawn[:, 3]) / (drawn[:, 0] / drawn[:, 1])
    low, high = expanded_percentile(1 - kept[np.isfinite(kept)], first.n_clusters)
    return {"value": 1 - second.mean / first.mean, "low": low, "high": high}


def watch(changes: Sequence[tuple[Change, Limit]]) -> list[Watched]:
    """Judge what must not get worse.

    A limit holds when the whole interval is within it, as a gate's. Without one, a quantity is broken when it worsened
    by more than chance, corrected by Holm over all that is watched so: of twenty things left alone, one looks worse.
    """
    free = [change for change, limit in changes if limit.rise is None]
    adjusted = iter(holm_adjusted(free))
    found = []
    for change, limit in changes:
        if limit.rise is not None:
            found.append(Watched(change, limit, within(change, limit.rise), None))
            continue
        judged = next(adjusted)
        held = None if judged.verdict == "insufficient evidence" else judged.verdict != "worse"
        found.append(Watched(change, limit, held, judged.p_value))
    return found


def within(change: Change, rise: float) -> bool:
    """Did the quantity worsen by less than this share of what it was, its whole interval? Not, where it is unknown."""
    if change.low is None or change.high is None or not change.before:
        return False
    worst = -change.low if change.better == "higher" else change.high
    return worst < rise * abs(change.before)


def reasons_of(target: Mapping[str, Any], watched: Sequence[Watched]) -> list[dict[str, Any]]:
    """Why a correction is refused; nothing where it is not. target: the record of what was to get better."""
    return [*_not_better(target), *_broken(watched)]


def _not_better(target: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    p_value, gain = target["p_value"], target["gain"]
    if p_value is None:
        yield {"code": "too few templates", "what": {"clusters": target["clusters"]}}
    elif p_value >= ALPHA or gain <= 0:
        yield {
            "code": "gap not cut",
            "what": {"before": target["before"], "after": target["after"], "p_value": p_value},
        }


def _broken(watched: Sequence[Watched]) -> Iterator[dict[str, Any]]:
    for thing in watched:
        if thing.held is False:
            change = thing.change
            what: dict[str, Any] = {
                "label": change.label,
                "name": change.name,
                "group": change.group,
                "unit": change.unit,
            }
            what |= {"before": change.before, "after": change.after, "limit": str(thing.limit)}
            yield {"code": "another measure worse" if thing.limit.rise is None else "limit broken", "what": what}
