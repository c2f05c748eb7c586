"""PDF files as blocks: lines into paragraphs, headings by their size, without what every page repeats."""

import logging
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import pairwise
from math import hypot
from pathlib import Path
from statistics import median
from typing import Any

from limpide.data.blocks import CELL, SENTENCE_END, Block, Document, Unreadable, finished, needed, paragraphs, words_in

EDGE = 3  # lines at the top and at the bottom where a header or a footer may stand
REPEATED_ON = 0.5  # share of the pages a line must stand on, and
LEAST_REPEATED = 3  # pages at least, to be a header or a footer
FEW_LETTERS = 3  # a page with fewer letters holds no text to speak of
LARGEST = 500_000_000  # bytes
HEADING_SIZE = 1.15  # times the size of most letters
LONGEST_HEADING = 20  # words
GAP = 1.4  # times the usual distance of lines: a new paragraph
SAME_LINE = 0.25  # of a letter's size: cells of one row of a table
COLUMN = 1.5  # times the size of a letter: white so wide stands between two cells
CAPITAL, SMALL = 0.7, 0.5  # of a letter's size: how wide it is, about
SAME_HEIGHT = 6  # points
LONG_LINE = 60  # characters: one that ends a page in mid-sentence may go on


@dataclass(frozen=True)
class Line:
    """A line of a page. x, y: where it starts, in points from the bottom left; size: of its letters, in points.

    All three are None where the file does not tell.
    """

    text: str
    x: float | None = None
    y: float | None = None
    size: float | None = None


@dataclass(frozen=True)
class Page:
    lines: tuple[Line, ...]
    has_picture: bool = False

    @property
    def has_text(self) -> bool:
        return sum(c.isalpha() for line in self.lines for c in line.text) >= FEW_LETTERS


def read_pdf(path: Path, name: str) -> Document:
    try:
        import pypdf
    except ImportError as error:
        raise needed("pypdf") from error
    if path.stat().st_size > LARGEST:
        raise Unreadable(f"is larger than {LARGEST / 1e6:.0f} MB; split it")
    with _quiet("pypdf"):
        try:
            with path.open("rb") as file:
                reader = pypdf.PdfReader(file)
                if reader.is_encrypted and not reader.decrypt(""):
                    raise Unreadable("is protected by a password; save a copy without it")
                pages = [_page(page) for page in reader.pages]
        except Unreadable:
            raise
        except pypdf.errors.DependencyError as error:
            raise Unreadable(f"is encrypted in a way that cannot be read here: {error}") from error
        except Exception as error:  # a damaged file makes pypdf raise nearly anything
            said = (str(error).strip().splitlines() or [type(error).__name__])[0][:120]
            raise Unreadable(f"is damaged: {said}; print it to a new PDF, or get it again") from error
    if not pages:
        raise Unreadable("has no page")
    return _document(pages)


def _page(page: Any) -> Page:
    lines, end = [Line("")], 0.0  # end: about where the last piece ended, in points from the left

    def heard(text: str, outer: Sequence[float], inner: Sequence[float], font: Any, size: float) -> None:
        """A piece of text with its two matrices; a line break in it starts another line."""
        nonlocal end
        first, *rest = (text or "").split("\n")
        if first.strip():
            x = inner[4] * outer[0] + inner[5] * outer[2] + outer[4]
            y = inner[4] * outer[1] + inner[5] * outer[3] + outer[5]
            letter = size * hypot(inner[2], inner[3]) * hypot(outer[2], outer[3])
            before = lines[-1].text
            if not before.strip():
                lines[-1] = replace(lines[-1], x=x, y=y, size=letter)
            elif x - end > COLUMN * letter:
                lines[-1] = replace(lines[-1], text=before.rstrip() + CELL)
            end = x + letter * sum(CAPITAL if sign.isupper() else SMALL for sign in first)
        lines[-1] = replace(lines[-1], text=lines[-1].text + first)
        lines.extend(Line(more) for more in rest)

    page.extract_text(visitor_text=heard)
    said = [replace(line, text=" ".join(line.text.split())) for line in lines if line.text.strip()]
    return Page(tuple(_rows(said)), _has_picture(page))


def _rows(lines: Sequence[Line]) -> Iterator[Line]:
    """Lines that stand at one height, from left to right, are the cells of a row."""
    held: Line | None = None
    for line in lines:
        if held is not None and _same_row(held, line):
            held = Line(f"{held.text}{CELL}{line.text}", line.x, held.y, held.size)
            continue
        if held is not None:
            yield held
        held = line
    if held is not None:
        yield held


def _same_row(left: Line, right: Line) -> bool:
    if left.y is None or right.y is None or left.x is None or right.x is None or not left.size:
        return False
    return abs(left.y - right.y) < SAME_LINE * left.size and right.x > left.x


def _has_picture(page: Any) -> bool:
    resources = page.get("/Resources")
    objects = resources.get_object().get("/XObject") if resources is not None else None
    found = objects.get_object().values() if objects is not None else ()
    return any(one.get_object().get("/Subtype") == "/Image" for one in found)


