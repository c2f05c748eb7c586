"""What to expect of a training, drawn: the verdict, four figures, and the sentences that the command line prints."""

from collections.abc import Mapping
from typing import Any

from nicegui import ui

from limpide.document.advised import sentences
from limpide.studio import parts
from limpide.studio.visit import Visit

VERDICTS: Mapping[str, parts.Kind] = {"train": "good", "doubtful": "warning", "look up": "warning"}


def draw_advice(visit: Visit, record: Mapping[str, Any]) -> None:
    """record: what `limpide advise --json` prints."""
    verdict, *rest = sentences(record, visit.language)
    parts.notice(VERDICTS.get(record["verdict"], "info"), verdict)
    with parts.facts():
        for name, value in figures(visit, record):
            parts.fact(visit.say(f"data.advice.{name}"), value)
    with ui.element("ul"):
        for sentence in rest[: len(record["reasons"])]:
            parts.word("li", sentence)
    with parts.more(visit.say("data.advice.all")), ui.element("ul"):
        for sentence in rest[len(record["reasons"]) :]:
            parts.word("li", sentence)


def figures(visit: Visit, record: Mapping[str, Any]) -> list[tuple[str, str]]:
    """(name, value in words): time, memory, what is kept to judge on, and the smallest change that it can show."""
    say, words, cost, rows = visit.say, visit.words, record["cost"], record["rows"]
    seconds, smallest = cost["seconds"], rows["smallest"]
    peak, machine = (words.bytes(cost[name]) for name in ("peak_bytes", "machine_bytes"))
    return [
        ("time", say("data.advice.time.unknown") if seconds is None else words.duration(seconds)),
        ("memory", say("data.advice.memory_of", peak=peak, machine=machine)),
        ("kept", say("data.advice.kept_rows", rows["held_out"])),
        ("seen", say("data.advice.seen.none") if smallest is None else words.percent(smallest)),
    ]
