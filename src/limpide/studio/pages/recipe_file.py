"""The recipe that is being edited: recipe.yaml as a person may have written it, and what the form changed.

Comments, order and keys that the form does not know are kept. What is not saved yet lies in a file of its own, so that
closing the browser or the studio loses nothing.
"""

import io
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap

from limpide.core import digests, files, yaml_file
from limpide.core.errors import Fault, RecipeError, UsageError
from limpide.recipe.held_out import Few, too_few
from limpide.recipe.load import RECIPE, load_recipe
from limpide.recipe.schema import Recipe
from limpide.recipe.sectors import adopted, load_pack
from limpide.recipe.written import GATES, KEY
from limpide.studio.forms import form_of
from limpide.studio.project import Project

DEFAULT_BASE = "smollm2-135m-instruct"
LONGEST_NAME = 80  # characters, as the recipe's schema has it
EXAMPLES = (".jsonl", ".json", ".csv", ".xlsx", ".parquet")
CHARTERS = (".yaml", ".yml")
LAST = ("gates", "release")
ORDER = (*(key for key in Recipe.model_fields if key not in LAST), *LAST)  # of a recipe that the form begins
OPTIONAL = frozenset(section.path for section in form_of(Recipe).sections() if section.optional)
ALLOW = "allow"  # the key of a policy that says why
MISSING: Any = object()


@dataclass
class Draft:
    """document: with its comments. began: digest of recipe.yaml when it was opened, None where there was none."""

    project: Project
    document: CommentedMap
    began: str | None
    fresh: bool

    def get(self, path: str) -> Any:
        """The value written at a dotted path, as plain Python; MISSING where nothing is written."""
        node: Any = self.document
        for key in path.split("."):
            if not isinstance(node, Mapping) or key not in node:
                return MISSING
            node = node[key]
        return plain(node)

    def put(self, path: str, value: Any) -> None:
        """Write a value, making the sections above it."""
        *above, last = path.split(".")
        node: Any = self.document
        for key in above:
            if not isinstance(node.get(key), CommentedMap):
                self._set(node, key, CommentedMap())
            node = node[key]
        self._set(node, last, _written(value))

    def clear(self, path: str) -> None:
        """Take a setting out, so that its usual value holds; and sections with nothing left, unless they stand for it.

        `adapt: {}` adapts as usual, and no `adapt` at all not.
        """
        *above, last = path.split(".")
        holders: list[tuple[Any, str]] = []
        node: Any = self.document
        for key in above:
            if not isinstance(node, Mapping) or key not in node:
                return
            holders.append((node, key))
            node = node[key]
        if isinstance(node, CommentedMap) and last in node:
            del node[last]
        for depth in range(len(holders), 0, -1):
            holder, key = holders[depth - 1]
            if holder[key] or ".".join(above[:depth]) in OPTIONAL:
                break
            del holder[key]

    def replace(self, values: Mapping[str, Any]) -> None:
        """Become these values, setting by setting: what stays the same keeps its comments."""
        new = dict(_leaves(values))
        for path, _ in list(_leaves(self.plain())):
            if not any(f"{other}.".startswith(f"{path}.") for other in new):
                self.clear(path)
        for path, value in new.items():
            if self.get(path) != value:
                self.put(path, value)

    def text(self) -> str:
        stream = io.StringIO()
        _yaml().dump(self.document, stream)
        return stream.getvalue()

    def plain(self) -> dict[str, Any]:
        return dict(plain(self.document))

    def _set(self, node: Any, key: str, value: Any) -> None:
        if node is self.document and self.fresh and key in ORDER and key not in node:
            before = [known for known in ORDER[: ORDER.index(key)] if known in node]
            node.insert(len(before), key, value)
        else:
            node[key] = value

    # ---- files ------------------------------------------------------------------------------------------------------

    def keep(self) -> list[Fault]:
        """Write what is not saved into its own file, and tell everything that is wrong with it."""
        place = unsaved(self.project)
        files.write_text(place, self.text())
        return faults_in(place)

    def look(self) -> list[Fault]:
        """Everything that is wrong with it, writing nothing in the project."""
        with TemporaryDirectory() as folder:
            place = Path(folder) / self.project.recipe.name
            place.write_text(self.text(), encoding="utf-8")
            return faults_in(place)

    def changed(self) -> bool:
        """Whether it says something else than recipe.yaml."""
        return digests.of_bytes(self.text().encode()) != _digest(self.project.recipe)

    def moved_on(self) -> bool:
        """Whether recipe.yaml was changed by something else since it was opened here."""
        return _digest(self.project.recipe) != self.began

    def save(self) -> str:
        """Make it the project's recipe. Returns its digest. Raises UsageError when it cannot be written."""
        text = self.text().encode()
        files.write_bytes(self.project.recipe, text)
        unsaved(self.project).unlink(missing_ok=True)
        self.began = digests.of_bytes(text)
        return self.began


def unsaved(project: Project) -> Path:
    return project.own / "recipe" / project.recipe.name


