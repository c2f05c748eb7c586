"""A user's file of rows, opened by its extension: text, spreadsheet or Parquet."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from limpide.core import digests
from limpide.core.errors import DataError, nearest
from limpide.data.delimited import csv_rows
from limpide.data.parquet import parquet_rows
from limpide.data.raw import Bytes, Raw, check_bytes, json_rows, jsonl_rows
from limpide.data.spreadsheet import sheet_rows

TEXTS: dict[str, Callable[[Path], Iterator[Raw]]] = {
    ".jsonl": jsonl_rows,
    ".ndjson": jsonl_rows,
    ".json": json_rows,
    ".csv": csv_rows,
    ".tsv": csv_rows,
}
SHEETS = (".xlsx", ".xlsm")
PARQUET = ".parquet"
EXPECTED = ".jsonl, .json, .csv, .xlsx or .parquet"
OF_DOCUMENTS = (".pdf", ".docx", ".pptx", ".html", ".htm", ".md", ".markdown", ".txt")
DOCUMENTS = "documents are not examples: name them in a recipe, data.documents, or draft questions: limpide data draft"


@dataclass(frozen=True)
class Opened:
    """A file, and its rows one after the other. notes: what its owner should know of how it is read."""

    known: Bytes
    rows: Iterator[Raw]
    notes: tuple[str, ...] = ()


def reads(path: Path) -> bool:
    """Whether files of this extension hold rows that can be read."""
    return path.suffix.lower() in (*TEXTS, *SHEETS, PARQUET)


def open_rows(path: Path, name: str, sheet: str | None = None) -> Opened:
    """Open one file. name: for messages. sheet: which one of a spreadsheet, the first with rows when None.

    Raises DataError for a file that is missing, of another kind or damaged, MissingError where its reader is not
    installed, UntrustedInput for one that unpacks to far more than its size.
    """
    _check_there(path, name)
    suffix = path.suffix.lower()
    if suffix in TEXTS:
        known = check_bytes(path, name)
        marked = f"{name} starts with a byte order mark (BOM); it was passed over."
        return Opened(known, TEXTS[suffix](path), (marked,) if known.has_mark else ())
    rows, notes = parquet_rows(path, name) if suffix == PARQUET else sheet_rows(path, name, sheet)
    return Opened(Bytes(digests.of_file(path), path.stat().st_size, has_mark=False), rows, notes)


def _check_there(path: Path, name: str) -> None:
    """Raise DataError for a missing file, a folder or an extension that is not read."""
    if path.is_dir():
        inside = sorted(p.name for p in path.iterdir() if reads(p))
        remedy = f"give one of its files: {', '.join(inside[:10])}" if inside else DOCUMENTS
        raise DataError(f"{path} is a folder.", expected=f"a file, {EXPECTED}", remedy=remedy)
    if path.is_symlink() and not path.exists():
        raise DataError(f"{path} is a link that leads nowhere.", received=str(path.readlink()))
    if not path.exists():
        beside = [p.name for p in path.parent.iterdir() if p.is_file()] if path.parent.is_dir() else []
        where = (
            f"in the folder {path.parent.absolute()}"
            if path.parent.is_dir()
            else f": the folder {path.parent} is not there either"
        )
        raise DataError(f"There is no file {path.name} {where}.{nearest(path.name, beside)}", received=str(path))
    if not reads(path):
        raise DataError(
            f"{name}: Limpide does not read rows from '{path.suffix}' files.",
            expected=EXPECTED,
            remedy=DOCUMENTS
            if path.suffix.lower() in OF_DOCUMENTS
            else "save it from your spreadsheet as .xlsx or 'CSV UTF-8', or from your script as JSON Lines",
        )
