"""Files of public sets: read whole, checked against what a dialect needs, every fault with its line."""

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from limpide.audit.dialects.registry import Dialect
from limpide.core.errors import DataError, Fault, UsageError, nearest
from limpide.data import raw
from limpide.data.reading import too_many

FIX = "correct the file, or get it again from its source"


@dataclass(frozen=True)
class Row:
    """One row of a file, with what it takes to complain about it. line: counts from 1."""

    line: int
    value: Mapping[str, Any]


@dataclass
class Table:
    """The rows of one file. faults: found so far; `check` raises them together. digest: SHA-256 of the file."""

    name: str
    digest: str
    rows: list[Row]
    faults: list[Fault] = field(default_factory=list)

    def fault(self, row: Row, what: str) -> None:
        self.faults.append(Fault(self.name, row.line, what))

    def text(self, row: Row, key: str) -> str:
        """The text under `key`; '' and a fault where there is none."""
        value = row.value.get(key)
        if isinstance(value, str) and value.strip():
            return value
        self.fault(row, f"'{key}' is missing" if value in (None, "") else f"'{key}' is no text: {_short(value)}")
        return ""

    def choice(self, row: Row, key: str, allowed: Sequence[str]) -> str:
        """The text under `key`, one of `allowed`; the first of them and a fault where it is another."""
        value = row.value.get(key)
        if value in allowed:
            return str(value)
        self.fault(row, f"'{key}' is {_short(value)}, where it must be {' or '.join(allowed)}")
        return allowed[0]

    def check(self) -> None:
        """Raises DataError with every fault."""
        if self.faults:
            raise too_many(self.faults, f"wrong in {self.name}", remedy=FIX)


def the_file(file: Path | None, dialect: Dialect) -> Path:
    """The file or folder given. Raises UsageError saying where the set comes from, DataError if it is absent."""
    if file is None:
        raise UsageError(
            f"The dialect '{dialect.name}' needs its public set, which Limpide does not ship.",
            expected=f"a file ({dialect.format}): {dialect.data}",
            remedy=f"get it, and give it: limpide audit bias MODEL --dialect {dialect.name} --file FILE",
        )
    if str(file).startswith("hub:"):
        raise UsageError(
            "Limpide reads public sets from files of this machine, not from the hub.",
            received=str(file),
            remedy="download it (`hf download OWNER/NAME --repo-type dataset --local-dir FOLDER`) and give the file",
        )
    if not file.exists():
        beside = [path.name for path in file.parent.iterdir()] if file.parent.is_dir() else []
        raise DataError(f"There is no file {file}.{nearest(file.name, beside)}", expected=dialect.data)
    return file


def read_table(file: Path | None, dialect: Dialect) -> Table:
    """The rows of a .csv, .tsv or .jsonl file.

    Raises UsageError, and DataError: no such file, not UTF-8, broken rows, or columns that the dialect needs and the
    file lacks, named with those found.
    """
    path = the_file(file, dialect)
    readers = {".csv": _csv_rows, ".tsv": _csv_rows, ".jsonl": raw.jsonl_rows, ".json": raw.json_rows}
    reader = readers.get(path.suffix.lower())
    if reader is None or path.is_dir():
        raise DataError(
            f"{path.name} is not a file that the dialect '{dialect.name}' reads.",
            expected=f"{dialect.format}: {dialect.data}",
        )
    digest = raw.check_bytes(path, path.name).digest
    rows, table = [], Table(path.name, digest, [])
    for found in reader(path):
        if isinstance(found.value, dict):
            rows.append(Row(found.line, found.value))
        else:
            table.faults.append(Fault(path.name, found.line, found.fault or "expected an object"))
    table.check()
    return checked(Table(path.name, digest, rows), dialect)


def checked(table: Table, dialect: Dialect) -> Table:
    """The same table. Raises DataError when it is empty or no row has a column that the dialect needs."""
    if not table.rows:
        raise DataError(f"{table.name} holds no row.", expected=dialect.data)
    columns = dict.fromkeys(key for row in table.rows for key in row.value)
    missing = [column for column in dialect.columns if column not in columns]
    if missing:
        raise DataError(
            f"{table.name} lacks columns that '{dialect.name}' needs: {', '.join(missing)}",
            received=", ".join(name for name in columns if name) or "no named column",
            expected=", ".join(dialect.columns),
            remedy=f"give the original file: {dialect.data}",
        )
    return table


def in_category(rows: list[tuple[str, Any]], category: str | None, name: str) -> list[Any]:
    """Values whose category is asked, all when None. rows: (category, value). Raises UsageError with the nearest."""
    if category is None:
        return [value for _, value in rows]
    chosen = [value for own, value in rows if own == category]
    if not chosen:
        known = sorted({own for own, _ in rows})
        raise UsageError(f"{name} has no category '{category}'.{nearest(category, known)}", expected=", ".join(known))
    return chosen


def _csv_rows(path: Path) -> Iterator[raw.Raw]:
    """Rows of a CSV file. A column without a name, as in CrowS-Pairs, is passed over: it only counts the rows."""
    text = path.read_text(encoding="utf-8-sig")
    delimiter = "\t" if path.suffix.lower() == ".tsv" else ","
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    header: list[str] | None = None
    while True:
        line = reader.line_num + 1
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            yield raw.Raw(line, fault=f"broken CSV: {error}")
            return
        if header is None:
            header = cells
        elif len(cells) != len(header):
            yield raw.Raw(line, fault=f"the first line names {len(header)} columns and this row has {len(cells)}")
        else:
            yield raw.Raw(line, {name: cell for name, cell in zip(header, cells, strict=True) if name})


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:60]}…"
