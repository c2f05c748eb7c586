"""Plain text, Markdown and HTML as blocks."""

import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from limpide.core.errors import DataError
from limpide.data import raw
from limpide.data.blocks import CELL, Block, Document, Outline, Unreadable, finished, needed, paragraphs, words_in

LARGEST = 50_000_000  # bytes of a text file: some 8 million words
LONGEST_LINE = 1_000_000  # characters without a line break: an export gone wrong, not a paragraph
FRONT_MATTER = re.compile(r"\A---[ \t]*\n.*?\n(?:---|\.\.\.)[ \t]*\n", re.S)
# Of a page: what is not said to a reader, or says where to click.
_NOT_READ = "script style noscript template iframe object svg nav footer button select textarea"
_BLOCKS = """
    address article aside blockquote body center dd details div dl dt fieldset figcaption figure form h1 h2 h3 h4 h5 h6
    header hr html li main ol p pre section summary table tbody td tfoot th thead tr ul
"""
NOT_READ, BLOCKS = frozenset(_NOT_READ.split()), frozenset(_BLOCKS.split())
LISTS = ("ul", "ol")
HEADING = re.compile(r"h[1-6]")
UNSEEN_STYLE = re.compile(r"display\s*:\s*none|visibility\s*:\s*hidden", re.I)


def read_txt(path: Path, name: str) -> Document:
    lines = text_of(path, name).split("\n")
    found, mended = paragraphs(lines, words_in(lines))
    return finished((Block(text) for text in found), mended=mended)


def read_markdown(path: Path, name: str) -> Document:
    try:
        from markdown_it import MarkdownIt
    except ImportError as error:
        raise needed("markdown-it-py") from error
    dropped: Counter[str] = Counter()
    text = text_of(path, name)
    text, matter = FRONT_MATTER.subn("", text, count=1)
    if matter:
        dropped["front matter"] += 1
    lines, outline, blocks = text.split("\n"), Outline(), []
    tokens = MarkdownIt("commonmark").enable("table").parse(text)
    for token, after in zip(tokens, [*tokens[1:], None], strict=True):
        if token.level or token.map is None:
            continue
        said = "\n".join(lines[slice(*token.map)])
        if token.type == "heading_open":
            title = after.content if after else said
            blocks.append(Block(title, headings=outline.enter(int(token.tag[1]), title), is_heading=True))
        elif token.type == "html_block":
            blocks += [Block(b.text, headings=outline.above) for b in _html_blocks(said.encode(), dropped)]
        else:
            blocks.append(Block(said, headings=outline.above))
    return finished(blocks, dropped=dropped)


def read_html(path: Path, name: str) -> Document:
    dropped: Counter[str] = Counter()
    _refuse_large(path)
    data = path.read_bytes()
    return finished(_html_blocks(data, dropped), dropped=dropped)


def text_of(path: Path, name: str) -> str:
    """The text of a file in UTF-8. Raises Unreadable for any other encoding, or several, with how to convert it."""
    _refuse_large(path)
    try:
        raw.check_bytes(path, name)
    except DataError as error:
        what = error.what.removeprefix(name).strip(" .")
        raise Unreadable(f"{what}; {error.remedy or error.expected}") from None
    text = path.read_text(encoding="utf-8-sig")
    if "\0" in text:
        raise Unreadable("is not text, whatever its name says: it holds NUL characters")
    longest = max(map(len, text.split("\n")))
    if longest > LONGEST_LINE:
        raise Unreadable(f"one line is {longest:,} characters long; save it with line breaks between its paragraphs")
    return text


def _refuse_large(path: Path) -> None:
    size = path.stat().st_size
    if size > LARGEST:
        raise Unreadable(f"is {size / 1e6:,.0f} MB of text; at most {LARGEST / 1e6:.0f} MB a file: split it")


# ------------------------------------------------------------------------------------------------------------ HTML


