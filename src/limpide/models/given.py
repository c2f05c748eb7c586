"""Answers that somebody already has, in a file: a closed model is audited without a connection to it."""

import dataclasses
import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from limpide.core.errors import DataError, Fault, ModelError, nearest
from limpide.core.progress import Progress
from limpide.data import raw
from limpide.data.opening import EXPECTED, open_rows, reads
from limpide.data.raw import Raw
from limpide.data.reading import too_many
from limpide.models.recorder import no_likelihoods
from limpide.models.requests import Answer, Asked, Compared, Request, Sampling, Score
from limpide.models.respondents import GENERATES

ID, ANSWER = "id", "answer"
SHOWN = 5  # missing ids that an error names


@dataclass
class Given:
    """A file of answers. field: the column that holds them. rows: as read, each with its line in `lines`.

    Answers are found by the column 'id', which is looked at when the first question is put: a suite that knows the
    file's own identifiers reads `rows`. suite, prefixed: ids may be 'suite/id', or must be. name: who answered.
    """

    path: Path
    field: str
    rows: list[dict[str, Any]]
    lines: list[int]
    file_digest: str
    suite: str = "SUITE"
    prefixed: bool = False
    name: str | None = None
    used: set[str] = dataclasses.field(default_factory=set)
    _answers: Mapping[str, str] | None = None

    @property
    def title(self) -> str:
        return self.name or f"answers in {self.path.name}"

    @property
    def digest(self) -> str | None:
        return None

    @property
    def kind(self) -> str:
        return "answers"

    @property
    def can(self) -> frozenset[str]:
        return frozenset({GENERATES})

    def score(
        self,
        requests: Sequence[Request],
        progress: Progress | None = None,
        compared: Compared | None = None,
    ) -> list[Score]:
        """Raises ModelError: a file of answers does not tell how likely other words were."""
        raise no_likelihoods("This audit needs the likelihood of given words, and a file of answers does not tell it.")

    def sample(
        self, asked: Sequence[Asked], sampling: Sampling, progress: Progress | None = None
    ) -> list[list[Answer]]:
        """Raises ModelError: the file has one answer to each question."""
        raise ModelError(
            "This audit draws several answers to each question, and a file of answers has one.",
            received=self.path.name,
            remedy="audit the model or its endpoint instead",
        )

    def answer(self, asked: Sequence[Asked], max_new_tokens: int, progress: Progress | None = None) -> list[str]:
        """The file's answer to each. Raises DataError for a missing id, one met twice, or no text."""
        if self._answers is None:
            self._answers = answers_of(self)
        found = [self._find(self._answers, one.id) for one in asked]
        missing = [one.id for one, key in zip(asked, found, strict=True) if key is None]
        if missing:
            raise self._missing(missing, len(asked))
        keys = [key for key in found if key is not None]
        self.used.update(keys)
        return [self._answers[key] for key in keys]

    def _find(self, answers: Mapping[str, str], id: str) -> str | None:
        names = [f"{self.suite}/{id}"] + ([] if self.prefixed else [id])
        return next((name for name in names if name in answers), None)

    def _missing(self, missing: Sequence[str], asked: int) -> DataError:
        prefix = f"{self.suite}/" if self.prefixed else ""
        names = ", ".join(f"'{prefix}{id}'" for id in missing[:SHOWN]) + (" …" if len(missing) > SHOWN else "")
        suite = "all" if self.prefixed else self.suite
        return DataError(
            f"{self.path.name} has no answer to {len(missing)} of the {asked} questions: {names}",
            received=f"{len(self.rows)} rows",
            expected=f"one row for each question, found by its '{ID}'",
            remedy=f"get the questions with: limpide audit {suite} --write-questions questions.jsonl",
        )

    def facts(self) -> dict[str, Any]:
        return {
            "answers": {
                "file": self.path.name,
                "file_digest": self.file_digest,
                "field": self.field,
                "rows": len(self.rows),
                "answers_used": len(self.used),
                "note": "How these answers were made is not known to Limpide: model, sampling and prompt are as told.",
            }
        }


