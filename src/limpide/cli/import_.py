"""`limpide import`: the recipe of a model that was tuned elsewhere."""

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from limpide.cli.output import Json, print_json, print_rows, visible


def import_(
    folder: Path,
    *,
    config: Annotated[Path | None, Parameter(help="the yaml that the training was started with")] = None,
    out: Annotated[Path, Parameter(help="folder of the recipe; it must be new or empty")],
    base: Annotated[str | None, Parameter(help="the model it was tuned from, where nothing tells or it moved")] = None,
    examples: Annotated[
        tuple[Path, ...],
        Parameter(help="rows to measure it on that its training never saw", consume_multiple=True),
    ] = (),
    as_json: Json = False,
) -> None:
    """Write a recipe for a checkpoint or a configuration of LLaMA-Factory, Axolotl, Unsloth, TRL or peft.

    What could be carried over is in the recipe, and what could not is listed with its reason. The recipe then gives the
    model the same audit, parity and dossier as one that was tuned here. Pickles are never opened.

    Example: limpide import saves/llama3-8b/lora/sft --config llama3_lora_sft.yaml --out press-assistant

    Parameters
    ----------
    folder
        What the training wrote, or its configuration alone: the recipe then trains the same here.
    """
    from limpide.recipe.foreign import read_foreign
    from limpide.recipe.foreign_recipe import require_new, write_recipe
    from limpide.recipe.written import KEY, RECIPE

    require_new(out)
    found = read_foreign(folder, config)
    record = write_recipe(found, out, (out.absolute()).name, base=base, examples=examples)
    if as_json:
        print_json({"recipe": str(out / RECIPE), **record})
        return
    print(visible(f"{found.tool}: {out / RECIPE} is written."))
    for note in record["notes"]:
        print(visible(f"  {note}"))
    _print_keys("Carried over", [(c["key"], f"{c['value']} → {c['as']}") for c in record["carried"]])
    _print_keys("Not carried over", [(left["key"], f"{left['value']}: {left['why']}") for left in record["left"]])
    print("Next:")
    for words in (["keys", "new", out / KEY], ["run", out / RECIPE, "--dry-run"], ["run", out / RECIPE]):
        print(f"  {shlex.join(['limpide', *map(str, words)])}")


def _print_keys(title: str, rows: Sequence[tuple[str, Any]]) -> None:
    if rows:
        print(f"{title} ({len(rows)}):")
        print_rows([(f"  {key}", str(value)) for key, value in rows])
