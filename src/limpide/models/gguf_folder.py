"""From a GGUF file to an ordinary Hugging Face folder in float32, once.

`transformers` dequantises the weights. Its tokenizer is corrected where it does not split text as llama.cpp does.
"""

import functools
import json
import logging
import math
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from limpide.core import files
from limpide.core.errors import LimpideError, ModelError
from limpide.core.progress import Progress
from limpide.models import cache
from limpide.models.families.registry import family_of
from limpide.models.gguf_header import Gguf, read_gguf
from limpide.models.safety import gguf_oddities

# GGUF's name of the architecture, for those that transformers dequantises and Limpide knows.
ARCHITECTURES = ("gemma2", "gemma3", "gpt-oss", "gpt2", "llama", "qwen2", "t5")
# `tokenizer.ggml.pre` whose splitting transformers 5.23 rebuilds as llama.cpp has it.
SPLIT_AS_IS = ("default", "gpt-2", "llama-bpe", "llama3", "llama-v3", "qwen2", "deepseek-r1-qwen", "tekken", "gpt-4o")
# These split digits one by one first; transformers 5.23 leaves that out, and "a  1" then gives other tokens.
SPLIT_DIGITS = ("smollm", "starcoder", "refact", "command-r")
SOURCE_FILE = "limpide-source.json"
BIASED = {"attention_bias": "attn_output", "mlp_bias": "ffn_down"}  # config's key → a layer whose bias it gives
_DROPPED = ("transformers_version", "_model_name_or_path", "quantization_config", "is_local", "local_files_only")
_PROBE = "L'été 2024, x = 10  20\n\n  12 naïve cœur — 漢字 \t don't 3.14"


def folder_from_gguf(
    path: Path, name: str, progress: Progress, *, origin: Mapping[str, Any], extra: Mapping[str, Path]
) -> tuple[Path, tuple[str, ...]]:
    """(folder, oddities) of the GGUF file at `path`, converted now or before.

    origin: facts kept in the folder's `limpide-source.json`, beside the file's own. extra: files to put in the folder,
    by name. Raises ModelError, UntrustedInput.
    """
    header = read_gguf(path)
    odd = (*gguf_oddities(path, header), *_oddities(header))
    _check_supported(path, header)
    digest = cache.file_digest(path)
    target = cache.model_folder(name, digest)
    if (target / SOURCE_FILE).is_file():
        return target, odd
    elements = sum(math.prod(tensor.shape) for tensor in header.tensors.values())
    cache.require_space(target, 4 * elements + 50_000_000, f"the float32 form of {path.name}")
    with (
        progress.task(f"Converting {path.name} (once)", total=None),
        cache.new_folder(target) as folder,
    ):
        dequantise(path, folder)
        facts = {
            "gguf": {"name": path.name, "sha256": digest, "quantisation": _quantisation(header)},
            "licence": header.metadata.get("general.license"),
            "licence_source": f"general.license in {path.name}" if header.metadata.get("general.license") else None,
            "languages": header.metadata.get("general.languages"),
            **origin,
        }
        for extra_name, extra_path in extra.items():
            shutil.copy2(extra_path, folder / extra_name)
        files.write_json(folder / SOURCE_FILE, facts)
    return target, odd


def dequantise(path: Path, folder: Path) -> None:
    """The same conversion into an empty folder of one's own, for a file that is read once. Raises ModelError."""
    header = read_gguf(path)
    _check_supported(path, header)
    with tempfile.TemporaryDirectory(dir=folder.parent) as alone:
        # transformers also reads what lies beside a GGUF file, unchecked: it must find nothing there
        _put(path, Path(alone) / path.name)
        _convert(Path(alone) / path.name, folder, header)


def _put(path: Path, target: Path) -> None:
    try:
        os.symlink(path.absolute(), target)
    except OSError:  # a system or a user without the right to make links
        shutil.copyfile(path, target)


def _quantisation(header: Gguf) -> str:
    """The type that holds most of the weights' bytes."""
    sizes: dict[str, int] = {}
    for tensor in header.tensors.values():
        sizes[tensor.kind] = sizes.get(tensor.kind, 0) + tensor.size
    return max(sizes, key=lambda kind: sizes[kind], default="none")


def _check_supported(path: Path, header: Gguf) -> None:
    architecture = header.metadata.get("general.architecture")
    if architecture not in ARCHITECTURES:
        raise ModelError(
            f"{path.name} has an architecture that Limpide cannot convert from GGUF.",
            received=architecture,
            expected=f"one of {', '.join(ARCHITECTURES)}",
            remedy="give the model as a Hugging Face folder (config.json, safetensors, tokenizer) instead",
        )
    if "tokenizer.ggml.tokens" not in header.metadata:
        raise ModelError(f"{path.name} holds no tokenizer.", remedy="take a GGUF file that has one")
    rows = header.tensors.get("token_embd.weight")
    tokens = len(header.metadata["tokenizer.ggml.tokens"])
    if rows is None or len(rows.shape) != 2:
        raise ModelError(f"{path.name} holds no token embedding.", remedy="take a GGUF file with the model's weights")
    if tokens > rows.shape[1]:
        raise ModelError(
            f"The tokenizer in {path.name} is larger than the embedding.",
            received=f"{tokens} tokens",
            expected=f"at most {rows.shape[1]}, the rows of the embedding",
            remedy="the file was put together wrongly; take it from its publisher again",
        )


