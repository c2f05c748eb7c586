"""Geometry of the pictures of the report, drawn as inline SVG by `templates/pictures.jinja`.

Positions across are percentages of the width, so that a picture fits a phone, a screen and a sheet of paper while
its text keeps its size. Positions down are percentages of the plot's height. Nothing here knows colours.
"""

import math
from collections.abc import Callable, Sequence
from typing import Literal

from limpide.core.measure import Frozen, Measure
from limpide.document.evidence import LossPoint
from limpide.document.language import Language

Role = Literal["before", "after", "other"]
EDGE = 2.0  # percent kept free on both sides, so that end marks are whole


class Tick(Frozen):
    """A grid line and its label. at: percent along its axis."""

    at: float
    label: str


class Mark(Frozen):
    """One value with its interval; `at` is where the value is, all in percent of the width."""

    label: str
    value: str
    role: Role
    at: float
    low: float | None
    high: float | None


class Bars(Frozen):
    """Horizontal bars from 0 to 1."""

    marks: tuple[Mark, ...]
    ticks: tuple[Tick, ...]


class Gaps(Frozen):
    """Values on both sides of zero, or from zero on: one row a slice, with a mark for each model."""

    rows: tuple[tuple[str, tuple[Mark, ...]], ...]
    ticks: tuple[Tick, ...]
    zero: float


class Curve(Frozen):
    """Loss against updates. points: (across, down) in percent, `down` from the top of the plot."""

    train: tuple[tuple[float, float], ...]
    held_out: tuple[tuple[float, float], ...]
    kept: tuple[float, float] | None
    kept_epoch: str | None
    across: tuple[Tick, ...]
    down: tuple[Tick, ...]


def subject_name(subject: str, language: Language) -> str:
    """'Before (base model)', 'After (this release)', or the served file by its name."""
    known = language.words.get(f"subject.{subject}")
    return known if known is not None else language.say("subject.other", name=subject)


def role_of(subject: str) -> Role:
    return "before" if subject == "base" else "after" if subject == "result" else "other"


def share_bars(measures: Sequence[Measure], language: Language) -> Bars | None:
    """Bars of shares, one a measure; None when no measure holds a number."""
    marks = [_mark(m, _percent, language) for m in measures if m.value is not None]
    ticks = tuple(Tick(at=100 * s, label=language.percent(s)) for s in (0.0, 0.25, 0.5, 0.75, 1.0))
    return Bars(marks=tuple(marks), ticks=ticks) if marks else None


def gap_rows(rows: Sequence[tuple[str, Sequence[Measure]]], language: Language) -> Gaps | None:
    """Signed values around zero, one row a slice, symmetric so that zero is in the middle; None without numbers."""
    kept = [(label, [m for m in measures if m.value is not None]) for label, measures in rows]
    kept = [(label, measures) for label, measures in kept if measures]
    if not kept:
        return None
    ends = [abs(x) for _, ms in kept for m in ms for x in (m.value, m.low, m.high) if x is not None]
    step = nice_step(max([*ends, 1e-6]) / 2)
    reach = step * math.ceil(max([*ends, 1e-6]) / step)

    def place(value: float) -> float:
        return round(EDGE + (100 - 2 * EDGE) * (value + reach) / (2 * reach), 2)

    count = round(reach / step)
    decimals = max(0, -math.floor(math.log10(step)))
    ticks = tuple(
        Tick(at=place(i * step), label=language.number(i * step, decimals, sign=True)) for i in range(-count, count + 1)
    )
    marked = tuple((label, tuple(_mark(m, place, language) for m in ms)) for label, ms in kept)
    return Gaps(rows=marked, ticks=ticks, zero=place(0.0))


