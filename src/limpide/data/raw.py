"""From bytes to rows with line numbers: encoding, JSON Lines, JSON. Nothing here knows what a row means.

Files are read block by block, and no row may be longer than LONGEST_ROW: what one row takes is what memory holds.
"""

import codecs
import hashlib
import json
import re
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TextIO

from limpide.core.errors import DataError
from limpide.data.packages import OLE

LONGEST_ROW = 16 * 2**20  # characters
TOO_LONG = f"one row is longer than {LONGEST_ROW:,} characters: is a line break or a quotation mark missing?"
BLOCK = 2**20  # bytes or characters read at a time
MARGIN = 16  # characters before the end of a block where what is wrong may be that it was cut: '12.', '\\u00e'
LINES_SHOWN = 10  # lines that a message names
BLANK = re.compile(r"[ \t\r\n]*")
HALF = re.compile(r"[\ud800-\udfff]")
# What a file that is not text starts with. A name says nothing: pictures are given as .csv.
NOT_TEXT = {
    b"\xff\xd8\xff": "a JPEG picture",
    b"\x89PNG": "a PNG picture",
    b"GIF8": "a GIF picture",
    b"%PDF-": "a PDF document",
    b"{\\rtf": "an RTF document",
    b"PK\x03\x04": "a zip archive; spreadsheets are zip archives named .xlsx",
    OLE: "a file of an older Office (.xls, .doc), or one with a password",
    b"PAR1": "a Parquet file; name it .parquet",
    b"SQLite format 3": "a SQLite database",
    b"\x1f\x8b": "compressed with gzip",
    b"BZh": "compressed with bzip2",
    b"\xfd7zXZ": "compressed with xz",
    b"\x28\xb5\x2f\xfd": "compressed with zstd",
}


@dataclass(frozen=True)
class Raw:
    """One row: `value`, or the `fault` that hides it. broken: nothing after it could be read."""

    line: int
    value: object = None
    fault: str | None = None
    broken: bool = False


@dataclass(frozen=True)
class Unread:
    """A cell of a spreadsheet that is filled and whose text is not known. what: why, to follow 'must be text, not'."""

    what: str


@dataclass(frozen=True)
class Bytes:
    """What is known of a file before it is parsed. digest: SHA-256, hex. has_mark: starts with a UTF-8 BOM."""

    digest: str
    size: int
    has_mark: bool


def check_bytes(path: Path, name: str) -> Bytes:
    """Read the file once, block by block. Raises DataError where it is not UTF-8 text, with how to convert it."""
    digest, decoder = hashlib.sha256(), codecs.getincrementaldecoder("utf-8")()
    size, mark = 0, False
    with path.open("rb") as file:
        while block := file.read(BLOCK):
            if not size:
                mark = block.startswith(codecs.BOM_UTF8)
                _refuse_other_kinds(path, name, block[:1000])
            size += len(block)
            digest.update(block)
            try:
                decoder.decode(block, final=len(block) < BLOCK)
            except UnicodeDecodeError:
                raise _not_utf8(path, name) from None
        if decoder.getstate()[0]:
            raise _not_utf8(path, name)
    return Bytes(digest.hexdigest(), size, mark)


def _refuse_other_kinds(path: Path, name: str, start: bytes) -> None:
    """Raise DataError for a picture, an archive, a document … and for UTF-16."""
    if kind := next((kind for magic, kind in NOT_TEXT.items() if start.startswith(magic)), None):
        raise DataError(
            f"{name} is not a text file, whatever its name says.",
            received=kind,
            expected=f"text in UTF-8, as '{path.suffix}' promises",
            remedy="export the data again as CSV UTF-8 or JSON Lines; unpack an archive first",
        )
    if start[:2] in (b"\xff\xfe", b"\xfe\xff"):
        encoding = "UTF-16"
    elif len(start) > 3 and start.count(0) * 3 > len(start):
        encoding = "UTF-16LE" if start[0] else "UTF-16BE"
    else:
        return
    raise DataError(f"{name} is not UTF-8: it looks like {encoding}.", remedy=_convert(path, encoding))


@dataclass
class _Undecoded:
    """The lines of a file that is not UTF-8. good: how many with accents are UTF-8. bad: how many are not."""

    good: int = 0
    bad: int = 0
    numbers: tuple[int, ...] = ()  # of the first bad lines
    first: UnicodeDecodeError | None = None
    offset: int = 0  # of the first bad byte, in the file
    is_cp1252: bool = False  # some byte of a bad line is a character there and none in latin-1
    has_nul: bool = False


