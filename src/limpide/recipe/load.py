"""Read a recipe, and report every fault in it together, each with its line."""

import types
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap
from ruamel.yaml.constructor import DuplicateKeyError
from ruamel.yaml.error import MarkedYAMLError, YAMLError

from limpide.core.errors import Fault, MissingError, RecipeError, nearest
from limpide.recipe.gates import parse_gate
from limpide.recipe.schema import Recipe

MESSAGES = {"extra_forbidden": "unknown key", "missing": "missing key"}


def load_recipe(path: Path) -> Any:
    """The recipe in `path` as a `Recipe`. Raises RecipeError with all faults, MissingError without the file."""
    document = _parse(path)
    faults: list[Fault] = []
    recipe = None
    try:
        recipe = Recipe.model_validate(_plain(document))
    except ValidationError as error:
        faults += [_fault(path, document, e) for e in error.errors()]
    gates = document.get("gates")
    for number, gate in enumerate(gates if isinstance(gates, list) else []):
        try:
            parse_gate(str(gate))
        except RecipeError as error:
            faults.append(Fault(path.name, gates.lc.data[number][0] + 1, error.what))
    if faults:
        raise RecipeError(
            f"{path} has {len(faults)} fault{'s' if len(faults) > 1 else ''}.",
            faults=sorted(faults, key=lambda f: f.line or 0),
            remedy="correct them and run again; every key is explained in docs/reference.md",
        )
    return recipe


def _parse(path: Path) -> CommentedMap:
    if not path.is_file():
        others = sorted(p.name for p in path.parent.glob("*.yaml")) if path.parent.is_dir() else []
        raise MissingError(
            f"There is no recipe {path}.{nearest(path.name, others)}",
            expected="a recipe.yaml",
            remedy="write one with: limpide init",
        )
    try:
        document = YAML(typ="rt", pure=True).load(path.read_text(encoding="utf-8"))
    except UnicodeDecodeError as error:
        raise RecipeError(
            f"{path} is not UTF-8.",
            received=f"byte {error.object[error.start]:#04x} at offset {error.start}",
            remedy=f"convert it: iconv -f windows-1252 -t utf-8 {path.name} > recipe.utf8.yaml",
        ) from error
    except (MarkedYAMLError, DuplicateKeyError) as error:
        mark = error.problem_mark
        line = None if mark is None else mark.line + 1
        problem = (error.problem or "not YAML").splitlines()[0]
        raise RecipeError(f"{path} is not valid YAML.", faults=[Fault(path.name, line, problem)]) from error
    except YAMLError as error:
        raise RecipeError(f"{path} is not valid YAML.", received=str(error).splitlines()[0]) from error
    if not isinstance(document, CommentedMap):
        what = "the file is empty" if document is None else "the file holds no keys"
        raise RecipeError(f"{path} is no recipe: {what}.", remedy="write one with: limpide init")
    return document


def _plain(value: Any) -> Any:
    """ruamel's containers and scalars as ordinary Python ones."""
    if isinstance(value, Mapping):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, list):
        return [_plain(v) for v in value]
    for kind in (bool, int, float, str):
        if isinstance(value, kind):
            return kind(value)
    return None if value is None else str(value)


def _fault(path: Path, document: CommentedMap, error: Any) -> Fault:
    location = [part for part in error["loc"] if not _is_branch(part)]
    where = ".".join(str(part) for part in location)
    line = _line(document, location)
    if error["type"] == "extra_forbidden":
        what = f"unknown key '{where}'.{nearest(str(location[-1]), known_keys(location[:-1]))}"
    elif error["type"] == "missing":
        what = f"missing key '{where}'"
    else:
        what = f"{where}: {error['msg']}, received {error['input']!r}"
    return Fault(path.name, line, what)


def _is_branch(part: Any) -> bool:
    """pydantic adds the branch of a union to a location; it is no key of the file."""
    return isinstance(part, str) and (part[:1].isupper() or "[" in part)


def _line(document: Any, location: list[Any]) -> int | None:
    """Line of the deepest part of `location` that the file has."""
    node, line = document, 1
    for part in location:
        try:
            line = node.lc.data[part][0] + 1
            node = node[part]
        except (AttributeError, KeyError, IndexError, TypeError):
            break
    return line


def known_keys(location: list[Any]) -> list[str]:
    """The keys a section may hold."""
    model: type[BaseModel] = Recipe
    for part in location:
        field = model.model_fields.get(str(part))
        inner = models_in(field.annotation) if field else []
        if not inner:
            return []
        model = inner[0]
    return list(model.model_fields)


def models_in(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    if get_origin(annotation) in (Union, types.UnionType):
        return [m for part in get_args(annotation) for m in models_in(part)]
    return []
