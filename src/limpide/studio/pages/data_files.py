"""The files of a project that a model may learn from: what each is for, and how a command is told of them."""

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import limpide
from limpide.core.errors import MissingError
from limpide.data.opening import reads
from limpide.studio.project import Draft, Project

Role = Literal["examples", "documents", "charter", "unread"]
# As data/documents.py reads them; that module brings its readers with it, which the studio has no need of.
DOCUMENTS = (".pdf", ".docx", ".pptx", ".html", ".htm", ".md", ".markdown", ".txt")
CHARTERS = (".yaml", ".yml")
EXAMPLE = "press-operator"
LAYOUT = ("columns", "sheet")
MASKED = ("secrets", "personal_data", "names")


@dataclass(frozen=True)
class Held:
    """One file under data/. name: from there. used: is it given to the checks and the training. size: bytes."""

    name: str
    path: Path
    role: Role
    size: int
    used: bool


def role_of(path: Path) -> Role:
    """What a file of this ending is for."""
    suffix = path.suffix.lower()
    if reads(path):
        return "examples"
    if suffix in DOCUMENTS:
        return "documents"
    return "charter" if suffix in CHARTERS else "unread"


def files_of(project: Project) -> list[Held]:
    """Every file that was dropped, by name."""
    chosen = set(project.draft().files)
    found = []
    for path in project.uploads():
        name, role = path.relative_to(project.data).as_posix(), role_of(path)
        found.append(Held(name, path, role, path.stat().st_size, name in chosen and role != "unread"))
    return found


def used(held: Sequence[Held], role: Role) -> list[Held]:
    return [one for one in held if one.used and one.role == role]


def use(project: Project, name: str, on: bool = True) -> None:
    """Take a file in, or leave it out. There is one charter: taking one in leaves the others out."""
    kept = [one for one in project.draft().files if one != name]
    if on:
        if role_of(Path(name)) == "charter":
            kept = [one for one in kept if role_of(Path(one)) != "charter"]
        kept.append(name)
    project.change_draft(files=tuple(sorted(kept)))


def remove(project: Project, name: str) -> None:
    """Delete a file of the project. Raises MissingError where there is none of this name."""
    found = next((one for one in files_of(project) if one.name == name), None)
    if found is None:
        raise MissingError("This file is no longer in the project.", received=name[:200])
    use(project, name, on=False)
    found.path.unlink(missing_ok=True)


def shipped_example() -> Path | None:
    """The folder of the example that comes with Limpide: in the package, or beside it where it is run from a clone."""
    package = Path(limpide.__file__).parent
    places = (package / "examples" / EXAMPLE, package.parents[1] / "examples" / EXAMPLE)
    return next((place for place in places if (place / "examples.jsonl").is_file()), None)


def take_example(project: Project) -> str:
    """Copy the example's rows into the project, and take them in; its name there. Raises MissingError without it."""
    folder = shipped_example()
    if folder is None:
        raise MissingError("The example does not come with this installation.", remedy="drop a file of your own")
    place = project.place_for_upload(f"{EXAMPLE}.jsonl")
    place.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(folder / "examples.jsonl", place)
    use(project, place.name)
    return place.name


# ------------------------------------------------------------------------------------------------- as commands take it

Settings = Mapping[str, Any]


def arguments(held: Sequence[Held], settings: Settings) -> list[str]:
    """What `limpide data check` and `limpide advise` are given: options first, so that no name is taken for one."""
    charter = used(held, "charter")
    options = {**settings, **({"charter": str(charter[0].path)} if charter else {})}
    words = [f"--{name}{value}" for name, value in _options(options)]
    files = [str(one.path) for role in ("examples", "documents") for one in used(held, role)]
    return [*words, *files]


def layout(settings: Settings) -> list[str]:
    """The part of it that `limpide data show` is told: where in a file the examples are, and what is masked."""
    masked = [f"--mask={name}" for name in MASKED if settings.get(name) == "mask"]
    return [
        *masked,
        *(f"--{name}{value}" for name, value in _options({n: settings[n] for n in LAYOUT if n in settings})),
    ]


def _options(settings: Settings, prefix: str = "") -> list[tuple[str, str]]:
    """(name, '=value', or '' where the option is a yes) of each setting, those within settings too."""
    found: list[tuple[str, str]] = []
    for key, value in settings.items():
        name = f"{prefix}{key}".replace("_", "-")
        if isinstance(value, Mapping):
            # a column's name is ours and stays as it is written
            found += [(f"{name}.{inner}", f"={text}") for inner, text in value.items()]
        elif value is True:
            found.append((name, ""))
        elif value not in (None, False, "", ()):
            found.append((name, f"={value}"))
    return found


def change_settings(project: Project, **changes: Any) -> Draft:
    """Change how the data is read and what is done with what is found; None takes a setting back."""
    settings = {**project.draft().data, **changes}
    return project.change_draft(data={name: value for name, value in settings.items() if value not in (None, {})})
