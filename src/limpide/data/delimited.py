"""Rows of a .csv or .tsv file, with line numbers."""

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

from limpide.data.columns import ALIASES
from limpide.data.raw import LONGEST_ROW, TOO_LONG, Raw

DELIMITERS = (",", ";", "\t")


class _Lines:
    """The lines of a file for `csv.reader`. They stop when one row has taken LONGEST_ROW: see `next_row`."""

    def __init__(self, file: TextIO) -> None:
        self.file, self.left = file, LONGEST_ROW

    def __iter__(self) -> "_Lines":
        return self

    def __next__(self) -> str:
        line = self.file.readline(self.left + 1)
        if not line:
            raise StopIteration
        self.left -= len(line)
        if self.left < 0:
            raise _TooLong
        return line


class _TooLong(Exception):
    """One row takes more than LONGEST_ROW characters, as all that follows an unclosed quotation mark does."""


def csv_rows(path: Path) -> Iterator[Raw]:
    """Rows of a CSV file whose first line names the columns; the delimiter is , ; or tab, whichever fits."""
    csv.field_size_limit(LONGEST_ROW)
    with path.open(encoding="utf-8-sig", newline="") as file:
        first = file.readline(LONGEST_ROW)
        while first and not first.strip():
            first = file.readline(LONGEST_ROW)
        file.seek(0)
        lines = _Lines(file)
        reader = csv.reader(lines, delimiter=_delimiter(first), strict=True)
        header: list[str] = []
        while True:
            start, lines.left = reader.line_num + 1, LONGEST_ROW
            try:
                cells = next(reader)
            except StopIteration:
                return
            except _TooLong:
                yield Raw(start, fault=_unclosed(reader.line_num) if reader.line_num > start else TOO_LONG, broken=True)
                return
            except csv.Error as error:
                unclosed = "unexpected end of data" in str(error)
                fault = _unclosed(reader.line_num) if unclosed else _fault(error, start, reader.line_num)
                yield Raw(start, fault=fault, broken=unclosed)
                continue
            if not any(cell.strip() for cell in cells):
                continue
            if not header:
                header = [cell.strip() for cell in cells]
                if twice := next((name for name in header if name and header.count(name) > 1), None):
                    yield Raw(start, fault=f"two columns are named '{twice}'", broken=True)
                    return
                continue
            yield _row(start, header, cells)


def _row(line: int, header: list[str], cells: list[str]) -> Raw:
    if len(cells) != len(header):
        hint = ": put a text that holds the separator between quotation marks" if len(cells) > len(header) else ""
        return Raw(line, fault=f"the first line names {len(header)} columns and this row has {len(cells)}{hint}")
    if any(not name and cell.strip() for name, cell in zip(header, cells, strict=True)):
        return Raw(line, fault="a value in a column that has no name on the first line")
    return Raw(line, {name: cell for name, cell in zip(header, cells, strict=True) if name})


def _unclosed(end: int) -> str:
    return f"a quotation mark opened here is never closed (read up to line {end})"


def _fault(error: csv.Error, start: int, end: int) -> str:
    if "expected after" not in str(error):
        return f"broken CSV: {error}"
    where = f" on line {end}" if end > start else ""
    return f'text after a closing quotation mark{where}: write a quotation mark inside a text twice ("")'


def _delimiter(first: str) -> str:
    """The delimiter that gives the most known columns, then the most columns."""
    known = {name for ours, aliases in ALIASES.items() for name in (ours, *aliases)}

    def score(delimiter: str) -> tuple[int, int]:
        cells = next(csv.reader([first], delimiter=delimiter), [])
        return sum(cell.strip().casefold() in known for cell in cells), len(cells)

    return max(DELIMITERS, key=score)
