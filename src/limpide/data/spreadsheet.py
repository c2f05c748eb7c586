"""Rows of one sheet of an .xlsx file, under the numbers that a person sees beside them.

Formulas are never calculated, links never followed, macros never run. A cell whose text depends on the country of the
reader's spreadsheet (a date, a decimal number, TRUE) is not turned into text: in a column of texts it is a fault.
"""

import re
import warnings
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, time, timedelta
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO

from limpide.core.errors import DataError, MissingError, UntrustedInput, nearest
from limpide.data.packages import NO_PACKAGE, OLE
from limpide.data.raw import BLOCK, Raw, Unread

MOST_ROWS = 2**20  # rows that a sheet can have
MOST_UNPACKED = 2**30  # bytes of all parts of the file
MOST_SQUEEZED = 200  # unpacked size / packed size of a large part that is believed
LARGE = 10 * 2**20  # bytes from which a part is large
HELD = 256  # rows read at a time
OVERLAP = 2**16  # bytes of a sheet looked at twice, so that no cell falls between two blocks
ENCRYPTED = "EncryptedPackage".encode("utf-16-le")
PLAIN = ("General", "0", "@", "#")  # number formats that show a whole number as its digits
AS_TEXT = "give the column the format Text, and write it as it must be read"

MERGED = re.compile(rb"<(?:\w+:)?mergeCell\s[^<>]*?\bref\s*=\s*[\"']([A-Z]+)(\d+):([A-Z]+)(\d+)[\"']")
HIDDEN = re.compile(rb"<(?:\w+:)?row\s[^<>]*?\bhidden\s*=\s*[\"'](?:1|true)[\"']")
FORMULA = re.compile(  # a cell with a formula and no value, or an empty one
    rb"<(?:\w+:)?c\s([^<>]*)>\s*<(?:\w+:)?f(?:\s[^<>]*)?(?:/>|>[^<]*</(?:\w+:)?f>)\s*"
    rb"(?:<(?:\w+:)?v\s*/>\s*|<(?:\w+:)?v>\s*</(?:\w+:)?v>\s*)?</(?:\w+:)?c>"
)
PLACE = re.compile(rb"\br\s*=\s*[\"']([A-Z]+\d+)[\"']")
IS_TEXT = re.compile(rb"\bt\s*=\s*[\"']str[\"']")


@dataclass(frozen=True)
class _Merge:
    """Merged cells, columns and rows from 1, both ends in. name: 'B5:B9'."""

    name: str
    left: int
    top: int
    right: int
    bottom: int


@dataclass(frozen=True)
class _Marks:
    """What the cells of a sheet do not tell. uncalculated: places, 'C7', of formulas without a stored result."""

    merges: Sequence[_Merge]
    hidden: int
    uncalculated: frozenset[str]


def sheet_rows(path: Path, name: str, asked: str | None) -> tuple[Iterator[Raw], tuple[str, ...]]:
    """The rows of the sheet `asked`, else of the first that holds rows, and what is to be said of the file.

    Raises MissingError without openpyxl; DataError for a file that is damaged, protected or has no such sheet;
    UntrustedInput for one that unpacks to far more than its size.
    """
    try:
        import openpyxl
    except ImportError as error:
        raise MissingError(
            f"Reading {name} needs openpyxl, which is not installed.", remedy="pip install 'limpide[tables]'"
        ) from error
    _check_package(path, name)
    file = path.open("rb")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about styles and extensions that are not used
            book = openpyxl.load_workbook(file, read_only=True, data_only=True, keep_links=False)
            sheet, others = _choose(book, name, asked)
            marks = _marks(path, sheet._worksheet_path)
    except DataError:
        file.close()
        raise
    except Exception as error:  # openpyxl lets through whatever zipfile, expat and a missing part raise
        file.close()
        raise _damaged(name, error) from error
    said = []
    if others:
        said.append(
            f"{name}: the sheet '{sheet.title}' was read; not read: {', '.join(others)}. "
            f"For another one, set data.sheet to its name."
        )
    if marks.hidden:
        said.append(f"{name}: hidden rows of the sheet '{sheet.title}' were read like the others: {marks.hidden}.")
    return _rows(file, sheet, marks), tuple(said)


