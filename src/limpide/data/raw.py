"""From bytes to rows with line numbers: encoding, JSON Lines, JSON, CSV. Nothing here knows what a row means."""

import csv
import hashlib
import json
import re
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from limpide.core.errors import DataError
from limpide.data.columns import ALIASES

DELIMITERS = (",", ";", "\t")
BLANK = re.compile(r"[ \t\r\n]*")
HALF = re.compile(r"[\ud800-\udfff]")


@dataclass(frozen=True)
class Raw:
    """One row: `value`, or the `fault` that hides it. broken: nothing after it could be read."""

    line: int
    value: object = None
    fault: str | None = None
    broken: bool = False


@dataclass(frozen=True)
class Bytes:
    """What is known of a file before it is parsed. digest: SHA-256, hex. has_mark: starts with a UTF-8 BOM."""

    digest: str
    size: int
    has_mark: bool


def check_bytes(path: Path, name: str) -> Bytes:
    """Read the file once, line by line. Raises DataError where it is not UTF-8, with the command that converts it."""
    digest, offset, mark = hashlib.sha256(), 0, False
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            if number == 1:
                mark = line.startswith(b"\xef\xbb\xbf")
                _refuse_utf16(path, name, line)
            digest.update(line)
            try:
                line.decode("utf-8")
            except UnicodeDecodeError as error:
                raise _not_utf8(path, name, number, offset + error.start, line, error.start) from None
            offset += len(line)
    return Bytes(digest.hexdigest(), offset, mark)


def _refuse_utf16(path: Path, name: str, first: bytes) -> None:
    start = first[:1000]
    if start[:2] in (b"\xff\xfe", b"\xfe\xff"):
        encoding = "UTF-16"
    elif len(start) > 3 and start.count(0) * 3 > len(start):
        encoding = "UTF-16LE" if start[0] else "UTF-16BE"
    else:
        return
    raise DataError(f"{name} is not UTF-8: it looks like {encoding}.", remedy=_convert(path, encoding))


def _not_utf8(path: Path, name: str, number: int, offset: int, line: bytes, at: int) -> DataError:
    """Guess the encoding of French files of older tools: cp1252, or latin-1 where its bytes alone appear."""
    encoding, label = "latin-1", "ISO-8859-1"
    if any(0x80 <= byte <= 0x9F for byte in line):
        encoding, label = "cp1252", "CP1252"
    around = line[max(0, at - 15) : at + 15].decode(encoding, errors="replace").strip()
    return DataError(
        f"{name} is not UTF-8: byte {offset} of the file, on line {number}, is 0x{line[at]:02X}.",
        received=f"probably {label}, read so it says: …{around}…",
        expected="UTF-8",
        remedy=_convert(path, label),
    )


def _convert(path: Path, encoding: str) -> str:
    target = path.with_suffix(f".utf8{path.suffix}")
    return (
        f"iconv -f {encoding} -t UTF-8 {shlex.quote(str(path))} > {shlex.quote(str(target))}"
        " (or save it again as UTF-8 from your spreadsheet), and give that file"
    )


def halves(row: Mapping[str, object]) -> Iterator[str]:
    """What is wrong with each text of a row that JSON can escape and no file can hold: '\\ud83d' without the rest."""
    for name, value in row.items():
        if any(isinstance(text, str) and HALF.search(text) for text in (name, value)):
            yield f"{name!r} holds half a character (a lone surrogate)"


class _Twice(ValueError):
    """A key given twice in one JSON object: the first value would be lost."""


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) < len(pairs):
        names = [name for name, _ in pairs]
        raise _Twice(next(name for name in names if names.count(name) > 1))
    return made


DECODER = json.JSONDecoder(object_pairs_hook=_object)


def _json_fault(error: Exception) -> str:
    if isinstance(error, json.JSONDecodeError):
        return f"broken JSON at column {error.colno}: {error.msg}"
    if isinstance(error, _Twice):
        return f"the key '{error}' is given twice in one object"
    if isinstance(error, RecursionError):
        return "broken JSON: nested too deep"
    return "broken JSON: a number is too long"


def jsonl_rows(path: Path) -> Iterator[Raw]:
    """One JSON value a line; blank lines are passed over."""
    with path.open(encoding="utf-8-sig", newline="\n") as file:
        for number, line in enumerate(file, start=1):
            if not line.strip():
                continue
            try:
                yield Raw(number, DECODER.decode(line.strip()))
            except (ValueError, RecursionError) as error:
                fault = _json_fault(error)
                if number == 1 and line.strip() in ("[", "[{", "{"):
                    fault += ". The file looks like one JSON document: name it .json"
                    yield Raw(number, fault=fault, broken=True)
                    return
                yield Raw(number, fault=fault)