def _undecoded(path: Path) -> _Undecoded:
    """Read the file again, line by line, a long line in pieces."""
    seen, decoder, number, offset = _Undecoded(), codecs.getincrementaldecoder("utf-8")(), 1, 0
    counted = 0  # the last line counted as good
    with path.open("rb") as file:
        while piece := file.readline(BLOCK):
            held = len(decoder.getstate()[0])
            try:
                decoder.decode(piece, final=piece.endswith(b"\n") or len(piece) < BLOCK)
                if number > counted and not piece.isascii():
                    seen.good, counted = seen.good + 1, number
            except UnicodeDecodeError as error:
                decoder.reset()
                if seen.first is None:
                    seen.first, seen.offset = error, offset - held + error.start
                if number not in seen.numbers[-1:]:
                    seen.bad += 1
                    seen.numbers = (*seen.numbers, number)[:LINES_SHOWN]
                seen.is_cp1252 |= any(0x80 <= byte <= 0x9F for byte in piece)
            seen.has_nul |= 0 in piece
            number += piece.endswith(b"\n")
            offset += len(piece)
    return seen


def _not_utf8(path: Path, name: str) -> DataError:
    """Guess the encoding of French files of older tools: cp1252, or latin-1 where its bytes alone appear."""
    seen = _undecoded(path)
    assert seen.first is not None
    if seen.has_nul:
        return DataError(f"{name} is not a text file: it holds bytes that no text has.", expected="text in UTF-8")
    encoding, label = ("cp1252", "CP1252") if seen.is_cp1252 else ("latin-1", "ISO-8859-1")
    text, at, line = bytes(seen.first.object), seen.first.start, seen.numbers[0]
    around = text[max(0, at - 15) : at + 15].decode(encoding, errors="replace").strip()
    if seen.good:
        lines = ", ".join(map(str, seen.numbers)) + (" …" if seen.bad > len(seen.numbers) else "")
        return DataError(
            f"{name} mixes two encodings: lines with accents are UTF-8 ({seen.good}) and another ({seen.bad}: "
            f"line {lines}).",
            received=f"line {line} is probably {label}, read so it says: …{around}…",
            expected="UTF-8 on every line",
            remedy=f"convert the part that is in {label} alone before joining the files, or write these lines again",
        )
    return DataError(
        f"{name} is not UTF-8: byte {seen.offset} of the file, on line {line}, is 0x{text[at]:02X}.",
        received=f"probably {label}, read so it says: …{around}…",
        expected="UTF-8",
        remedy=_convert(path, label),
    )


