"""What a person types to name a model, understood before anything is opened: nothing here reads a file's content, and
nothing goes over a network."""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Literal

from limpide.models.safety import PICKLES, PROGRAMS
from limpide.studio.pages.model_label import Said

LISTED = 200  # names of a folder that are looked at
HUB = re.compile(
    r"(?:hub:|https?://[\w.-]+/)?(?P<owner>\w[\w.-]{0,95})/(?P<name>\w[\w.-]{0,95})"
    r"(?:@|/tree/)?(?P<revision>(?<=@|/)\w[\w./-]{0,199})?/?"
)


@dataclass(frozen=True)
class Understood:
    """grave: does it stand in the way. ref: as a recipe names the model, None where it cannot be opened so."""

    ref: str | None
    said: Said
    grave: Literal["good", "warns", "stops", "quiet"] = "good"


def look_at_path(text: str, home: Path) -> Understood:
    """What a typed path leads to. home: where a path that does not begin at the root begins."""
    text = text.strip().strip("\"'")
    if not text:
        return Understood(None, Said("model.path.empty"), "quiet")
    try:
        path = home / os.path.expanduser(text)
        if path.is_dir():
            return _folder(path)
        if path.is_file():
            return _file(path)
        return _missing(path)
    except (OSError, ValueError):  # no permission, a name that is too long, a NUL
        return Understood(None, Said("model.path.closed", {"path": text[:200]}), "stops")


def _folder(path: Path) -> Understood:
    with os.scandir(path) as entries:
        names = [entry.name for entry, _ in zip(entries, range(LISTED), strict=False)]
    low = [name.lower() for name in names]
    ref = str(path.absolute())
    if risky := next((name for name in names if name.lower().endswith((*PICKLES, *PROGRAMS))), None):
        return Understood(ref, Said("model.path.risky", {"file": risky}), "warns")
    if "config.json" in low:
        return Understood(ref, Said("model.path.folder", {"name": path.name}))
    if "adapter_config.json" in low:
        return Understood(None, Said("model.path.adapter"), "stops")
    if found := next((name for name in names if name.lower().endswith(".gguf")), None):
        return Understood(None, Said("model.path.holds_gguf", {"file": found, "path": str(path / found)}), "stops")
    return Understood(None, Said("model.path.no_model"), "stops")


def _file(path: Path) -> Understood:
    if path.suffix.lower() == ".gguf":
        return Understood(str(path.absolute()), Said("model.path.gguf", {"size": path.stat().st_size}))
    return Understood(None, Said("model.path.other_file", {"folder": str(path.parent)}), "stops")


def _missing(path: Path) -> Understood:
    if not path.parent.is_dir():
        return Understood(None, Said("model.path.missing"), "stops")
    with os.scandir(path.parent) as entries:
        beside = [entry.name for entry, _ in zip(entries, range(LISTED), strict=False)]
    near = get_close_matches(path.name, beside, n=1, cutoff=0.6)
    if near:
        return Understood(None, Said("model.path.nearest", {"path": str(path.parent / near[0])}), "stops")
    return Understood(None, Said("model.path.missing"), "stops")


def look_at_hub(text: str) -> Understood:
    """What a typed name of the hub means: owner/name@revision, hub:…, or the address of the model's page."""
    text = text.strip()
    if not text:
        return Understood(None, Said("model.hub.empty"), "quiet")
    found = HUB.fullmatch(text)
    if found is None:
        return Understood(None, Said("model.hub.wrong"), "stops")
    name, revision = f"{found['owner']}/{found['name']}", found["revision"]
    ref = f"hub:{name}@{revision or 'main'}"
    if revision is None:
        return Understood(ref, Said("model.hub.latest", {"name": name, "owner": found["owner"]}), "warns")
    return Understood(ref, Said("model.hub.named", {"name": name, "owner": found["owner"], "revision": revision}))


# --------------------------------------------------------------------------------------------------- what was refused

# Words of the message of a refusal → why, as the page tells it.
REFUSALS: tuple[tuple[str, str], ...] = (
    ("is not what its name says", "disguised"),
    ("Python pickle", "pickle"),
    ("program code", "program"),
    ("the key '", "remote_code"),
    ("symbolic link", "link"),
    ("template", "template"),
)


def refusal(error: Mapping[str, Any]) -> str:
    """Why a model was not opened, from the record of the error: the end of `model.refused.<why>`."""
    kind, what = str(error.get("error")), str(error.get("what"))
    if kind == "UntrustedInput":
        return next((why for words, why in REFUSALS if words in what), "untrusted")
    if kind == "IntegrityError":
        return "changed"
    if kind == "MissingError":
        return "missing"
    if "does not know the architecture" in what:
        return "family"
    return "other"