def _html_blocks(data: bytes, dropped: Counter[str]) -> list[Block]:
    try:
        from lxml import etree, html
    except ImportError as error:
        raise needed("lxml") from error
    # Without a declared encoding libxml2 reads latin-1; what is valid UTF-8 is UTF-8.
    valid = _is_utf8(data)
    parser = html.HTMLParser(
        encoding="utf-8" if valid else None, no_network=True, remove_comments=True, remove_pis=True
    )
    try:
        root = html.document_fromstring(data, parser=parser)
    except (etree.ParserError, etree.XMLSyntaxError, ValueError):
        return []
    if any(entry.type_name == "ERR_RESOURCE_LIMIT" for entry in parser.error_log):
        raise Unreadable("nests its elements too deep to be read to its end; save it as text, or as a PDF")
    _prune(root, dropped)
    outline, blocks = Outline(), []
    for level, text in _said(root if root.find("body") is None else root.find("body")):
        if level:
            title = " ".join(text.split())
            blocks.append(Block(title, headings=outline.enter(level, title), is_heading=True))
        else:
            blocks.append(Block(text, headings=outline.above))
    return blocks


def _is_utf8(data: bytes) -> bool:
    try:
        data.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def _prune(root: Any, dropped: Counter[str]) -> None:
    """Take out of the tree what no reader sees as text; what held some is counted. dropped: added to."""
    for node in list(root.iter()):
        tag = node.tag if isinstance(node.tag, str) else ""
        if node is root or not (tag in NOT_READ or _is_unseen(node)):
            continue
        if "".join(node.itertext()).strip():
            dropped[f"<{tag}>" if tag in NOT_READ else "hidden text"] += 1
        if node.getparent() is not None:
            node.drop_tree()


def _said(root: Any) -> Iterator[tuple[int, str]]:
    """(level, text) of each block in order; level 0 is text, 1 to 6 a heading. A table is one block, a row a line,
    unless it holds tables: then it only lays the page out."""
    text: list[str] = []

    def flush() -> Iterator[tuple[int, str]]:
        said = "".join(text).strip()
        text.clear()
        if said:
            yield 0, said

    def walk(node: Any) -> Iterator[tuple[int, str]]:
        tag = str(node.tag)
        if tag in BLOCKS:
            yield from flush()
        if HEADING.fullmatch(tag):
            yield int(tag[1]), _words(node)
        elif tag == "table" and node.find(".//tr") is not None and node.find(".//table") is None:
            yield 0, _table(node)
        elif tag in ("ul", "ol"):
            yield 0, "\n".join(_items(node, ""))
        elif tag == "pre":
            yield 0, "".join(node.itertext())
        else:
            text.append("\n" if tag == "br" else _flat(node.text))
            for child in node:
                yield from walk(child)
                text.append(_flat(child.tail))
        if tag in BLOCKS:
            yield from flush()

    yield from walk(root)
    yield from flush()


def _is_unseen(node: Any) -> bool:
    style = node.get("style") or ""
    return "hidden" in node.attrib or node.get("aria-hidden") == "true" or UNSEEN_STYLE.search(style) is not None


def _flat(text: str | None) -> str:
    return re.sub(r"\s+", " ", text or "")


def _words(node: Any, without: tuple[str, ...] = ()) -> str:
    """What a node says, in one line: blocks and line breaks part words. without: tags inside that are passed over."""

    def pieces(inner: Any) -> Iterator[str]:
        yield inner.text or ""
        for child in inner:
            edge = " " if child.tag in BLOCKS or child.tag == "br" else ""
            if child.tag not in without:
                yield edge
                yield from pieces(child)
            yield edge + (child.tail or "")

    return " ".join("".join(pieces(node)).split())


def _table(node: Any) -> str:
    rows = [[_words(caption)] for caption in node.iterchildren("caption")]
    rows += [[_words(cell) for cell in row.iterchildren("td", "th")] for row in node.iter("tr")]
    return "\n".join(CELL.join(row) for row in rows if any(row))


def _items(node: Any, indent: str) -> Iterator[str]:
    """A line each item; lists within an item, or right within a list as some editors write them, stand further in."""
    number = 0
    yield from _loose(node.text, indent)
    for child in node:
        if child.tag in LISTS:
            yield from _items(child, indent + "  ")
        else:
            number += child.tag == "li"
            mark = f"{number}." if node.tag == "ol" and child.tag == "li" else "-"
            if own := _words(child, without=LISTS):
                yield f"{indent}{mark} {own}"
            for inner in child.iter(*LISTS):
                if next(above for above in inner.iterancestors() if above is child or above.tag in LISTS) is child:
                    yield from _items(inner, indent + "  ")
        yield from _loose(child.tail, indent)


def _loose(text: str | None, indent: str) -> Iterator[str]:
    """What a list holds outside its items."""
    if said := _flat(text).strip():
        yield f"{indent}{said}"
