"""What a change is called, better or worse, and the sentence that says it with its numbers."""

from typing import Literal

from limpide.audit.items import Spec
from limpide.core.measure import Better, Change

Verdict = Literal["better", "worse", "no detectable change", "insufficient evidence"]


def verdict_of(better: Better, difference: float, significant: bool) -> Verdict:
    """difference: after − before, of absolute values for 'nearer zero'."""
    if not significant or difference == 0 or better == "neither":
        return "no detectable change"
    return "better" if (difference > 0) == (better == "higher") else "worse"


def insufficient(spec: Spec, group: dict[str, str], n: int, why: str) -> Change:
    """No verdict on `n` items, and why."""
    change = Change(
        name=spec.name,
        group=group,
        unit=spec.unit,
        better=spec.better,
        before=None,
        after=None,
        difference=None,
        low=None,
        high=None,
        n=n,
        test="none",
        p_value=None,
        smallest_detectable=None,
        verdict="insufficient evidence",
        sentence="",
    )
    return change.model_copy(update={"sentence": f"{change.label}: insufficient evidence, {why}."})


def finished(change: Change) -> Change:
    """The same change with its sentence."""
    return change.model_copy(update={"sentence": sentence_of(change)})


def sentence_of(change: Change) -> str:
    """The change in one English sentence, with its numbers."""
    if change.difference is None or change.before is None or change.after is None:
        return f"{change.label}: insufficient evidence, {change.n} items."
    assert change.low is not None
    assert change.high is not None
    is_share = change.unit == "share"
    scale, unit, step = (100.0, "%", " points") if is_share else (1.0, f" {change.unit}", f" {change.unit}")
    moved = [number(scale * x, signed=True) for x in (change.difference, change.low, change.high)]
    p = "" if change.p_value is None else ", p < 0.001" if change.p_value < 0.001 else f", p = {change.p_value:.3f}"
    distance = "distance from zero " if change.better == "nearer zero" else ""
    before, after = (f"{number(scale * value)}{unit}" for value in (change.before, change.after))
    sentence = (
        f"{change.label}: {change.verdict}, {before} → {after}, {distance}"
        f"{moved[0]}{step} ({change.level:.0%} interval {moved[1]} to {moved[2]}; {change.test}{p}; "
        f"{change.n} items)."
    )
    if change.verdict == "no detectable change" and change.smallest_detectable is not None:
        least = number(scale * change.smallest_detectable)
        sentence += f" These items find a difference of {least}{step} 8 times in 10."
    return sentence


def number(value: float, *, signed: bool = False) -> str:
    """Three significant digits, a true minus sign, and + where `signed`."""
    rounded = float(f"{value:.3g}") + 0.0
    text = f"{abs(rounded):.3g}" if abs(rounded) < 1000 else f"{abs(rounded):,.0f}"
    sign = "−" if rounded < 0 else "+" if signed and rounded > 0 else ""
    return f"{sign}{text}"
