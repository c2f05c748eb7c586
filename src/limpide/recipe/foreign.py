"""What another tool left of a training: its checkpoint, its configuration, and which tool it was.

Only JSON, YAML and the heads of safetensors files are read. A pickle (training_args.bin, optimizer.pt) is never opened.
"""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from limpide.core import yaml_file
from limpide.core.errors import MissingError, ModelError, UsageError
from limpide.core.yaml_file import Sort
from limpide.models.embedded import EMBEDDED, alias_of_folder
from limpide.models.safety import read_object
from limpide.models.sources import card_metadata
from limpide.recipe.foreign_axolotl import AXOLOTL
from limpide.recipe.foreign_llama_factory import LLAMA_FACTORY
from limpide.recipe.foreign_tool import Carried, Left, Tool, translated

CONFIGURATION = Sort("configuration", UsageError, "give the yaml file that the training was started with: --config")
PICKLES = (".bin", ".pt", ".pth", ".pkl", ".ckpt")
ROUNDED = re.compile(r"(-unsloth)?-bnb-[48]bit$", re.I)  # how Unsloth names copies whose weights are rounded
CHECKPOINT = re.compile(r"checkpoint-(\d+)")
# Words that tools put among the tags of the model cards they write.
TAGS = {"llama-factory": "LLaMA-Factory", "axolotl": "Axolotl", "unsloth": "Unsloth", "trl": "TRL"}


@dataclass(frozen=True)
class Foreign:
    """What was found. base: as a recipe names it, None where that cannot be told; named: as the training called it.
    adapter, model: the checkpoint's folder, one at most.

    settings: {section: {key: value}} of our recipe. carried, left: of the configuration, key by key. examples: files of
    rows; unseen: that the training never saw them. notes: sentences a person should read.
    """

    tool: str
    base: str | None
    named: str | None = None
    adapter: Path | None = None
    model: Path | None = None
    settings: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    carried: tuple[Carried, ...] = ()
    left: tuple[Left, ...] = ()
    examples: tuple[Path, ...] = ()
    unseen: bool = False
    notes: tuple[str, ...] = ()


def read_foreign(place: Path, config: Path | None = None) -> Foreign:
    """Read what a training elsewhere left in `place`: a folder, or its configuration alone.

    Raises MissingError for a place that is not there, ModelError for a folder that holds nothing of a training,
    UsageError for a configuration of no known tool.
    """
    if place.is_file():
        place, config = place.parent, config or place
        return _with_configuration(Foreign("", None), config)
    if not place.is_dir():
        raise MissingError(
            f"There is nothing at {place}.", remedy="give the folder that the training wrote, or its yaml"
        )
    found = _with_checkpoint(_checkpoint(place))
    config = config or _configuration(place)
    if config is not None:
        found = _with_configuration(found, config)
    if found.adapter is None and found.model is None and config is None:
        raise ModelError(
            f"{place} holds nothing of a training that is known here.",
            received=", ".join(sorted(path.name for path in place.iterdir())[:8]) or "an empty folder",
            expected="adapter_config.json with its weights, a whole model, or a yaml of LLaMA-Factory or Axolotl",
            remedy="give the folder of one checkpoint, or its configuration with --config",
        )
    return found


# ------------------------------------------------------------------------------------------------------ the checkpoint


def _checkpoint(place: Path) -> Path:
    """The folder itself; where it holds no weights of its own, its adapter/ or model/, or its last checkpoint-N."""
    if any((place / name).is_file() for name in ("adapter_config.json", "config.json")):
        return place
    for own in (place / "adapter", place / "model"):  # what `limpide adapt` leaves
        if any((own / name).is_file() for name in ("adapter_config.json", "config.json")):
            return own
    steps = {int(m[1]): path for path in place.iterdir() if path.is_dir() and (m := CHECKPOINT.fullmatch(path.name))}
    return steps[max(steps)] if steps else place


