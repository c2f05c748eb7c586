"""The page of one training alone: what it came to on held-out rows, its course, and its numbers.

One HTML file, without a script. What it shows is adaptation.json and losses.jsonl alone.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from limpide.data.texts import where_they_differ
from limpide.document.curves import Line, lines
from limpide.document.explained import Block, Part, Table
from limpide.document.language import Language, language
from limpide.document.pages import environment

Record = Mapping[str, Any]
Row = Mapping[str, Any]
STAGES = ("texts", "answers", "preferences")
NUMBERS = (
    *("method", "rank", "alpha", "learning_rate", "precision", "rows", "row_tokens", "trained_tokens", "steps"),
    *("epochs_done", "best_step", "tokens_seen", "seconds", "tokens_per_second", "trainable_parameters"),
)


def page(record: Record, losses: Sequence[Row], code: str) -> str:
    """The page in the language `code`. The same record gives the same bytes."""
    spoken = language(code)
    parts = came_to(record, spoken), course(record, losses, spoken), put_right(record, spoken), numbers(record, spoken)
    made = [part for part in parts if part]
    tone, banner = verdict(record, spoken)
    return environment().get_template("plain_page.html.jinja").render(
        l=spoken,
        kind="adapted.title",
        heading=spoken.say("adapted.heading", model=str(record["model"]["ref"]).rstrip("/").rpartition("/")[2]),
        meta=spoken.say("adapted.meta", method=str(record["training"].get("method")), seed=record["settings"]["seed"]),
        others=(),
        tiles=(),
        tone=tone,
        banner=banner,
        said=" ".join(told(change, spoken) for change in record["changes"]) or spoken.say("adapted.nothing"),
        parts=made,
        commands=[str(record["command"])],
        contents=[*((part.id, part.title) for part in made), ("rerun", spoken.say("correction.section.rerun"))],
    )  # fmt: skip


def verdict(record: Record, spoken: Language) -> tuple[str, str]:
    """(tone, banner) of the first thing that was held out: new wordings before new topics before texts."""
    verdicts = [change["verdict"] for change in record["changes"]]
    first = verdicts[0] if verdicts else "insufficient evidence"
    tone = {"better": "good", "worse": "bad"}.get(first, "doubt")
    return tone, spoken.say(f"adapted.banner.{first}")


def told(change: Record, spoken: Language) -> str:
    """The change of one part in a sentence."""
    what = spoken.say(f"adapted.part.{_part(change)}")
    if change["difference"] is None:
        return spoken.say("adapted.too_few", int(change["n"]), what=what)
    key = "adapted.change.share" if change["unit"] == "share" else "adapted.change"
    return spoken.say(key, int(change["n"]), what=what, **_said(change, spoken))


def _part(change: Record) -> str:
    return str(change["name"]).removeprefix("adapted.")


def _said(change: Record, spoken: Language) -> dict[str, str]:
    """before, after, difference, low, high as this language writes them; differences of shares in points."""
    if change["unit"] != "share":
        return {key: spoken.significant(change[key]) for key in ("before", "after", "difference", "low", "high")}
    said = {key: spoken.percent(change[key]) for key in ("before", "after")}
    return said | {key: spoken.number(100 * change[key], 1, sign=True) for key in ("difference", "low", "high")}


def came_to(record: Record, spoken: Language) -> Part | None:
    """Each loss before and after, with its interval and n."""
    rows = tuple(_change_row(change, spoken) for change in record["changes"])
    if not rows:
        return None
    columns = ("what", "before", "after", "difference", "interval", "n", "verdict")
    heads = tuple(spoken.say(f"adapted.column.{column}") for column in columns)
    table = Table(spoken.say("adapted.table"), heads, rows)
    return Part("held-out", spoken.say("adapted.section.held_out"), (Block("table", table),))


def _change_row(change: Record, spoken: Language) -> tuple[str, ...]:
    what, word = spoken.say(f"adapted.part.{_part(change)}"), spoken.say(f"word.{change['verdict']}")
    if change["difference"] is None:
        return what, "–", "–", "–", "–", spoken.whole(change["n"]), word
    said = _said(change, spoken)
    interval = f"{said['low']} … {said['high']}"
    return what, said["before"], said["after"], said["difference"], interval, spoken.whole(change["n"]), word


def course(record: Record, losses: Sequence[Row], spoken: Language) -> Part | None:
    """Losses by update, a picture a stage; the state kept is marked."""
    blocks = [block for stage in dict.fromkeys(row.get("stage") for row in losses) for block in _curve(
        [row for row in losses if row.get("stage") == stage], stage, record["training"], spoken
    )]  # fmt: skip
    return Part("course", spoken.say("adapted.section.course"), tuple(blocks)) if blocks else None


def _curve(rows: Sequence[Row], stage: Any, training: Record, spoken: Language) -> Iterator[Block]:
    held = [row.get("held_out") for row in rows]
    drawn = [
        Line(spoken.say("adapted.line.train"), "before", [row.get("train") for row in rows]),
        Line(
            spoken.say("adapted.line.held_out"),
            "after",
            held,
            [row.get("held_out_low") for row in rows] if any(v is not None for v in held) else (),
            [row.get("held_out_high") for row in rows] if any(v is not None for v in held) else (),
        ),
    ]
    own = (training.get("stages") or {}).get(stage) or training
    best = own.get("best_step")
    name = spoken.say(f"adapted.stage.{stage}") if stage in STAGES else spoken.say("adapted.stage.answers")
    made = lines(
        [line for line in drawn if any(value is not None for value in line.values)],
        [float(row["step"]) for row in rows],
        [spoken.whole(row["step"]) for row in rows],
        (spoken.say("adapted.axis.steps"), spoken.say("adapted.axis.loss"), name),
        spoken,
        mark=(float(best), spoken.say("adapted.kept")) if best is not None else None,
    )
    if made is not None:
        yield Block("lines", made)


def put_right(record: Record, spoken: Language) -> Part | None:
    """The first of the training answers that the charter put right, before and after."""
    learnt = record.get("data", {}).get("charter", {})
    if not learnt.get("put_right"):
        return None
    rows = tuple((row["row"], *where_they_differ(row["before"], row["after"])) for row in learnt["put_right"])
    heads = tuple(spoken.say(f"adapted.put_right.{column}") for column in ("row", "before", "after"))
    table = Table(spoken.say("adapted.put_right", learnt["mended"]), heads, rows)
    return Part("put-right", spoken.say("adapted.section.put_right"), (Block("table", table),))


def numbers(record: Record, spoken: Language) -> Part:
    training = record["training"]
    rows = [
        (spoken.say(f"adapted.number.{name}"), spoken.plain(training[name]))
        for name in NUMBERS
        if training.get(name) is not None
    ]
    blocks = [Block("facts", rows)]
    if record["warnings"]:
        blocks.append(Block("heading", spoken.say("adapted.warnings")))
        blocks.append(Block("list", [str(warning) for warning in record["warnings"]]))
    return Part("numbers", spoken.say("adapted.section.numbers"), tuple(blocks))
