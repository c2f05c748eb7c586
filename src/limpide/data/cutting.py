"""From the paragraphs of a document to passages of whole paragraphs, each with its place."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby, takewhile

from limpide.core import digests
from limpide.data.blocks import Block, Document
from limpide.data.passages import Passage
from limpide.data.writing import language_of, sentences, words

LEAST, MOST = 150, 400  # words of a passage; the last of a document, and a lone one, may be shorter
UNSPACED = 24  # characters that count as a word, where a script writes no spaces


def cut(document: Document, name: str) -> list[Passage]:
    """Passages of about LEAST to MOST words, in order. A paragraph longer than MOST is cut between sentences.

    A passage ends before a heading, and with a page, once it is long enough. id: from the document's name and the
    text, so that it stays the same when something else in the document changes.
    """
    found: list[Passage] = []
    seen: dict[str, int] = {}
    for blocks in _packed([piece for block in document.blocks for piece in _pieces(block)]):
        text = "\n\n".join(block.text for block in blocks)
        key = digests.of_value([name, text])[: digests.SHORT]
        seen[key] = seen.get(key, 0) + 1
        own = key if seen[key] == 1 else f"{key}-{seen[key]}"
        found.append(
            Passage(
                id=f"{digests.slug(name.rsplit('/', 1)[-1])}-{own}",
                document=name,
                place=_place(blocks, document.unit),
                language=language_of(text),
                text=text,
            )
        )
    return found


def length(text: str) -> int:
    """Words, or what stands for as many where a script writes no spaces."""
    return max(len(words(text)), len(text) // UNSPACED)


def _pieces(block: Block) -> Iterator[Block]:
    """The block, or parts of one that is too long: of lines where it has lines, else of sentences, else of words."""
    if length(block.text) <= MOST:
        yield block
        return
    lines = [line for line in block.text.split("\n") if line.strip()]
    separator = "\n" if len(lines) > 1 else " "
    parts = lines if len(lines) > 1 else sentences(block.text) or [block.text]
    short = [piece for part in parts for piece in ([part] if length(part) <= MOST else _by_words(part))]
    for group in _grouped(short):
        yield Block(separator.join(group), block.page, block.headings, block.is_heading)


def _by_words(text: str) -> list[str]:
    parts = text.split()
    if len(parts) > MOST:
        return [" ".join(parts[i : i + MOST]) for i in range(0, len(parts), MOST)]
    return [text[i : i + MOST * UNSPACED] for i in range(0, len(text), MOST * UNSPACED)]


def _grouped(parts: Iterable[str]) -> Iterator[list[str]]:
    held: list[str] = []
    size = 0
    for part in parts:
        if held and size + length(part) > MOST:
            yield held
            held, size = [], 0
        held.append(part)
        size += length(part)
    if held:
        yield held


def _packed(blocks: Sequence[Block]) -> Iterator[list[Block]]:
    held: list[Block] = []
    size = 0
    for block in blocks:
        own = length(block.text)
        is_break = block.is_heading or (held and block.page != held[-1].page)
        if held and (size + own > MOST or (is_break and size >= LEAST)):
            left = _trailing_headings(held)
            yield held[: len(held) - len(left)] if len(left) < len(held) else held
            held = left if len(left) < len(held) else []
            size = sum(length(one.text) for one in held)
        held.append(block)
        size += own
    if held:
        yield held


def _trailing_headings(blocks: Sequence[Block]) -> list[Block]:
    """Headings at the end go with what they head."""
    ends = [list(group) for is_heading, group in groupby(blocks, key=lambda block: block.is_heading)]
    return ends[-1] if ends and ends[-1][0].is_heading else []


def _place(blocks: Sequence[Block], unit: str) -> str | None:
    """'page 3', 'pages 3–4', or the headings it stands under: 'Safety › Guards', 'Safety › Guards – Gloves'."""
    pages = [block.page for block in blocks if block.page is not None]
    if pages:
        return f"{unit} {pages[0]}" if pages[0] == pages[-1] else f"{unit}s {pages[0]}–{pages[-1]}"
    paths = [block.headings for block in blocks if block.headings]
    if not paths:
        return None
    shared = tuple(names[0] for names in takewhile(lambda names: len(set(names)) == 1, zip(*paths, strict=False)))
    below = [path[len(shared)] for path in paths if len(path) > len(shared)]
    ends = dict.fromkeys([below[0], below[-1]] if below else [])
    return " › ".join([*shared, *([" – ".join(ends)] if ends else [])])
