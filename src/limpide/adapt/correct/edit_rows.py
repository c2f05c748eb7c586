"""The facts to change: as settings or as rows of a file, with everything that is wrong with them. No torch."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from limpide.core.errors import DataError, Fault, MissingError, UsageError, nearest
from limpide.core.operation import Settings
from limpide.data import raw
from limpide.data.rows import kind_of

NEEDED = ("prompt", "subject", "answer")
LISTS = ("paraphrases", "neighbours")
ONE_ROW = '{"prompt": "The capital of France is", "subject": "France", "answer": "Lyon"}'


class Edit(Settings):
    """One association: after `prompt` comes `answer`. subject: what it is about, as it stands in the prompt."""

    prompt: str
    subject: str
    answer: str
    instead_of: str | None = None
    paraphrases: tuple[str, ...] = ()
    neighbours: tuple[str, ...] = ()

    @property
    def subject_span(self) -> tuple[int, int]:
        """Where the subject stands in the prompt, the last time, in characters."""
        start = self.prompt.rfind(self.subject)
        return start, start + len(self.subject)

    def faults(self) -> Iterator[str]:
        """What is wrong with it, each in words."""
        for name in NEEDED:
            if not getattr(self, name).strip():
                yield f"'{name}' is empty"
        if self.subject.strip() and self.prompt.strip() and self.subject not in self.prompt:
            yield f"the subject '{self.subject}' is not in the prompt '{self.prompt}'.{self._near()}"
        if self.instead_of is not None and self.instead_of.strip() == self.answer.strip() != "":
            yield f"the new answer is the old one, '{self.answer.strip()}'"
        for name in LISTS:
            if any(not text.strip() for text in getattr(self, name)):
                yield f"one of '{name}' is empty"

    def _near(self) -> str:
        words = self.prompt.split()
        return nearest(self.subject, [*words, *(" ".join(pair) for pair in pairwise(words))])


class EditSettings(Settings):
    """One edit, or a file of several."""

    prompt: str | None = Field(None, description='the beginning of a sentence, as "The capital of France is"')
    subject: str | None = Field(None, description='what it is about, as it stands in the prompt: "France"')
    answer: str | None = Field(None, description='what the model is to say after the prompt: "Lyon"')
    instead_of: str | None = Field(None, description="what it says now; default: it is asked")
    paraphrases: tuple[str, ...] = Field((), description="other wordings of the prompt that must follow; default: some")
    neighbours: tuple[str, ...] = Field(
        (), description="prompts about other subjects whose answers must stay; default: questions that are shipped"
    )
    file: Path | None = Field(None, description=f"several edits instead of one, a .jsonl file with rows as {ONE_ROW}")
    form: Literal["one layer", "several layers"] = Field(
        "one layer", description="the change is put into one layer (ROME), or spread over several (MEMIT)"
    )
    layers: tuple[int, ...] | None = Field(
        None, min_length=1, description="layers whose MLP is changed, from 0; default: found by tracing the prompt"
    )
    language: Literal["en", "fr"] = Field("en", description="language of the prompt, for the wordings that are shipped")
    contexts: int = Field(
        9, ge=1, le=64, description="beginnings, the model's own texts, before which the prompt is read"
    )
    own_tokens: int = Field(3000, ge=64, description="tokens of the model's own text, to know its ordinary keys")
    steps: int = Field(30, ge=1, le=1000, description="most steps of gradient descent for one edit's value")
    enough: float = Field(0.9, gt=0, lt=1, description="likelihood of the new answer's tokens at which descent stops")
    stay: float = Field(0.0625, ge=0, description="weight of what else is said of the subject: it must not change (KL)")
    decay: float = Field(0.02, ge=0, description="weight of the squared size of the change, relative to what was there")
    reach: float | None = Field(
        None,
        gt=0,
        description="most that a value may change, in sizes of what stands there; default: 4, or 1.5 in "
        "the form 'several layers', where the whole stream stands there",
    )
    preserve: float = Field(
        0.1, ge=0, description="form 'several layers': λ ÷ width; more leaves other facts alone and edits less"
    )

    @property
    def most(self) -> float:
        """The reach that is meant."""
        if self.reach is not None:
            return self.reach
        return 4.0 if self.form == "one layer" else 1.5


def edits_of(settings: EditSettings) -> tuple[Edit, ...]:
    """The edits asked for. Raises UsageError for settings, DataError for a file: all their faults together."""
    given = [name for name in (*NEEDED, "instead_of", *LISTS) if getattr(settings, name)]
    if settings.file is not None:
        if given:
            raise UsageError(
                "The edits come from a file, and one more was given.",
                received=f"file {settings.file} and {', '.join(given)}",
                remedy="write it as one more row of the file, or leave the file out",
            )
        return read_edits(settings.file)
    missing = [name for name in NEEDED if getattr(settings, name) is None]
    if missing:
        raise UsageError(
            "An edit needs a prompt, its subject and the new answer.",
            received=f"no {', no '.join(missing)}",
            expected=ONE_ROW,
            remedy="give them, or a file of edits (file: edits.jsonl)",
        )
    edit = Edit.model_validate({name: getattr(settings, name) for name in Edit.model_fields})
    faults = [Fault("edit", None, what) for what in edit.faults()]
    if faults:
        raise UsageError("This edit cannot be made.", faults=faults, expected=ONE_ROW)
    return (edit,)


def read_edits(path: Path) -> tuple[Edit, ...]:
    """The edits of a .jsonl file. Raises MissingError without the file, DataError with every fault and its line."""
    if not path.is_file():
        beside = [p.name for p in path.parent.iterdir() if p.is_file()] if path.parent.is_dir() else []
        raise MissingError(
            f"There is no file of edits {path}.{nearest(path.name, beside)}", expected="a .jsonl file", remedy=ONE_ROW
        )
    raw.check_bytes(path, path.name)
    edits, faults, met = [], list[Fault](), dict[str, int]()
    for row in raw.jsonl_rows(path):
        found = [row.fault] if row.fault is not None else list(_row_faults(row.value))
        if not found and isinstance(row.value, Mapping):
            edit = Edit.model_validate(row.value)
            found = list(edit.faults())
            if edit.prompt in met:
                found.append(f"line {met[edit.prompt]} already edits this prompt")
            met.setdefault(edit.prompt, row.line)
            edits.append(edit)
        faults += [Fault(path.name, row.line, what) for what in found]
    if faults:
        lines = Counter(fault.line for fault in faults)
        raise DataError(
            f"{path} has {len(faults)} fault{'s' if len(faults) > 1 else ''} in {len(lines)} of its rows.",
            faults=faults,
            expected=ONE_ROW,
            remedy="correct these rows: none is dropped in silence",
        )
    if not edits:
        raise DataError(f"{path} holds no edit.", expected=f"one object a line: {ONE_ROW}")
    return tuple(edits)


def _row_faults(row: object) -> Iterator[str]:
    """What keeps a row from being an edit at all."""
    if not isinstance(row, Mapping):
        yield f"a row must be an object {{…}}, not {kind_of(row)}"
        return
    for name in NEEDED:
        if name not in row:
            yield f"'{name}' is missing.{nearest(name, _unknown(row))}"
    for name in _unknown(row):
        yield f"unknown key '{name}'.{nearest(name, list(Edit.model_fields))}"
    for name in (*NEEDED, "instead_of"):
        if name in row and not isinstance(row[name], str) and not (name == "instead_of" and row[name] is None):
            yield f"'{name}' must be text, not {kind_of(row[name])}"
    for name in LISTS:
        texts = row.get(name, [])
        if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
            yield f"'{name}' must be a list of texts, not {kind_of(texts)}"


def _unknown(row: Mapping[str, Any]) -> Sequence[str]:
    return [name for name in row if name not in Edit.model_fields]