def rows_from_zero(rows: Sequence[tuple[str, Sequence[Measure]]], language: Language) -> Gaps | None:
    """Values from zero on, one row a slice, with the marks of each model; None without numbers, or where units differ.

    Shares are on an axis from 0 to 100%.
    """
    kept = [(label, [m for m in measures if m.value is not None]) for label, measures in rows]
    kept = [(label, measures) for label, measures in kept if measures]
    ends = [x for _, ms in kept for m in ms for x in (m.value, m.low, m.high) if x is not None]
    units = {m.unit for _, measures in kept for m in measures}
    if len(units) != 1 or min(ends) < 0:
        return None
    share = units == {"share"}
    step = 0.25 if share else nice_step(max([*ends, 1e-6]) / 4)
    top = 1.0 if share else step * math.ceil(max([*ends, 1e-6]) / step)
    decimals = max(0, -math.floor(math.log10(step)))

    def place(value: float) -> float:
        return round(EDGE + (100 - 2 * EDGE) * min(1.0, value / top), 2)

    ticks = tuple(
        Tick(at=place(k * step), label=language.percent(k * step) if share else language.number(k * step, decimals))
        for k in range(round(top / step) + 1)
    )
    marked = tuple((label, tuple(_mark(m, place, language) for m in measures)) for label, measures in kept)
    return Gaps(rows=marked, ticks=ticks, zero=place(0.0))


def loss_curve(points: Sequence[LossPoint], best_epoch: float | None, language: Language) -> Curve | None:
    """Training and held-out loss; None with fewer than two points of either."""
    train = [(p.step, p.train) for p in points if p.train is not None and math.isfinite(p.train)]
    held_out = [(p.step, p.held_out) for p in points if p.held_out is not None and math.isfinite(p.held_out)]
    if max(len(train), len(held_out)) < 2:
        return None
    last_step = max(step for step, _ in train + held_out)
    step = nice_step(max(loss for _, loss in train + held_out) / 4)
    top = step * max(1, math.ceil(max(loss for _, loss in train + held_out) / step))

    def place(at: tuple[float, float]) -> tuple[float, float]:
        across = EDGE + (100 - 2 * EDGE) * at[0] / max(1, last_step)
        return round(across, 2), round(100 - 100 * at[1] / top, 2)

    kept = None
    if best_epoch is not None and held_out:
        at_best = [p for p in points if p.held_out is not None and abs(p.epoch - best_epoch) < 1e-6]
        kept = place((at_best[-1].step, at_best[-1].held_out or 0.0)) if at_best else None
    decimals = max(0, -math.floor(math.log10(step)))
    return Curve(
        train=tuple(map(place, train)),
        held_out=tuple(map(place, held_out)),
        kept=kept,
        kept_epoch=language.significant(best_epoch) if best_epoch is not None else None,
        across=_epoch_ticks(points, place, language),
        down=tuple(
            Tick(at=round(100 - 100 * i * step / top, 2), label=language.number(i * step, decimals))
            for i in range(round(top / step) + 1)
        ),
    )


def _epoch_ticks(points: Sequence[LossPoint], place: object, language: Language) -> tuple[Tick, ...]:
    """A tick at each whole epoch that was recorded, at most eight."""
    assert callable(place)
    whole = {round(p.epoch): p.step for p in points if abs(p.epoch - round(p.epoch)) < 1e-6 and p.epoch > 0}
    every = max(1, math.ceil(len(whole) / 8))
    return tuple(
        Tick(at=place((step, 0.0))[0], label=language.whole(epoch))
        for epoch, step in whole.items()
        if epoch % every == 0
    )


def nice_step(rough: float) -> float:
    """The smallest of 1, 2, 5 × a power of ten that is at least `rough`."""
    power = 10.0 ** math.floor(math.log10(max(rough, 1e-9)))
    return next(m * power for m in (1, 2, 5, 10) if m * power >= rough * (1 - 1e-9))


def _percent(share: float) -> float:
    return round(100 * min(1.0, max(0.0, share)), 2)


def _mark(measure: Measure, place: Callable[[float], float], language: Language) -> Mark:
    """place: where a value is, in percent of the width."""
    assert measure.value is not None
    return Mark(
        label=subject_name(measure.subject, language),
        value=_with_range(measure, language),
        role=role_of(measure.subject),
        at=place(measure.value),
        low=None if measure.low is None else place(measure.low),
        high=None if measure.high is None else place(measure.high),
    )


def _with_range(measure: Measure, language: Language) -> str:
    """'91.7% (78.2% to 97.1%)'."""
    assert measure.value is not None
    value = language.measured(measure, with_unit=False)
    if measure.low is None or measure.high is None:
        return value
    return f"{value} ({language.range(measure)})"
