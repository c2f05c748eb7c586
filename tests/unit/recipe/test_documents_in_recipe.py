"""Documents in a recipe: found from its folder, part of the step's key, and refused where nothing is given."""

from pathlib import Path
from typing import Any

import pytest

from limpide.core.errors import RecipeError
from limpide.models.sources import resolve
from limpide.recipe.load import load_recipe
from limpide.recipe.plan import Step, make_plan

RECIPE = """\
name: press
version: 1.0.0
purpose: {intended: Answer questions.}
base: BASE
data: DATA
audit: {suites: [retention], languages: [en]}
gates: [retention.loss worsens by less than 5%]
"""


def step(recipe: Path, base: Path) -> Step:
    return make_plan(load_recipe(recipe), recipe, resolve(str(base))).step("data")


def test_a_folder_of_documents_is_located_and_digested(tmp_path: Path, tiny_path: Any) -> None:
    base, manuals, recipe = tiny_path("llama"), tmp_path / "manuals", tmp_path / "recipe.yaml"
    manuals.mkdir()
    (manuals / "a.txt").write_text("The pump is red.")
    recipe.write_text(RECIPE.replace("BASE", str(base)).replace("DATA", "{documents: manuals}"))
    first = step(recipe, base)
    assert first.settings.documents == (manuals,)  # type: ignore[attr-defined]
    assert step(recipe, base).key == first.key
    (manuals / "a.txt").write_text("The pump is blue.")
    assert step(recipe, base).key != first.key
    changed = step(recipe, base).key
    recipe.write_text(recipe.read_text().replace("documents: manuals", "documents: [manuals, missing.pdf]"))
    assert step(recipe, base).key not in (first.key, changed)


def test_a_recipe_without_data_says_what_it_needs(tmp_path: Path) -> None:
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(RECIPE.replace("BASE", "any").replace("DATA", "{held_out: 0.3}"))
    with pytest.raises(RecipeError) as caught:
        load_recipe(recipe)
    assert "data: Value error, needs examples, documents, or both" in str(caught.value)
