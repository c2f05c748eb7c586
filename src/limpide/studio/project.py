"""One folder is one project: the places of its files, which the command line uses too, and what was chosen so far."""

import json
import re
import unicodedata
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from limpide.core import files
from limpide.core.errors import UsageError
from limpide.core.visible import HIDDEN
from limpide.release.listing import ATTESTATIONS, SIGNATURE

LOCK = "recipe.lock.json"  # in a release
LONGEST_NAME = 120  # characters of a file name, so that its bytes and the temporary name beside it fit any file system
# Names that Windows gives to devices: a project may be copied there.
DEVICES = re.compile(r"(?i)(con|prn|aux|nul|com\d|lpt\d)(\..*)?")
FORBIDDEN = re.compile(r'[<>:"|?*\\/]')


class Draft(BaseModel):
    """What was chosen on the pages before there is a recipe. Fields of another version are left out."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    base: str = ""  # an alias, a folder, a .gguf file or a hub address, as in a recipe
    files: tuple[str, ...] = ()  # names under data/
    data: dict[str, Any] = {}  # of the recipe's section `data`, beside the files: how they are read, what is masked
    sector: str = ""  # one of the sector packs
    stood: dict[str, Any] = {}  # the recipe before a sector was chosen: its sections that a sector changes
    language: str = ""  # of the data
    name: str = ""  # of what will be released


@dataclass(frozen=True)
class Project:
    """The places of one project."""

    folder: Path

    @property
    def recipe(self) -> Path:
        return self.folder / "recipe.yaml"

    @property
    def data(self) -> Path:
        return self.folder / "data"

    @property
    def keys(self) -> Path:
        return self.folder / "keys"

    @property
    def own(self) -> Path:
        """What the studio itself keeps."""
        return self.folder / ".limpide" / "studio"

    @property
    def service(self) -> Path:
        """The state folder of `limpide serve` and of the request log."""
        return self.folder / ".limpide" / "serve"

    @property
    def jobs(self) -> Path:
        return self.own / "jobs"

    @property
    def asked(self) -> Path:
        """Questions and answers whose words were asked about."""
        return self.own / "asked"

    @property
    def name(self) -> str:
        return self.folder.resolve().name or "limpide"

    def releases(self) -> list[Path]:
        """Folders of finished releases, newest first."""
        made = self.folder / "releases"
        if not made.is_dir():
            return []
        found = [p for p in made.iterdir() if not p.name.startswith(".") and (p / LOCK).is_file()]
        return sorted(found, key=lambda path: path.stat().st_mtime, reverse=True)

    def uploads(self) -> list[Path]:
        """Files under data/, by name; what is being received is not among them."""
        if not self.data.is_dir():
            return []
        found = (path for path in self.data.rglob("*") if path.is_file() and not path.name.startswith("."))
        return sorted(found, key=lambda path: path.name.lower())

    def draft(self) -> Draft:
        try:
            return Draft.model_validate(files.read_json(self.own / "draft.json"))
        except (OSError, ValueError, ValidationError):
            return Draft()

    def change_draft(self, **fields: Any) -> Draft:
        """Change some fields and keep the others. Raises ValidationError when a field has the wrong form."""
        changed = Draft.model_validate({**self.draft().model_dump(), **fields})
        files.write_json(self.own / "draft.json", json.loads(changed.model_dump_json()))
        return changed

    def place_for_upload(self, name: str) -> Path:
        """Where a file called `name` by a stranger is kept: directly under data/, under a clean name."""
        return self.data / clean_name(name)

    def next_path(self) -> str:
        """The page of the next thing to do."""
        if made := self.releases():
            return "/service" if settled(made[0]) else "/release"
        if self.recipe.is_file():
            return "/run"
        draft = self.draft()
        if not draft.base:
            return "/model"
        return "/recipe" if self.uploads() else "/data"


def settled(release: Path) -> bool:
    """Whether a release is signed, and approved where its recipe asks for that. Verified on its own page."""
    if not (release / SIGNATURE).is_file():
        return False
    return not approval_required(release) or any((release / ATTESTATIONS).glob("approval-*.json"))


def approval_required(folder: Path) -> bool:
    """Whether the recipe of a release asks for a named person."""
    try:
        lock = files.read_json(folder / LOCK)
    except (OSError, ValueError):
        return False
    return isinstance(lock, dict) and lock.get("approval") == "required"


def clean_name(name: str) -> str:
    """A file name that can do no harm: no folder, no control or direction character, no device, no leading dot.

    Raises UsageError when nothing is left of it.
    """
    text = unicodedata.normalize("NFKC", name)
    text = re.split(r"[\\/]", text)[-1]
    text = "".join(c for c in text if unicodedata.category(c) not in HIDDEN)
    text = re.sub(r"\s+", " ", FORBIDDEN.sub("_", text)).strip(" .")
    if not text or not any(c.isalnum() for c in text):
        raise UsageError(
            "This file has no name that can be kept.", received=ascii(name)[:80], remedy="give it another name"
        )
    if DEVICES.fullmatch(text):
        text = f"_{text}"
    stem, dot, ending = text.rpartition(".")
    if not dot or len(ending) > 12:
        stem, ending = text, ""
    while len(f"{stem}.{ending}".encode()) > LONGEST_NAME and len(stem) > 1:
        stem = stem[:-1]
    return f"{stem.rstrip(' .')}.{ending}" if ending else stem[:LONGEST_NAME].rstrip(" .")
