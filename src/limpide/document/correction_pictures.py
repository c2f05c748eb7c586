"""Geometry of the pictures of a correction: before and after by group, trials, probes. Positions as in pictures.py."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from limpide.core.measure import Change, Measure
from limpide.document.correction import PROBES, measure_name
from limpide.document.curves import axis
from limpide.document.drawings import Picture
from limpide.document.findings import where
from limpide.document.language import Language
from limpide.document.pictures import Gaps, Tick, rows_from_zero
from limpide.document.plots import Dot, Plot, Series

Trials = Sequence[Mapping[str, Any]]
Ends = tuple[float | None, float | None]
ROWS = 14  # groups of a picture: more are in the table
MOST = 0.5  # of perplexity added: trials beyond it are in the table alone, or they would hide the others
LEAST = 1e-3  # of the gap's axis
RADIUS = 5.0
INSIDE = 94.0  # percent of a plot that its points may take across, so that the numbers beside them are whole


def moved(changes: Sequence[Change], names: tuple[str, str], spoken: Language) -> Picture | None:
    """A row a group, hollow before and filled after, with the interval of the change laid from the value before.

    None where there is nothing, units differ, or a value is below zero.
    """
    everything = spoken.say("correction.groups.all")
    found = [(where(c.group, spoken) or everything, _ends(c.before, c.after, c.unit, (c.low, c.high))) for c in changes]
    rows = [(label, marks) for label, marks in found if marks][:ROWS]
    drawing = rows_from_zero(rows, spoken) if rows else None
    return Picture("rows", relabelled(drawing, names), _caption(changes[0].unit, spoken)) if drawing else None


def alone(target: Mapping[str, Any], label: str, names: tuple[str, str], spoken: Language) -> Picture | None:
    """The same of what was to be corrected as a whole, where no group was told."""
    unit = str(target.get("unit", ""))
    marks = _ends(target.get("before"), target.get("after"), unit, (target.get("low"), target.get("high")))
    drawing = rows_from_zero([(label[:1].upper() + label[1:], marks)], spoken) if marks else None
    return Picture("rows", relabelled(drawing, names), _caption(unit, spoken)) if drawing else None


def probes(probe: Mapping[str, Any], names: tuple[str, str], spoken: Language) -> Picture | None:
    """How often each probe reads the group rightly, before and after."""
    rows = []
    for kind in PROBES:
        found = probe.get(kind) or {}
        sides = (("base", found.get("before") or {}), ("result", found.get("after") or {}))
        marks = [
            _mark(s, one["value"], "share", (one.get("low"), one.get("high"))) for s, one in sides if "value" in one
        ]
        rows += [(spoken.say(f"correction.readable.{kind}"), marks)] if marks else []
    drawing = rows_from_zero(rows, spoken) if rows else None
    return Picture("rows", relabelled(drawing, names), spoken.say("correction.readable.caption")) if drawing else None


def relabelled(drawing: Gaps, names: tuple[str, str]) -> Gaps:
    """The marks called before and after, not base and release."""
    of = {"before": names[0], "after": names[1]}
    rows = tuple(
        (label, tuple(mark.model_copy(update={"label": of.get(mark.role, mark.label)}) for mark in marks))
        for label, marks in drawing.rows
    )
    return drawing.model_copy(update={"rows": rows})


def _caption(unit: str, spoken: Language) -> str:
    if unit == "share":
        return spoken.say("correction.groups.caption.share")
    return spoken.say("correction.groups.caption", unit=spoken.unit(unit))


def _ends(before: float | None, after: float | None, unit: str, interval: Ends) -> list[Measure]:
    """The value before, and the one after with the interval of the difference laid from the first, down to zero.

    Nothing without both.
    """
    if before is None or after is None:
        return []
    low, high = (None if end is None else max(0.0, before + end) for end in interval)
    return [_mark("base", before, unit), _mark("result", after, unit, (low, high))]


def _mark(subject: str, value: float, unit: str, interval: Ends = (None, None)) -> Measure:
    low, high = interval
    high = min(1.0, high) if unit == "share" and high is not None else high
    return Measure(
        name="mark", subject=subject, value=value, low=low, high=high, unit=unit, better="lower", n=0, method="drawn"
    )


# ------------------------------------------------------------------------------------------------------------- trials


@dataclass(frozen=True)
class Field:
    """Where gap against cost is drawn. cost, gap: (from, to, step) of their axes."""

    cost: tuple[float, float, float]
    gap: tuple[float, float, float]

    def place(self, cost: float, gap: float) -> tuple[float, float]:
        """Percent across and down."""
        right = INSIDE * (cost - self.cost[0]) / (self.cost[1] - self.cost[0])
        return round(right, 2), round(100 - 100 * (gap - self.gap[0]) / (self.gap[1] - self.gap[0]), 2)

    def across(self, spoken: Language) -> tuple[Tick, ...]:
        """Percent added."""
        decimals = _decimals(100 * self.cost[2])
        percent = spoken.percent(0.0).removeprefix("0")
        labels = [(v, spoken.number(100 * v, decimals, sign=True) + percent) for v in _steps(self.cost)]
        return tuple(Tick(at=self.place(value, 0.0)[0], label=label) for value, label in labels)

    def down(self, unit: str, spoken: Language) -> tuple[Tick, ...]:
        def write(value: float) -> str:
            return spoken.percent(round(value, 6)) if unit == "share" else spoken.number(value, _decimals(self.gap[2]))

        labels = [(v, write(v)) for v in _steps(self.gap)]
        return tuple(Tick(at=self.place(self.cost[0], value)[1], label=label) for value, label in labels)


def trials(found: Trials, target: Mapping[str, Any], limit: float | None, spoken: Language) -> Picture | None:
    """What was aimed at against perplexity added, a dot a trial with its number; a ring around the one chosen.

    found: without those that failed, in the order of the table. target: of the record. limit: the share by which
    perplexity may rise. None where nothing can be drawn.
    """
    unit, better = str(target.get("unit", "nats")), str(target.get("better") or "lower")
    told = [(k, t) for k, t in enumerate(found, 1) if t.get("gap") is not None and t.get("perplexity_ratio")]
    drawable = [(k, t) for k, t in told if t["perplexity_ratio"] - 1 <= MOST and math.isfinite(t["gap"])]
    if not drawable:
        return None
    before = next((t["gap_before"] for _, t in drawable if t.get("gap_before") is not None), None)
    added = [t["perplexity_ratio"] - 1 for _, t in drawable]
    gaps = [*(t["gap"] for _, t in drawable), before or 0.0, LEAST]
    field = Field(axis(min(0.0, *added), max(limit or 0.01, *added)), axis(0.0, max(gaps)))
    series = [_series(inside, drawable, field, unit, spoken) for inside in (True, False)]
    if before is not None:
        dot = Dot(at=field.place(0.0, before), radius=RADIUS, title=spoken.value(before, unit))
        series = [Series(label=spoken.say("correction.trials.untouched"), role="before", dots=(dot,)), *series]
    caption = [spoken.say(f"correction.trials.caption.{better if better == 'higher' else 'lower'}")]
    if len(told) > len(drawable):
        beyond = len(told) - len(drawable)
        caption.append(spoken.say("correction.trials.beyond", beyond, most=spoken.percent(MOST)))
    plot = Plot(
        series=tuple(one for one in series if one.dots),
        across=field.across(spoken),
        down=field.down(unit, spoken),
        across_label=spoken.say("correction.trials.across"),
        down_label=_aimed(str(target.get("measure", "")), unit, spoken),
        mark=_limit(limit, field, spoken),
    )
    return Picture("plot", plot, " ".join(caption))


def _steps(axis: tuple[float, float, float]) -> list[float]:
    low, high, step = axis
    return [low + k * step for k in range(round((high - low) / step) + 1)]


def _decimals(step: float) -> int:
    return max(0, -math.floor(math.log10(step) + 1e-9))


def _aimed(measure: str, unit: str, spoken: Language) -> str:
    if measure.startswith("bias.") or not measure:
        return spoken.say("correction.trials.down", unit=spoken.unit(unit))
    return measure_name(measure, spoken)


def _limit(limit: float | None, field: Field, spoken: Language) -> tuple[float, str] | None:
    if limit is None:
        return None
    return field.place(limit, 0.0)[0], spoken.say("correction.trials.limit", limit=spoken.percent(limit))


def _series(
    inside: bool, found: Sequence[tuple[int, Mapping[str, Any]]], field: Field, unit: str, spoken: Language
) -> Series:
    """The trials within the limits, or those outside."""
    dots = tuple(
        Dot(
            at=field.place(trial["perplexity_ratio"] - 1, trial["gap"]),
            radius=RADIUS,
            title=_said(number, trial, unit, spoken),
            label=spoken.whole(number),
            ringed=bool(trial.get("chosen")),
        )
        for number, trial in found
        if bool(trial.get("within_limits")) is inside
    )
    key = "correction.trials.within" if inside else "correction.trials.outside"
    return Series(label=spoken.say(key), role="after" if inside else "other", dots=dots)


def _said(number: int, trial: Mapping[str, Any], unit: str, spoken: Language) -> str:
    return spoken.say(
        "correction.trials.dot",
        number=number,
        method=spoken.name("correction.method", str(trial.get("method"))),
        strength="–" if trial.get("strength") is None else spoken.significant(trial["strength"]),
        gap=spoken.value(trial["gap"], unit),
        cost=spoken.relative(trial["perplexity_ratio"] - 1),
    )
