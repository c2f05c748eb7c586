"""Write docs/benchmarks.md from benchmarks/results/*.json; without --write, say whether it is stale."""

import argparse
import json
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "benchmarks" / "results"
PAGE = ROOT / "docs" / "benchmarks.md"
INTRODUCTION = """# Benchmarks

Made from `benchmarks/results/` by `scripts/benchmarks_page.py`; `make check` fails when it is stale. `make bench-adapt`
measures training again (about 20 minutes), `make bench-audit DATA=folder` likelihood scoring (about 25),
`make bench-understand` explanations (about 40), `make bench-correct` corrections (about 60), `make bench-charter` a
charter learnt (about 15), `make bench-serve` the gateway (about 10), each on a machine that does nothing else; they
write both.

Each line with a peer is measured side by side, in one run on one machine: the peer is installed in an environment of
its own, with the same torch, and runs with the settings that the notes name, its other ones beside them. *Equal within*
is how far the two results lie apart, in nats; *share of the machine* is the arithmetic done, as a share of the fastest
matrix product measured in the same run."""
COLUMNS = ("case", "Limpide", "peer", "unit", "ratio", "goal", "equal within", "share of the machine")
ALONE = ("case", "measured", "unit", "goal", "note")  # of a benchmark that has no peer


def page(results: Iterable[tuple[str, Sequence[dict[str, Any]]]]) -> str:
    """The whole page. results: (name of the benchmark, its rows)."""
    parts = [INTRODUCTION]
    for name, rows in results:
        parts.append(f"## {name.capitalize()}")
        if any("peer" in row for row in rows):
            parts += [table(COLUMNS, [cells(row) for row in rows]), *(part for row in rows for part in details(row))]
        else:
            places = dict.fromkeys(f"On {row['cpu']}, {row['date']}." for row in rows)
            parts += [*places, table(ALONE, [alone(row) for row in rows])]
    if len(parts) == 1:
        parts.append("No benchmark has been recorded yet.")
    return "\n\n".join(parts) + "\n"


def details(row: dict[str, Any]) -> list[str]:
    """Who the peer was and where, what was done, and the tables behind the row."""
    against = f"{row['peer_version']}, on" if row["peer_version"] else "On"
    parts = [f"### {row['case']}", f"{against} {row['cpu']}, {row['date']}."]
    parts += [f"- {note}" for note in row.get("notes", ())]
    for extra in row.get("tables", ()):
        parts += [f"**{extra['title']}**", table(extra["columns"], extra["rows"])]
    return parts


def alone(row: dict[str, Any]) -> list[str]:
    return [row["case"], f"{row['ours']:g}", row["unit"], row["goal"] or "", row["note"] or ""]


def cells(row: dict[str, Any]) -> list[str]:
    share, goal, within = row["machine_share"], row["goal"], row["equal_within"]
    if row["peer"] is None:  # a figure with a limit of its own, told in its notes
        return [row["case"], f"{row['ours']:g}", "", row["unit"], "", goal or "", "", ""]
    return [
        row["case"],
        f"{row['ours']:g}",
        f"{row['peer']:g}",
        row["unit"],
        f"**{row['ratio']:.2f}×**",
        "" if goal is None else f"{goal:g}×, {'met' if row['ratio'] >= goal else 'not met'}",
        "" if within is None else f"{within:g}",
        "" if share is None else f"{share:.0%}",
    ]


def table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |" for line in lines)


def results() -> list[tuple[str, list[dict[str, Any]]]]:
    """(name, rows) of every results file, in the order of their names."""
    return [(path.stem, json.loads(path.read_text(encoding="utf-8"))) for path in sorted(RESULTS.glob("*.json"))]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true", help="write the page instead of comparing")
    write = parser.parse_args().write
    text = page(results())
    stale = not PAGE.is_file() or PAGE.read_text(encoding="utf-8") != text
    if stale and write:
        PAGE.write_text(text, encoding="utf-8")
    if stale:
        print(f"{'written' if write else 'stale'}: {PAGE.relative_to(ROOT)}")
    return 0 if write or not stale else 1


if __name__ == "__main__":
    sys.exit(main())
