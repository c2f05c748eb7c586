"""Where a bias sat before and after its correction: layers by parts, then heads, as coloured tables."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from limpide.document.correction import Correction
from limpide.document.explained import Block, Fold
from limpide.document.heat import Grid, effects
from limpide.document.language import Language

SITES = ("attention", "mlp")
LEAST = 0.005  # nats: below it an effect is written 0.00
HEADS = 24  # columns of a grid of heads


def sits(correction: Correction, spoken: Language) -> Iterator[Block]:
    """A sentence on the part that carried most, a grid of layers by parts before and after, and one of heads each."""
    found = correction.get("sits")
    if not found or not any(_values(found, side, site) for side in ("before", "after") for site in SITES):
        return
    yield Block("lead", " ".join([spoken.say("correction.sits.lead"), *_most(found, spoken)]))
    yield Block("grid", _layers(found, spoken))
    for side in ("before", "after"):
        heads = (found.get(side) or {}).get("heads")
        if heads:
            title = spoken.say(f"correction.sits.heads.{side}")
            yield Block("fold", Fold(title, (Block("grid", _heads(heads, title, spoken)),)))


def _values(found: Mapping[str, Any], side: str, site: str) -> Sequence[float]:
    return (found.get(side) or {}).get(site) or ()


def _best(found: Mapping[str, Any], side: str) -> tuple[str, int, float] | None:
    """(site, layer from 0, effect) of the part whose swap moves the outcome most."""
    parts = [(site, k, value) for site in SITES for k, value in enumerate(_values(found, side, site))]
    return max(parts, key=lambda part: part[2], default=None)


def _most(found: Mapping[str, Any], spoken: Language) -> Iterator[str]:
    """Where the bias passed before, what that part does after, and where it passes most then if it is elsewhere."""
    first, then = _best(found, "before"), _best(found, "after")
    if first is None or then is None or len(_values(found, "after", first[0])) <= first[1]:
        return
    left = _values(found, "after", first[0])[first[1]]
    numbers = {"before": _nats(first[2], spoken), "after": _nats(left, spoken)}
    part = spoken.say(f"correction.sits.{first[0]}")
    yield spoken.say("correction.sits.best", part=part, layer=first[1] + 1, **numbers)
    if then[:2] != first[:2] and then[2] >= LEAST:
        part = spoken.say(f"correction.sits.{then[0]}")
        yield spoken.say("correction.sits.moved", part=part, layer=then[1] + 1, after=_nats(then[2], spoken))


def _nats(value: float, spoken: Language) -> str:
    return spoken.value(value, "nats", beside=(1.0,))


def _layers(found: Mapping[str, Any], spoken: Language) -> Grid:
    columns = [(site, side) for site in SITES for side in ("before", "after") if _values(found, side, site)]
    layers = max(len(_values(found, side, site)) for site, side in columns)
    values = [
        [v[layer] if layer < len(v) else None for v in (_values(found, side, site) for site, side in columns)]
        for layer in range(layers)
    ]
    names = [spoken.say(f"correction.sits.column.{site}.{side}") for site, side in columns]
    pairs = found.get("pairs", (found.get("before") or {}).get("pairs"))
    key = "correction.sits.grid"
    caption = spoken.say(f"{key}.unknown") if pairs is None else spoken.say(key, int(pairs))
    return _grid(values, names, caption, "correction.sits.corner", spoken)


def _heads(values: Sequence[Sequence[float | None]], title: str, spoken: Language) -> Grid:
    columns = [spoken.whole(k + 1) for k in range(max(map(len, values), default=0))]
    return _grid(values, columns, f"{title}.", "correction.sits.corner.heads", spoken)


def _grid(
    values: Sequence[Sequence[float | None]], columns: Sequence[str], caption: str, corner: str, spoken: Language
) -> Grid:
    """A grid of layers, with what its colours mean here."""
    rows = [spoken.whole(k + 1) for k in range(len(values))]
    made = effects(values, columns, rows, (caption, spoken.say(corner)), spoken, limit=HEADS, as_share=False)
    full = spoken.number(max((abs(v) for row in values for v in row if v is not None), default=0.0), 2)
    said = [spoken.say("correction.sits.scale", full=full)]
    if len(made.rows) < len(values):
        said.append(spoken.say("correction.sits.quiet", least=spoken.number(LEAST, 3)))
    if len(made.columns) < len(columns):
        said.append(spoken.say("explain.grid.cut", shown=len(made.columns), total=len(columns)))
    unsigned = tuple(
        (name, tuple(replace(cell, text=cell.text.removeprefix("+")) for cell in cells)) for name, cells in made.rows
    )
    return replace(made, rows=unsigned, note=" ".join(said))
