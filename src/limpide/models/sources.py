"""From what a person writes to a checked local folder: an alias, a folder, a GGUF file, a hub name, an adapter.

Nothing here opens a model or imports torch (converting a GGUF file for the first time does).
"""

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from limpide.core import digests, files
from limpide.core.errors import ModelError, nearest
from limpide.core.progress import Progress, Quiet
from limpide.models import embedded, hub, safety
from limpide.models.cache import cache_folder, file_digest
from limpide.models.families.registry import family_of
from limpide.models.gguf_folder import SOURCE_FILE, folder_from_gguf
from limpide.models.safetensors_header import Tensor, read_header

SourceKind = Literal["embedded", "folder", "gguf", "hub", "adapter"]
IDENTITY = (".safetensors", ".json", ".jinja", ".model", ".txt")  # endings of the files that decide what a model says
TOKENIZER_FILES = ("tokenizer.json", "tokenizer.model", "spiece.model", "vocab.txt", "vocab.json")
FORMS = "an alias, a model folder, an adapter folder, a .gguf file, or hub:owner/name@revision"


@dataclass(frozen=True)
class Source:
    """A model on this machine, checked and not yet opened.

    folder: an ordinary Hugging Face folder (of the adapter, when `kind` is 'adapter'; `base` is then the base's).
    digest: of weights, configuration and tokenizer; of both folders for an adapter. licence: as declared, None when
    nothing declares one. oddities: what a person should know.
    """

    ref: str
    kind: SourceKind
    folder: Path
    digest: str
    licence: str | None
    licence_source: str | None
    base: Path | None = None
    oddities: tuple[str, ...] = ()


def aliases() -> list[str]:
    """Every name that stands for an embedded model."""
    return list(embedded.EMBEDDED)


def resolve(ref: str, progress: Progress | None = None) -> Source:
    """Find the model that `ref` names, fetch or convert it once if needed, and check every file of it.

    Raises ModelError (unknown, incomplete, not supported), MissingError (to download first), UntrustedInput (refused).
    """
    progress = progress or Quiet()
    if ref in embedded.EMBEDDED:
        folder, odd = embedded.fetch(embedded.EMBEDDED[ref], progress)
        return _source(ref, "embedded", folder, odd)
    if ref.startswith("hub:"):
        folder, odd = hub.fetch(ref, progress)
        return _source(ref, "hub", folder, odd)
    path = Path(os.path.expanduser(ref))  # unlike Path's own, it takes a user that there is not
    if path.is_dir():
        path = path.absolute()
        if (path / "adapter_config.json").is_file() and not (path / "config.json").is_file():
            return _adapter(ref, path, progress)
        return _source(ref, "folder", path)
    if path.is_file():
        if path.suffix.lower() != ".gguf":
            raise ModelError(
                f"{path} is a file; a model is a folder or a .gguf file.",
                expected=FORMS,
                remedy=f"give the folder it is in: {path.parent}",
            )
        path = path.absolute()
        folder, odd = folder_from_gguf(path, path.stem, progress, origin={}, extra={})
        return _source(ref, "gguf", folder, odd)
    raise _unknown(ref)


def _unknown(ref: str) -> ModelError:
    if re.fullmatch(r"[\w.-]+/[\w.-]+(@[\w./-]+)?", ref):
        remedy = f"for a model of the hub write hub:{ref}" + ("" if "@" in ref else "@main")
    else:
        remedy = f"write one of the aliases ({', '.join(aliases())}), or check the path"
    return ModelError(
        f"There is no model '{ref}'.{nearest(ref, aliases())}", received=ref, expected=FORMS, remedy=remedy
    )


def _source(ref: str, kind: SourceKind, folder: Path, odd: tuple[str, ...] = ()) -> Source:
    """Check a whole model folder and describe it."""
    odd = (*odd, *safety.check_folder(folder))
    check_complete(folder)
    licence, where = licence_of(folder)
    return Source(ref, kind, folder, model_digest(folder), licence, where, None, odd)


def _adapter(ref: str, folder: Path, progress: Progress) -> Source:
    """Check an adapter folder and find the base it names."""
    odd = safety.check_folder(folder)
    if not (folder / "adapter_model.safetensors").is_file():
        raise ModelError(
            f"{folder} has an adapter's configuration and no adapter's weights.",
            expected="adapter_model.safetensors",
            remedy="save the adapter again with `save_pretrained`, which writes safetensors",
        )
    named = files.read_json(folder / "adapter_config.json").get("base_model_name_or_path")
    base = _base(named, folder, progress)
    licence, where = licence_of(folder)
    if licence is None and base.licence is not None:
        licence, where = base.licence, f"the base model's: {base.licence_source}"
    digest = digests.of_value([base.digest, model_digest(folder)])  # as `open_model` gives it
    return Source(ref, "adapter", folder, digest, licence, where, base.folder, (*odd, *base.oddities))


