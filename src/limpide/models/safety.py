"""What is refused before anything is opened: files that run code when read, and files that lie about themselves.

`check_folder` and `check_gguf` read bytes and JSON only. "Nothing found" means that no known danger was found.
Why each rule: loading pickles, `auto_map` code, implementation keys (CVE-2026-4372) and templates (CVE-2024-34359) have
all been used to run code from model files.
"""

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import Any

from limpide.core.errors import ModelError, UntrustedInput
from limpide.models.gguf_header import Gguf, read_gguf
from limpide.models.safetensors_header import read_header
from limpide.models.template_safety import check_template

MAPS = "limpide_maps.safetensors"  # what a correction changes and no weight can hold (update.py)
PICKLES = (
    *(".bin", ".pt", ".pth", ".pth.tar", ".ckpt", ".pkl", ".pickle", ".joblib", ".dill"),
    *(".npy", ".npz", ".mar", ".model.pkl", ".nemo"),
)
OTHER_WEIGHTS = (
    ".h5",
    ".hdf5",
    ".keras",
    ".msgpack",
    ".onnx",
    ".onnx_data",
    ".ort",
    ".tflite",
    ".pb",
    ".mlmodel",
    ".ot",
)
PROGRAMS = (
    ".py",
    ".pyc",
    ".pyd",
    ".pyi",
    ".so",
    ".dll",
    ".dylib",
    ".exe",
    ".sh",
    ".bat",
    ".cmd",
    ".ps1",
    ".whl",
    ".jar",
)
ARCHIVES = (".zip", ".tar", ".gz", ".tgz", ".bz2", ".xz", ".7z")
LARGEST_JSON = 256_000_000  # bytes
NOT_LOADED = (".git", ".cache")  # left by git and by the hub's client; nothing is ever read from them
# What the first bytes of a file betray, whatever its name.
_SIGNATURES = (
    (b"PK\x03\x04", "a zip archive (the form of PyTorch's pickles)"),
    (b"\x7fELF", "a program"),
    (b"MZ\x90\x00", "a program"),
    (b"\x89HDF", "an HDF5 file"),
    (b"\xcf\xfa\xed\xfe", "a program"),
    *((bytes((0x80, protocol)), "a Python pickle") for protocol in (2, 3, 4, 5)),
)
_KNOWN_ATTENTION = (None, "eager", "sdpa")
_VOCABULARIES = ("tokenizer.json", "vocab.json", "added_tokens.json")


def check_folder(folder: Path) -> tuple[str, ...]:
    """Read every file of a model or adapter folder that could do harm; return oddities worth telling.

    Raises UntrustedInput naming the file, the reason and the safe way; ModelError where a file is broken or absent.
    """
    if not folder.is_dir():
        raise ModelError(
            f"There is no model folder at {folder}.",
            expected="a folder with config.json, or adapter_config.json for an adapter",
            remedy="check the path",
        )
    odd: list[str] = []
    if (folder / MAPS).is_file():
        odd.append(
            f"{MAPS} changes what layers give: Limpide applies it and other tools do not, so what is measured here is "
            "not what they serve"
        )
    files = list(_files(folder, odd))
    for path in files:
        _check_kind(path, folder)
    for path in files:
        odd += _check_content(path, folder)
    return tuple(dict.fromkeys(odd))


def check_gguf(path: Path) -> tuple[str, ...]:
    """Check a GGUF file's header, extents and chat templates; return oddities. Raises ModelError, UntrustedInput."""
    if not path.is_file():
        raise ModelError(f"There is no file at {path}.", expected="a .gguf file", remedy="check the path")
    return gguf_oddities(path, read_gguf(path))


def gguf_oddities(path: Path, header: Gguf) -> tuple[str, ...]:
    """The part of `check_gguf` that comes after reading the header."""
    odd: list[str] = []
    for key, value in header.metadata.items():
        if key.startswith("tokenizer.chat_template") and isinstance(value, str):
            odd += check_template(value, f"{path.name} ({key})")
    if not header.tensors:
        odd.append(f"{path.name}: holds no tensor, only a vocabulary")
    return tuple(odd)