def _convert(path: Path, encoding: str) -> str:
    target = path.with_suffix(f".utf8{path.suffix}")
    return (
        f"iconv -f {encoding} -t UTF-8 {shlex.quote(str(path))} > {shlex.quote(str(target))}"
        " (or open it and save it again as UTF-8), and give that file"
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


def _json_fault(error: Exception, column: int | None = None) -> str:
    if isinstance(error, json.JSONDecodeError):
        return f"broken JSON at column {column or error.colno}: {error.msg}"
    if isinstance(error, _Twice):
        return f"the key '{error}' is given twice in one object"
    if isinstance(error, RecursionError):
        return "broken JSON: nested too deep"
    return "broken JSON: a number is too long"


def jsonl_rows(path: Path) -> Iterator[Raw]:
    """One JSON value a line; blank lines are passed over."""
    with path.open(encoding="utf-8-sig", newline="\n") as file:
        read = partial(file.readline, LONGEST_ROW + 1)
        for number, line in enumerate(iter(read, ""), start=1):
            if len(line) > LONGEST_ROW:
                yield Raw(number, fault=TOO_LONG)
                while line and not line.endswith("\n"):
                    line = read()
                continue
            text = line.strip()
            if not text:
                continue
            try:
                yield Raw(number, DECODER.decode(text))
            except (ValueError, RecursionError) as error:
                fault = _json_fault(error)
                if number == 1 and text in ("[", "[{", "{"):
                    fault += ". The file looks like one JSON document: name it .json"
                    yield Raw(number, fault=fault, broken=True)
                    return
                yield Raw(number, fault=fault)


def json_rows(path: Path) -> Iterator[Raw]:
    """A list of objects, or {"data": [objects]}, with the line on which each object starts; one object is held."""
    with path.open(encoding="utf-8-sig") as file:
        cursor = _Cursor(file)
        try:
            start = cursor.peek()
            if start == "{":
                cursor.enter_data()
            elif start not in ("[", ""):
                yield Raw(cursor.line(), fault="expected a list [ … ] of objects", broken=True)
                return
            if start:
                yield from cursor.items()
            if start == "{":
                cursor.leave_data()
            if cursor.peek():
                yield Raw(cursor.line(), fault="there is more text after the end of the list", broken=True)
        except _TooLong:
            yield Raw(cursor.line(), fault=TOO_LONG, broken=True)
        except (ValueError, RecursionError) as error:
            yield cursor.fault(error)


class _TooLong(Exception):
    """One value takes more than LONGEST_ROW characters."""


class _Cursor:
    """A place in a JSON text, read on as needed. The decoder gives values, this gives where they start."""

    def __init__(self, file: TextIO) -> None:
        self.file = file
        self.text, self.at = "", 0  # what is held of the file, and the place in it
        self._counted, self._line = 0, 1
        self._before = 0  # characters of the line where `text` starts that were let go

    def line(self) -> int:
        """Line of the place, counted on from the last call."""
        self._line += self.text.count("\n", self._counted, self.at)
        self._counted = self.at
        return self._line

    def fault(self, error: Exception) -> Raw:
        """What `error`, met while reading on from the place, says of the file."""
        if not isinstance(error, json.JSONDecodeError):
            return Raw(self.line(), fault=f"{_json_fault(error)}. The rest of the file could not be read", broken=True)
        newline = self.text.rfind("\n", 0, error.pos)
        column = error.pos - newline if newline >= 0 else error.pos + 1 + self._before
        what = _json_fault(error, column)
        if error.msg == "Extra data":
            what = "a second JSON value: if the file has one object a line, name it .jsonl"
        line = self.line() + self.text.count("\n", self.at, error.pos)
        return Raw(line, fault=f"{what}. The rest of the file could not be read", broken=True)

    def peek(self) -> str:
        """The next character that is not blank, '' at the end."""
        while True:
            found = BLANK.match(self.text, self.at)
            assert found is not None
            self.at = found.end()
            if self.at < len(self.text) or not self._read_on():
                return self.text[self.at : self.at + 1]

    def value(self) -> object:
        """The value at the place, which moves after it. Raises JSONDecodeError; _TooLong past LONGEST_ROW."""
        self.peek()
        while True:
            try:
                value, end = DECODER.raw_decode(self.text, self.at)
            except json.JSONDecodeError as error:
                is_cut = error.msg.startswith("Unterminated") or error.pos > len(self.text) - MARGIN
                if is_cut and len(self.text) - self.at > LONGEST_ROW:
                    raise _TooLong from None
                if not is_cut or not self._read_on():
                    raise
                continue
            if end < len(self.text) - MARGIN or not self._read_on():  # a number may go on in the next block
                self.at = end
                return value

    def _read_on(self) -> bool:
        """Let go of what is behind the place and read as much again as is held. False at the end of the file."""
        block = self.file.read(max(BLOCK, len(self.text) - self.at))
        if not block:
            return False
        self.line()
        newline = self.text.rfind("\n", 0, self.at)
        self._before = self.at - newline - 1 if newline >= 0 else self._before + self.at
        self.text, self.at, self._counted = self.text[self.at :] + block, 0, 0
        return True

    def expect(self, *wanted: str) -> str:
        got = self.peek()
        if got not in wanted:
            raise json.JSONDecodeError(f"Expecting {' or '.join(repr(w) for w in wanted)}", self.text, self.at)
        self.at += 1
        return got

    def enter_data(self) -> None:
        """Move before the list under 'data'. Raises JSONDecodeError when there is none."""
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
        raise json.JSONDecodeError("Expecting a list of objects, or an object with a list 'data'", self.text, self.at)

    def leave_data(self) -> None:
        """Move after the object whose list 'data' was read. Raises where it has another 'data', or no end."""
        while self.expect(",", "}") == ",":
            key = self.value()
            self.expect(":")
            if key == "data":
                raise _Twice(key)
            self.value()

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
