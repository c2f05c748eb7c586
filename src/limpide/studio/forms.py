"""The form of a recipe, made from the settings models: what can be set, its kind, range, default and words.

Nothing is written by hand: a new setting of an operation is a new field of the form, and a test asks for its words.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from limpide.core.yaml_file import models_in

Kind = Literal["switch", "number", "whole", "choice", "choices", "text", "texts", "numbers", "policy", "free"]
EDGES = {"ge": "low", "gt": "low", "le": "high", "lt": "high"}


@dataclass(frozen=True)
class Entry:
    """One setting. path: dotted, as in the recipe. low, high: its range, None where there is no end.

    kind: policy is one word, or {allow: why}; free is what no other kind holds, read as YAML. empty: whether null is a
    value, which stands for `default` in words. choices: of a choice or choices, or the words that a `free` one knows.
    """

    path: str
    kind: Kind
    description: str
    default: Any = None
    required: bool = False
    empty: bool = False
    choices: tuple[str, ...] = ()
    low: float | None = None
    high: float | None = None

    @property
    def name(self) -> str:
        return self.path.rpartition(".")[2]


@dataclass(frozen=True)
class Section:
    """Settings that belong together. optional: it is there when it is written, even with nothing in it."""

    path: str
    description: str
    optional: bool
    parts: tuple["Entry | Section", ...]

    def entries(self) -> Iterator[Entry]:
        """All settings in it and in its own sections."""
        for part in self.parts:
            yield from part.entries() if isinstance(part, Section) else (part,)

    def sections(self) -> Iterator["Section"]:
        for part in self.parts:
            if isinstance(part, Section):
                yield part
                yield from part.sections()


@cache
def form_of(model: type[BaseModel]) -> Section:
    """Everything that a file of `model` may say."""
    return Section("", (model.__doc__ or "").strip(), False, tuple(_parts(model, "")))


def _parts(model: type[BaseModel], above: str) -> Iterator[Entry | Section]:
    for name, field in model.model_fields.items():
        inner = models_in(field.annotation)
        path = f"{above}{name}"
        if inner and not _words(field.annotation):
            optional = type(None) in get_args(field.annotation)
            yield Section(path, field.description or "", optional, tuple(_parts(inner[0], f"{path}.")))
        else:
            yield _entry(path, field)


def _entry(path: str, field: FieldInfo) -> Entry:
    kinds = [part for part in _alternatives(field.annotation) if part is not type(None)]
    empty = type(None) in _alternatives(field.annotation)
    kind, choices = _kind(kinds)
    default = None if field.is_required() else field.get_default(call_default_factory=True)
    return Entry(
        path,
        kind,
        field.description or "",
        default=_plain(default),
        required=field.is_required(),
        empty=empty,
        choices=choices,
        **_range([*field.metadata, *_inner_metadata(field.annotation)]),
    )


def _kind(parts: list[Any]) -> tuple[Kind, tuple[str, ...]]:
    """What the form shows for a type without its null, and the words that can be chosen."""
    words = tuple(str(word) for part in parts for word in _words(part))
    if len(parts) > 1:
        return ("policy" if any(models_in(part) for part in parts) else "free"), words
    part = parts[0]
    if words:
        return "choice", words
    if get_origin(part) is tuple:
        held = _bare(get_args(part)[0])
        if _words(held):
            return "choices", tuple(map(str, _words(held)))
        return ("numbers" if held in (int, float) else "texts" if held in (str, Path) else "free"), ()
    kinds: Mapping[Any, Kind] = {bool: "switch", int: "whole", float: "number", str: "text", Path: "text"}
    return kinds.get(part, "free"), ()


def _alternatives(annotation: Any) -> list[Any]:
    """The types of a union, without what only narrows them."""
    bare = _bare(annotation)
    if get_origin(bare) in (Union, UnionType):
        return [inner for part in get_args(bare) for inner in _alternatives(part)]
    return [bare]


def _bare(annotation: Any) -> Any:
    return get_args(annotation)[0] if get_origin(annotation) is Annotated else annotation


def _words(annotation: Any) -> tuple[Any, ...]:
    return tuple(word for part in _alternatives(annotation) if get_origin(part) is Literal for word in get_args(part))


def _inner_metadata(annotation: Any) -> list[Any]:
    """Ranges inside a union or a tuple, as of `float, from 0, or names`."""
    found = list(get_args(annotation)[1:]) if get_origin(annotation) is Annotated else []
    nested = [one for part in found if isinstance(part, FieldInfo) for one in part.metadata]
    inside = get_args(annotation)[:1] if found else get_args(annotation)
    return [*found, *nested, *(one for part in inside if not isinstance(part, str) for one in _inner_metadata(part))]


def _range(metadata: list[Any]) -> dict[str, float]:
    found: dict[str, float] = {}
    for one in metadata:
        for edge, side in EDGES.items():
            value = getattr(one, edge, None)
            if isinstance(value, int | float):
                found[side] = value
    return found


def _plain(value: Any) -> Any:
    """A default as a recipe would write it."""
    if isinstance(value, tuple | list):
        return [_plain(one) for one in value]
    if isinstance(value, Path):
        return value.as_posix()
    return value.model_dump(mode="json") if isinstance(value, BaseModel) else value


# ---- words ----------------------------------------------------------------------------------------------------------


def words_for(path: str, words: Mapping[str, str]) -> str | None:
    """What `words` has for a setting: under its path, or under the longest end of it, as settings repeat.

    `correct.bias.erasure.axes` is looked for whole, then as `bias.erasure.axes`, `erasure.axes` and `axes`.
    """
    parts = path.split(".")
    keys = (f"settings.{'.'.join(parts[start:])}" for start in range(len(parts)))
    return next((words[key] for key in keys if key in words), None)


def described(part: Entry | Section, words: Mapping[str, str]) -> str:
    """A setting's or section's description in the language of `words`; the model's own where they have none."""
    return words_for(part.path, words) or part.description
