"""One row of a dropped file, as it stands there: for a person who was told that something is wrong with it."""

from collections.abc import Iterable, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

from limpide.core.visible import visible
from limpide.data.opening import open_rows
from limpide.data.sensitive import SORTS, mask

LOOKED_AT = 200_000  # rows that are passed over to come to one
FIRST = 20  # rows whose columns are offered
LONGEST = 1500  # characters shown of a cell
EVERY_SORT = tuple(sort.name for sort in SORTS)


def row_at(path: Path, line: int) -> list[tuple[str, str]] | None:
    """(column, text) of the row at a line, with secrets, personal data and names masked; None where there is none.

    A row that cannot be parsed is its line, under ''. Raises DataError where the file cannot be opened.
    """
    for row in islice(open_rows(path, path.name).rows, LOOKED_AT):
        if row.line == line:
            if row.fault is not None:
                return [("", _shown(_line(path, line)))]
            value = row.value if isinstance(row.value, dict) else {"": row.value}
            return [(visible(str(name)), _shown(cell)) for name, cell in value.items()]
    return None


def columns_of(path: Path) -> list[str]:
    """The names of the columns that the first rows have. Raises DataError where the file cannot be opened."""
    return _names(row.value for row in islice(open_rows(path, path.name).rows, FIRST) if row.fault is None)


def _names(values: Iterable[Any]) -> list[str]:
    return list(dict.fromkeys(str(name) for value in values if isinstance(value, Mapping) for name in value))


def _line(path: Path, number: int) -> str:
    with path.open(encoding="utf-8", errors="replace") as file:
        return next(islice(file, number - 1, None), "")[: 2 * LONGEST]


def _shown(cell: Any) -> str:
    text = "" if cell is None else mask(str(cell)[: 2 * LONGEST], EVERY_SORT)
    return visible(text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…").strip()
