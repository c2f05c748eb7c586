"""The page docs/silent-faults.md: one row a fault, written from what the test of that fault saw, and held by it."""

import re
from dataclasses import dataclass
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[2] / "docs" / "silent-faults.md"
HEADING = """\
# Faults that pass in silence elsewhere

Each of these was met by users of other tools in a run that seemed to succeed. Here each is put in on purpose, and the
command that a person would type must find it, or it must be unable to happen. The rows are written by the tests
(`make silent-faults`), and `make test` fails where one is no longer true.

| | fault | command | what it says |
|---|---|---|---|
"""


@dataclass(frozen=True)
class Fault:
    """number: its place on the page. title: what is wrong, as a user would put it."""

    number: str
    title: str


def tell(request: pytest.FixtureRequest, fault: Fault, command: str, said: str) -> None:
    """Write the row of a fault, or require that the page has it."""
    row = f"| {fault.number} | {fault.title} | `{command}` | {' '.join(said.split())} |"
    if request.config.getoption("--write-silent-faults"):
        rows = {_number(line): line for line in _rows()} | {fault.number: row}
        PAGE.write_text(HEADING + "\n".join(rows[name] for name in sorted(rows, key=_place)) + "\n", encoding="utf-8")
    assert row in _rows(), "out of step: make silent-faults"


def numbers() -> list[str]:
    """The faults of the page, in its order."""
    return [_number(line) for line in _rows()]


def _rows() -> list[str]:
    text = PAGE.read_text(encoding="utf-8") if PAGE.is_file() else ""
    return [line for line in text.splitlines() if re.match(r"\| \d", line)]


def _number(row: str) -> str:
    return row.split("|")[1].strip()


def _place(number: str) -> tuple[int, str]:
    digits, letter = re.fullmatch(r"(\d+)([a-z]?)", number).groups()  # type: ignore[union-attr]
    return int(digits), letter