def _with_checkpoint(folder: Path) -> Foreign:
    card = card_metadata(folder)
    if (folder / "adapter_config.json").is_file():
        config = read_object(folder / "adapter_config.json")
        named, revision = config.get("base_model_name_or_path"), config.get("revision")
        found = Foreign(_tool(card, str(named or "")), None, adapter=folder)
    elif (folder / "config.json").is_file():
        config = read_object(folder / "config.json")
        named, revision = card.get("base_model") or config.get("_name_or_path"), None
        found = Foreign(_tool(card, str(named or "")), None, model=folder)
    else:
        return Foreign("", None)
    named = named[0] if isinstance(named, list) and named else named
    base, note = base_reference(named, folder, revision if isinstance(revision, str) else None)
    closed = sorted(path.name for path in folder.iterdir() if path.suffix in PICKLES)
    notes = [note, f"Never opened, as reading a pickle can run code: {', '.join(closed)}." if closed else None]
    named = named if isinstance(named, str) else None
    return replace(found, base=base, named=named, notes=tuple(one for one in notes if one))


def _tool(card: Mapping[str, Any], base: str) -> str:
    """Which tool wrote the checkpoint, by the tags of its card and the name of its base."""
    named = card.get("tags")
    tags = [tag.lower() for tag in named if isinstance(tag, str)] if isinstance(named, list) else []
    for tag, name in TAGS.items():
        if tag in tags:
            return name
    return "Unsloth" if base.lower().startswith("unsloth/") else "peft"


def base_reference(named: object, folder: Path, revision: str | None = None) -> tuple[str | None, str | None]:
    """(the base as a recipe names it, what to tell of it). A folder's path is told from here; a name is the hub's.

    A copy that was rounded to 4 bits stands for the one it was made from: an adapter is merged into whole weights.
    """
    if not isinstance(named, str) or not named.strip():
        return None, None
    place = next(
        (p for p in (folder / named, Path(os.path.expanduser(named))) if os.path.isdir(p) or _is_gguf(p)), None
    )
    if place is not None:
        return str(place), None
    alias = named if named in EMBEDDED else alias_of_folder(Path(named).name)
    if alias is not None:
        return alias, None
    if re.fullmatch(r"[\w.-]+/[\w.-]+", named) is None:
        return None, None
    whole = ROUNDED.sub("", named)
    note = f"Tuned on {named}, rounded to few bits; released on {whole}, its whole weights, on which it is measured."
    return f"hub:{whole}@{revision or 'main'}", note if whole != named else None


def _is_gguf(path: Path) -> bool:
    return path.suffix.lower() == ".gguf" and os.path.isfile(path)


# --------------------------------------------------------------------------------------------------- the configuration


def _configuration(place: Path) -> Path | None:
    """The one yaml of the folder that a known tool reads. Raises UsageError where there are several."""
    known = [path for path in sorted(place.glob("*.y*ml")) if _known(path) is not None]
    if len(known) > 1:
        raise UsageError(
            f"{place} holds several configurations.",
            received=", ".join(path.name for path in known),
            remedy=f"say which: --config {known[0]}",
        )
    return known[0] if known else None


def _known(path: Path) -> Tool | None:
    try:
        _, plain = yaml_file.read(path, CONFIGURATION)
    except UsageError:
        return None
    return next((tool for tool in (LLAMA_FACTORY, AXOLOTL) if tool.is_of(plain)), None)


def _with_configuration(found: Foreign, path: Path) -> Foreign:
    """What was found, with what the configuration says. The checkpoint's own base counts."""
    _, plain = yaml_file.read(path, CONFIGURATION)
    tool = next((tool for tool in (LLAMA_FACTORY, AXOLOTL) if tool.is_of(plain)), None)
    if tool is None:
        raise UsageError(
            f"{path} is a configuration of no tool that is known here.",
            received=", ".join(list(plain)[:8]),
            expected="LLaMA-Factory (model_name_or_path, finetuning_type …) or Axolotl (base_model, datasets …)",
            remedy="give the yaml that the training was started with",
        )
    told = translated(tool, plain, path.parent)
    base, note = base_reference(plain.get(tool.base), path.parent)
    notes = [*found.notes, *([note] if note and note not in found.notes else [])]
    if found.base and base and found.base != base:
        notes.append(f"{path.name} names another base ({base}) than the checkpoint, whose own counts.")
    return replace(
        found,
        tool=tool.name,
        base=found.base or base,
        named=found.named or str(plain.get(tool.base)),
        settings=told.settings,
        carried=told.carried,
        left=told.left,
        examples=told.unseen or told.examples,
        unseen=bool(told.unseen),
        notes=tuple(notes),
    )
