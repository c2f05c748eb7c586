"""An organisation's own documents, files and whole folders, as passages: nothing is left out in silence."""

import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from limpide.core import digests
from limpide.core.errors import DataError, Fault, nearest
from limpide.core.progress import Progress, Quiet
from limpide.data.blocks import Document, Unreadable
from limpide.data.cutting import cut
from limpide.data.passages import Passage
from limpide.data.read_office import read_docx, read_pptx
from limpide.data.read_pdf import read_pdf
from limpide.data.read_text import read_html, read_markdown, read_txt
from limpide.data.reading import too_many
from limpide.data.writing import words

READERS: dict[str, Callable[[Path, str], Document]] = {
    ".pdf": read_pdf,
    ".docx": read_docx,
    ".pptx": read_pptx,
    ".html": read_html,
    ".htm": read_html,
    ".md": read_markdown,
    ".markdown": read_markdown,
    ".txt": read_txt,
}
EXPECTED = "pdf, docx, pptx, html, md or txt"
MOST_LISTED = 50


@dataclass(frozen=True)
class Found:
    """A file to read. name: from the folder that was given, as in passages and messages."""

    path: Path
    name: str


@dataclass(frozen=True)
class Listing:
    """What was found. not_read: (name, why), for hidden files, links, unknown kinds."""

    files: tuple[Found, ...]
    not_read: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Reading:
    """One document, read. same_as: an earlier document with the same bytes, so that this one has no passages."""

    name: str
    digest: str
    document: Document
    passages: tuple[Passage, ...]
    same_as: str | None = None

    @property
    def words(self) -> int:
        return sum(len(words(passage.text)) for passage in self.passages)

    def record(self) -> dict[str, Any]:
        return {
            "file": self.name,
            "digest": self.digest,
            "pages": self.document.pages,
            "passages": len(self.passages),
            "words": self.words,
            "words_mended": self.document.mended,
            "dropped": dict(self.document.dropped),
        } | ({"same_as": self.same_as} if self.same_as else {})


@dataclass(frozen=True)
class Documents:
    """Everything that was read. faults: of the documents left out, empty unless those are skipped."""

    readings: tuple[Reading, ...]
    not_read: tuple[tuple[str, str], ...] = ()
    faults: tuple[Fault, ...] = ()
    warnings: tuple[str, ...] = field(default=())

    @property
    def passages(self) -> list[Passage]:
        return [passage for reading in self.readings for passage in reading.passages]

    def record(self) -> dict[str, Any]:
        """Files, pages, passages, words, and all that was left out: plain JSON."""
        dropped = sum((reading.document.dropped for reading in self.readings), Counter())
        return {
            "files": [reading.record() for reading in self.readings],
            "pages": sum(reading.document.pages or 0 for reading in self.readings),
            "passages": sum(len(reading.passages) for reading in self.readings),
            "words": sum(reading.words for reading in self.readings),
            "languages": dict(Counter(p.language or "not recognised" for p in self.passages).most_common()),
            "dropped": dict(dropped),
            "not_read": {"count": len(self.not_read), "listed": [list(one) for one in self.not_read[:MOST_LISTED]]},
            "skipped": [str(fault) for fault in self.faults[:MOST_LISTED]],
        }


def read_documents(paths: Sequence[Path], *, skip_bad: bool = False, progress: Progress | None = None) -> Documents:
    """Read files and folders (all that is in them, in order of name) as passages.

    Raises DataError with the fault of every document that cannot be read; with `skip_bad` those are left out and
    listed in `Documents.faults` instead. MissingError where the library for a kind of file is not installed.
    """
    progress = progress or Quiet()
    listing = find_documents(paths)
    readings: list[Reading] = []
    faults: list[Fault] = []
    by_digest: dict[str, str] = {}
    with progress.task("Reading the documents", total=len(listing.files)) as task:
        for found in listing.files:
            try:
                readings.append(_read(found, by_digest))
            except Unreadable as error:
                faults.append(Fault(found.name, None, str(error)))
            except OSError as error:
                faults.append(Fault(found.name, None, f"cannot be read: {error.strerror}; check its permissions"))
            task.advance()
    if faults and not skip_bad:
        remedy = (
            "mend or remove these documents, or leave them out: --skip-bad, or in a recipe data.skip_bad_rows: true"
        )
        raise too_many(faults, "wrong in the documents", remedy=remedy)
    if not any(reading.passages for reading in readings):
        shown = too_many(faults, "wrong in the documents", remedy=None).faults if faults else ()
        raise DataError(
            "The documents hold no text to learn from.",
            received=f"{len(listing.files)} files, {len(listing.not_read)} more not read{_why(listing.not_read)}",
            expected=EXPECTED,
            faults=shown,
        )
    warnings = tuple(_warnings(readings, listing.not_read, faults))
    return Documents(tuple(readings), listing.not_read, tuple(faults), warnings)