def json_rows(path: Path) -> Iterator[Raw]:
    """A list of objects, or {"data": [objects]}, with the line on which each object starts."""
    text = path.read_text(encoding="utf-8-sig")
    cursor = _Cursor(text)
    try:
        start = cursor.peek()
        if start == "{":
            cursor.enter_data()
        elif start != "[":
            yield Raw(cursor.line(), fault="expected a list [ … ] of objects", broken=True)
            return
        yield from cursor.items()
        if cursor.peek() not in ("", "}", ","):
            yield Raw(cursor.line(), fault="there is more text after the end of the list", broken=True)
    except (ValueError, RecursionError) as error:
        fault = _json_fault(error)
        at = error.pos if isinstance(error, json.JSONDecodeError) else cursor.at
        if isinstance(error, json.JSONDecodeError) and error.msg == "Extra data":
            fault = "a second JSON value: if the file has one object a line, name it .jsonl"
        yield Raw(text.count("\n", 0, at) + 1, fault=f"{fault}. The rest of the file could not be read", broken=True)


class _Cursor:
    """A place in a JSON text. The decoder gives values, this gives where they start."""

    def __init__(self, text: str) -> None:
        self.text, self.at = text, 0
        self._counted, self._line = 0, 1

    def line(self) -> int:
        """Line of the place, counted on from the last call."""
        self._line += self.text.count("\n", self._counted, self.at)
        self._counted = self.at
        return self._line

    def peek(self) -> str:
        """The next character that is not blank, '' at the end."""
        found = BLANK.match(self.text, self.at)
        assert found is not None
        self.at = found.end()
        return self.text[self.at : self.at + 1]

    def value(self) -> object:
        self.peek()
        value, self.at = DECODER.raw_decode(self.text, self.at)
        return value

    def expect(self, *wanted: str) -> str:
        got = self.peek()
        if got not in wanted:
            raise json.JSONDecodeError(f"Expecting {' or '.join(repr(w) for w in wanted)}", self.text, self.at)
        self.at += 1
        return got

    def enter_data(self) -> None:
        """Move before the list under 'data'. Raises JSONDecodeError when there is none."""
        start = self.at
        self.expect("{")
        while self.peek() != "}":
            key = self.value()
            self.expect(":")
            if key == "data" and self.peek() == "[":
                return
            self.value()
            if self.peek() == ",":
                self.at += 1
        self.at += 1
        if self.peek() == "{":
            raise json.JSONDecodeError("Extra data", self.text, self.at)
        raise json.JSONDecodeError("Expecting a list of objects, or an object with a list 'data'", self.text, start)

    def items(self) -> Iterator[Raw]:
        self.expect("[")
        if self.peek() == "]":
            self.at += 1
            return
        while True:
            self.peek()
            line = self.line()
            yield Raw(line, self.value())
            if self.expect(",", "]") == "]":
                return


def csv_rows(path: Path) -> Iterator[Raw]:
    """Rows of a CSV file whose first line names the columns; the delimiter is , ; or tab, whichever fits."""
    with path.open(encoding="utf-8-sig", newline="") as file:
        first = file.readline()
        while first and not first.strip():
            first = file.readline()
        file.seek(0)
        reader = csv.reader(file, delimiter=_delimiter(first), strict=True)
        header: list[str] = []
        while True:
            start = reader.line_num + 1
            try:
                cells = next(reader)
            except StopIteration:
                return
            except csv.Error as error:
                yield Raw(start, fault=_csv_fault(error, start, reader.line_num))
                continue
            if not any(cell.strip() for cell in cells):
                continue
            if not header:
                header = [cell.strip() for cell in cells]
                if twice := next((name for name in header if name and header.count(name) > 1), None):
                    yield Raw(start, fault=f"two columns are named '{twice}'", broken=True)
                    return
                continue
            yield _csv_row(start, header, cells)


def _csv_row(line: int, header: list[str], cells: list[str]) -> Raw:
    if len(cells) != len(header):
        hint = ": put a text that holds the separator between quotation marks" if len(cells) > len(header) else ""
        return Raw(line, fault=f"the first line names {len(header)} columns and this row has {len(cells)}{hint}")
    if any(not name and cell.strip() for name, cell in zip(header, cells, strict=True)):
        return Raw(line, fault="a value in a column that has no name on the first line")
    return Raw(line, {name: cell for name, cell in zip(header, cells, strict=True) if name})


def _csv_fault(error: csv.Error, start: int, end: int) -> str:
    text = str(error)
    if "unexpected end of data" in text or "field larger" in text:
        return f"a quotation mark opened here is never closed (read up to line {end})"
    if "expected after" in text:
        return 'text after a closing quotation mark: write a quotation mark inside a text twice ("")'
    return f"broken CSV: {text}"


def _delimiter(first: str) -> str:
    """The delimiter that gives the most known columns, then the most columns."""
    known = {name for ours, aliases in ALIASES.items() for name in (ours, *aliases)}

    def score(delimiter: str) -> tuple[int, int]:
        cells = next(csv.reader([first], delimiter=delimiter), [])
        return sum(cell.strip().casefold() in known for cell in cells), len(cells)

    return max(DELIMITERS, key=score)