def _check_package(path: Path, name: str) -> None:
    """Raise for a file with a password, one that is no package, or one that unpacks to too much.

    Declared sizes suffice: `zipfile` gives no byte of a part beyond its declared size.
    """
    with path.open("rb") as file:
        if file.read(4) == OLE:
            file.seek(0)
            locked = any(ENCRYPTED in block for block in iter(lambda: file.read(BLOCK), b""))
            raise DataError(
                f"{name} is protected by a password."
                if locked
                else f"{name} is a spreadsheet of an older Office (.xls), whatever its name says.",
                remedy="open it in your spreadsheet and save it "
                + ("without a password" if locked else "as 'Excel workbook (.xlsx)'"),
            )
    try:
        with zipfile.ZipFile(path) as package:
            parts = package.infolist()  # a name says nothing: the texts may be in a part called .bin
    except NO_PACKAGE as error:
        raise _damaged(name, error) from error
    unpacked = sum(part.file_size for part in parts)
    squeezed = max((p.file_size / max(1, p.compress_size) for p in parts if p.file_size > LARGE), default=0)
    if unpacked > MOST_UNPACKED or squeezed > MOST_SQUEEZED:
        raise UntrustedInput(
            f"{name} unpacks to {unpacked / 1e6:,.0f} MB, one part to {squeezed:,.0f} times its size.",
            expected=f"at most {MOST_UNPACKED / 1e6:,.0f} MB, and {MOST_SQUEEZED} times",
            remedy="if the file is yours, save the sheet as 'CSV UTF-8'",
        )


def _damaged(name: str, error: Exception) -> DataError:
    return DataError(
        f"{name} is not a spreadsheet that can be read: it is damaged, or of another kind than its name says.",
        received=(str(error).strip().splitlines() or [type(error).__name__])[0][:120],
        remedy="open it in your spreadsheet and save it again as 'Excel workbook (.xlsx)', or as 'CSV UTF-8'",
    )


def _choose(book: Any, name: str, asked: str | None) -> tuple[Any, list[str]]:
    """The sheet to read, and the names of the others. Raises DataError for a name that is not there, or no sheet."""
    sheets = {sheet.title: sheet for sheet in book.worksheets}
    for sheet in sheets.values():
        sheet.reset_dimensions()  # what a file says of its size can be wrong, and rows would be lost
    if asked is not None and asked not in sheets:
        raise DataError(
            f"{name} has no sheet '{asked}'.{nearest(asked, list(sheets))}", received=f"sheets {', '.join(sheets)}"
        )
    shown = [title for title, sheet in sheets.items() if sheet.sheet_state == "visible"]
    if not sheets or not (shown or asked):
        raise DataError(f"{name} has no sheet to read.", remedy="save it as an ordinary 'Excel workbook (.xlsx)'")
    filled = {title: _filled(sheets[title]) for title in shown} if asked is None else {}
    chosen = asked or max(shown, key=lambda title: filled[title])  # the first of the fullest: names and one row
    return sheets[chosen], [title for title in sheets if title != chosen]


def _filled(sheet: Any) -> int:
    """How many rows hold something, 2 at most: the names of the columns, and one to read."""
    count = 0
    for cells in sheet.iter_rows(max_row=MOST_ROWS):
        count += any(cell.value not in (None, "") for cell in cells)
        if count == 2:
            break
    return count


def _marks(path: Path, part: str) -> _Marks:
    """Look through a sheet's XML for what openpyxl does not tell when it reads row by row."""
    from openpyxl.utils import column_index_from_string as index

    merges: dict[str, _Merge] = {}
    uncalculated: set[str] = set()
    hidden, data = 0, b""
    with zipfile.ZipFile(path) as package, package.open(part) as file:
        while block := file.read(BLOCK):
            seen, data = len(data[-OVERLAP:]), data[-OVERLAP:] + block
            for found in MERGED.finditer(data):
                left, top, right, bottom = (value.decode() for value in found.groups())
                name = f"{left}{top}:{right}{bottom}"
                merges[name] = _Merge(name, index(left), int(top), index(right), int(bottom))
            for found in FORMULA.finditer(data):
                if (place := PLACE.search(found[1])) and not IS_TEXT.search(found[1]):
                    uncalculated.add(place[1].decode())
            hidden += sum(found.end() > seen for found in HIDDEN.finditer(data))
    return _Marks(sorted(merges.values(), key=lambda merge: merge.top), hidden, frozenset(uncalculated))