def find_documents(paths: Sequence[Path]) -> Listing:
    """The documents in these files and folders. Raises DataError for a path that is not there or of another kind.

    Links inside a folder are not followed: what it holds is what lies in it. Hidden files and folders are listed.
    """
    files: dict[str, Found] = {}
    not_read: list[tuple[str, str]] = []
    known: set[Path] = set()
    for path in paths:
        if not path.exists():
            beside = [p.name for p in path.parent.iterdir()] if path.parent.is_dir() else []
            raise DataError(f"There is no document {path}.{nearest(path.name, beside)}", received=str(path))
        if path.is_file() and path.suffix.lower() not in READERS:
            raise DataError(
                f"{path.name}: Limpide does not read documents from '{path.suffix}' files.",
                expected=EXPECTED,
                remedy="save it as one of these",
            )
        inside = list(_inside(path, not_read)) if path.is_dir() else [path]
        for file in inside:
            if file.absolute() in known:
                continue
            known.add(file.absolute())
            name = _name(file, path, files)
            files[name] = Found(file, name)
    return Listing(tuple(files.values()), tuple(not_read))


def digest_of_folder(folder: Path) -> str:
    """Of all that reading the folder depends on: its documents' names and bytes, and what is left aside."""
    listing = find_documents([folder])
    return digests.of_value([[[found.name, _bytes(found.path)] for found in listing.files], listing.not_read])


def _bytes(path: Path) -> str:
    try:
        return digests.of_file(path)
    except OSError as error:
        return f"cannot be read: {error.errno}"  # reading it says so, with the other faults


def _inside(folder: Path, not_read: list[tuple[str, str]]) -> Iterator[Path]:
    """Documents under a folder, by name. not_read: added to."""
    try:
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except OSError as error:
        not_read.append((folder.name, f"cannot be opened: {error.strerror}"))
        return
    for entry in entries:
        path = folder / entry.name
        if entry.name.startswith((".", "~$")):
            not_read.append((entry.name, "hidden"))
        elif entry.is_symlink():
            not_read.append((entry.name, "a link"))
        elif entry.is_dir():
            yield from _inside(path, not_read)
        elif not entry.is_file():
            not_read.append((entry.name, "not a file"))
        elif path.suffix.lower() not in READERS:
            not_read.append((entry.name, f"'{path.suffix}' is not a kind of document that is read"))
        else:
            yield path


def _name(file: Path, root: Path, taken: dict[str, Found]) -> str:
    name = file.relative_to(root).as_posix() if file != root else file.name
    if name in taken:
        name = f"{root.absolute().name if file != root else file.absolute().parent.name}/{name}"
    return name if name not in taken else file.absolute().as_posix()


def _read(found: Found, by_digest: dict[str, str]) -> Reading:
    """by_digest: {digest: name} of what was read before; added to."""
    if found.path.stat().st_size == 0:
        raise Unreadable("is empty: 0 bytes")
    digest = digests.of_file(found.path)
    if digest in by_digest:
        return Reading(found.name, digest, Document(()), (), by_digest[digest])
    document = READERS[found.path.suffix.lower()](found.path, found.name)
    if not document.blocks:
        raise Unreadable("holds no text")
    by_digest[digest] = found.name
    return Reading(found.name, digest, document, tuple(cut(document, found.name)))


def _why(not_read: Sequence[tuple[str, str]]) -> str:
    return f" ({'; '.join(f'{name}: {why}' for name, why in not_read[:3])})" if not_read else ""


def _warnings(
    readings: Sequence[Reading], not_read: Sequence[tuple[str, str]], faults: Sequence[Fault]
) -> Iterator[str]:
    if faults:
        yield f"Documents left out as unreadable: {len(faults)} ({', '.join(f.file for f in faults[:5])})."
    other = [(name, why) for name, why in not_read if why != "hidden"]
    if other:
        yield f"Files in the folders that were not read: {len(other)}{_why(other)}."
    for reading in readings:
        if reading.same_as:
            yield f"{reading.name} is the same file as {reading.same_as}; it was read once."
        scans = [what for what in reading.document.dropped if what.startswith("scanned")]
        if scans:
            yield f"{reading.name}: {scans[0]}; text recognition would make them readable."
        if reading.document.odd:
            yield (
                f"{reading.name} seems to have been saved with the wrong encoding: "
                f"'{reading.document.odd[0]}' stands in it {len(reading.document.odd)} times."
            )
