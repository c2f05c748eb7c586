"""The loss curve of a run, as a small picture with the same numbers in a table behind it."""

import math
from collections.abc import Sequence
from html import escape

from nicegui import ui

from limpide.document.pictures import nice_step
from limpide.studio import parts
from limpide.studio.pages.run_live import Curve, thinned
from limpide.studio.visit import Visit

WIDE, HIGH = 640.0, 240.0  # of the picture, in its own units
LEFT, RIGHT, TOP, BOTTOM = 60.0, 14.0, 20.0, 44.0  # its margins
TICKS = 4
Point = tuple[float, float]


def curve(visit: Visit, shown: Curve) -> None:
    """The picture, its key, and its table."""
    words = visit.words
    updates, loss = shown.train[-1]
    title = visit.say("run.curve.alt", updates=words.whole(updates), loss=words.significant(loss))
    with parts.word("figure", "").classes("curve stack"):
        ui.html(picture(visit, shown, title), sanitize=False)  # numbers alone, and our own words
        with parts.row().classes("small"):
            _key("", visit.say("run.curve.train"))
            if shown.held:
                _key("held", visit.say("run.curve.held"))
        with parts.more(visit.say("run.curve.table")):
            table(visit, shown)


def _key(kind: str, words: str) -> None:
    with ui.element("span"):
        ui.element("span").classes(f"key-line {kind}")
        parts.word("span", words)


def table(visit: Visit, shown: Curve) -> None:
    """The losses where the held-out one was measured, or at twenty places of the training."""
    words = visit.words
    held = dict(shown.held)
    places = sorted(held) or [done for done, _ in thinned(shown.train, 20)]
    rows = []
    for place in places:
        train = next((y for x, y in reversed(shown.train) if x <= place), None)
        cells = [words.whole(place), "" if train is None else words.number(train, 3)]
        rows.append([*cells, words.number(held[place], 3) if place in held else ""])
    columns = [visit.say("run.curve.updates"), visit.say("run.curve.train"), visit.say("run.curve.held")]
    parts.table(columns, rows, caption=visit.say("run.curve.unit"), numbers=(0, 1, 2))


def picture(visit: Visit, shown: Curve, title: str) -> str:
    """The curve as SVG. title: what it shows, for who does not see it."""
    train, held = thinned(shown.train), shown.held
    losses = [y for _, y in (*train, *held) if math.isfinite(y)]
    low, high = min([0.0, *losses]), max([*losses, 1e-9])
    step = nice_step((high - low) / TICKS)
    high = math.ceil(high / step) * step
    right = max(x for x, _ in train)

    def at(point: Point) -> Point:
        across = LEFT + (WIDE - LEFT - RIGHT) * (point[0] / right if right else 0.0)
        return across, TOP + (HIGH - TOP - BOTTOM) * (1 - (point[1] - low) / (high - low))

    def line(points: Sequence[Point], kind: str) -> str:
        placed = " ".join(f"{x:.1f},{y:.1f}" for x, y in map(at, points))
        return f'<polyline class="{kind}" points="{placed}"/>'

    drawn = []
    for number in range(round((high - low) / step) + 1):
        value = low + number * step
        down = at((0, value))[1]
        drawn.append(f'<line class="axis" x1="{LEFT}" x2="{WIDE - RIGHT}" y1="{down:.1f}" y2="{down:.1f}"/>')
        label = visit.words.number(value, max(0, -math.floor(math.log10(step))))
        drawn.append(f'<text x="{LEFT - 8}" y="{down + 4:.1f}" text-anchor="end">{label}</text>')
    ends = ((0.0, "start"), (right, "end"))
    for value, anchor in ends:
        label = visit.words.whole(value)
        drawn.append(f'<text x="{at((value, low))[0]:.1f}" y="{HIGH - 12}" text-anchor="{anchor}">{label}</text>')
    drawn.append(line([p for p in train if math.isfinite(p[1])], "train"))
    drawn.append(line(held, "held"))
    drawn += [f'<circle class="held" cx="{x:.1f}" cy="{y:.1f}" r="3.5"/>' for x, y in map(at, held)]
    alt = f'role="img" aria-label="{escape(title)}"'
    return f'<svg viewBox="0 0 {WIDE:.0f} {HIGH:.0f}" {alt}>{"".join(drawn)}</svg>'
