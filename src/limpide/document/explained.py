"""An explanation as parts of a page: a title, a sentence, and blocks (strips, grids, curves, bars, tables) in order.

A part stands only where its method was run. How wide its grids may be is the page's to say, since a report holds many
explanations and a page of its own only one.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from limpide.document import curves, heat
from limpide.document.curves import Line
from limpide.document.inside import part_name
from limpide.document.language import Language
from limpide.document.telling import chosen
from limpide.document.weighed import (
    LEAST,
    Explanation,
    Weight,
    ahead_from,
    best_parts,
    clip,
    quote,
    signed,
    visible,
    weightless,
    weights,
    written,
)

WIDE, NARROW = 40, 16  # columns of a grid on a page of its own, and in a report
WORDS = 200  # rows of the table of words
FEW = 12  # words, up to which those that weigh nothing are listed as well
NOTHING = 0.005  # nats: below it a weight is written 0.00
ROUNDING = 1e-4  # logits left over, below which there is nothing but rounding
BARS = 16  # parts drawn as bars
BEST = 10  # heads or experts drawn as bars
EXAMPLES = 50  # training examples shown on a side
TEXT = 600  # characters of a training example
SANITY = {"changes with the weights": "sanity.good", "does not depend on the weights": "sanity.bad"}
Kind = Literal[
    "strip", "grid", "lines", "bars", "table", "facts", "note", "fold", "heading", "scale",
    "lead", "list", "picture", "measures", "limits", "opened",  # of a correction
]  # fmt: skip


@dataclass(frozen=True)
class Block:
    """kind: the macro of explained.jinja that shows it. body: what that macro takes."""

    kind: Kind
    body: Any


@dataclass(frozen=True)
class Table:
    """A plain table; columns from `numbers` on hold numbers. lang: its texts are somebody's own words."""

    caption: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    numbers: int = 1


@dataclass(frozen=True)
class Fold:
    title: str
    blocks: tuple[Block, ...]


@dataclass(frozen=True)
class Part:
    """id: its anchor, without what tells explanations apart."""

    id: str
    title: str
    blocks: tuple[Block, ...]


def parts(explanation: Explanation, spoken: Language, limit: int = WIDE) -> list[Part]:
    """The parts that the explanation has, in the order in which they are read."""
    methods = explanation.get("methods", {})
    made = [("words", words(explanation, spoken, limit))]
    for name, make in (("lens", layers), ("patching", inside), ("parts", added), ("influence", examples)):
        if methods.get(name):
            made.append((name, make(explanation, methods[name], spoken, limit)))
    if methods.get("faithfulness"):
        made.append(("faithfulness", test(methods["faithfulness"], spoken)))
    return [Part(name, spoken.say(f"explain.section.{name}"), tuple(blocks)) for name, blocks in made]


def note(key: str, spoken: Language, /, **values: object) -> Block:
    return Block("note", spoken.say(f"explain.note.{key}", **values))


def fold(key: str, spoken: Language, *blocks: Block | None) -> Block:
    return Block("fold", Fold(spoken.say(f"explain.fold.{key}"), tuple(b for b in blocks if b)))


# ------------------------------------------------------------------------------------------------------- the words


def words(explanation: Explanation, spoken: Language, limit: int) -> Iterator[Block]:
    """The prompt as it was read, coloured, and the answer with the token that is explained."""
    question = explanation["question"]
    found, weighed = explanation.get("methods", {}).get("attribution") or {}, weights(explanation)
    if (explanation.get("methods", {}).get("faithfulness") or {}).get("verdict") == "no better than chance" and weighed:
        yield note("chance", spoken)
    yield Block("strip", heat.prompt_strip(question, found.get("tokens") or (), weighed, spoken))
    if weighed:
        yield scale(weighed, spoken)
    yield Block("strip", heat.answer_strip(question, spoken))
    yield Block("note", chosen(question["decision"], spoken))
    if weightless(weighed):
        return
    yield fold("words", spoken, *_words(weighed, spoken))
    each = found.get("answer_tokens")
    if each:
        of = [visible(token["text"]) for token in question["answer_tokens"]]
        sums = [[sum(row[at] or 0.0 for at in w["tokens"] if at < len(row)) for w in question["words"]] for row in each]
        columns = [written(w, spoken) for w in weighed]
        said = spoken.say("explain.grid.each"), spoken.say("explain.corner.each")
        grid = heat.effects(sums, columns, of, said, spoken, limit=limit, as_share=False, layers=False)
        yield fold("each", spoken, Block("grid", grid))


