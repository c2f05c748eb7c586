"""Lines of results of benchmarks that have no peer: a case, what was measured in it, and whether its goal was met."""

from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import Any, Protocol

import machine

from limpide.core import files

Answer = dict[str, Any]


class Case(Protocol):
    """held: is it held to the goals."""

    @property
    def name(self) -> str: ...

    @property
    def held(self) -> bool: ...


def row(case: Case, what: str, value: float, unit: str, note: str | None = None) -> Answer:
    """A line without a peer and without a goal."""
    return {
        "case": f"{case.name}: {what}",
        "ours": round(value, 4),
        "unit": unit,
        "goal": None,
        "note": note,
        "cpu": machine.cpu(),
        "date": date.today().isoformat(),
    }


def goal(case: Case, goal: str, met: bool) -> Answer:
    return {"goal": f"{goal}, {'met' if met else 'not met'}"} if case.held else {}


def told(change: Answer) -> str:
    """'before 0.58, difference 0.01 [0.00; 0.02], n = 1508: no detectable change'."""
    if change["before"] is None or change["difference"] is None:
        return str(change["verdict"])
    ends = "" if change["low"] is None else f" [{change['low']:.4g}; {change['high']:.4g}]"
    return (
        f"before {change['before']:.4g}, difference {change['difference']:.4g}{ends}, n = {change['n']}: "
        f"{change['verdict']}"
    )


def keep(results: Path, case: Case, made: Sequence[Answer], order: Sequence[str]) -> None:
    """Put the lines of a case in the place of its old ones at once: a run that is stopped loses nothing.

    order: names of all cases, as the file lists them.
    """
    for line in made:
        print(f"{line['case']}: {line['ours']:g} {line['unit']}; {line['goal'] or ''} {line['note'] or ''}", flush=True)
    before = files.read_json(results) if results.is_file() else []
    others = [line for line in before if _case(line) != case.name]
    files.write_json(results, sorted([*others, *made], key=lambda line: order.index(_case(line))))


def _case(line: Answer) -> str:
    return str(line["case"]).partition(": ")[0]
