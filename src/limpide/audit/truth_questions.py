"""The shipped questions on what is true, and how each is put to a model."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from limpide.core import digests
from limpide.data import templates
from limpide.data.questions import BRIEF
from limpide.data.shipped import read_probe
from limpide.models.requests import Asked

Language = Literal["en", "fr"]
LANGUAGES: tuple[Language, ...] = get_args(Language)
Part = Literal["options", "short", "unanswerable", "semantic"]
PARTS: tuple[Part, ...] = get_args(Part)
SOURCE = {"options": "options", "short": "short", "unanswerable": "unanswerable", "semantic": "short"}
LETTERS = "ABCD"
BY_LETTER = {"en": "Answer with the letter alone.", "fr": "Répondez par la lettre seule."}


@dataclass(frozen=True)
class Question:
    """options: with the index of the right one. expected: every right short answer. invented: what does not exist."""

    id: str
    language: str
    topic: str
    text: str
    options: tuple[str, ...] = ()
    right: int = 0
    expected: tuple[str, ...] = ()
    invented: str = ""

    def group(self, part: str) -> dict[str, str]:
        return {"part": part, "language": self.language, "topic": self.topic}

    def plain(self) -> Asked:
        return Asked.question(self.id, self.text)

    def brief(self) -> Asked:
        return Asked.question(self.id, f"{self.text}\n{BRIEF[self.language]}")

    def lettered(self) -> Asked:
        """The options as text, for whoever does not tell how likely words are."""
        rows = [f"{letter}. {option}" for letter, option in zip(LETTERS, self.options, strict=True)]
        return Asked.question(self.id, "\n".join([self.text, *rows, BY_LETTER[self.language]]))


def read_questions(
    part: str, languages: Sequence[str], limit: int | None = None, of: templates.Part | None = None
) -> list[Question]:
    """The questions of a part in each language, in the file's order. limit: of each language.

    of: those alone that a correction may learn from, or choose its strength on, or be judged on.
    """
    return [question for name in _names(part, languages) for question in _of(name, of)[:limit]]


def _of(name: str, of: templates.Part | None) -> list[Question]:
    """The questions of a file, which are cut alike in each topic."""
    questions = [_question(json.loads(line)) for line in _lines(name)]
    if of is None:
        return questions
    part_of = templates.parts({q.id: (q.language, q.topic) for q in questions})
    return [q for q in questions if part_of[q.id] == of]


def questions_digest(parts: Sequence[str], languages: Sequence[str]) -> str:
    """Of the files that the parts and languages read."""
    names = sorted({name for part in parts for name in _names(part, languages)})
    return digests.of_value({name: read_probe(name) for name in names})


def _names(part: str, languages: Sequence[str]) -> list[str]:
    return [f"truth/{SOURCE[part]}.{language}.jsonl" for language in sorted(set(languages))]


def _lines(name: str) -> list[str]:
    return [line for line in read_probe(name).splitlines() if line.strip()]


def _question(row: dict[str, object]) -> Question:
    options, answer, also = row.get("options", []), row.get("answer", ""), row.get("also", [])
    assert isinstance(options, list)
    assert isinstance(also, list)
    return Question(
        id=str(row["id"]),
        language=str(row["language"]),
        topic=str(row["topic"]),
        text=str(row["question"]),
        options=tuple(options),
        right=answer if isinstance(answer, int) else 0,
        expected=() if isinstance(answer, int) else (str(answer), *also),
        invented=str(row.get("invented", "")),
    )