def scale(weighed: Sequence[Weight], spoken: Language) -> Block:
    """What the full colours of the prompt stand for; or that no word weighs enough to have one."""
    if weightless(weighed):
        return note("weightless", spoken, least=spoken.number(LEAST, 4))
    full = spoken.value(max(abs(w.value) for w in weighed), "nats")
    return Block("scale", (spoken.say("explain.scale.against", full=full), spoken.say("explain.scale.for", full=full)))


def _words(weighed: Sequence[Weight], spoken: Language) -> Iterator[Block]:
    """The words with their numbers; of many, those that weigh nothing are only counted."""
    heavy = [w for w in weighed if abs(w.value) >= NOTHING or len(weighed) <= FEW]
    rows = sorted(heavy, key=lambda w: -w.share)[:WORDS]
    table = Table(
        spoken.say("explain.table.words", len(rows)),
        tuple(spoken.say(f"explain.column.{c}") for c in ("word", "part", "weight", "share")),
        tuple(
            (
                written(w, spoken),
                spoken.name("explain.part_of", w.part),
                spoken.difference(w.value, "nats", with_unit=False, beside=(1.0,)),
                signed(w, spoken),
            )
            for w in rows
        ),
        numbers=2,
    )
    yield Block("table", table)
    light = len(weighed) - len(heavy)
    if light:
        yield Block("note", spoken.say("explain.words.light", light, least=spoken.number(NOTHING, 3)))


# ------------------------------------------------------------------------------------------------------ the layers


