"""Read a recipe, and report every fault in it together, each with its line."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from ruamel.yaml.comments import CommentedMap

from limpide.core import yaml_file
from limpide.core.errors import Fault, RecipeError, nearest
from limpide.core.yaml_file import Sort
from limpide.recipe.gate_faults import fault_of, given_by
from limpide.recipe.gates import Gate, parse_gate
from limpide.recipe.schema import FILES, SUITES, Recipe

RECIPE = Sort("recipe", RecipeError, "write one with: limpide init")


def load_recipe(path: Path) -> Any:
    """The recipe in `path` as a `Recipe`. Raises RecipeError with all faults, MissingError without the file."""
    document, plain = yaml_file.read(path, RECIPE)
    faults: list[Fault] = []
    recipe: Any = None
    try:
        recipe = Recipe.model_validate(plain)
    except ValidationError as error:
        faults += yaml_file.faults_of(path, document, error, Recipe)
    faults += _gate_faults(path, document, plain, None if recipe is None else recipe.audit.suites)
    faults += [] if recipe is None else _file_faults(path, document, recipe)
    if faults:
        remedy = "correct them and run again; every key is explained in docs/reference.md"
        raise yaml_file.faulty(path, RECIPE, faults, remedy)
    return recipe


def _gate_faults(path: Path, document: CommentedMap, plain: Any, suites: Sequence[str] | None) -> list[Fault]:
    """Gates that are no gates, and gates on what the recipe does not measure: these could never pass."""
    gates = document.get("gates")
    faults = []
    for number, text in enumerate(gates if isinstance(gates, list) else []):
        if not isinstance(text, str):
            continue  # said already, as a wrong type
        line = gates.lc.data[number][0] + 1
        try:
            what = _gate_fault(parse_gate(text), plain.get("audit"), suites)
        except RecipeError as error:
            what = error.what
        faults += [] if what is None else [Fault(path.name, line, what, f"gates.{number}")]
    return faults


def _gate_fault(gate: Gate, audit: Any, suites: Sequence[str] | None) -> str | None:
    """audit: the section as it was written. suites: that the recipe runs, None when it is at fault itself."""
    suite, known = gate.metric[0], SUITES if suites is None else suites
    if suite not in known:
        has = "" if suites is None else f" audit.suites has: {', '.join(suites) or 'nothing'}"
        return f"'{gate.text}': the suite '{suite}' is not measured.{nearest(suite, known)}{has}"
    given = given_by(suite, audit)
    return None if given is None else fault_of(gate, given)


def _file_faults(path: Path, document: CommentedMap, recipe: Any) -> list[Fault]:
    """Suites whose file the recipe does not give in `data`, or gives in the suite's section, where nothing reads it."""
    faults = []
    for suite, keys in FILES.items():
        section = getattr(recipe.audit, suite)
        for key in keys:
            if suite in recipe.audit.suites and getattr(recipe.data, key) is None:
                line = yaml_file.line_of(document, ["audit", "suites"])
                what = f"audit.suites: '{suite}' needs data.{key}, which is not given"
                faults.append(Fault(path.name, line, what, "audit.suites"))
            if section is not None and getattr(section, key) is not None:
                line = yaml_file.line_of(document, ["audit", suite, key])
                at = f"audit.{suite}.{key}"
                faults.append(Fault(path.name, line, f"{at}: in a recipe, give this file as data.{key}", at))
    return faults
