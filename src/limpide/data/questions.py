"""The shipped questions on what is true, as texts: what audits ask, and what corrections may learn from.

Questions are cut in three parts as the bias templates are (templates.py), by question.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from limpide.data.shipped import read_probe
from limpide.data.templates import Part, parts

Language = Literal["en", "fr"]
LANGUAGES: tuple[Language, ...] = get_args(Language)
Kind = Literal["short", "unanswerable"]
BRIEF = {"en": "Answer in a few words.", "fr": "Répondez en quelques mots."}


@dataclass(frozen=True)
class Question:
    """expected: every right short answer; none where the question is on what does not exist, `invented`."""

    id: str
    language: str
    topic: str
    text: str
    expected: tuple[str, ...] = ()
    invented: str = ""

    @property
    def brief(self) -> str:
        """As audits ask it."""
        return f"{self.text}\n{BRIEF[self.language]}"


def read_questions(kind: Kind, languages: Sequence[str], part: Part | None = None) -> list[Question]:
    """The questions of a kind in each language, in the file's order; of one part alone, where one is given."""
    found = [_question(row) for language in sorted(set(languages)) for row in _rows(kind, language)]
    part_of = parts({q.id: (q.language, q.topic) for q in found})
    return [q for q in found if part in (None, part_of[q.id])]


def _rows(kind: Kind, language: str) -> list[dict[str, object]]:
    lines = read_probe(f"truth/{kind}.{language}.jsonl").splitlines()
    return [json.loads(line) for line in lines if line.strip()]


def _question(row: dict[str, object]) -> Question:
    also = row.get("also", [])
    assert isinstance(also, list)
    return Question(
        id=str(row["id"]),
        language=str(row["language"]),
        topic=str(row["topic"]),
        text=str(row["question"]),
        expected=(str(row["answer"]), *also) if "answer" in row else (),
        invented=str(row.get("invented", "")),
    )