def _oddities(header: Gguf) -> list[str]:
    split = header.metadata.get("tokenizer.ggml.pre")
    if header.metadata.get("tokenizer.ggml.model") != "gpt2" or split in (*SPLIT_AS_IS, *SPLIT_DIGITS):
        return []
    return [
        f"the GGUF file splits text by the rule '{split}', which Limpide has not compared with llama.cpp's: some texts "
        "may give other tokens here than there"
    ]


@contextmanager
def _quiet_transformers() -> Iterator[None]:
    """No progress bars and no notices of transformers while it converts; ours are shown."""
    from transformers import modeling_gguf_pytorch_utils as dequantiser
    from transformers.utils import logging as theirs

    level, bars = theirs.get_verbosity(), theirs.is_progress_bar_enabled()
    loud = getattr(dequantiser, "tqdm", None)  # this bar does not obey the setting
    theirs.set_verbosity(logging.ERROR)
    theirs.disable_progress_bar()
    if loud is not None:
        dequantiser.tqdm = functools.partial(loud, disable=True)
    try:
        yield
    finally:
        theirs.set_verbosity(level)
        if bars:
            theirs.enable_progress_bar()
        if loud is not None:
            dequantiser.tqdm = loud


def _convert(path: Path, folder: Path, header: Gguf) -> None:
    """Write config, float32 safetensors and tokenizer of the GGUF file into `folder`."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForSeq2SeqLM, AutoTokenizer

    is_t5 = header.metadata["general.architecture"] == "t5"
    auto = AutoModelForSeq2SeqLM if is_t5 else AutoModelForCausalLM
    given: dict[str, Any] = {"gguf_file": path.name, "local_files_only": True, "trust_remote_code": False}
    with _quiet_transformers():
        try:
            tokenizer = AutoTokenizer.from_pretrained(path.parent, **given)
            config = AutoConfig.from_pretrained(path.parent, **given)
            _open_biases(config, header)
            network = auto.from_pretrained(path.parent, config=config, dtype=torch.float32, **given)
        except (ValueError, KeyError, RuntimeError, TypeError) as error:
            raise ModelError(
                f"transformers could not convert {path.name}.",
                received=f"{type(error).__name__}: {str(error)[:300]}",
                remedy="give the model as a Hugging Face folder (config.json, safetensors, tokenizer) instead",
            ) from error
        family_of(network.config)
        _forget_quantisation(network)
        network.save_pretrained(folder)
        _split_as_llama_cpp(tokenizer, header)
        tokenizer.model_max_length = getattr(network.config, "max_position_embeddings", tokenizer.model_max_length)
        tokenizer.save_pretrained(folder)
        _tidy(folder)
        _drop_invented_tokens(folder, len(header.metadata["tokenizer.ggml.tokens"]))
        _check_tokenizer(tokenizer, folder)


def _open_biases(config: Any, header: Gguf) -> None:
    """A GGUF file does not say that its layers have biases; its tensors do, and transformers would drop them unsaid."""
    for key in family_of(config).biases:
        layer = BIASED[key]
        if any(name.startswith("blk.") and name.endswith(f".{layer}.bias") for name in header.tensors):
            setattr(config, key, True)


def _forget_quantisation(network: Any) -> None:
    """The weights are float32 now; without this the saved config would claim that they are GGUF blocks."""
    for holder, names in (
        (network.config, ("quantization_config",)),
        (network, ("hf_quantizer", "quantization_method")),
    ):
        for name in names:
            if hasattr(holder, name):
                delattr(holder, name)
    network.is_quantized = False


def _split_as_llama_cpp(tokenizer: Any, header: Gguf) -> None:
    from tokenizers import pre_tokenizers

    if header.metadata.get("tokenizer.ggml.pre") in SPLIT_DIGITS:
        tokenizer.backend_tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
            [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
        )


def _tidy(folder: Path) -> None:
    """Drop what depends on this machine or on the version of transformers: the same GGUF gives the same folder."""
    for name in ("config.json", "generation_config.json", "tokenizer_config.json"):
        path = folder / name
        if path.is_file():
            content = json.loads(path.read_text(encoding="utf-8"))
            files.write_json(path, {key: value for key, value in content.items() if key not in _DROPPED})
    for path in folder.iterdir():
        path.chmod(0o644)  # safetensors are written for their owner alone, and a release is read by others


def _drop_invented_tokens(folder: Path, known: int) -> None:
    """Take out tokens that the GGUF file does not have.

    Where it names no unknown token, transformers 5.23 adds GPT-2's, with an id that has no row in the embedding.
    """
    path, config_path = folder / "tokenizer.json", folder / "tokenizer_config.json"
    tokenizer, config = files.read_json(path), files.read_json(config_path)
    invented = {token["content"] for token in tokenizer["added_tokens"] if token["id"] >= known}
    if not invented:
        return
    tokenizer["added_tokens"] = [token for token in tokenizer["added_tokens"] if token["id"] < known]
    files.write_text(path, json.dumps(tokenizer, ensure_ascii=False))
    kept = {key: value for key, value in config.items() if not (isinstance(value, str) and value in invented)}
    files.write_json(config_path, kept)


def _check_tokenizer(tokenizer: Any, folder: Path) -> None:
    """The saved tokenizer must split text as the one that was saved: opening it by class name can change it."""
    from transformers import AutoTokenizer

    opened = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    if opened(_PROBE).input_ids != tokenizer(_PROBE).input_ids:
        raise LimpideError(
            "The converted tokenizer does not give the same tokens when it is opened again.",
            received=type(opened).__name__,
            remedy="give the model as a Hugging Face folder instead, and report this",
        )