def layers(explanation: Explanation, found: Mapping[str, Any], spoken: Language, limit: int) -> Iterator[Block]:
    token, rival = quote(found["token"], spoken), quote(found["rival"], spoken)
    p, entropy = found["probability"], found.get("entropy") or ()
    at, first = range(len(p["token"])), found.get("first_lead")
    ahead = ahead_from(found) if first is None else None
    mark = (float(first), spoken.say("explain.mark", layer=first)) if first else None
    mark = (float(ahead), spoken.say("explain.mark.ahead", layer=ahead)) if ahead else mark
    names = [spoken.whole(k) for k in at]  # 0 is what the embeddings alone would say
    axes = (spoken.say("explain.axis.layer"), spoken.say("explain.axis.probability"))
    drawn = curves.lines(
        [Line(token, "after", p["token"]), Line(rival, "before", p["rival"])],
        at, names, (*axes, spoken.say("explain.lens.curve")), spoken, share=True, mark=mark,
    )  # fmt: skip
    unsure = curves.lines(
        [Line(spoken.say("explain.axis.entropy"), "other", entropy)],
        at, names, (axes[0], spoken.say("explain.axis.entropy"), spoken.say("explain.lens.entropy")), spoken,
    )  # fmt: skip
    yield from (Block("lines", one) for one in (drawn, unsure) if one)
    table = Table(
        spoken.say("explain.table.layers"),
        (spoken.say("explain.column.layer"), spoken.say("explain.column.top"), token, rival,
         spoken.say("explain.column.rank"), spoken.say("explain.axis.entropy")),
        tuple(_layer(found, k, names[k], spoken) for k in at),
        numbers=2,
    )  # fmt: skip
    yield fold("layers", spoken, Block("table", table))
    grid = heat.predictions(found, names, spoken, limit=limit // 2, corner=spoken.say("explain.corner.places"))
    if grid:
        yield fold("lens", spoken, Block("grid", grid))


def _layer(found: Mapping[str, Any], k: int, name: str, spoken: Language) -> tuple[str, ...]:
    def at(values: Any, write: Any) -> str:
        return write(values[k]) if values and k < len(values) and values[k] is not None else "–"

    top = found.get("top") or ()
    first = [f"{visible(c['text'])} {spoken.percent(c['probability'])}" for c in (top[k] if k < len(top) else ())]
    p = found["probability"]
    return (
        name,
        spoken.list(first),
        at(p["token"], spoken.percent),
        at(p["rival"], spoken.percent),
        at(found.get("rank"), spoken.whole),
        at(found.get("entropy"), lambda v: spoken.number(v, 2)),
    )


# --------------------------------------------------------------------------------------------- inside the network


def inside(explanation: Explanation, found: Mapping[str, Any], spoken: Language, limit: int) -> Iterator[Block]:
    """A grid a site, of layers by tokens; then heads and experts, of layers by number."""
    yield note("patching", spoken)
    twin = found["twin"].get("prompt")
    if twin:
        yield Block("facts", [(spoken.say("explain.fact.twin"), clip(twin, TEXT))])
    stacks = found.get("stacks", ())
    for stack in stacks:
        if len(stacks) > 1:
            yield Block("heading", spoken.name("explain.heading", stack["name"]))
        grids = list(_stack_grids(stack, spoken, limit))
        yield from (Block("grid", grid) for _, grid in grids[:1])
        yield from (fold(key, spoken, Block("grid", grid)) for key, grid in grids[1:])
    for kind in ("heads", "experts"):
        best = [cell for cell in best_parts(found, kind)[:BEST] if cell[2] > 0]
        if best:
            yield fold(f"best.{kind}", spoken, Block("bars", _best(best, kind, spoken)))


def _stack_grids(stack: Mapping[str, Any], spoken: Language, limit: int) -> Iterator[tuple[str, heat.Grid]]:
    corner = spoken.say("explain.corner.places")
    for site, values in stack.get("sites", {}).items():
        if values:
            names = [spoken.whole(k + 1) for k in range(len(values))]
            caption = spoken.say("explain.grid.site", site=spoken.name("explain.site", site))
            grid = heat.effects(values, stack["tokens"], names, (caption, corner), spoken, limit=limit)
            yield f"site.{site}", grid
    for kind in ("heads", "experts"):
        if stack.get(kind):
            yield kind, numbered(stack[kind], spoken.say(f"explain.grid.{kind}"), kind, spoken, limit, as_share=True)


def numbered(
    values: Sequence[Sequence[float | None]], caption: str, kind: str, spoken: Language, limit: int, *, as_share: bool
) -> heat.Grid:
    """A grid of layers by heads or experts."""
    rows = [spoken.whole(k + 1) for k in range(len(values))]
    columns = [spoken.whole(k + 1) for k in range(max(map(len, values), default=0))]
    corner = spoken.say(f"explain.corner.{kind}")
    return heat.effects(values, columns, rows, (caption, corner), spoken, limit=limit, as_share=as_share)


def _best(best: Sequence[tuple[int, int, float]], kind: str, spoken: Language) -> curves.Bars | None:
    name = f"explain.part.{kind.removesuffix('s')}"
    rows = [
        (spoken.say(name, layer=layer + 1, index=index + 1), effect, spoken.percent(effect, 0))
        for layer, index, effect in best
    ]
    return curves.bars(rows, spoken.say(f"explain.bars.{kind}"), spoken.say("explain.column.restored"))


def added(explanation: Explanation, found: Mapping[str, Any], spoken: Language, limit: int) -> Iterator[Block]:
    """What each part writes for or against the answer, in logits."""
    decision = explanation["question"]["decision"]
    names = {name: quote(decision[name], spoken) for name in ("token", "rival")}
    rows = [(part_name(p, spoken), p["value"], spoken.number(p["value"], 2, sign=True)) for p in found.get("parts", ())]
    drawn = curves.bars(
        rows[:BARS], spoken.say("explain.bars.parts", **names), spoken.say("explain.column.logits", **names)
    )
    if drawn:
        yield Block("bars", drawn)
    numbers = {key: spoken.number(found.get(key) or 0.0, 2, sign=True) for key in ("difference", "sum")}
    rest = abs(found.get("residual") or 0.0)
    if rest < ROUNDING:
        yield note("parts.rounding", spoken, **numbers)
    else:
        yield note("parts", spoken, rest=spoken.significant(rest, 2), **numbers)
    for kind in ("heads", "cross", "experts"):
        values = found.get(kind)
        if values:
            grid = numbered(values, spoken.say(f"explain.grid.parts.{kind}"), kind, spoken, limit, as_share=False)
            yield fold(f"parts.{kind}", spoken, Block("grid", grid))
    if found.get("routing"):
        yield fold("routing", spoken, Block("table", _routing(found["routing"], spoken)))


def _routing(routing: Sequence[Mapping[str, Any]], spoken: Language) -> Table:
    rows = []
    for one in routing:
        pairs = zip(one["experts"], one["weights"], strict=False)
        chosen = [f"{spoken.whole(expert + 1)} ({spoken.number(weight, 2)})" for expert, weight in pairs]
        rows.append((spoken.whole(one["layer"] + 1), spoken.list(chosen)))
    columns = (spoken.say("explain.column.layer"), spoken.say("explain.column.experts"))
    return Table(spoken.say("explain.table.routing"), columns, tuple(rows), numbers=2)


# ---------------------------------------------------------------------------------------------- examples and the test


def examples(explanation: Explanation, found: Mapping[str, Any], spoken: Language, limit: int) -> Iterator[Block]:
    yield note("influence", spoken)
    for side in ("raises", "lowers"):
        rows = tuple(
            (clip(e["prompt"], TEXT), clip(e["answer"], TEXT), str(e["id"]), spoken.significant(e["influence"]))
            for e in found.get(side, ())[:EXAMPLES]
        )
        columns = ("prompt", "answer", "example", "influence")
        if rows:
            named = tuple(spoken.say(f"explain.column.{c}") for c in columns)
            yield Block("table", Table(spoken.say(f"explain.table.{side}", len(rows)), named, rows, numbers=3))
    facts = [
        (spoken.say(f"explain.fact.{key}"), spoken.whole(found[key]))
        for key in ("examples", "checkpoints")
        if found.get(key) is not None
    ]
    yield Block("facts", facts)


def test(found: Mapping[str, Any], spoken: Language) -> Iterator[Block]:
    """Curves of the answer as words go or come, beside random orders, and how far methods agree."""
    yield note("faithfulness", spoken)
    for side in ("deletion", "insertion"):
        curve = found.get(side)
        drawn = _curve(curve, side, spoken) if curve else None
        if drawn:
            yield Block("lines", drawn)
    rows = []
    for key in ("comprehensiveness", "sufficiency", "deletion", "insertion"):
        one = found.get(key)
        if one:
            names = ("area", "random_area") if "area" in one else ("value", "random")
            value, random = (one.get(name) for name in names)
            ends = [one.get("difference"), one.get("low"), one.get("high")]
            numbers = [spoken.value(v, "nats", with_unit=False, beside=(1.0,)) for v in (value, random, *ends)]
            between = spoken.say("range", low=numbers[3], high=numbers[4])
            rows.append((spoken.say(f"explain.test.{key}"), *numbers[:3], between))
    columns = tuple(spoken.say(f"explain.column.{c}") for c in ("test", "value", "random", "difference", "between"))
    if rows:
        yield fold("test", spoken, Block("table", Table(spoken.say("explain.table.test"), columns, tuple(rows))))
    agreement = found.get("agreement") or {}
    if len(agreement.get("methods", ())) > 1:
        yield fold("agreement", spoken, Block("table", _agreement(agreement, spoken)))
    sanity = found.get("sanity")
    if sanity and sanity.get("rank_correlation") is not None:
        key = SANITY.get(sanity.get("verdict"), "sanity.few")
        yield note(key, spoken, correlation=spoken.number(sanity["rank_correlation"], 2))


def _curve(curve: Mapping[str, Any], side: str, spoken: Language) -> curves.Lines | None:
    at, random = curve["share"], spoken.say("explain.line.random")
    own = Line(spoken.say("explain.line.own"), "after", curve["curve"])
    other = Line(random, "before", curve["random"], curve.get("random_low") or (), curve.get("random_high") or ())
    words = (
        spoken.say(f"explain.axis.{side}"),
        spoken.say("explain.axis.score"),
        spoken.say(f"explain.test.{side}.curve"),
    )
    return curves.lines([other, own], at, [spoken.percent(x, 0) for x in at], words, spoken)


def _agreement(agreement: Mapping[str, Any], spoken: Language) -> Table:
    names = [spoken.name("explain.method", name) for name in agreement["methods"]]
    rows = tuple(
        (name, *("–" if value is None else spoken.number(value, 2) for value in row))
        for name, row in zip(names, agreement["rank_correlation"], strict=False)
    )
    return Table(spoken.say("explain.table.agreement"), (spoken.say("explain.column.method"), *names), rows)
