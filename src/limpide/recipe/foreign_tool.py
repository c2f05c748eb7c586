"""How a configuration of another tool is read: each key becomes one of our settings, or is left with its reason."""

import math
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from limpide.core import catalogue
from limpide.data.secrets import find_secrets

MACHINE = "it says how the training was run, not what was learnt"
BATCH = "an update counts tokens here, not rows: adapt.step_tokens"
MEASURED = "the faster precision of this machine is measured: adapt.precision"
CUT = "rows are never cut here: one that is longer than the model's context stops the run and is named"
TEMPLATE = "the base's own chat template is used, and a checkpoint with another is refused: imported.template"
OPTIMISER = "AdamW with linear warm-up and a cosine is used"
NO_DROPOUT = "adapters are trained without dropout, so that a loss does not depend on how a step is cut"
ALL_MASKED = "loss is taken on the assistant's turns alone"
CODE = "code that comes with a model is never run"
UNKNOWN = "this key is not known here"
PACKED = "rows are always packed, never padded, and never see each other"
ADAPTER_ALONE = "adapters alone are trained, or every weight with adapt.method: full"
FRESH = "a training begins with a fresh adapter; import that adapter by itself"
EPOCHS = "the length of a training is told in epochs: adapt.epochs"
WARMUP = "warm-up is a share of the updates here: adapt.warmup"
FOUR_BITS = "where there is a CUDA device: adapt.base_precision: 4bit"
METHODS = "lora, rslora, dora and full are trained here: adapt.method"
NO_FILE = "no file of this machine; give the rows with --examples"
SECRET = re.compile(r"token$|api_?key|secret|passw", re.I)  # in the name of a key
HIDDEN = "(not shown: a secret)"
OF_ADAPTERS = ("adapt.rank", "adapt.alpha", "adapt.targets")
ATTENTION, MLP = {"q_proj", "k_proj", "v_proj", "o_proj"}, {"gate_proj", "up_proj", "down_proj"}


@dataclass(frozen=True)
class Carried:
    """A key that became one of ours. place: section.key of the recipe."""

    key: str
    value: Any
    place: str


@dataclass(frozen=True)
class Left:
    """A key that did not, and why."""

    key: str
    value: Any
    why: str


@dataclass(frozen=True)
class Rows:
    """Data files: those learnt from, and those kept to test on. columns: our column name: theirs. left: not found."""

    learnt: tuple[Path, ...] = ()
    unseen: tuple[Path, ...] = ()
    columns: Mapping[str, str] = field(default_factory=dict)
    left: tuple[Left, ...] = ()


@dataclass(frozen=True)
class Tool:
    """A tool's configuration. base: the key that names the base. marks: keys of which one must be there beside it.

    to: key → our place, or (place, how the value changes; ValueError tells why it cannot). why: key → why it is left.
    machine: keys that changed nothing of what was learnt, between spaces. defaults: what the tool takes where a key
    that counts is not written. method: config → our adapt.method, or why there is none. rows: (config, its folder) →
    data files. own: keys that `method` and `rows` read.
    """

    name: str
    base: str
    marks: tuple[str, ...]
    to: Mapping[str, str | tuple[str, Callable[[Any], Any]]]
    why: Mapping[str, str]
    machine: str
    defaults: Mapping[str, Any]
    method: Callable[[Mapping[str, Any]], Iterator[Carried | Left]]
    rows: Callable[[Mapping[str, Any], Path], Rows]
    own: tuple[str, ...]

    def is_of(self, config: Mapping[str, Any]) -> bool:
        return self.base in config and any(mark in config for mark in self.marks)


@dataclass(frozen=True)
class Translated:
    """settings: {section: {key: value}}. examples, unseen: files that were and were not learnt from."""

    settings: Mapping[str, Mapping[str, Any]]
    carried: tuple[Carried, ...]
    left: tuple[Left, ...]
    examples: tuple[Path, ...]
    unseen: tuple[Path, ...]