def _rows(file: BinaryIO, sheet: Any, marks: _Marks) -> Iterator[Raw]:
    header: dict[int, str] = {}
    named = number = 0
    try:
        for number, (cells, merges) in enumerate(_with_merges(sheet, marks.merges), start=1):
            values = {at: _value(cell, marks.uncalculated) for at, cell in enumerate(cells, start=1)}
            filled = {at: value for at, value in values.items() if value != ""}
            if not filled:
                continue
            if not header:
                header, fault = _header(filled, number)
                named = number
            elif len(header) == 1 < len(filled):
                fault = (
                    f"row {named} names one column, and this row has {len(filled)}: delete the title above the names"
                )
            else:
                unnamed = filled.keys() - header.keys()
                fault = "a value in a column that has no name on the first row" if unnamed else None
                row = {title: values.get(at) or _covered(merges, at) for at, title in header.items()}
                yield Raw(number, fault=fault) if fault else Raw(number, row)
                continue
            if fault is not None:
                yield Raw(number, fault=fault, broken=True)
                return
    except Exception as error:  # as above: a damaged part raises anything
        yield Raw(number + 1, fault=f"the rest of the sheet cannot be read: {error}"[:200], broken=True)
    finally:
        file.close()


def _header(filled: Mapping[int, object], row: int) -> tuple[dict[int, str], str | None]:
    """Column → its name, and what is wrong with the names."""
    for at, value in filled.items():
        if not isinstance(value, str):
            return {}, f"column {at} has no text as its name in row {row}, the first row that holds something"
    names = {at: value.strip() for at, value in filled.items() if isinstance(value, str) and value.strip()}
    twice = next((name for name in names.values() if list(names.values()).count(name) > 1), None)
    return names, None if twice is None else f"two columns are named '{twice}'"


def _with_merges(sheet: Any, merges: Sequence[_Merge]) -> Iterator[tuple[Sequence[Any], Sequence[_Merge]]]:
    """Each row's cells, and the merged cells that reach into the row."""
    coming, active = list(reversed(merges)), list[_Merge]()
    for number, cells in enumerate(_quietly(sheet.iter_rows(max_row=MOST_ROWS)), start=1):
        while coming and coming[-1].top <= number:
            active.append(coming.pop())
        active = [merge for merge in active if merge.bottom >= number]
        yield cells, active


def _quietly(rows: Iterator[Sequence[Any]]) -> Iterator[Sequence[Any]]:
    """The rows, without openpyxl's warnings; those before an error are given before it is raised."""
    while True:
        held: list[Sequence[Any]] = []
        error = None
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                for row in islice(rows, HELD):
                    held.append(row)  # what was read stays when the next row raises
            except Exception as caught:
                error = caught
        yield from held
        if error is not None:
            raise error
        if len(held) < HELD:
            return


def _covered(merges: Sequence[_Merge], at: int) -> object:
    """What an empty cell of column `at` holds: nothing, or what merged cells hide."""
    merge = next((merge for merge in merges if merge.left <= at <= merge.right), None)
    if merge is None:
        return ""
    return Unread(f"a cell hidden by the merged cells {merge.name}: split them, and fill each cell")


def _value(cell: Any, uncalculated: frozenset[str]) -> object:
    """A cell as its text, '' when empty; Unread where the text that is seen cannot be known."""
    value = cell.value
    if value is None:
        if uncalculated and hasattr(cell, "coordinate") and cell.coordinate in uncalculated:
            what = "a formula whose result the file does not hold: open it in your spreadsheet and save it"
            return Unread(f"{what} (cell {cell.coordinate})")
        return ""
    if isinstance(value, str):
        if cell.data_type == "e":
            return Unread(f"the error {value} (cell {cell.coordinate})")
        return value.replace("_x000D_\n", "\n").replace("_x000D_", "\n")
    if isinstance(value, date | time | timedelta):
        return Unread(f"a date or a time (cell {cell.coordinate}): {AS_TEXT}")
    if isinstance(value, bool):
        return Unread(f"true or false (cell {cell.coordinate}): {AS_TEXT}")
    if value == int(value) and cell.number_format in PLAIN and abs(value) < 1e15:
        return str(int(value))
    return Unread(f"the number {value} (cell {cell.coordinate}), seen otherwise in other countries: {AS_TEXT}")
