"""The recipe that gives a model tuned elsewhere the same audit, parity and dossier as one tuned here."""

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from limpide.core import digests, files
from limpide.core.errors import MissingError, UsageError
from limpide.models.embedded import EMBEDDED
from limpide.recipe.foreign import Foreign
from limpide.recipe.foreign_tool import MACHINE, Left
from limpide.recipe.load import load_recipe
from limpide.recipe.schema import DEFAULT_SUITES
from limpide.recipe.written import RECIPE, comment_lines, ending, relative, yaml_lines

RECORD = "import.json"


def write_recipe(found: Foreign, out: Path, name: str, *, base: str | None, examples: Sequence[Path]) -> dict[str, Any]:
    """Write recipe.yaml and import.json into the folder `out`; returns the record. base, examples: given by a person.

    Raises MissingError where nothing names the base, or no file of rows to measure on is there.
    """
    base = base or found.base
    if base is None:
        raise MissingError(
            "Nothing tells which model this was tuned from.",
            received=f"'{found.named}', which is no folder on this machine" if found.named else "no name of a base",
            remedy="say it: --base hub:owner/name@main, or a folder",
        )
    rows = tuple(examples) or found.examples
    if not rows:
        raise MissingError(
            "There is no file of examples to measure it on.",
            received=", ".join(str(left.value) for left in found.left if "dataset" in left.key) or "none was named",
            expected="rows that the training never saw: .jsonl, .json or .csv",
            remedy="give them: --examples FILE",
        )
    missing = [str(path) for path in rows if not path.is_file()]
    if missing:
        raise MissingError(
            "There are no such files of examples.", received=", ".join(missing), remedy="check the paths"
        )
    sections = recipe_of(found, out, name, base, rows, unseen=_unseen(found, examples))
    text = text_of(found, sections)
    with TemporaryDirectory() as tried:  # what is written can be run, or this is where it shows
        files.write_text(Path(tried) / RECIPE, text)
        load_recipe(Path(tried) / RECIPE)
    files.write_text(out / RECIPE, text)
    record = {
        "tool": found.tool,
        "base": sections["base"],
        "checkpoint": sections.get("imported"),
        "carried": [{"key": c.key, "value": c.value, "as": c.place} for c in found.carried],
        "left": [{"key": left.key, "value": _written(left.value), "why": left.why} for left in found.left],
        "notes": list(found.notes),
    }
    files.write_json(out / RECORD, record)
    return record


def _unseen(found: Foreign, examples: Sequence[Path]) -> bool:
    """Rows that a person gives were not learnt, unless they are the very files that the configuration names."""
    if not examples:
        return found.unseen
    learnt = () if found.unseen else found.examples
    return {path.resolve() for path in examples}.isdisjoint(path.resolve() for path in learnt)


def recipe_of(
    found: Foreign, out: Path, name: str, base: str, rows: Sequence[Path], *, unseen: bool
) -> dict[str, Mapping[str, Any] | Any]:
    """The recipe as values, in the order in which it is written; paths as from its folder."""
    local = Path(os.path.expanduser(base))
    made: dict[str, Any] = {
        "name": digests.slug(name).lstrip(".-")[:80] or "unnamed",
        "version": "1.0.0",
        "purpose": {"intended": f"Tuned with {found.tool}: say here what it is for."},
        "base": relative(local, out) if base not in EMBEDDED and local.exists() else base,
        **found.settings.get("seed", {}),
        "data": {"examples": [relative(path, out) for path in rows], **found.settings.get("data", {})},
        "audit": {"languages": ["en", "fr"]},
    }
    checkpoint = {"adapter": found.adapter, "model": found.model}
    given = {kind: relative(path, out) for kind, path in checkpoint.items() if path is not None}
    if given:
        made["imported"] = {**given, "tool": found.tool, "unseen": unseen}
    if given and unseen:  # these rows were never learnt: none of them can have been memorised
        made["audit"] = {"suites": [suite for suite in DEFAULT_SUITES if suite != "memorisation"], **made["audit"]}
    if not given:
        made["adapt"] = dict(found.settings.get("adapt", {}))
    return made | ending(base, local)


# -------------------------------------------------------------------------------------------------------------- as text


def text_of(found: Foreign, sections: Mapping[str, Any]) -> str:
    """The recipe as YAML: what a person should read first, the recipe, and what could not be carried over."""
    lines = [f"# Imported from {found.tool}. Run it with: limpide run {RECIPE}"]
    lines += ["# Every key is explained in docs/reference.md.", *comment_lines(found.notes)]
    if not sections.get("imported", {"unseen": True})["unseen"]:
        lines += comment_lines(
            [
                "data.examples are rows that the training elsewhere saw, or may have seen: what is measured on them "
                "may be memory. Give rows it never saw, and declare it with imported.unseen: true.",
            ]
        )
    lines += ["", *yaml_lines(sections), ""]
    if "imported" in sections and found.settings.get("adapt"):
        lines += ["# To train the same here instead, take out 'imported' and put in:"]
        lines += [f"# {line}" for line in yaml_lines({"adapt": found.settings["adapt"]})] + [""]
    if found.left:
        lines += ["# Not carried over:"]
        lines += comment_lines([_left(one) for one in found.left], "  ")
    return "\n".join(lines).rstrip() + "\n"


def _written(value: Any) -> Any:
    """What YAML knows and JSON does not, a date or an infinity, as text."""
    try:
        json.dumps(value, allow_nan=False)
    except (TypeError, ValueError):
        return str(value)
    return value


def _left(one: Left) -> str:
    """A recipe goes into the release, so it tells no place of the machine where the training ran."""
    place = one.why == MACHINE or Path(str(one.value)).is_absolute()
    return f"{one.key} – {one.why}" if place else f"{one.key}: {one.value!s:.60} – {one.why}"


def require_new(out: Path) -> None:
    """Raise UsageError where the folder holds something: nothing is overwritten."""
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UsageError(f"{out} is not empty, and nothing is overwritten.", remedy="name a new folder with --out")
