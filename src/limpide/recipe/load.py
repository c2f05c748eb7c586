"""Read a recipe, and report every fault in it together, each with its line."""

import re
import types
from collections.abc import Mapping, Sequence
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


def load_recipe(path: Path) -> Any:
    """The recipe in `path` as a `Recipe`. Raises RecipeError with all faults, MissingError without the file."""
    try:
        document = _parse(path)
        plain = _plain(document)
    except RecursionError:
        raise RecipeError(f"{path} is no recipe: it is nested without end.") from None
    faults: list[Fault] = []
    recipe: Any = None
    try:
        recipe = Recipe.model_validate(plain)
    except ValidationError as error:
        faults += [_fault(path, document, e) for e in _causes(error.errors())]
    faults += _gate_faults(path, document, None if recipe is None else recipe.audit.suites)
    if faults:
        raise RecipeError(
            f"{path} has {len(faults)} fault{'s' if len(faults) > 1 else ''}.",
            faults=sorted(faults, key=lambda f: f.line or 0),
            remedy="correct them and run again; every key is explained in docs/reference.md",
        )
    return recipe


def _gate_faults(path: Path, document: CommentedMap, suites: Sequence[str] | None) -> list[Fault]:
    """Gates that are no gates, and gates on a suite that the recipe does not run: these could never pass."""
    gates = document.get("gates")
    faults = []
    for number, text in enumerate(gates if isinstance(gates, list) else []):
        if not isinstance(text, str):
            continue  # said already, as a wrong type
        line = gates.lc.data[number][0] + 1
        try:
            suite = parse_gate(text).metric[0]
        except RecipeError as error:
            faults.append(Fault(path.name, line, error.what))
            continue
        if suites is not None and suite not in suites:
            known = f"{nearest(suite, suites)} audit.suites has: {', '.join(suites) or 'nothing'}"
            faults.append(Fault(path.name, line, f"'{text}': the suite '{suite}' is not measured.{known}"))
    return faults


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


def _causes(errors: Sequence[Any]) -> list[Any]:
    """pydantic counts items at fault as missing too, and then finds the list too short: that is no second fault."""
    places = [error["loc"] for error in errors]
    follows = [any(p != at and p[: len(at)] == at for p in places) for at in places]
    return [e for e, also in zip(errors, follows, strict=True) if not (also and e["type"] == "too_short")]


def _fault(path: Path, document: CommentedMap, error: Any) -> Fault:
    location = _location(document, error["loc"])
    where = ".".join(str(part) for part in location)
    line = _line(document, location)
    if error["type"] == "extra_forbidden":
        key = str(error["loc"][-1])  # for pydantic all keys are text, even `null`
        above = location[:-1] if location[-1:] == [key] else location
        what = f"unknown key '{'.'.join(map(str, (*above, key)))}'.{nearest(key, known_keys(above))}"
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
    return Fault(path.name, line, what)


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
