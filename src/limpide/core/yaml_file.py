"""YAML files that people write: read safely, and every fault told together, each with its line."""

import re
import types
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap
from ruamel.yaml.constructor import DuplicateKeyError
from ruamel.yaml.error import MarkedYAMLError, YAMLError

from limpide.core.errors import Fault, MissingError, UsageError, nearest

MOST_VALUES = 200_000  # aliases of aliases can unfold a small file beyond all memory


@dataclass(frozen=True)
class Sort:
    """What a file is. noun: as in 'no recipe'. error: raised for its faults. remedy: where there is none."""

    noun: str
    error: type[UsageError]
    remedy: str


def read(path: Path, sort: Sort) -> tuple[CommentedMap, Any]:
    """The file with its line numbers, and as plain Python values. Raises `sort.error`, MissingError without the file.

    No tag of the file makes an object: ruamel's round-trip loader builds maps, lists and scalars alone.
    """
    try:
        document = _parse(path, sort)
        return document, _Unfolding(path, sort).plain(document)
    except RecursionError:
        raise sort.error(f"{path} is no {sort.noun}: it is nested without end.") from None


def _parse(path: Path, sort: Sort) -> CommentedMap:
    if not path.is_file():
        others = sorted(p.name for p in path.parent.glob("*.yaml")) if path.parent.is_dir() else []
        raise MissingError(
            f"There is no {sort.noun} {path}.{nearest(path.name, others)}",
            expected=f"a {sort.noun}.yaml",
            remedy=sort.remedy,
        )
    try:
        document = YAML(typ="rt", pure=True).load(path.read_text(encoding="utf-8"))
    except UnicodeDecodeError as error:
        raise sort.error(
            f"{path} is not UTF-8.",
            received=f"byte {error.object[error.start]:#04x} at offset {error.start}",
            remedy=f"convert it: iconv -f windows-1252 -t utf-8 {path.name} > {sort.noun}.utf8.yaml",
        ) from error
    except (MarkedYAMLError, DuplicateKeyError) as error:
        mark = error.problem_mark
        line = None if mark is None else mark.line + 1
        problem = (error.problem or "not YAML").splitlines()[0]
        raise sort.error(f"{path} is not valid YAML.", faults=[Fault(path.name, line, problem)]) from error
    except YAMLError as error:
        raise sort.error(f"{path} is not valid YAML.", received=str(error).splitlines()[0]) from error
    if not isinstance(document, CommentedMap):
        what = "the file is empty" if document is None else "the file holds no keys"
        raise sort.error(f"{path} is no {sort.noun}: {what}.", remedy=sort.remedy)
    return document


@dataclass
class _Unfolding:
    """ruamel's containers and scalars become ordinary Python ones, up to MOST_VALUES of them."""

    path: Path
    sort: Sort
    values: int = 0

    def plain(self, value: Any) -> Any:
        self.values += 1
        if self.values > MOST_VALUES:
            raise self.sort.error(
                f"{self.path} is no {self.sort.noun}: it unfolds to more than {MOST_VALUES:,} values.",
                remedy="write it without aliases (*name) that repeat other aliases",
            )
        if isinstance(value, Mapping):
            return {str(k): self.plain(v) for k, v in value.items()}
        if isinstance(value, list):
            return [self.plain(v) for v in value]
        for kind in (bool, int, float, str):
            if isinstance(value, kind):
                return kind(value)
        return None if value is None else str(value)


# ------------------------------------------------------------------------------------------------------------ faults


def faults_of(path: Path, document: CommentedMap, error: ValidationError, model: type[BaseModel]) -> list[Fault]:
    """What pydantic found wrong in the document of a `model`, in words, each with its line."""
    return [_fault(path, document, cause, model) for cause in _causes(error.errors())]


def faulty(path: Path, sort: Sort, faults: Sequence[Fault], remedy: str) -> UsageError:
    """The error that tells all faults of a file, in the order of their lines."""
    return sort.error(
        f"{path} has {len(faults)} fault{'s' if len(faults) > 1 else ''}.",
        faults=sorted(faults, key=lambda f: f.line or 0),
        remedy=remedy,
    )


def line_of(document: Any, location: Sequence[Any]) -> int | None:
    """Line of the deepest part of `location` that the file has."""
    node, line = document, 1
    for part in location:
        try:
            line = node.lc.data[part][0] + 1
            node = node[part]
        except (AttributeError, KeyError, IndexError, TypeError):
            break
    return line


def known_keys(location: Sequence[Any], model: type[BaseModel]) -> list[str]:
    """The keys that the section at `location` of a `model` may hold."""
    for part in location:
        if isinstance(part, int):
            continue
        field = model.model_fields.get(str(part))
        inner = models_in(field.annotation) if field else []
        if not inner:
            return []
        model = inner[0]
    return list(model.model_fields)


def models_in(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    if get_origin(annotation) in (Union, types.UnionType, tuple):
        return [m for part in get_args(annotation) for m in models_in(part)]
    return []


def _causes(errors: Sequence[Any]) -> list[Any]:
    """pydantic counts items at fault as missing too, and then finds the list too short: that is no second fault."""
    places = [error["loc"] for error in errors]
    follows = [any(p != at and p[: len(at)] == at for p in places) for at in places]
    return [e for e, also in zip(errors, follows, strict=True) if not (also and e["type"] == "too_short")]


def _fault(path: Path, document: CommentedMap, error: Any, model: type[BaseModel]) -> Fault:
    location = _location(document, error["loc"])
    where = ".".join(str(part) for part in location)
    line = line_of(document, location)
    if error["type"] == "extra_forbidden":
        key = str(error["loc"][-1])  # for pydantic all keys are text, even `null`
        above = location[:-1] if location[-1:] == [key] else location
        where = ".".join(map(str, (*above, key)))
        what = f"unknown key '{where}'.{nearest(key, known_keys(above, model))}"
    elif error["type"] == "missing":
        what = f"missing key '{where}'"
    elif error["type"] == "model_type":
        what = f"{where}: Input should be a section with keys of its own, received {error['input']!r}"
    elif error["type"] == "literal_error":
        known = re.findall(r"'([^']*)'", error["ctx"]["expected"])
        close = nearest(error["input"], known) if isinstance(error["input"], str) else ""
        what = f"{where}: {error['msg']}, received {error['input']!r}.{close}"
    else:
        what = f"{where}: {error['msg']}, received {error['input']!r}"
    return Fault(path.name, line, what, where)


def _location(document: Any, parts: Sequence[str | int]) -> list[str | int]:
    """Keys and indices of the file. pydantic adds the branch of a union, such as 'Allow', which is no key of it."""
    location: list[str | int] = []
    node = document
    for part in parts:
        held = isinstance(node, Mapping) and part in node
        if held or isinstance(part, int) or not (part[:1].isupper() or any(c in part for c in "[(-")):
            location.append(part)
            try:
                node = node[part]
            except (KeyError, IndexError, TypeError):
                node = None
    return location