def open_draft(project: Project, language: str) -> Draft:
    """What was not saved, else recipe.yaml, else a new one. Raises RecipeError where a file cannot be read as YAML."""
    saved, kept = project.recipe, unsaved(project)
    began = _digest(saved)
    later = kept.is_file() and (began is None or kept.stat().st_mtime >= saved.stat().st_mtime)
    if not later and began is None:
        draft = Draft(project, CommentedMap(), None, fresh=True)
        draft.replace(begun(project, language))
        return draft
    path = kept if later else saved
    yaml_file.read(path, RECIPE)  # what is too large or no YAML is refused there
    return Draft(project, _yaml().load(path.read_text(encoding="utf-8")), began, fresh=began is None)


def discard(project: Project) -> None:
    unsaved(project).unlink(missing_ok=True)


def set_aside(project: Project) -> Path:
    """Rename a recipe.yaml that cannot be read, so that a new one can be begun; nothing is lost."""
    number = 1
    while (place := project.recipe.with_name(f"recipe.set-aside-{number}.yaml")).exists():
        number += 1
    if project.recipe.exists():
        project.recipe.rename(place)
    discard(project)
    return place


def begun(project: Project, language: str) -> dict[str, Any]:
    """A first recipe from what was chosen on the pages before; a person completes it."""
    draft, recipe = project.draft(), before_sector(project, language)
    if draft.sector:
        try:
            return adopted(recipe, load_pack(draft.sector), "fr" if language == "fr" else "en", chosen=draft.data)
        except UsageError:  # a pack of another version
            return recipe
    return recipe


def before_sector(project: Project, language: str) -> dict[str, Any]:
    """The first recipe as it is before a sector's pack."""
    draft = project.draft()
    name = digests.slug(draft.name or project.name).lower().strip(".-")[:LONGEST_NAME]
    kept = project.uploads()
    chosen = [path for path in kept if not draft.files or path.relative_to(project.data).as_posix() in draft.files]
    recipe: dict[str, Any] = {
        "name": name or "my-assistant",
        "version": "1.0.0",
        "purpose": {"intended": ""},
        "base": draft.base or DEFAULT_BASE,
        "data": {**given_by(project, chosen), **draft.data},
        "audit": {"suites": ["domain", "bias", "retention", "memorisation"], "bias": {"axes": ["gender", "origin"]}},
        "adapt": {"method": "lora", "rank": 16, "epochs": 6, "learning_rate": 0.001},
        "gates": list(GATES),
        "release": {"sign_with": KEY, "languages": [language]},
    }
    if "charter" in recipe["data"]:
        recipe["audit"]["suites"].append("charter")
        recipe["gates"].append("charter.respected improves")
    return recipe


def given_by(project: Project, chosen: Sequence[Path]) -> dict[str, Any]:
    """The section `data` for files of the project, by what their names say they are."""
    written = {path: path.relative_to(project.folder).as_posix() for path in chosen}
    charter = next((written[path] for path in chosen if path.suffix.lower() in CHARTERS), None)
    examples = [place for path, place in written.items() if path.suffix.lower() in EXAMPLES]
    documents = [p for path, p in written.items() if path.suffix.lower() not in (*EXAMPLES, *CHARTERS)]
    found: dict[str, Any] = {"examples": examples, "documents": documents, "charter": charter}
    return {key: value for key, value in found.items() if value}


def faults_in(path: Path) -> list[Fault]:
    """Everything that is wrong with the recipe in a file; nothing when it can be run."""
    try:
        load_recipe(path)
    except RecipeError as error:
        found = list(error.faults) or [Fault(path.name, None, error.what)]
    else:
        return []
    reasons = {fault.at for fault in found}  # a policy that is allowed is told at its reason alone
    return [fault for fault in found if f"{fault.at}.{ALLOW}" not in reasons]


def few_in(text: str, folder: Path) -> list[Few]:
    """Gates of a recipe in `folder` that its held-out rows are too few for; none while the recipe has faults."""
    with TemporaryDirectory() as scratch:
        place = Path(scratch) / "recipe.yaml"
        place.write_text(text, encoding="utf-8")
        try:
            recipe = load_recipe(place)
        except RecipeError:
            return []
    return too_few(recipe, folder)


def beside(path: str, faults: Sequence[Fault]) -> list[Fault]:
    """The faults of one setting, those of its items and of its reason included: `gates.2` is beside `gates`."""
    items = re.compile(rf"{re.escape(path)}(\.\d+|\.{ALLOW})*")
    return [fault for fault in faults if items.fullmatch(fault.at)]


def _digest(path: Path) -> str | None:
    return digests.of_file(path) if path.is_file() else None


def _yaml() -> YAML:
    yaml = YAML()
    yaml.preserve_quotes = True
    yaml.width = 4096  # a text stays on its line
    yaml.indent(mapping=2, sequence=4, offset=2)
    return yaml


def plain(value: Any) -> Any:
    """ruamel's containers and scalars as ordinary Python ones."""
    if isinstance(value, Mapping):
        return {str(key): plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [plain(one) for one in value]
    for kind in (bool, int, float, str):
        if isinstance(value, kind):
            return kind(value)
    return None if value is None else str(value)


def _written(value: Any) -> Any:
    if isinstance(value, Mapping):
        return CommentedMap((key, _written(one)) for key, one in value.items())
    return [_written(one) for one in value] if isinstance(value, list | tuple) else value


def _leaves(values: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in values.items():
        if isinstance(value, Mapping) and value:
            yield from _leaves(value, f"{above}{key}.")
        else:
            yield f"{above}{key}", value
