"""Geometry of the curves and bars of an explanation: positions in percent, as in pictures.py; no colours."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from limpide.document.language import Language
from limpide.document.pictures import Role, Tick, nice_step

Points = tuple[tuple[float, float], ...]


@dataclass(frozen=True)
class Line:
    """values: one a step across, None where there is none. low, high: a band around them, or empty."""

    label: str
    role: Role
    values: Sequence[float | None]
    low: Sequence[float | None] = ()
    high: Sequence[float | None] = ()


@dataclass(frozen=True)
class Stroke:
    """points: (across, down). band: a closed outline, empty where there is none."""

    label: str
    role: Role
    points: Points
    band: Points


@dataclass(frozen=True)
class Lines:
    """mark: where a vertical line stands, and what it says."""

    strokes: tuple[Stroke, ...]
    across: tuple[Tick, ...]
    down: tuple[Tick, ...]
    across_label: str
    down_label: str
    caption: str
    mark: tuple[float, str] | None = None


@dataclass(frozen=True)
class Bar:
    """left, width: percent of the row. side: 'p' for, 'n' against."""

    label: str
    value: str
    left: float
    width: float
    side: str


@dataclass(frozen=True)
class Bars:
    bars: tuple[Bar, ...]
    zero: float
    caption: str
    value: str


def lines(
    found: Sequence[Line],
    at: Sequence[float],
    labels: Sequence[str],
    words: tuple[str, str, str],
    spoken: Language,
    *,
    share: bool = False,
    mark: tuple[float, str] | None = None,
) -> Lines | None:
    """Curves over the same steps. at: where each step is; labels: what is written there, at most nine of them.

    words: labels of both axes and the caption. share: the numbers are shares, and the axis goes
    from 0%. None without two numbers.
    """
    values = [v for line in found for v in (*line.values, *line.low, *line.high) if v is not None]
    if len(values) < 2 or len(at) < 2:
        return None
    low, high, step = axis(0.0 if share else min(values), max(values))
    across = (at[0], at[-1] - at[0] or 1.0)

    def place(x: float, y: float) -> tuple[float, float]:
        return round(100 * (x - across[0]) / across[1], 2), round(100 - 100 * (y - low) / (high - low), 2)

    def path(ys: Sequence[float | None]) -> Points:
        return tuple(place(x, y) for x, y in zip(at, ys, strict=False) if y is not None)

    strokes = tuple(
        Stroke(one.label, one.role, path(one.values), (*path(one.high), *reversed(path(one.low)))) for one in found
    )
    decimals = max(0, -math.floor(math.log10(step)))
    ticks = [low + k * step for k in range(round((high - low) / step) + 1)]
    every = max(1, math.ceil(len(at) / 9))
    return Lines(
        strokes=strokes,
        across=tuple(Tick(at=place(x, low)[0], label=labels[k]) for k, x in enumerate(at) if k % every == 0),
        down=tuple(
            Tick(at=place(at[0], y)[1], label=spoken.percent(round(y, 6)) if share else spoken.number(y, decimals))
            for y in ticks
        ),
        across_label=words[0],
        down_label=words[1],
        caption=words[2],
        mark=(place(mark[0], low)[0], mark[1]) if mark else None,
    )


def axis(low: float, high: float) -> tuple[float, float, float]:
    """(from, to, step) of an axis with round numbers that holds both ends, and zero where it is near."""
    if 0 < low < (high - low):
        low = 0.0
    if -(high - low) < high < 0:
        high = 0.0
    step = nice_step(max(high - low, 1e-6) / 4)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return first * step, max(last, first + 1) * step, step


def bars(rows: Sequence[tuple[str, float, str]], caption: str, value: str) -> Bars | None:
    """Bars on both sides of zero. rows: (label, number, the number in words)."""
    if not rows:
        return None
    low, high = min(0.0, *(v for _, v, _ in rows)), max(0.0, *(v for _, v, _ in rows))
    width = (high - low) or 1.0
    zero = round(-100 * low / width, 2)
    made = tuple(
        Bar(
            label=label,
            value=said,
            left=round(100 * (min(0.0, v) - low) / width, 2),
            width=round(100 * abs(v) / width, 2),
            side="p" if v >= 0 else "n",
        )
        for label, v, said in rows
    )
    return Bars(made, zero, caption, value)