def translated(tool: Tool, config: Mapping[str, Any], folder: Path) -> Translated:
    """Every key of a configuration, carried over or left with its reason."""
    found: list[Carried | Left] = [*tool.method(config)]
    whole_model = any(isinstance(one, Carried) and one.value == "full" for one in found)
    written = {key: value for key, value in config.items() if value not in (None, "", [], {})}
    for key, value in {**tool.defaults, **written}.items():
        if key in (tool.base, *tool.own):
            continue
        one = _one(tool, key, value)
        if whole_model and isinstance(one, Carried) and one.place in OF_ADAPTERS:
            one = Left(key, value, "every weight is trained, without an adapter")
        if key in written or not isinstance(one, Left):
            found.append(one)
    rows = tool.rows(written, folder)
    found += [Carried(f"columns of {theirs}", theirs, f"data.columns.{ours}") for ours, theirs in rows.columns.items()]
    kept = [_fitting(one) if isinstance(one, Carried) else one for one in found]
    carried = [one for one in kept if isinstance(one, Carried)]
    settings: dict[str, dict[str, Any]] = {}
    for one in carried:
        section, _, rest = one.place.partition(".")
        inner = settings.setdefault(section, {})
        *above, last = rest.split(".")
        for name in above:
            inner = inner.setdefault(name, {})
        inner[last] = one.value
    left = [_without_secret(one) for one in (*kept, *rows.left) if isinstance(one, Left)]
    return Translated(settings, tuple(carried), tuple(left), rows.learnt, rows.unseen)


def _without_secret(one: Left) -> Left:
    """What is left is printed and written down, and configurations hold tokens of the services that a training used."""
    named = SECRET.search(one.key) and isinstance(one.value, str)
    return replace(one, value=HIDDEN) if named or find_secrets(f"{one.key}: {one.value}") else one


def _one(tool: Tool, key: str, value: Any) -> Carried | Left:
    goal = tool.to.get(key)
    if goal is None:
        return Left(key, value, MACHINE if key in tool.machine.split() else tool.why.get(key, UNKNOWN))
    place, change = (goal, same) if isinstance(goal, str) else goal
    try:
        return Carried(key, change(value), place)
    except (ValueError, TypeError) as error:
        return Left(key, value, str(error))


def _fitting(one: Carried) -> Carried | Left:
    """A value that our own settings refuse is left, with their reason."""
    section, _, rest = one.place.partition(".")
    operation = {"adapt": "adapt.train", "data": "data.prepare"}.get(section)
    if operation is None:
        return one
    value: Any = one.value
    for name in reversed(rest.split(".")):
        value = {name: value}
    try:
        catalogue.find(operation).settings.model_validate(value)
    except ValidationError as error:
        faults = [fault for fault in error.errors() if fault["loc"][:1] == (rest.split(".")[0],)]
        return Left(one.key, one.value, f"{one.place}: {faults[0]['msg']}") if faults else one
    return one


# ---------------------------------------------------------------------------------------------------- values as we say


def same(value: Any) -> Any:
    return value


def number(value: Any) -> float:
    """YAML 1.2 reads 2e-4 as a number, and 2e-4 in quotes, as some write it, as text."""
    found = float(value)
    if not math.isfinite(found):
        raise ValueError("it is not a finite number")
    return found


def whole(value: Any) -> int:
    found = number(value)
    if found != int(found):
        raise ValueError("whole epochs are trained here; what is kept is the best of them")
    return int(found)


def seed(value: Any) -> int:
    found = number(value)
    if found != int(found) or not 0 <= found < 2**31:
        raise ValueError("a seed is a whole number from 0 to 2147483647")
    return int(found)


def true(places: str) -> Callable[[Any], Any]:
    return lambda value: places if value else refuse("it is off")


def refuse(why: str) -> Any:
    raise ValueError(why)


def targets(value: Any) -> str:
    """'all' and a list of every linear layer are ours as they are; a choice among attention's names is 'attention'."""
    named = {name.rpartition(".")[2] for name in names(value)}
    if named & {"all", "all-linear"} or named == {*ATTENTION, *MLP}:
        return "all-linear"
    if named in (ATTENTION, MLP):
        return "attention" if named == ATTENTION else "mlp"
    raise ValueError("adapters go on all linear layers, on attention or on the MLP: adapt.targets")


def share(value: Any) -> float:
    found = number(value)
    if found >= 1:
        raise ValueError("a number of rows; here it is a share of them: data.held_out")
    return found if found else refuse("nothing was held out; a share is, here: data.held_out")


def names(value: Any) -> list[str]:
    names = value.split(",") if isinstance(value, str) else value if isinstance(value, list) else []
    return [str(name).strip() for name in names if str(name).strip()]
