"""Heat maps of an explanation: the words of a prompt, and grids of layers by places, as records without colours.

A shade is a class of explanation.css: p1 … p8 for, n1 … n8 against, '' for nothing, so that light and dark pages and
print have their own colours. A grid is a table of numbers that is coloured, so everybody can read it.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from limpide.document.language import Language
from limpide.document.weighed import LEAST, Weight, clip, named, quote, signed, visible

SHADES = 8  # on each side of zero
FAINTEST = 1 / 32  # of the scale: below it nothing is coloured
ZERO = 0.005  # in a grid: below it a number is written 0, and not coloured
NUMBERS = 20  # columns up to which every cell shows its number
LONGEST = 24  # characters of a column's label
CHIPS = 1500  # tokens shown of a prompt
TALL = 12  # layers up to which those whose numbers are all written 0 are shown as well
FOLDED = 3  # such layers from which they are only counted


@dataclass(frozen=True)
class Chip:
    """One token. space: one stands before it. frame: it is of the conversation template. marked: it is the one that is
    explained. ends: a line ends with it."""

    text: str
    shade: str
    title: str
    space: bool = False
    frame: bool = False
    marked: bool = False
    ends: bool = False


@dataclass(frozen=True)
class Strip:
    """Tokens as they were read. left_out: how many are not shown."""

    chips: tuple[Chip, ...]
    label: str
    left_out: int = 0


@dataclass(frozen=True)
class Cell:
    text: str
    shade: str
    title: str


@dataclass(frozen=True)
class Grid:
    """corner: what rows and columns are. rows: (label, cells). bare: too many columns for their numbers to be seen."""

    caption: str
    corner: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, tuple[Cell, ...]], ...]
    note: str
    bare: bool
    words: bool = False  # cells hold texts, not numbers


def shade(value: float | None, scale: float) -> str:
    """The class of a value where ±`scale` has the full colour."""
    part = 0.0 if value is None or not scale else value / scale
    if abs(part) < FAINTEST:
        return ""
    return f"{'p' if part > 0 else 'n'}{min(SHADES, max(1, round(SHADES * abs(part))))}"


# -------------------------------------------------------------------------------------------------------- the tokens


def prompt_strip(
    question: Mapping[str, Any], values: Sequence[float | None], weights: Sequence[Weight], spoken: Language
) -> Strip:
    """The prompt, every word in the colour of its weight; without weights, uncoloured.

    values: of tokens; they are in the titles. The tokens of one word have the word's colour; a weight that is written
    0.000 has none, however small the others are.
    """
    of_token = {at: weight for word, weight in zip(question["words"], weights, strict=False) for at in word["tokens"]}
    scale = max((abs(w.value) for w in weights), default=0.0)
    tokens = question["tokens"]
    spaced = any(token["text"][:1].isspace() and token["text"].strip() for token in tokens)  # else between words
    starts = {word["tokens"][0] for word in question["words"] if word["tokens"]}
    chips = []
    for at, token in enumerate(tokens[:CHIPS]):
        weight, value = of_token.get(at), values[at] if at < len(values) else None
        title = _title(weight, value, token["text"], spoken) if weight else ""
        chips.append(
            Chip(
                text=shown(token["text"]),
                shade=shade(weight.value, scale) if weight and abs(weight.value) >= LEAST else "",
                title=title,
                space=token["text"][:1].isspace() if spaced else at in starts,
                frame=token["part"] == "frame",
                ends="\n" in token["text"],
            )
        )
    return Strip(tuple(chips), spoken.say("explain.strip.prompt"), max(0, len(tokens) - CHIPS))


def _title(weight: Weight, value: float | None, token: str, spoken: Language) -> str:
    said = spoken.say(
        "explain.strip.title",
        word=named(weight, spoken),
        nats=spoken.difference(weight.value, "nats"),
        of=signed(weight, spoken),
    )
    if value is None or token.strip() == weight.text.strip():
        return said
    return f"{said} · {visible(token)}{spoken.say('colon')} {spoken.difference(value, 'nats')}"


def answer_strip(question: Mapping[str, Any], spoken: Language) -> Strip:
    """The answer's tokens; the shade is their probability, the mark is on the one whose making is explained."""
    at = question.get("decision", {}).get("at")
    chips = tuple(
        Chip(
            text=shown(token["text"]),
            shade=shade(probability(token.get("nats")), 1.0),
            title=spoken.say(
                "explain.strip.answer.title",
                word=quote(token["text"], spoken),
                probability=spoken.percent(probability(token.get("nats"))),
            ),
            space=token["text"][:1].isspace(),
            marked=k == at,
            ends="\n" in token["text"],
        )
        for k, token in enumerate(question.get("answer_tokens", ())[:CHIPS])
    )
    return Strip(chips, spoken.say("explain.strip.answer"))