def _base(named: Any, adapter: Path, progress: Progress) -> Source:
    """The base model that an adapter's configuration names. Raises ModelError when it is not on this machine."""
    candidates: list[str] = []
    if isinstance(named, str) and named:
        candidates = [named, str(adapter / named)] if not os.path.isabs(named) else [named]
        alias = embedded.alias_of_folder(Path(named).name)
        candidates += [alias] if alias else _downloaded(named)
    for candidate in candidates:  # never the hub: an adapter's file must not decide what is downloaded
        if candidate in embedded.EMBEDDED or os.path.exists(os.path.expanduser(candidate)):
            base = resolve(candidate, progress)
            if base.kind == "adapter":
                raise ModelError(
                    f"The base of the adapter {adapter} is itself an adapter.",
                    received=str(base.folder),
                    remedy="merge that one into its base first, and name the merged folder",
                )
            return base
    raise ModelError(
        f"The base model of the adapter {adapter} is not on this machine.",
        received=f"base_model_name_or_path = {named!r}",
        expected=FORMS,
        remedy=f"put the base's path or alias into 'base_model_name_or_path' of {adapter / 'adapter_config.json'}",
    )


def public_name(folder: Path) -> str:
    """What the model in `folder` is called elsewhere: its alias, owner/name on the hub, its GGUF file, else its folder.

    Never the name of a folder of the cache, which means nothing on another machine.
    """
    record = files.read_json(folder / SOURCE_FILE) if (folder / SOURCE_FILE).is_file() else {}
    alias = record.get("alias") or embedded.alias_of_folder(folder.name)
    if isinstance(alias, str):
        return alias
    repository, gguf = record.get("hub", {}).get("repository"), record.get("gguf", {}).get("name")
    return str(repository or gguf or folder.name)


def _downloaded(name: str) -> list[str]:
    """Folders of the cache that hold owner/name of the hub."""
    if re.fullmatch(r"[\w.-]+/[\w.-]+", name) is None:
        return []
    kept = sorted((cache_folder() / "models").glob(f"{digests.slug(name.replace('/', '--'))}-*"))
    return [str(path) for path in kept if (path / SOURCE_FILE).is_file() and public_name(path) == name]


def model_digest(folder: Path) -> str:
    """Digest over the files at the top of `folder` that decide what a model says."""
    names = sorted(p.name for p in folder.iterdir() if p.is_file() and p.suffix in IDENTITY and p.name[0] != ".")
    return digests.of_value({name: file_digest(folder / name) for name in names})


def weight_files(folder: Path) -> list[Path]:
    """The files that hold the weights: those the index names, or the single file, of a model or an adapter.

    Other safetensors files may lie beside them (Mistral publishes a second copy); nothing reads those.
    """
    index = folder / "model.safetensors.index.json"
    if index.is_file():
        return [folder / name for name in sorted(set(files.read_json(index)["weight_map"].values()))]
    single = (folder / "model.safetensors", folder / "adapter_model.safetensors")
    return [path for path in single if path.is_file()][:1]


def weights(folder: Path) -> dict[str, Tensor]:
    """{name: tensor} of the weights in `folder`, from their headers alone."""
    found: dict[str, Tensor] = {}
    for path in weight_files(folder):
        found.update(read_header(path).tensors)
    return found


