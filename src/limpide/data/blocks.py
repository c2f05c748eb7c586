"""What every kind of document becomes before it is cut: paragraphs in order, each with its page or its headings."""

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from limpide.core.errors import MissingError
from limpide.data.rows import MOJIBAKE

LONGEST_RUN = 500  # signs of ASCII without a space: encoded data or a minified script, not language
HIDDEN = dict.fromkeys(map(ord, "\u00ad\u200b\u2060\ufeff"))  # soft hyphen, zero-width space, word joiner, mark
SPACE = re.compile(r"[^\S\n]")
SPACES = re.compile(r"(?<=\S) +")  # the indent of a list or of code stays
CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")
RUN = re.compile(rf"[!-~]{{{LONGEST_RUN + 1},}}")
ITEM = re.compile(r"(?:[-*•–—▪◦‣·]|\(?[0-9]{1,3}[.)]|\(?[a-z][.)])\s+\S")
CELL = " | "  # between the cells of a row
SENTENCE_END = re.compile(r"[.!?…:;][\"'»”’)\]]*$")
WORD = re.compile(r"[^\W\d_]+(?:[-‐‑][^\W\d_]+)*")
FULL_LINE = 0.8  # of the usual width: a shorter line that ends a sentence ends its paragraph
# After a hyphen at the end of a line, these keep it: 'peut-être', 'celui-ci', 'a-t-il'.
_PRONOUNS = "il ils elle elles on je tu nous vous moi toi lui leur ce ci là être même mêmes t"
KEEP_HYPHEN = frozenset(_PRONOUNS.split())


@dataclass(frozen=True)
class Block:
    """A paragraph, a list, a table (a line of cells each row) or a heading. page: counted from 1.

    headings: those above it, the outermost first; of a heading, itself included.
    """

    text: str
    page: int | None = None
    headings: tuple[str, ...] = ()
    is_heading: bool = False


@dataclass(frozen=True)
class Document:
    """One file, read. unit: what `Block.page` counts, 'page' or 'slide'. dropped: what was left out, by name.

    mended: words joined again across lines. odd: sequences that look wrongly decoded.
    """

    blocks: tuple[Block, ...]
    pages: int | None = None
    unit: str = "page"
    dropped: Counter[str] = field(default_factory=Counter)
    mended: int = 0
    odd: tuple[str, ...] = ()


class Unreadable(Exception):
    """Why one document cannot be read, in words for its owner. Becomes a fault among those of other files."""


def needed(module: str) -> MissingError:
    """The error of a reader that is not installed."""
    return MissingError(
        f"Reading documents needs {module}, which is not installed.", remedy="pip install 'limpide[documents]'"
    )


def cleaned(text: str, dropped: Counter[str]) -> str:
    """Text in NFC, with plain spaces, without control characters and runs that are no language. dropped: added to."""
    text = unicodedata.normalize("NFC", text.replace("\r\n", "\n").replace("\r", "\n").translate(HIDDEN))
    text, runs = RUN.subn(" ", text)
    text, damaged = CONTROL.subn(" ", text)
    if runs:
        dropped["runs without a space"] += runs
    if damaged:
        dropped["control characters"] += damaged
    text = SPACES.sub(" ", SPACE.sub(" ", text))
    return "\n".join(line.rstrip() for line in text.split("\n")).strip("\n")


def finished(
    blocks: Iterable[Block],
    *,
    pages: int | None = None,
    unit: str = "page",
    dropped: Counter[str] | None = None,
    mended: int = 0,
) -> Document:
    """The document of these blocks, cleaned; empty ones disappear."""
    dropped = Counter() if dropped is None else dropped
    kept = []
    for block in blocks:
        text = cleaned(block.text, dropped)
        if any(map(str.isalnum, text)):
            headings = tuple(" ".join(cleaned(heading, Counter()).split()) for heading in block.headings)
            kept.append(Block(text, block.page, headings, block.is_heading))
    odd = [m.group() for block in kept for m in MOJIBAKE.finditer(block.text)]
    odd += ["\ufffd" for block in kept for _ in range(block.text.count("\ufffd"))]
    return Document(tuple(kept), pages, unit, dropped, mended, tuple(odd))


class Outline:
    """The headings above the place that is being read."""

    def __init__(self) -> None:
        self._open: list[tuple[int, str]] = []

    def enter(self, level: int, title: str) -> tuple[str, ...]:
        """A heading of this level (1 is the outermost) closes those of its level and below."""
        self._open = [(depth, text) for depth, text in self._open if depth < level]
        if title.strip():
            self._open.append((level, title))
        return self.above

    @property
    def above(self) -> tuple[str, ...]:
        return tuple(text for _, text in self._open)


# ------------------------------------------------------------------------ paragraphs from lines of a fixed width


def words_in(lines: Iterable[str]) -> Counter[str]:
    """Every word of the lines, with its hyphens, in lower case: what decides whether a hyphen was the word's own."""
    return Counter(word.casefold() for line in lines for word in WORD.findall(line))


def paragraphs(lines: Sequence[str], known: Counter[str]) -> tuple[list[str], int]:
    """Paragraphs from lines that a page broke, and how many words were joined again across lines.

    A paragraph ends at an empty line, and where a line that ends a sentence is clearly shorter than the lines around
    it. Items of a list and rows of a table keep their lines. known: `words_in` of the whole document.
    """
    width = sorted(map(len, lines))[9 * len(lines) // 10] if lines else 0  # of a full line: nine in ten are no longer
    found: list[str] = []
    current: list[list[str]] = []  # of one paragraph: its lines, each of the lines that the page made of it
    mended = 0
    for line in (line.strip() for line in [*lines, ""]):
        own_line = ITEM.match(line) is not None or CELL in line
        if current and (not line or (not own_line and (_ends(current[-1][-1], width) or CELL in current[-1][-1]))):
            joined = [_joined(parts, known) for parts in current]
            found.append("\n".join(text for text, _ in joined))
            mended += sum(count for _, count in joined)
            current = []
        if line and (own_line or not current):
            current.append([line])
        elif line:
            current[-1].append(line)
    return found, mended


def _ends(line: str, width: int) -> bool:
    return SENTENCE_END.search(line) is not None and len(line) < FULL_LINE * width


def _joined(lines: Sequence[str], known: Counter[str]) -> tuple[str, int]:
    text, mended = lines[0], 0
    for line in lines[1:]:
        hyphen = re.search(r"([^\W\d_]+)[-‐\u00ad]$", text)
        after = re.match(r"[^\W\d_]+", line)
        if hyphen is None or after is None or not after[0][0].islower():
            text = f"{text} {line}"
            continue
        mended += 1
        text = text + line if _own_hyphen(hyphen[1], after[0], known) else text[:-1] + line
    return text, mended


def _own_hyphen(before: str, after: str, known: Counter[str]) -> bool:
    """Is the hyphen the word's own? As the document writes it elsewhere, or a pronoun follows."""
    with_it, without = f"{before}-{after}".casefold(), f"{before}{after}".casefold()
    if known[with_it] != known[without]:
        return known[with_it] > known[without]
    return after.casefold() in KEEP_HYPHEN