def _files(folder: Path, odd: list[str]) -> Iterator[Path]:
    """Every file under `folder`, sorted; refuses links, which could lead anywhere."""
    for root, folders, names in os.walk(folder, followlinks=False):
        here = Path(root)
        for name in sorted(folders + names):
            if (here / name).is_symlink():
                raise UntrustedInput(
                    f"{here / name} is a symbolic link; what it leads to could change after the checks.",
                    received=f"leads to {os.readlink(here / name)}",
                    expected="ordinary files only",
                    remedy=f"copy the folder with its links resolved: cp -rL {folder} NEW_FOLDER, and open NEW_FOLDER",
                )
        for name in sorted(set(folders) & set(NOT_LOADED)):
            folders.remove(name)
            odd.append(f"{(here / name).relative_to(folder).as_posix()}/: not part of the model, not looked at")
        folders.sort()
        yield from (here / name for name in sorted(names) if (here / name).is_file())


def _check_kind(path: Path, folder: Path) -> None:
    """Refuse a file whose name, or whose first bytes, say that opening it runs code or needs another framework."""
    name = path.name.lower()
    shown = path.relative_to(folder).as_posix()
    if name.endswith(PICKLES):
        beside = any(path.parent.glob("*.safetensors"))
        raise UntrustedInput(
            f"{shown} may hold Python pickles: opening one runs whatever code it carries.",
            received=str(path),
            expected="weights in safetensors only",
            remedy=f"delete it (the folder also has safetensors): {path}"
            if beside
            else "take the safetensors version of this model from its publisher, or have someone you trust convert it",
        )
    if name.endswith(PROGRAMS):
        raise UntrustedInput(
            f"{shown} is program code; a model folder needs none.",
            received=str(path),
            expected="weights, configuration and tokenizer files",
            remedy="delete it if `limpide families` lists the model's architecture; otherwise do not open the folder",
        )
    if name.endswith((*OTHER_WEIGHTS, *ARCHIVES)):
        raise UntrustedInput(
            f"{shown} is a format that Limpide does not read and cannot check.",
            received=str(path),
            expected="weights in safetensors only",
            remedy="delete it, or keep it outside the model's folder",
        )
    if not name.endswith((".safetensors", ".gguf")):
        with path.open("rb") as file:
            start = file.read(4)
        for signature, what in _SIGNATURES:
            if start.startswith(signature):
                raise UntrustedInput(
                    f"{shown} is not what its name says: its first bytes are those of {what}.",
                    received=f"first bytes {start!r}",
                    remedy="do not open this folder; take the model from its publisher again",
                )


def _check_content(path: Path, folder: Path) -> list[str]:
    """Read a file whose content matters before loading; return oddities."""
    name, shown = path.name.lower(), path.relative_to(folder).as_posix()
    if name.endswith(".safetensors"):
        read_header(path)
    elif name.endswith(".gguf"):
        return list(check_gguf(path))
    elif name.endswith(".jinja"):
        return list(check_template(_text(path, shown), shown))
    elif name.endswith(".json"):
        return _check_json(path, shown, folder)
    return []


def _text(path: Path, shown: str) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise ModelError(
            f"{shown} is not UTF-8 text.", received=str(error), remedy="take the file from the model's publisher again"
        ) from error


def read_object(path: Path) -> dict[str, Any]:
    """A JSON object that somebody else wrote, as values. Raises ModelError, UntrustedInput."""
    found = _parsed(path, path.name, dict)
    if not isinstance(found, dict):
        raise ModelError(f"{path} is not a JSON object.", remedy="copy it again from where it was written")
    return found


def _parsed(path: Path, shown: str, pairs: Callable[[list[tuple[str, Any]]], dict[str, Any]]) -> Any:
    size = path.stat().st_size
    if size > LARGEST_JSON:
        raise UntrustedInput(
            f"{shown} is too large for a configuration file.", received=f"{size} bytes", expected=f"{LARGEST_JSON}"
        )
    try:
        return json.loads(_text(path, shown), object_pairs_hook=pairs)
    except json.JSONDecodeError as error:
        raise ModelError(
            f"{shown} is not valid JSON.",
            received=f"line {error.lineno}, column {error.colno}: {error.msg}",
            remedy="take the file from the model's publisher again",
        ) from error
    except RecursionError as error:
        raise UntrustedInput(f"{shown} is nested too deeply to be read.", received=str(path)) from error


