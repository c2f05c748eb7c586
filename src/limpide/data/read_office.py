"""Word and PowerPoint files as blocks."""

import zipfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from limpide.data.blocks import CELL, Block, Document, Outline, Unreadable, finished, needed
from limpide.data.packages import NO_PACKAGE, OLE

LARGEST_XML = 200_000_000  # bytes of text once unpacked
LARGEST = 1_000_000_000  # bytes of all parts: the libraries hold pictures too
MOST_SQUEEZED = 500  # times smaller than unpacked: text reaches 10 to 30
W = "{http://schemas.openxmlformats.org/wordprocessingml/2006/main}"
FALLBACK = "{http://schemas.openxmlformats.org/markup-compatibility/2006}Fallback"
READ_ELSEWHERE = frozenset({FALLBACK, f"{W}moveFrom"})
DEEPEST_OUTLINE = 9


def read_docx(path: Path, name: str) -> Document:
    _check_package(path, "word/document.xml", "Word")
    try:
        import docx
    except ImportError as error:
        raise needed("python-docx") from error
    dropped: Counter[str] = Counter()
    try:
        blocks = _blocks(docx.Document(str(path)), dropped)
        _count_parts(path, dropped)
    except Exception as error:  # python-docx lets through whatever zipfile, lxml and a missing part raise
        raise Unreadable(f"is damaged: {_first_line(error)}; open it in Word and save it again") from error
    return finished(_lists_together(blocks), dropped=dropped)


def _blocks(document: Any, dropped: Counter[str]) -> list[Block]:
    levels = {style.style_id: _level(style) for style in document.styles if style.style_id}
    outline, blocks = Outline(), list[Block]()
    for element in _body(document.element.body, dropped):
        if element.tag == f"{W}tbl":
            blocks.append(Block(_rows(element), headings=outline.above))
            continue
        text, level = _paragraph(element), levels.get(_style(element))
        if level and text.strip():
            blocks.append(Block(text, headings=outline.enter(level, text), is_heading=True))
        else:
            blocks.append(Block(f"- {text}" if _is_item(element) and text else text, headings=outline.above))
    return blocks


def _body(parent: Any, dropped: Counter[str]) -> Iterator[Any]:
    """Paragraphs and tables in order, those inside content controls too; not a table of contents."""
    for child in parent:
        if child.tag in (f"{W}p", f"{W}tbl"):
            yield child
        elif child.tag == f"{W}sdt":
            if any("Table of Contents" in (n.get(f"{W}val") or "") for n in child.iter(f"{W}docPartGallery")):
                dropped["table of contents"] += 1
            else:
                for content in child.iterchildren(f"{W}sdtContent"):
                    yield from _body(content, dropped)
        elif child.tag in (f"{W}ins", f"{W}moveTo", f"{W}customXml", f"{W}smartTag"):
            yield from _body(child, dropped)


def _paragraph(element: Any) -> str:
    """The text, insertions in, deletions out (they are delText); what was moved is read where it went, and a text box
    where it is anchored, once."""
    parts = []
    for node in element.iter(f"{W}t", f"{W}tab", f"{W}br", f"{W}cr", f"{W}noBreakHyphen"):
        if any(above.tag in READ_ELSEWHERE for above in node.iterancestors()):
            continue
        if node.tag == f"{W}tab" and node.getparent().tag == f"{W}tabs":
            continue  # where a tab stops, not a tab
        parts.append({f"{W}t": node.text or "", f"{W}noBreakHyphen": "-", f"{W}tab": " "}.get(node.tag, "\n"))
    return "".join(parts)


def _rows(table: Any) -> str:
    """A line a row, cells between bars; a table within a cell is read in its cell."""
    lines = []
    for row in table.iterchildren(f"{W}tr"):
        cells = [
            " ".join(" ".join(_paragraph(p).split()) for p in cell.iter(f"{W}p")) for cell in row.iterchildren(f"{W}tc")
        ]
        if any(cells):
            lines.append(CELL.join(cells))
    return "\n".join(lines)


def _style(element: Any) -> str:
    found = element.find(f"{W}pPr/{W}pStyle")
    return "" if found is None else str(found.get(f"{W}val"))


