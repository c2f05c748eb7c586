"""The one contract that everything Limpide can do obeys.

An operation reads folders and writes a folder. The command line, the recipe's schema and
`docs/reference.md` are derived from its settings model: nothing is written twice.
A file that declares an operation imports nothing heavy at its top (a contract test holds this).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from limpide.core import files
from limpide.core.errors import LimpideError, UsageError
from limpide.core.measure import Better, Measure, load_measures, save_measures
from limpide.core.progress import Progress

Verb = Literal["look", "change", "tell"]
Need = Literal["generates", "scores", "gradients", "activations"]


class Settings(BaseModel):
    """Base of every settings model: immutable, unknown keys are errors, each field has a description."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=False, allow_inf_nan=False)


@dataclass(frozen=True)
class Subject:
    """What an operation works on.

    out: an existing folder to write in. inputs: folders of earlier steps, by name. model: folder of the
    model looked at or changed, and `label` its role in measures ('base', 'result'). respondent: who is asked
    instead of a model's folder, where weights are closed or answers are given (models/respondents.py). fresh: what
    was kept of earlier runs is computed again.
    """

    out: Path
    inputs: Mapping[str, Path] = field(default_factory=dict)
    model: Path | None = None
    label: str = "model"
    seed: int = 0
    respondent: Any = None
    fresh: bool = False

    def input(self, name: str) -> Path:
        if name not in self.inputs:
            raise UsageError(
                f"This operation needs the folder of step '{name}'.",
                received=", ".join(sorted(self.inputs)) or "nothing",
                remedy=f"run it from a recipe, or give the folder of a finished step: --{name} .limpide/…/{name}-…",
            )
        return self.inputs[name]

    def the_model(self) -> Path:
        if self.model is None:
            raise LimpideError("This operation needs a model and was given none.")
        return self.model


@dataclass(frozen=True)
class Result:
    """What an operation found: numbers, plain facts (JSON), and things a person should know."""

    measures: tuple[Measure, ...] = ()
    facts: Mapping[str, Any] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()

    def save(self, folder: Path) -> None:
        save_measures(folder / "measures.jsonl", self.measures)
        files.write_json(folder / "result.json", {"facts": dict(self.facts), "warnings": list(self.warnings)})

    @staticmethod
    def load(folder: Path) -> "Result":
        record = files.read_json(folder / "result.json")
        measures = tuple(load_measures(folder / "measures.jsonl"))
        return Result(measures, record["facts"], tuple(record["warnings"]))


@dataclass(frozen=True)
class Measurable:
    """A measure that an operation can leave, told before it runs. slices: as its group will be, '*' for any value."""

    name: str
    unit: str
    better: Better
    slices: tuple[Mapping[str, str], ...] = ({},)


@dataclass(frozen=True)
class Operation:
    """name: room.method, as in `audit.bias`. needs: what the model must be able to do.
    source: where the method is from. resumes: a killed run leaves its folder, and the next one goes on there.
    needs_data: settings of data.prepare that name a file without which an audit has nothing to check.
    gives: settings → the measures that a run with them can leave, so that a gate on another is refused at once.
    """

    name: str
    verb: Verb
    summary: str
    settings: type[Settings]
    run: Callable[[Subject, Any, Progress], Result]
    needs: tuple[Need, ...] = ()
    source: str = ""
    version: int = 1
    resumes: bool = False
    needs_data: tuple[str, ...] = ()
    gives: Callable[[Any], Sequence[Measurable]] | None = None

    @property
    def room(self) -> str:
        return self.name.split(".")[0]