def _check_json(path: Path, shown: str, folder: Path) -> list[str]:
    odd: list[str] = []
    vocabulary = path.name in _VOCABULARIES

    def pairs(items: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(items)
        if len(found) != len(items):
            odd.append(f"{shown}: gives the same key twice; the last one counts")
        for key, value in items:
            # In a vocabulary, keys are tokens and values their ids.
            if not (vocabulary and type(value) is int):
                odd.extend(_check_key(key, value, path, shown))
        return found

    content = _parsed(path, shown, pairs)
    if path.name.endswith(".index.json"):
        _check_index(content, shown, path.parent)
    if path.name == "adapter_config.json":
        _check_adapter(content, path, shown)
    return odd


def _check_key(key: str, value: Any, path: Path, shown: str) -> list[str]:
    """Refuse a key that makes a loader run code. A key that is present but switched off is an oddity."""
    off = value is None or value is False or value in ("", [], {})
    if key in ("auto_map", "custom_pipelines", "custom_generate", "trust_remote_code"):
        if off:
            return [f"{shown}: has the key '{key}', switched off"]
        raise _key_refused(key, value, path, shown, "asks the loader to run Python code that comes with the model")
    if key == "_attn_implementation_autoset" and isinstance(value, bool):
        return []  # written by transformers 4.4x; a plain flag
    if key.startswith(("_attn_implementation", "_experts_implementation")) and not off:
        raise _key_refused(key, value, path, shown, "can make the loader download and run code")
    if key in ("attn_implementation", "experts_implementation") and value not in _KNOWN_ATTENTION:
        raise _key_refused(key, value, path, shown, "can make the loader download and run code")
    if key == "chat_template":
        return [odd for text in _templates(value) for odd in check_template(text, shown)]
    return []


def _key_refused(key: str, value: Any, path: Path, shown: str, why: str) -> UntrustedInput:
    return UntrustedInput(
        f"{shown}: the key '{key}' {why}.",
        received=f"{key}: {json.dumps(value, ensure_ascii=False)[:120]}",
        expected="a model that the installed transformers opens without code of its own",
        remedy=f"if `limpide families` lists the model's architecture, remove '{key}' from {path}; "
        "otherwise do not open the model",
    )


def _templates(value: Any) -> Iterator[str]:
    """Every template in the forms that tokenizers write: text, a list of named templates, or a mapping."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, list):
        for item in value:
            yield from _templates(item.get("template") if isinstance(item, dict) else item)
    elif isinstance(value, dict):
        for item in value.values():
            yield from _templates(item)


def _check_index(content: Any, shown: str, folder: Path) -> None:
    """Require that a weight index names safetensors files that lie beside it."""
    weight_map = content.get("weight_map") if isinstance(content, dict) else None
    if not isinstance(weight_map, dict) or not all(isinstance(name, str) for name in weight_map.values()):
        raise ModelError(
            f"{shown} does not say which file holds which tensor.",
            expected="a 'weight_map' of tensor names to file names",
            remedy="take the file from the model's publisher again",
        )
    for name in sorted(set(weight_map.values())):
        if PurePosixPath(name).name != name or "\\" in name or ":" in name or name.startswith("."):
            raise UntrustedInput(
                f"{shown} names a file outside the model's folder.",
                received=name[:200],
                expected="names of files beside it",
                remedy="do not open this folder; take the model from its publisher again",
            )
        if not name.endswith(".safetensors"):
            raise UntrustedInput(
                f"{shown} names weights that are not safetensors.",
                received=name[:200],
                remedy="take the safetensors version of this model from its publisher",
            )
        path = folder / name
        if not path.is_file():
            raise ModelError(
                f"A file of the weights is missing: {name}.",
                received=f"named by {shown}",
                remedy=f"download {name} into {folder}",
            )
        missing = {t for t, file in weight_map.items() if file == name} - set(read_header(path).tensors)
        if missing:
            raise ModelError(
                f"{shown} says that {name} holds tensors that it does not hold.",
                received=f"missing: {', '.join(sorted(missing)[:3])}{' …' if len(missing) > 3 else ''}",
                remedy="download the model again: its files do not belong together",
            )


def _check_adapter(content: Any, path: Path, shown: str) -> None:
    """Refuse the adapter settings by which `peft` imports a module that the file names."""
    if not isinstance(content, dict):
        raise ModelError(f"{shown} is not a JSON object.", remedy="take the file from the adapter's publisher again")
    mapping = content.get("auto_mapping")
    library = mapping.get("parent_library") if isinstance(mapping, dict) else None
    if mapping and not (isinstance(library, str) and library.split(".")[0] == "transformers"):
        raise _key_refused(
            "auto_mapping", mapping, path, shown, "makes the loader import a module of the file's choice"
        )
    if content.get("megatron_config") or content.get("megatron_core") not in (None, "megatron.core"):
        raise _key_refused(
            "megatron_core",
            content.get("megatron_core"),
            path,
            shown,
            "makes the loader import a module of the file's choice",
        )
