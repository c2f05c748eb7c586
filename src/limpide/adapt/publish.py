"""An adapter for others: what would be public, listed first; then copied into a folder, or uploaded to the hub.

Only the files that make the adapter go: never losses, states kept on the way or data, which may hold the examples.
"""

import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from limpide.adapt.imported import CONFIG, WEIGHTS
from limpide.adapt.kept import UNFINISHED
from limpide.core import files
from limpide.core.errors import MissingError, ModelError, UsageError
from limpide.models import safety
from limpide.models.cache import cache_folder, new_folder
from limpide.models.embedded import EMBEDDED, alias_of_folder
from limpide.models.sources import public_name

CARD = "README.md"
SHARED = (CONFIG, WEIGHTS, CARD)
NOTICES = ("LICENSE*", "LICENCE*", "NOTICE*")
HUB = re.compile(r"hub:(?P<name>\w[\w.-]*/\w[\w.-]*)")
HUB_NAME = re.compile(r"\w[\w.-]*(/\w[\w.-]*)?")  # what is not a path: owner/name, or a name alone


@dataclass(frozen=True)
class Parcel:
    """What would be public. sizes: {file: bytes}. left_out: files of the folder that stay. told: what was changed."""

    folder: Path
    sizes: dict[str, int]
    left_out: tuple[str, ...]
    told: tuple[str, ...]


@contextmanager
def packed(folder: Path, base: str | None = None) -> Iterator[Parcel]:
    """The files that would be public, in a folder that goes away, checked. base: the base's name for others to find.

    Raises ModelError for a folder without a safetensors adapter, UntrustedInput for a file that could run code.
    """
    for name in (CONFIG, WEIGHTS):
        if not (folder / name).is_file():
            raise ModelError(
                f"{folder} is not an adapter that can be published: it has no {name}.",
                received=", ".join(sorted(p.name for p in folder.iterdir())[:6]) if folder.is_dir() else "no folder",
                expected=f"{CONFIG} and {WEIGHTS}",
                remedy="give the folder of the adapter itself, for example adapter/",
            )
    with tempfile.TemporaryDirectory() as temporary:
        made = Path(temporary) / "adapter"
        made.mkdir()
        wanted = {folder / name for name in SHARED} | {p for pattern in NOTICES for p in folder.glob(pattern)}
        for path in sorted(path for path in wanted if path.is_file() and not path.is_symlink()):
            shutil.copyfile(path, made / path.name)
        safety.check_folder(made)
        told = (*_without_this_machine(made, base), *_known_to_others(made), *_unfinished(folder))
        if not (made / CARD).is_file():
            files.write_text(made / CARD, card(files.read_json(made / CONFIG), unfinished=bool(_unfinished(folder))))
            told = (*told, f"{CARD} is written: the base, the rank and the modules, and no more")
        sizes = {path.name: path.stat().st_size for path in sorted(made.iterdir())}
        left = sorted(path.name for path in folder.iterdir() if path.name not in sizes)
        yield Parcel(made, sizes, tuple(left), told)


def _without_this_machine(folder: Path, base: str | None) -> tuple[str, ...]:
    """A path of this machine tells about it and helps nobody else: the base's name alone stays, in the card too."""
    config = files.read_json(folder / CONFIG)
    named = config.get("base_model_name_or_path")
    place = isinstance(named, str) and HUB_NAME.fullmatch(named) is None
    last = re.split(r"[/\\]", named.rstrip("/\\"))[-1] if isinstance(named, str) else ""
    wanted = base or alias_of_folder(last) or _in_cache(last) or (last if place else named)
    if wanted == named:
        return ()
    files.write_json(folder / CONFIG, config | {"base_model_name_or_path": wanted})
    told = [f"base_model_name_or_path becomes '{wanted}' in {CONFIG}"]
    path = folder / CARD
    text = path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""
    if place and named in text:
        files.write_text(path, text.replace(named, wanted))
        told.append(f"'{named}' becomes '{wanted}' in {CARD}")
    return tuple(told)


