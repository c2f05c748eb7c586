"""Geometry of the plots of one number against another: reliability diagrams and risk–coverage curves.

As in pictures.py, positions are percentages: across from the left, down from the top of the plot.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from limpide.core.measure import Frozen
from limpide.document.language import Language
from limpide.document.pictures import Role, Tick, nice_step

SMALLEST, LARGEST = 2.5, 11.0  # radii of dots, in pixels; their area is as the number of answers


class Dot(Frozen):
    """One point. radius: pixels. title: its numbers in words. label: written beside it. ringed: the one to look at."""

    at: tuple[float, float]
    radius: float
    title: str
    label: str = ""
    ringed: bool = False


class Series(Frozen):
    """One model. line: points joined; dots: points marked."""

    label: str
    role: Role
    line: tuple[tuple[float, float], ...] = ()
    dots: tuple[Dot, ...] = ()


class Plot(Frozen):
    """diagonal: from the lower left to the upper right, where both numbers are equal.

    mark: where across a vertical line stands, and what it says.
    """

    series: tuple[Series, ...]
    across: tuple[Tick, ...]
    down: tuple[Tick, ...]
    across_label: str
    down_label: str
    diagonal: bool = False
    mark: tuple[float, str] | None = None


def reliability(bins: Sequence[tuple[str, Role, Sequence[Mapping[str, Any]]]], language: Language) -> Plot | None:
    """How often answers are right against how sure the model was; on the diagonal, certainty tells the truth.

    bins: (model, its role, rows of n, confidence and accuracy); None where no bin holds an answer.
    """
    filled = [
        (label, role, [row for row in rows if row.get("n") and row.get("accuracy") is not None])
        for label, role, rows in bins
    ]
    filled = [(label, role, rows) for label, role, rows in filled if rows]
    if not filled:
        return None
    most = max(int(row["n"]) for _, _, rows in filled for row in rows)
    series = tuple(
        Series(label=label, role=role, dots=tuple(_dot(row, most, language) for row in rows))
        for label, role, rows in filled
    )
    across, down = _percent_ticks(1.0, language), _percent_ticks(1.0, language, downwards=True)
    return Plot(
        series=series,
        across=across,
        down=down,
        across_label=language.say("plot.confidence"),
        down_label=language.say("plot.accuracy"),
        diagonal=True,
    )


def _dot(row: Mapping[str, Any], most: int, language: Language) -> Dot:
    confidence, accuracy, n = float(row["confidence"]), float(row["accuracy"]), int(row["n"])
    said = language.say("plot.bin", n, confidence=language.percent(confidence), accuracy=language.percent(accuracy))
    radius = SMALLEST + (LARGEST - SMALLEST) * (n / most) ** 0.5
    return Dot(at=(round(100 * confidence, 2), round(100 - 100 * accuracy, 2)), radius=round(radius, 1), title=said)


def risk_coverage(curves: Sequence[tuple[str, Role, Sequence[Mapping[str, Any]]]], language: Language) -> Plot | None:
    """The share of wrong answers among those kept, when the least sure are left out; None without a curve."""
    drawn = [(label, role, rows) for label, role, rows in curves if len(rows) > 1]
    if not drawn:
        return None
    worst = max(float(row["risk"]) for _, _, rows in drawn for row in rows)
    step = nice_step(max(worst, 0.05) / 4)
    top = min(1.0, step * -(-max(worst, 0.05) // step))
    series = tuple(
        Series(
            label=label,
            role=role,
            line=tuple(
                (round(100 * float(r["coverage"]), 2), round(100 - 100 * float(r["risk"]) / top, 2)) for r in rows
            ),
        )
        for label, role, rows in drawn
    )
    return Plot(
        series=series,
        across=_percent_ticks(1.0, language),
        down=_percent_ticks(top, language, step=step, downwards=True),
        across_label=language.say("plot.coverage"),
        down_label=language.say("plot.risk"),
    )


def _percent_ticks(top: float, language: Language, *, step: float = 0.25, downwards: bool = False) -> tuple[Tick, ...]:
    """Ticks from 0 to `top`, labelled as percentages."""
    values = [k * step for k in range(int(top / step + 1e-9) + 1)]
    return tuple(
        Tick(at=round(100 - 100 * v / top if downwards else 100 * v / top, 2), label=language.percent(v))
        for v in values
    )
