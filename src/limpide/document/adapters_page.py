"""The page that compares two adapters: one HTML file, without a script, from the record of the comparison alone."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from limpide.document.explained import Block, Part
from limpide.document.heat import NUMBERS, Cell, Grid, label, shade
from limpide.document.language import Language, language
from limpide.document.pages import environment

Record = Mapping[str, Any]
Value = Callable[[Mapping[str, Any]], float | None]
SIDES = ("first", "second")
NEAR, FAR = 0.5, 0.1  # of the cosine of all that is added: beyond them the banner says 'alike' or 'unrelated'


def page(record: Record, code: str, command: str) -> str:
    """The page in the language `code`. The same record gives the same bytes."""
    spoken = language(code)
    first, second = (str(one["name"]) for one in record["adapters"])
    parts = [sizes(record, spoken), angles(record, spoken), ranks(record, spoken)]
    return environment().get_template("plain_page.html.jinja").render(
        l=spoken,
        kind="adapters.title",
        heading=spoken.say("adapters.heading", first=first, second=second),
        meta=spoken.say("adapters.base", base=str(record["base"] or spoken.say("unknown"))),
        others=(),
        tiles=(),
        tone="plain",
        banner=banner(record, spoken),
        said=in_short(record, spoken),
        parts=parts,
        commands=[command],
        contents=[*((part.id, part.title) for part in parts), ("rerun", spoken.say("correction.section.rerun"))],
    )  # fmt: skip


def banner(record: Record, spoken: Language) -> str:
    cosine = record["whole"]["cosine"]
    if cosine is None or abs(cosine) < FAR:
        return spoken.say("adapters.unrelated")
    if cosine <= -FAR:
        return spoken.say("adapters.opposed")
    return spoken.say("adapters.alike" if cosine >= NEAR else "adapters.partly")


def in_short(record: Record, spoken: Language) -> str:
    """The comparison in three sentences: angle, sizes, and what they share."""
    (first, second), whole = record["adapters"], record["whole"]
    names = {"first": str(first["name"]), "second": str(second["name"])}
    shared = [one for one in record["modules"] if one["first"] and one["second"]]
    said = [
        spoken.say("adapters.shared", len(shared), total=len(record["modules"]), **names),
        spoken.say(
            "adapters.norms",
            a=spoken.significant(whole["norms"][0]),
            b=spoken.significant(whole["norms"][1]),
            **names,
        ),
    ]
    if whole["cosine"] is not None:
        said.insert(0, spoken.say("adapters.cosine", cosine=spoken.number(whole["cosine"], 2)))
    return " ".join(said)


def sizes(record: Record, spoken: Language) -> Part:
    """How much each adapter adds to each weight, both in the colours of one scale."""
    values = [one[side]["norm"] for one in record["modules"] for side in SIDES if one[side]]
    largest = max(values, default=0.0)
    grids = [
        _grid(record, _of_side(side, "norm"), spoken.say("adapters.grid.norm", name=str(one["name"])), largest, spoken)
        for side, one in zip(SIDES, record["adapters"], strict=True)
    ]
    return Part("sizes", spoken.say("adapters.section.sizes"), _blocks(spoken.say("adapters.lead.sizes"), grids))


def angles(record: Record, spoken: Language) -> Part:
    """How far they change the same things: cosines, and shared directions beside what chance gives."""
    grids = [_grid(record, lambda one: one["cosine"], spoken.say("adapters.grid.cosine"), 1.0, spoken)]
    for side in ("read", "written"):
        chance = [one[f"by_chance_{side}"] for one in record["modules"] if one[f"by_chance_{side}"] is not None]
        ends = dict.fromkeys(spoken.number(end, 2) for end in (min(chance), max(chance))) if chance else {"–": None}
        caption = spoken.say(f"adapters.grid.{side}", chance="–".join(ends))
        grids.append(_grid(record, _of(side), caption, 1.0, spoken))
    return Part("angles", spoken.say("adapters.section.angles"), _blocks(spoken.say("adapters.lead.angles"), grids))


def ranks(record: Record, spoken: Language) -> Part:
    """How many directions each adapter really uses."""
    grids = []
    for side, one in zip(SIDES, record["adapters"], strict=True):
        caption = spoken.say("adapters.grid.rank", name=str(one["name"]), rank=int(one["rank"]))
        grids.append(_grid(record, _of_side(side, "effective_rank"), caption, float(one["rank"]), spoken))
    return Part("ranks", spoken.say("adapters.section.ranks"), _blocks(spoken.say("adapters.lead.ranks"), grids))


def _blocks(lead: str, grids: Sequence[Grid]) -> tuple[Block, ...]:
    return (Block("lead", lead), *(Block("grid", grid) for grid in grids))


def _of(number: str) -> Value:
    return lambda one: one[number]


def _of_side(side: str, number: str) -> Value:
    return lambda one: None if one[side] is None else float(one[side][number])


def _grid(record: Record, value: Value, caption: str, full: float, spoken: Language) -> Grid:
    """Layers down, kinds of modules across; a module outside the layers is a row of its own. full: has full colour."""
    columns = list(dict.fromkeys(one["kind"] for one in record["modules"]))
    rows: dict[str, dict[str, float | None]] = {}
    for one in record["modules"]:
        name = str(one["module"]) if one["layer"] is None else spoken.whole(one["layer"])
        rows.setdefault(name, {})[one["kind"]] = value(one)
    made = tuple(
        (name, tuple(_cell(row.get(column), full, f"{name} · {column}", spoken) for column in columns))
        for name, row in rows.items()
    )
    bare = len(columns) > NUMBERS
    return Grid(caption, spoken.say("adapters.corner"), tuple(map(label, columns)), made, "", bare)


def _cell(value: float | None, full: float, where: str, spoken: Language) -> Cell:
    if value is None:
        return Cell("", "", where)
    number = spoken.significant(value, 2)
    return Cell(number, shade(value, full), f"{where}: {number}")