def probability(nats: float | None) -> float:
    return 0.0 if nats is None else 2.718281828459045 ** min(0.0, nats)


def shown(text: str) -> str:
    """A token's own text without the spaces before it, and with what cannot be seen drawn."""
    return text.strip(" ").replace("\n", "↵") if text.strip() else visible(text)


# --------------------------------------------------------------------------------------------------------- the grids


def effects(
    values: Sequence[Sequence[float | None]],
    columns: Sequence[str],
    rows: Sequence[str],
    words: tuple[str, str],
    spoken: Language,
    *,
    limit: int,
    as_share: bool = True,
    layers: bool = True,
) -> Grid:
    """A grid of signed numbers. words: its caption and its corner. as_share: 1 is written 100, and is the least that
    has the full colour's half.

    layers: a row is a layer; of many layers, those whose numbers would all be written 0 are only counted.
    """
    kept = strongest_columns(values, len(columns), limit)
    largest = max((abs(v) for row in values for v in row if v is not None), default=0.0)
    scale = max(min(largest, 1.0), 0.1) if as_share else largest

    def write(value: float) -> str:
        return spoken.number(100 * value, 0) if as_share else spoken.number(value, 2, sign=True)

    labels = [label(columns[at]) for at in kept]
    loud = [k for k, row in enumerate(values) if any(abs(v) >= ZERO for v in row if v is not None)]
    if not layers or len(values) <= TALL or len(values) - len(loud) < FOLDED:
        loud = list(range(len(values)))
    made = tuple(
        (
            rows[k],
            tuple(
                _cell(row[at] if at < len(row) else None, scale, write, f"{rows[k]} · {label(columns[at])}")
                for at in kept
            ),
        )
        for k, row in ((k, values[k]) for k in loud)
    )
    note = spoken.say("explain.grid.scale", full=spoken.percent(scale, 0) if as_share else write(scale))
    if len(loud) < len(values):
        shown_least = spoken.number(100 * ZERO, 1) if as_share else spoken.number(ZERO, 3)
        note = f"{note} {spoken.say('explain.grid.quiet', len(values) - len(loud), least=shown_least)}"
    return Grid(*words, tuple(labels), made, _cut(note, kept, len(columns), spoken), len(kept) > NUMBERS)


def _cell(value: float | None, scale: float, write: Callable[[float], str], where: str) -> Cell:
    if value is None:
        return Cell("", "", where)
    number = write(value)
    return Cell(number, shade(value, scale) if abs(value) >= ZERO else "", f"{where}: {number}")


def strongest_columns(values: Sequence[Sequence[float | None]], columns: int, limit: int) -> list[int]:
    """Places of the columns that are shown: all, or those with the largest numbers and the last one, in order."""
    if columns <= limit:
        return list(range(columns))
    size = [max((abs(row[at] or 0.0) for row in values if at < len(row)), default=0.0) for at in range(columns - 1)]
    return sorted([*sorted(range(columns - 1), key=lambda at: -size[at])[: limit - 1], columns - 1])


def predictions(
    lens: Mapping[str, Any], rows: Sequence[str], spoken: Language, *, limit: int, corner: str
) -> Grid | None:
    """What each layer would say at each place that was read; the last places where there are many."""
    grid = lens.get("grid") or {}
    tokens, top, sure = grid.get("tokens") or (), grid.get("top") or (), grid.get("probability") or ()
    if not tokens or not top:
        return None
    kept = list(range(max(0, len(tokens) - limit), len(tokens)))
    made = []
    for k, row in enumerate(top):
        cells = []
        for at in kept:
            p = sure[k][at] if k < len(sure) and at < len(sure[k]) else None
            title = f"{rows[k]} · {label(tokens[at])}: {visible(row[at])}" + (
                f" ({spoken.percent(p)})" if p is not None else ""
            )
            cells.append(Cell(clip(visible(row[at]), 12), shade(p, 1.0), title))
        made.append((rows[k], tuple(cells)))
    note = spoken.say("explain.grid.probability")
    if len(kept) < len(tokens):
        note = f"{note} {spoken.say('explain.grid.last', shown=len(kept), total=len(tokens))}"
    columns = tuple(label(tokens[at]) for at in kept)
    return Grid(spoken.say("explain.lens.grid"), corner, columns, tuple(made), note, False, words=True)


def _cut(note: str, kept: Sequence[int], total: int, spoken: Language) -> str:
    if len(kept) == total:
        return note
    return f"{note} {spoken.say('explain.grid.cut', shown=len(kept), total=total)}"


def label(text: str) -> str:
    text = visible(text)
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…"
