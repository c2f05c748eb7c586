"""What a correction was about, one by one: pairs of sentences to open, and facts."""

from collections.abc import Iterator, Mapping
from typing import Any

from limpide.document.correction import Correction, say, sides
from limpide.document.explained import Block, Table
from limpide.document.findings import where
from limpide.document.language import Language
from limpide.document.suites import TITLE, Group, Item, Shown, Side

PAIRS = 10  # pairs to open
EDITS = 20  # facts in the table
PARTS = ("efficacy", "paraphrase", "neighbourhood")  # of an edit, in the order in which they are read


def pairs(correction: Correction, spoken: Language) -> Iterator[Block]:
    """The pairs of sentences with the largest gaps before, to open."""
    found = [item for item in correction.get("items") or () if item.get("before") is not None][:PAIRS]
    if found:
        yield Block("note", say("pairs.rule", spoken))
        items = tuple(_pair(k, item, sides(correction, spoken), spoken) for k, item in enumerate(found, 1))
        yield Block("opened", Group("", "", items))


def _pair(number: int, item: Mapping[str, Any], names: tuple[str, str], spoken: Language) -> Item:
    texts = {key: f"{item.get(key, '')}{item.get('outcome', '')}" for key in ("stereotyped", "other")}
    values = [item["before"], item.get("after")]
    said = ["–" if v is None else spoken.difference(v, "nats", beside=(1.0,)) for v in values]
    group = {"stereotyped": item.get("group"), "language": item.get("language")}
    first = texts["stereotyped"]
    return Item(
        id=str(item.get("id", number)),
        title=first if len(first) <= TITLE else f"{first[: TITLE - 1].rstrip()}…",
        figure=say("pairs.moved", spoken, before=said[0], after=said[1]),
        where=where({key: str(value) for key, value in group.items() if value}, spoken),
        lang=item.get("language"),
        asked=tuple(Shown(spoken.say(f"field.{key}"), (text,)) for key, text in texts.items()),
        sides=(
            Side(names[0], "before", (Shown(spoken.say("field.gap"), (said[0],), plain=False),)),
            Side(names[1], "after", (Shown(spoken.say("field.gap"), (said[1],), plain=False),)),
        ),
    )


def edits(correction: Correction, spoken: Language) -> Iterator[Block]:
    """Each fact: what was asked, what it said, what it should say, and whether it follows where that is told."""
    found = list(correction.get("edits") or ())[:EDITS]
    if not found:
        return
    yield Block("lead", say("edits.lead", spoken))
    parts = [part for part in PARTS if any(_edited(one, part, spoken) for one in found)]
    columns = tuple(say(f"column.{c}", spoken) for c in ("prompt", "instead_of", "answer", *parts))
    texts = [[str(one.get(key) or "–").strip() for key in ("prompt", "instead_of", "answer")] for one in found]
    rows = tuple(
        (*text, *(_edited(one, part, spoken) or "–" for part in parts)) for text, one in zip(texts, found, strict=True)
    )
    yield Block("table", Table(say("edits.table", spoken), columns, rows, numbers=3))


def _edited(one: Mapping[str, Any], part: str, spoken: Language) -> str:
    """'10% → 100%', the share after alone, or nothing."""
    found = one.get(part)
    before, after = one.get(f"{part}_before"), found
    if isinstance(found, Mapping):
        before, after = found.get("before"), found.get("after")
    shown = ["–" if v is None else spoken.percent(float(v), 0) for v in (before, after)]
    if before is None:
        return "" if after is None else shown[1]
    return say("pairs.moved", spoken, before=shown[0], after=shown[1])