def _level(style: Any) -> int | None:
    """1 for the outermost heading. Word keeps the English name of its own styles in every language."""
    word, _, number = (style.name or "").casefold().partition(" ")
    if word == "title":
        return 1
    if word == "heading" and number.isdecimal():
        return int(number)
    found = style.element.find(f"{W}pPr/{W}outlineLvl")
    level = DEEPEST_OUTLINE if found is None else int(found.get(f"{W}val"))
    return level + 1 if level < DEEPEST_OUTLINE else None


def _is_item(element: Any) -> bool:
    return element.find(f"{W}pPr/{W}numPr") is not None or _style(element).casefold().startswith("list")


def _lists_together(blocks: list[Block]) -> Iterator[Block]:
    """Items that follow each other are one block, so that a list is not cut."""
    held: Block | None = None
    for block in blocks:
        if held and block.text.startswith("- ") and held.text.startswith("- ") and block.headings == held.headings:
            held = Block(f"{held.text}\n{block.text}", held.page, held.headings)
            continue
        if held:
            yield held
        held = block
    if held:
        yield held


def _count_parts(path: Path, dropped: Counter[str]) -> None:
    """Parts of the file that are not read: said, since some writers put what matters in a footnote."""
    with zipfile.ZipFile(path) as package:
        for name in package.namelist():
            for part in ("header", "footer", "footnotes", "endnotes", "comments"):
                if name.startswith(f"word/{part}") and b"<w:t" in package.read(name):
                    dropped[f"{part.rstrip('s')}s"] += 1


def read_pptx(path: Path, name: str) -> Document:
    _check_package(path, "ppt/presentation.xml", "PowerPoint")
    try:
        import pptx
    except ImportError as error:
        raise needed("python-pptx") from error
    try:
        slides = list(pptx.Presentation(str(path)).slides)
        blocks = [block for number, slide in enumerate(slides, start=1) for block in _slide(slide, number)]
    except Exception as error:  # as above
        raise Unreadable(f"is damaged: {_first_line(error)}; open it in PowerPoint and save it again") from error
    return finished(blocks, pages=len(slides), unit="slide")


def _slide(slide: Any, number: int) -> Iterator[Block]:
    title = slide.shapes.title
    if title is not None and title.has_text_frame:
        yield Block(" ".join(title.text_frame.text.split()), number, is_heading=True)
    for shape in _shapes(slide.shapes):
        if title is not None and shape.shape_id == title.shape_id:
            continue
        if getattr(shape, "has_table", False):
            rows = ([" ".join(cell.text.split()) for cell in row.cells] for row in shape.table.rows)
            yield Block("\n".join(CELL.join(row) for row in rows), number)
        elif shape.has_text_frame:
            yield Block("\n".join(p.text for p in shape.text_frame.paragraphs), number)
    if slide.has_notes_slide and (notes := slide.notes_slide.notes_text_frame) is not None:
        yield Block(notes.text, number)


def _shapes(shapes: Any) -> Iterator[Any]:
    """Every shape from top to bottom, then left to right, groups opened."""
    for shape in sorted(shapes, key=lambda s: (s.top or 0, s.left or 0)):
        if hasattr(shape, "shapes"):
            yield from _shapes(shape.shapes)
        else:
            yield shape


def _check_package(path: Path, part: str, program: str) -> None:
    """Raise Unreadable for a file with a password, one that is no package, or one that unpacks to too much."""
    with path.open("rb") as file:
        start = file.read(4)
    if start == OLE:
        raise Unreadable(
            f"is protected by a password, or of {program} 97; save it without password as .{path.suffix[1:]}"
        )
    try:
        with zipfile.ZipFile(path) as package:
            entries = package.infolist()
    except NO_PACKAGE as error:
        raise Unreadable(f"is damaged: {_first_line(error)}; get it again from where it came from") from error
    if part not in {entry.filename for entry in entries}:
        raise Unreadable(f"is no {program} file: it holds no {part}")
    texts = [entry for entry in entries if entry.filename.endswith((".xml", ".rels"))]
    size, whole = (sum(entry.file_size for entry in some) for some in (texts, entries))
    if whole > LARGEST:
        raise Unreadable(f"unpacks to {whole / 1e6:,.0f} MB: it may be a zip bomb; save a copy without its pictures")
    squeezed = max((e.file_size / max(1, e.compress_size) for e in texts if e.file_size > 1_000_000), default=0)
    if size > LARGEST_XML or squeezed > MOST_SQUEEZED:
        raise Unreadable(f"unpacks to {size / 1e6:,.0f} MB, {squeezed:,.0f} times its size: it may be a zip bomb")


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:120]
