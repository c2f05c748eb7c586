"""A respondent that answers nothing and writes down what it is asked: what a suite would ask, before it is asked."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from limpide.core import files
from limpide.core.errors import LimpideError, ModelError
from limpide.core.progress import Progress
from limpide.models.requests import Answer, Asked, Compared, Request, Sampling, Score
from limpide.models.respondents import GENERATES

Call = tuple[tuple[Asked, ...], Sampling]


@dataclass
class Recorder:
    """Every answer is empty, so that a suite runs to its end, in a folder that nobody keeps.

    calls: what was asked, in its order. can, kind: those of the respondent that it stands for. A suite that asks
    more after it has read an answer asks less here.
    """

    can: frozenset[str] = frozenset({GENERATES})
    kind: str = "questions"
    title: str = "questions"
    digest: str | None = None
    calls: list[Call] = field(default_factory=list)

    def score(
        self,
        requests: Sequence[Request],
        progress: Progress | None = None,
        compared: Compared | None = None,
    ) -> list[Score]:
        """Raises ModelError: what is asked here is answered in text."""
        raise no_likelihoods("This audit needs the likelihood of given words, which cannot be asked as a question.")

    def answer(self, asked: Sequence[Asked], max_new_tokens: int, progress: Progress | None = None) -> list[str]:
        self.calls.append((tuple(asked), Sampling(max_new_tokens=max_new_tokens)))
        return [""] * len(asked)

    def sample(
        self, asked: Sequence[Asked], sampling: Sampling, progress: Progress | None = None
    ) -> list[list[Answer]]:
        self.calls.append((tuple(asked), sampling))
        return [[Answer("")] * sampling.count for _ in asked]

    def facts(self) -> dict[str, Any]:
        return {}

    def questions(self) -> list[Asked]:
        """Every question once. Raises LimpideError where two questions have one id: answers could not be told apart."""
        found: dict[str, Asked] = {}
        for asked, _ in self.calls:
            for one in asked:
                if found.setdefault(one.id, one) != one:
                    raise LimpideError(f"Two questions of this audit have the id '{one.id}'.")
        return list(found.values())


def no_likelihoods(what: str) -> ModelError:
    """What is raised where an audit needs likelihoods from someone who only gives text."""
    return ModelError(
        what,
        expected="a model whose weights are here: an alias, a folder, a .gguf file, or hub:owner/name@revision",
        remedy="audit the open model itself, or a suite that asks for answers in text",
    )


def save_questions(path: Path, asked: Sequence[Asked], prefix: str = "") -> None:
    """Write one question a line: its id, after `prefix`, and its messages, for whoever answers them elsewhere."""
    files.write_jsonl(
        path,
        (
            {"id": prefix + one.id, "messages": [{"role": m.role, "content": m.content} for m in one.messages]}
            for one in asked
        ),
    )