def _in_cache(name: str) -> str | None:
    """What others call the model that the cache keeps in a folder of this name, where there is one."""
    kept = cache_folder() / "models" / name
    return public_name(kept) if name and kept.is_dir() else None


def _known_to_others(folder: Path) -> tuple[str, ...]:
    """What to tell of a base that nobody else can find by its name."""
    named = files.read_json(folder / CONFIG).get("base_model_name_or_path")
    if named in EMBEDDED:
        return (f"'{named}' is the base's name in Limpide alone; --base owner/name tells others where it is",)
    if isinstance(named, str) and HUB_NAME.fullmatch(named) and "/" in named:
        return ()
    return (f"nobody else can find the base by '{named}', a name of this machine: give --base owner/name",)


def _unfinished(folder: Path) -> tuple[str, ...]:
    path = folder / UNFINISHED
    if not path.is_file():
        return ()
    stage = safety.read_object(path).get("stage")
    return (f"its training was stopped in the stage {stage} and never finished: this is the best it had come to",)


def card(config: dict[str, Any], *, unfinished: bool = False) -> str:
    """The least that a reader needs: what it is an adapter of, and how it is shaped."""
    targets = config.get("target_modules")
    lines = ["---", "library_name: peft", f"base_model: {config.get('base_model_name_or_path')}", "---", ""]
    lines += [f"A LoRA adapter of rank {config.get('r')} for `{config.get('base_model_name_or_path')}`."]
    lines += [f"It changes: {', '.join(sorted(targets)) if isinstance(targets, list) else targets}.", ""]
    lines += ["Its training was stopped before its end: this is the best it had come to.", ""] if unfinished else []
    lines += [
        "The licence of the base goes for the adapter too. Measure it on your own questions before you use it.",
        "",
    ]
    return "\n".join(lines)


def repository(destination: str) -> str | None:
    """owner/name of 'hub:owner/name'; None for a folder. Raises UsageError for a name that is none."""
    if not destination.startswith("hub:"):
        return None
    found = HUB.fullmatch(destination)
    if found is None:
        raise UsageError(f"'{destination}' is no name on the hub.", expected="hub:owner/name")
    return found["name"]


def copy(parcel: Parcel, target: Path) -> None:
    """Copy the parcel into a folder that does not exist yet, whole or not at all."""
    if target.exists():
        raise UsageError(f"{target} exists, and nothing is overwritten.", remedy="name a folder that does not exist")
    with new_folder(target) as made:
        shutil.copytree(parcel.folder, made, dirs_exist_ok=True)


def upload(parcel: Parcel, name: str, *, private: bool) -> str:
    """Put the parcel on the hub as one commit; returns its address. Raises MissingError without a token or a way
    there, UsageError where the hub refuses."""
    import huggingface_hub
    from huggingface_hub import errors

    from limpide.models.hub import client_errors

    if huggingface_hub.get_token() is None:
        raise MissingError(
            "Nobody is logged in to the hub on this machine.",
            remedy="set HF_TOKEN to a token that may write, or run: hf auth login",
        )
    try:
        api = huggingface_hub.HfApi()
        api.create_repo(name, private=private, exist_ok=True)
        done = api.upload_folder(repo_id=name, folder_path=str(parcel.folder), commit_message="Adapter, by Limpide")
    except errors.HfHubHTTPError as error:
        raise UsageError(
            f"The hub refused {name}.",
            received=(str(error).strip().splitlines() or ["no reason given"])[0][:200],
            remedy="check the owner's name, and that the token may write there",
        ) from error
    except client_errors() as error:
        raise MissingError(
            "The hub could not be reached; nothing was published.",
            received=(str(error).strip().splitlines() or [type(error).__name__])[0][:200],
            remedy="try again when this machine is connected; the folder can also be copied by hand",
        ) from error
    return str(done)
