"""Write docs/reference.md and the generated parts of README.md from the code; without --write, say what is stale."""

import argparse
import io
import re
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined
from rich.console import Console

from limpide.cli.main import COMMANDS, below, make_app
from limpide.core import catalogue, errors
from limpide.core.yaml_file import models_in
from limpide.data.charter import Charter
from limpide.models.families.capabilities import load_capabilities, markdown
from limpide.recipe.schema import Recipe

ROOT = Path(__file__).parent.parent


def reference() -> str:
    """docs/reference.md: keys of the recipe and of the charter, operations, commands, exit codes."""
    parts = [
        "# Reference",
        "Made from the code by `make reference`; `make check` fails when it is stale.",
        "## The recipe",
        table(("key", "type", "default", "meaning"), recipe_rows(Recipe)),
        "## The charter",
        "The keys of `charter.yaml`, the file of `data.charter`. What code checks is words and form, never meaning.",
        table(("key", "type", "default", "meaning"), recipe_rows(Charter)),
        "## Operations",
        table(("name", "verb", "what it does", "needs of the model", "source"), operation_rows()),
        "## Exit codes",
        table(("code", "when"), exit_rows()),
        "## Commands",
        *(command_help(words) for words in commands()),
    ]
    return "\n\n".join(parts) + "\n"


def table(columns: tuple[str, ...], rows: Iterable[str]) -> str:
    return "\n".join([f"| {' | '.join(columns)} |", "|---" * len(columns) + "|", *rows])


def recipe_rows(model: type[BaseModel], prefix: str = "") -> Iterator[str]:
    for name, field in model.model_fields.items():
        inner = models_in(field.annotation)
        path = f"{prefix}{name}"
        kind, default = _type(field, bool(inner)), _default(field, bool(inner))
        yield f"| `{path}` | {kind} | {default} | {cell(field.description or '')} |"
        if inner:
            yield from recipe_rows(inner[0], f"{path}.")


def _type(field: FieldInfo, section: bool) -> str:
    return "section" if section else cell(type_name(field.annotation))


def type_name(annotation: Any) -> str:
    """A type in words: 'list of text', 'number or null', 'gender, origin'."""
    origin, inner = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return type_name(inner[0])
    if origin is Literal:
        return ", ".join(map(str, inner))
    if origin in (Union, UnionType):
        return " or ".join(type_name(part) for part in inner)
    if origin in (tuple, list):
        return f"list of {type_name(inner[0])}"
    if origin is dict:
        return f"{type_name(inner[0])}: {type_name(inner[1])}"
    words = {str: "text", int: "whole number", float: "number", bool: "true, false", Path: "path", type(None): "null"}
    return words.get(annotation, getattr(annotation, "__name__", str(annotation)))


def _default(field: FieldInfo, section: bool) -> str:
    if field.is_required():
        return "required"
    if section or field.default is PydanticUndefined:
        return ""
    return f"`{cell(str(field.default))}`"


def operation_rows() -> Iterator[str]:
    for op in catalogue.every():
        yield f"| `{op.name}` | {op.verb} | {cell(op.summary)} | {', '.join(op.needs)} | {cell(op.source)} |"


def exit_rows() -> Iterator[str]:
    meaning = {0: "done", 130: "stopped with Ctrl-C; finished work is kept"}
    for line in (errors.__doc__ or "").splitlines():
        found = re.match(r"^[├└─│ ]*(\w+)\s+(\d)\s+(.*)$", line)
        if found:
            meaning[int(found[2])] = found[3].strip()
    for code in sorted(meaning):
        yield f"| {code} | {meaning[code]} |"


def commands() -> Iterator[tuple[str, ...]]:
    for name in COMMANDS:
        yield (name,)
        yield from ((name, sub) for sub in below(name))


def command_help(words: tuple[str, ...]) -> str:
    out = io.StringIO()
    console = Console(file=out, width=100, force_terminal=False, color_system=None)
    make_app(words[0]).help_print(list(words), console=console)
    text = "\n".join(line.rstrip() for line in out.getvalue().strip().splitlines())
    return f"### limpide {' '.join(words)}\n\n```text\n{text}\n```"


def cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def readme(text: str) -> str:
    """README.md with its generated parts made anew."""
    return replaced(text, "families", markdown(load_capabilities()))


def replaced(text: str, name: str, made: str) -> str:
    start, end = f"<!-- {name}: generated -->", f"<!-- {name}: end -->"
    before, _, rest = text.partition(start)
    _, _, after = rest.partition(end)
    return f"{before}{start}\n{made}\n{end}{after}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true", help="write the files instead of comparing")
    write = parser.parse_args().write
    made: dict[Path, Any] = {
        ROOT / "docs" / "reference.md": reference(),
        ROOT / "README.md": readme((ROOT / "README.md").read_text(encoding="utf-8")),
    }
    stale = [p for p, text in made.items() if not p.exists() or p.read_text(encoding="utf-8") != text]
    for path in stale:
        if write:
            path.write_text(made[path], encoding="utf-8")
        print(f"{'written' if write else 'stale'}: {path.relative_to(ROOT)}")
    return 0 if write or not stale else 1


if __name__ == "__main__":
    sys.exit(main())
