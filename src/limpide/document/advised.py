"""What to expect of a training, in sentences. What they say is advice.json alone."""

from collections.abc import Iterator, Mapping
from typing import Any

from limpide.document.language import Language, language

Record = Mapping[str, Any]


def sentences(record: Record, code: str) -> Iterator[str]:
    """The verdict, what speaks against it, what there is, and what it takes, in the language `code`."""
    spoken = language(code)
    yield spoken.say(f"advice.verdict.{record['verdict']}")
    for reason in record["reasons"]:
        numbers = {name: _shown(value, spoken) for name, value in reason["what"].items()}
        yield spoken.say(f"advice.reason.{reason['code']}", **numbers)
    yield from _rows(record["rows"], spoken)
    yield from _cost(record["cost"], spoken)


def _shown(value: Any, spoken: Language) -> str:
    if isinstance(value, list):
        return spoken.join(spoken.name("language", code) for code in value)
    return spoken.significant(float(value)) if isinstance(value, int | float) else str(value)


def _rows(rows: Record, spoken: Language) -> Iterator[str]:
    yield spoken.say("advice.rows", **{name: rows[name] for name in ("answers", "texts", "preferences", "held_out")})
    charter = rows.get("charter")
    if charter and any(charter.values()):
        yield spoken.say("advice.charter", charter["preferences"], answers=spoken.whole(charter["answers"]))
    if rows["taught"] is not None:
        yield spoken.say("advice.taught", **{k: spoken.percent(rows["taught"][k]) for k in ("value", "low", "high")})
    if rows["smallest"] is None:
        yield spoken.say("advice.unseen")
    else:
        yield spoken.say("advice.smallest", smallest=spoken.percent(rows["smallest"]))


def _cost(cost: Record, spoken: Language) -> Iterator[str]:
    if cost["seconds"] is None:
        yield spoken.say("advice.seconds.unknown")
    else:
        yield spoken.say("advice.seconds", seconds=spoken.duration(cost["seconds"]), precision=cost["precision"])
    peak, machine = (spoken.bytes(cost[name]) for name in ("peak_bytes", "machine_bytes"))
    yield spoken.say("advice.memory", peak=peak, machine=machine)
    known = cost["base_flops"] is not None
    base = spoken.say("advice.flops.known", flops=spoken.significant(cost["base_flops"], 2)) if known else None
    yield spoken.say(
        "advice.flops",
        flops=spoken.significant(cost["flops"], 2),
        share=spoken.percent(cost["share_of_third"]),
        base=base or spoken.say("advice.flops.unknown"),
    )
