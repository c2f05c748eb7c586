"""Passages: the pieces of an organisation's documents, each with the place it was found in."""

from collections.abc import Iterable
from pathlib import Path

from limpide.core import files
from limpide.core.errors import MissingError
from limpide.core.measure import Frozen

TRAIN, HELD_OUT = "passages.jsonl", "held_out_passages.jsonl"  # in the folder of data.prepare


class Passage(Frozen):
    """A piece of a document, whole paragraphs of it.

    document: its file, from the folder that was given. place: where it stands there, for people: 'page 3', or the
    headings above it, 'Safety › Guards'; None where the document has neither.
    """

    id: str
    document: str
    place: str | None = None
    language: str | None = None
    text: str

    @property
    def source(self) -> str:
        return self.document if self.place is None else f"{self.document}, {self.place}"


def save_passages(path: Path, passages: Iterable[Passage]) -> None:
    """Write one passage a line, whole or not at all."""
    files.write_jsonl(path, (passage.model_dump(mode="json") for passage in passages))


def load_passages(path: Path) -> list[Passage]:
    """Read a file written by `save_passages`. Raises MissingError."""
    if not path.is_file():
        raise MissingError(f"{path} is not there.", remedy="give data.documents in the recipe, and run data.prepare")
    return [Passage.model_validate(row) for row in files.read_jsonl(path)]
