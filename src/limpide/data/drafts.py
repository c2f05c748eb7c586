"""Drafts of questions and answers that a model wrote from passages, and the file that holds them."""

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from limpide.core import digests, files
from limpide.core.errors import DataError, Fault, MissingError, UsageError
from limpide.core.measure import Frozen
from limpide.data import raw
from limpide.data.passages import Passage
from limpide.data.reading import too_many


class Draft(Frozen):
    """A question and its answer. refused: the filter that refused it, None for one that a person should look at.

    gain: nats a token that the passage adds to the answer's log-likelihood, where it was computed. It tells whether
    the passage supports the answer, and ranks nothing: of several questions about one place the best is the one that
    makes it likeliest by itself, which leaves the passage less to add.
    """

    id: str
    question: str
    answer: str
    refused: str | None = None
    gain: float | None = None


class Drafted(Frozen):
    """A passage, and all that was drafted from it, the refused too."""

    passage: Passage
    drafts: tuple[Draft, ...]


class Head(Frozen):
    """How the drafts of a file were made: a file is gone on with only by the same."""

    model: str
    model_digest: str
    seed: int
    per_passage: int
    answers: str
    languages: tuple[str, ...]
    version: int = 1


def draft_id(passage: Passage, question: str, answer: str) -> str:
    """The same for the same draft of the same passage, so that a decision cannot be taken for another's."""
    return digests.of_value([passage.id, passage.text, question, answer])[: digests.SHORT]


# ------------------------------------------------------------------------------------------------ the file of drafts


class DraftsFile:
    """A file that grows by a line for each passage; the first line is the head."""

    def __init__(self, path: Path, head: Head) -> None:
        """Go on with the file that is there, or begin it. A line cut by a killed run is taken away.

        Raises UsageError for a file made in another way, DataError for one that is no file of drafts.
        """
        self.path = path
        self.done: list[Drafted] = []
        if path.is_file() and path.stat().st_size:
            known, self.done = _load(path, cut_end=True)
            if known != head:
                raise UsageError(
                    f"{path} holds drafts that were made otherwise.",
                    received=", ".join(_differences(known, head)),
                    remedy="name another file with --out, or remove this one",
                )
        lines = [{"head": head.model_dump(mode="json")}, *(one.model_dump(mode="json") for one in self.done)]
        files.write_jsonl(path, lines)

    def add(self, drafted: Drafted) -> None:
        """Write one passage's drafts at once."""
        line = json.dumps(drafted.model_dump(mode="json"), ensure_ascii=False, allow_nan=False)
        with files.clear_write_errors(self.path), self.path.open("a", encoding="utf-8") as file:
            file.write(line + "\n")
        self.done.append(drafted)


def load_drafts(path: Path) -> tuple[Head, list[Drafted]]:
    """Raises MissingError, or DataError naming every faulty line."""
    if not path.is_file():
        raise MissingError(f"There is no file {path}.", remedy="make it with: limpide data draft DOCUMENTS --out FILE")
    return _load(path, cut_end=False)


def load_head(path: Path) -> Head:
    """How the drafts of a file were made. Raises DataError for one that is no file of drafts."""
    try:
        with path.open(encoding="utf-8") as file:
            return Head.model_validate(json.loads(file.readline(raw.LONGEST_ROW))["head"])
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise DataError(
            f"{path.name} is no file of drafts.", expected="a file that `limpide data draft` wrote"
        ) from error


def _load(path: Path, *, cut_end: bool) -> tuple[Head, list[Drafted]]:
    head = load_head(path)
    raw.check_bytes(path, path.name)
    lines = path.read_text(encoding="utf-8").split("\n")
    cut_end = cut_end and lines[-1] != ""  # a whole line ends with a line break
    lines = [*lines[:-1], *([] if cut_end or not lines[-1] else [lines[-1]])]
    faults: list[Fault] = []
    drafted: list[Drafted] = []
    for number, line in enumerate(lines[1:], start=2):
        if not line.strip():
            continue
        try:
            drafted.append(Drafted.model_validate_json(line))
        except ValidationError as error:
            first = error.errors()[0]
            faults.append(Fault(path.name, number, f"{'.'.join(map(str, first['loc']))}: {first['msg']}".lstrip(": ")))
    if faults:
        raise too_many(faults, f"wrong in {path.name}", remedy="it was changed by hand: draft again into a new file")
    return head, drafted


def _differences(known: Head, head: Head) -> Iterator[str]:
    for name in Head.model_fields:
        if getattr(known, name) != getattr(head, name):
            yield f"{name} {getattr(known, name)!r} there, {getattr(head, name)!r} asked for"


def counts(drafted: Sequence[Drafted]) -> dict[str, Any]:
    """How many passages and drafts there are, and how many each filter refused."""
    drafts = [draft for one in drafted for draft in one.drafts]
    refused = Counter(draft.refused for draft in drafts if draft.refused)
    return {
        "passages": len(drafted),
        "drafts": len(drafts),
        "to_review": len(drafts) - refused.total(),
        "refused": dict(refused.most_common()),
    }
