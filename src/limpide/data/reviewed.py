"""What a person decided of drafts, and the examples that come of it."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from limpide.core import files
from limpide.core.errors import DataError, Fault, MissingError
from limpide.data import raw
from limpide.data.drafts import Drafted
from limpide.data.passages import Passage
from limpide.data.reading import too_many
from limpide.data.sensitive import mask

Decision = Literal["accept", "edit", "reject"]


@dataclass(frozen=True)
class Reviewed:
    """rows: examples for `data.examples`. left: drafts that pass the filters and were not decided."""

    rows: tuple[dict[str, Any], ...]
    accepted: int
    edited: int
    rejected: int
    left: int

    def record(self) -> dict[str, int]:
        return {"accepted": self.accepted, "edited": self.edited, "rejected": self.rejected, "left": self.left}

    def said(self) -> str:
        return ", ".join(
            f"{count} {'not decided' if name == 'left' else name}" for name, count in self.record().items()
        )


def review(drafted: Sequence[Drafted], decisions: Path, by: str) -> Reviewed:
    """The drafts that a person accepted, as examples, those of a passage in one group. by: the person's name.

    Raises MissingError, or DataError with every decision that names no draft or lacks a text.
    """
    known = {draft.id: (one.passage, draft) for one in drafted for draft in one.drafts}
    decided: dict[str, tuple[Decision, str, str]] = {}
    faults = []
    for number, value in enumerate(_decisions(decisions), start=1):
        fault = _fault(value, known, decided)
        if fault:
            faults.append(Fault(decisions.name, None, f"decision {number}: {fault}"))
            continue
        draft = known[value["id"]][1]
        edited = value["decision"] == "edit"
        question = value["question"].strip() if edited else draft.question
        decided[value["id"]] = (value["decision"], question, value["answer"].strip() if edited else draft.answer)
    if faults:
        remedy = "take the decisions that the page of these very drafts saved"
        raise too_many(faults, f"wrong in {decisions.name}", remedy=remedy)
    rows = []
    for id, (passage, _) in known.items():
        if id in decided and decided[id][0] != "reject":
            rows.append(_row(id, passage, *decided[id], by))
    tally = Counter(decision for decision, _, _ in decided.values())
    left = sum(draft.refused is None and id not in decided for id, (_, draft) in known.items())
    return Reviewed(tuple(rows), tally["accept"], tally["edit"], tally["reject"], left)


def synthetic(passage: Passage) -> str:
    """What an example made from a passage says of its origin; an address in a heading is no part of it."""
    return f"passage {mask(passage.source, ('secrets', 'personal_data'))}"


def _row(id: str, passage: Passage, decision: Decision, question: str, answer: str, by: str) -> dict[str, Any]:
    return {
        "id": id,
        "prompt": question,
        "answer": answer,
        "language": passage.language,
        "group": passage.id,
        "synthetic": synthetic(passage),
        "reviewed_by": by,
        "review": decision,
    }


def _decisions(path: Path) -> list[Any]:
    if not path.is_file():
        raise MissingError(f"There is no file {path}.", remedy="save it from the page: limpide data review DRAFTS")
    raw.check_bytes(path, path.name)
    try:
        found = files.read_json(path)["decisions"]
        if isinstance(found, list):
            return found
    except (ValueError, KeyError, TypeError, RecursionError):
        pass
    raise DataError(f"{path.name} holds no decisions.", expected="the file decisions.json that the page saves")


def _fault(value: Any, known: Mapping[str, Any], decided: Mapping[str, Any]) -> str | None:
    if not isinstance(value, dict) or not isinstance(value.get("id"), str):
        return "is no decision: it has no id"
    if value["id"] not in known:
        return f"no draft has the id {value['id']!r}"
    if value["id"] in decided:
        return f"the draft {value['id']} is decided twice"
    if value.get("decision") not in ("accept", "edit", "reject"):
        return f"{value.get('decision')!r} is none of accept, edit, reject"
    if value["decision"] == "edit":
        texts = [value.get("question"), value.get("answer")]
        if not all(isinstance(text, str) and text.strip() for text in texts):
            return "an edited draft needs its question and its answer"
        return ", ".join(raw.halves({"question": texts[0], "answer": texts[1]})) or None
    return None