def check_complete(folder: Path) -> None:
    """Raise ModelError unless the folder has a known config, weights, and a tokenizer that fits them."""
    if not (folder / "config.json").is_file():
        held = sorted(p.name for p in folder.iterdir())
        gguf = next((name for name in held if name.endswith(".gguf")), None)
        raise ModelError(
            f"{folder} is not a model folder: it has no config.json.",
            received=f"{len(held)} files: {', '.join(held[:5])}" if held else "an empty folder",
            expected="config.json, model.safetensors and a tokenizer",
            remedy=f"give the file itself: {folder / gguf}" if gguf else "give the folder that holds config.json",
        )
    if (folder / "adapter_config.json").exists():
        raise ModelError(
            f"{folder} holds a whole model and an adapter's configuration, which would be applied without a word.",
            received="config.json and adapter_config.json",
            remedy="move the adapter's files into a folder of their own, and open that folder",
        )
    config = files.read_json(folder / "config.json")
    family = family_of(config if isinstance(config, dict) else {})
    if not any((folder / name).is_file() for name in ("model.safetensors", "model.safetensors.index.json")):
        raise ModelError(
            f"{folder} has no weights.",
            expected="model.safetensors, or model.safetensors.index.json with the files it names",
            remedy="download the weights of this model in safetensors into the folder",
        )
    if not any((folder / name).is_file() for name in TOKENIZER_FILES):
        raise ModelError(
            f"{folder} has no tokenizer.",
            received="none of the tokenizer's files",
            expected="tokenizer.json (and tokenizer_config.json), or one of " + ", ".join(TOKENIZER_FILES[1:]),
            remedy="copy the tokenizer's files of this very model into the folder",
        )
    ending = "." + family.embedding.rpartition(".")[2] + ".weight"
    rows = next((t.shape[0] for n, t in weights(folder).items() if f".{n}".endswith(ending)), config.get("vocab_size"))
    tokens = tokenizer_size(folder)
    if tokens is not None and isinstance(rows, int) and tokens > rows:
        raise ModelError(
            f"The tokenizer in {folder} is larger than the model's embedding: some tokens would have no vector.",
            received=f"{tokens} tokens",
            expected=f"at most {rows}, the rows of the embedding",
            remedy="use the tokenizer that belongs to these weights, or resize the embedding and save the model again",
        )


def tokenizer_size(folder: Path) -> int | None:
    """Highest token id + 1 in tokenizer.json; None where there is no such file or no vocabulary in it."""
    path = folder / "tokenizer.json"
    if not path.is_file():
        return None
    content = files.read_json(path)
    content = content if isinstance(content, dict) else {}
    model = content.get("model")
    vocabulary = model.get("vocab", {}) if isinstance(model, dict) else {}
    ids = list(vocabulary.values()) if isinstance(vocabulary, dict) else list(range(len(vocabulary)))
    ids += [token.get("id", -1) for token in content.get("added_tokens") or []]
    return max((i for i in ids if isinstance(i, int)), default=-1) + 1 or None


_SPDX = {"apache-2.0": "Apache-2.0", "mit": "MIT", "bsd-3-clause": "BSD-3-Clause", "cc-by-4.0": "CC-BY-4.0"}
_TEXTS = (
    (re.compile(r"Apache License\s+Version 2\.0"), "Apache-2.0"),
    (re.compile(r"MIT License"), "MIT"),
    (re.compile(r"LLAMA (\d(?:\.\d)?) COMMUNITY LICENSE", re.I), r"llama\1"),
    (re.compile(r"Gemma Terms of Use", re.I), "gemma"),
)


def licence_of(folder: Path) -> tuple[str | None, str | None]:
    """(licence, where it was read): Limpide's own record, else the model card's metadata, else the licence's text."""
    record = files.read_json(folder / SOURCE_FILE) if (folder / SOURCE_FILE).is_file() else {}
    if isinstance(record.get("licence"), str):
        return _SPDX.get(record["licence"], record["licence"]), record.get("licence_source")
    card = card_metadata(folder)
    for key in ("license_name", "license"):
        if isinstance(card.get(key), str) and card[key] != "other":
            return _SPDX.get(card[key], card[key]), f"'{key}' in README.md"
    for path in sorted(folder.glob("LICEN[CS]E*")):
        text = path.read_text(encoding="utf-8", errors="replace")[:20_000]
        for pattern, name in _TEXTS:
            found = pattern.search(text)
            if found:
                return found.expand(name), f"the text of {path.name}"
    return None, None


def card_metadata(folder: Path) -> dict[str, Any]:
    """The YAML block at the head of README.md. Empty where there is none, it cannot be read, or it has aliases, by
    which a small text unfolds beyond all memory."""
    path = folder / "README.md"
    if not path.is_file():
        return {}
    found = re.match(r"\A---\s*\n(.*?)\n---\s*(?:\n|\Z)", path.read_text(encoding="utf-8", errors="replace"), re.S)
    if found is None:
        return {}
    from ruamel.yaml import YAML, YAMLError
    from ruamel.yaml.events import AliasEvent

    try:
        if any(isinstance(event, AliasEvent) for event in YAML(typ="safe", pure=True).parse(found[1])):
            return {}
        content = YAML(typ="safe", pure=True).load(found[1])
    except (YAMLError, RecursionError):
        return {}
    return dict(content) if isinstance(content, dict) else {}