def read_given(
    path: Path, field: str = ANSWER, *, suite: str = "SUITE", prefixed: bool = False, name: str | None = None
) -> Given:
    """Read a file of answers, one a row.

    Raises DataError for a file that cannot be read, with every broken line, or when no row has the column `field`.
    """
    try:
        known, read = _read(path)
    except OSError as error:
        raise DataError(f"{path} cannot be read.", received=error.strerror, remedy="check its permissions") from error
    rows = [row.value for row in read if isinstance(row.value, dict)]
    faults = list(_faults(path, read))
    if faults:
        raise too_many(faults, f"wrong in {path.name}", remedy="correct the file and run the same command again")
    if not rows:
        raise DataError(f"{path.name} is empty: it holds no row.", expected="one answer a row")
    columns = dict.fromkeys(key for row in rows for key in row)
    if field not in columns:
        raise DataError(
            f"No row of {path.name} has a field '{field}'.{nearest(field, list(columns))}",
            received=", ".join(columns),
            remedy="name the field that holds the answers with --answer-field",
        )
    lines = [row.line for row in read]
    return Given(path, field, rows, lines, known.digest, suite=suite, prefixed=prefixed, name=name)


def _read(path: Path) -> tuple[raw.Bytes, list[Raw]]:
    if not path.is_file():
        beside = [p.name for p in path.parent.iterdir() if p.is_file()] if path.parent.is_dir() else []
        raise DataError(f"There is no file {path}.{nearest(path.name, beside)}", expected=f"a file, {EXPECTED}")
    if not reads(path):
        raise DataError(f"{path.name}: Limpide does not read answers from '{path.suffix}' files.", expected=EXPECTED)
    opened = open_rows(path, path.name)
    return opened.known, list(opened.rows)


def _faults(path: Path, read: Sequence[Raw]) -> Iterator[Fault]:
    """Of every column: suites that know the file's own identifiers read them too."""
    for row in read:
        if isinstance(row.value, dict):
            yield from (Fault(path.name, row.line, what) for what in raw.halves(row.value))
        else:
            yield Fault(path.name, row.line, row.fault or 'expected an object: {"id": "…", "answer": "…"}')


def answers_of(given: Given) -> dict[str, str]:
    """{id: answer} of every row. Raises DataError with every row that has no id, an id met before, or no text."""
    answers: dict[str, str] = {}
    places: dict[str, int] = {}
    faults: list[Fault] = []
    for row, line in zip(given.rows, given.lines, strict=True):
        wrong = list(_wrong(row, given.field))
        id = str(row.get(ID))
        if not wrong and id in places:
            wrong = [f"the id '{id}' is already that of line {places[id]}"]
        faults += [Fault(given.path.name, line, what) for what in wrong]
        if not wrong:
            answers[id], places[id] = row[given.field], line
    if faults and not any(ID in row for row in given.rows):
        columns = list(dict.fromkeys(itertools.chain.from_iterable(given.rows)))
        raise DataError(
            f"{given.path.name} has no field '{ID}', so its answers cannot be matched with the questions."
            f"{nearest(ID, columns)}",
            received=", ".join(columns),
            remedy=f"get questions with their ids: limpide audit {given.suite} --write-questions questions.jsonl",
        )
    if faults:
        raise too_many(
            faults, f"wrong in {given.path.name}", remedy="correct these lines and run the same command again"
        )
    return answers


def _wrong(row: Mapping[str, Any], field: str) -> Iterator[str]:
    id, answer = row.get(ID), row.get(field)
    if isinstance(id, bool) or not isinstance(id, str | int) or id == "":
        yield f"no '{ID}'" if id in (None, "") else f"'{ID}' is neither text nor a whole number: {id!r}"
    if not isinstance(answer, str):
        yield f"no '{field}'" if field not in row else f"'{field}' is not text: {_short(answer)}"


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:60]}…"