def _document(pages: Sequence[Page]) -> Document:
    scanned = [number for number, page in enumerate(pages, start=1) if page.has_picture and not page.has_text]
    if not any(page.has_text for page in pages):
        what = "is a scan without text" if scanned else "holds no text"
        raise Unreadable(f"{what} (pages: {len(pages)}); run text recognition (OCR) on it first, with ocrmypdf say")
    dropped: Counter[str] = Counter()
    if scanned:
        shown = ", ".join(map(str, scanned[:10])) + (" …" if len(scanned) > 10 else "")
        dropped[f"scanned pages without text (page {shown})"] = len(scanned)
    usual = _usual_size([page.lines for page in pages])
    kept = without_repeats([page.lines for page in pages], usual, dropped)
    known = words_in(line.text for lines in kept for line in lines)
    pitch = _usual_pitch(kept)
    blocks: list[Block] = []
    mended = 0
    for number, lines in enumerate(kept, start=1):
        goes_on = bool(blocks) and not blocks[-1].is_heading and blocks[-1].page == number - 1
        for heading, texts in _runs(lines, usual, pitch):
            if heading:
                blocks.append(Block(" ".join(texts), number, is_heading=True))
                goes_on = False
                continue
            if goes_on and _goes_on(blocks[-1].text, texts[0]):
                before = blocks.pop()
                (whole, *others), joined = paragraphs([before.text, *texts], known)
                blocks.append(replace(before, text=whole))
            else:
                others, joined = paragraphs(texts, known)
            goes_on = False
            mended += joined
            blocks += [Block(text, number) for text in others]
    return finished(blocks, pages=len(pages), dropped=dropped, mended=mended)


def _usual_size(pages: Sequence[Sequence[Line]]) -> float:
    """The size of most letters, in points; infinite where no line tells."""
    letters: Counter[float] = Counter()
    for lines in pages:
        for line in lines:
            if line.size:
                letters[round(line.size, 1)] += len(line.text)
    return letters.most_common(1)[0][0] if letters else float("inf")


def _usual_pitch(pages: Sequence[Sequence[Line]]) -> float:
    """The distance of most lines from the next, in points; infinite where no line tells."""
    pairs = [pair for lines in pages for pair in pairwise(lines)]
    drops = [a.y - b.y for a, b in pairs if a.y is not None and b.y is not None]
    return median([drop for drop in drops if drop > 0] or [float("inf")])


def _is_large(line: Line, usual: float) -> bool:
    return (line.size or 0) > HEADING_SIZE * usual and len(line.text.split()) <= LONGEST_HEADING


def _runs(lines: Sequence[Line], usual: float, pitch: float) -> Iterator[tuple[bool, list[str]]]:
    """(is a heading, texts): headings by their size, and the lines between them, with an empty one at each gap."""
    was_heading, held, above = False, list[str](), Line("")
    for line in lines:
        is_heading = _is_large(line, usual)
        gap = above.y is not None and line.y is not None and above.y - line.y > GAP * pitch
        if held and is_heading != was_heading:
            yield was_heading, held
            held = []
        elif held and gap and not is_heading:
            held.append("")
        held.append(line.text)
        was_heading, above = is_heading, line
    if held:
        yield was_heading, held


def _goes_on(before: str, after: str) -> bool:
    """Does a paragraph go on over the page break? It stops in mid-sentence, and what follows is in small letters."""
    return SENTENCE_END.search(before) is None and after[:1].islower() and len(before) > LONG_LINE


def without_repeats(pages: Sequence[Sequence[Line]], usual: float, dropped: Counter[str]) -> list[list[Line]]:
    """The pages without headers and footers: lines at an edge that stand on most pages. dropped: added to.

    They may count the pages: one number of the line may be the page's, plus the same on every page. What is larger
    than usual is a heading, even where every page begins with one.
    """
    edges = [{i for i in _edge(lines) if not _is_large(lines[i], usual)} for lines in pages]
    places: Counter[str] = Counter()
    for page, (lines, edge) in enumerate(zip(pages, edges, strict=True)):
        places.update({key for i in edge for key in _keys(lines[i], page)})
    least = max(LEAST_REPEATED, REPEATED_ON * len(pages))
    repeated = {key for key, count in places.items() if count >= least}
    kept = []
    for page, (lines, edge) in enumerate(zip(pages, edges, strict=True)):
        out = {i for i in edge if _keys(lines[i], page) & repeated}
        if out:
            dropped["repeated headers and footers"] += len(out)
        kept.append([line for i, line in enumerate(lines) if i not in out])
    return kept


def _edge(lines: Sequence[Line]) -> set[int]:
    """The first and last lines, as they stand on the page where that is known."""
    order = list(range(len(lines)))
    if all(line.y is not None for line in lines):
        order.sort(key=lambda i: -(lines[i].y or 0))
    return {*order[:EDGE], *order[-EDGE:]}


def _keys(line: Line, page: int) -> set[str]:
    """The line as other pages may have it at the same height: as it is, or with one number counted from the page's."""
    text = " ".join(line.text.casefold().split())
    counted = {f"{text[: n.start()]}#{int(n[0]) - page}#{text[n.end() :]}" for n in re.finditer(r"\d{1,6}", text)}
    height = "" if line.y is None else round(line.y / SAME_HEIGHT)
    return {f"{height} {key}" for key in (text, *counted)}


@contextmanager
def _quiet(name: str) -> Iterator[None]:
    """pypdf tells its developers of every oddity of a file; what matters here becomes a fault."""
    logger = logging.getLogger(name)
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(level)
