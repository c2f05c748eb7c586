"""Whether the recipe that is written already says the same as what is chosen here: nothing is changed behind it."""

from collections.abc import Mapping
from typing import Any

from limpide.core import yaml_file
from limpide.core.errors import RecipeError
from limpide.recipe.load import RECIPE
from limpide.studio import parts
from limpide.studio.project import Project
from limpide.studio.visit import Visit

FILES = ("examples", "documents", "charter")  # keys of `data` that name files


def other_base(project: Project) -> str | None:
    """The base of the recipe, where it is another than the one chosen here."""
    base = str(_recipe(project).get("base") or "")
    return base if base and base != project.draft().base else None


def other_data(project: Project) -> bool:
    """Whether the recipe learns from other files than those taken in here, or reads them otherwise."""
    data, draft = _recipe(project).get("data"), project.draft()
    if not isinstance(data, Mapping):
        return False
    named = [data[key] for key in FILES if data.get(key)]
    theirs = {str(path) for one in named for path in (one if isinstance(one, list) else [one])}
    ours = {(project.data / name).relative_to(project.folder).as_posix() for name in draft.files}
    return theirs != ours or any(data.get(name) != value for name, value in draft.data.items())


def _recipe(project: Project) -> Mapping[str, Any]:
    if not project.recipe.is_file():
        return {}
    try:
        plain = yaml_file.read(project.recipe, RECIPE)[1]
    except RecipeError:  # its own page says what is wrong with it
        return {}
    return plain if isinstance(plain, dict) else {}


def draw_other(visit: Visit, words: str) -> None:
    """That the recipe says otherwise, and the way to it."""
    parts.notice("warning", words)
    with parts.row():
        parts.link(visit.say("data.recipe.see"), "/recipe").classes("button plain")
