"""An opened model: weights, tokenizer, family record, and where it came from."""

import contextlib
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch

from limpide.core import digests
from limpide.core.errors import ModelError
from limpide.models import safety
from limpide.models.classifier import LABELS, is_classifier
from limpide.models.families.family import Family
from limpide.models.families.registry import check, family_of
from limpide.models.prompt import with_template
from limpide.models.sources import model_digest
from limpide.models.update import attach_maps

Precision = Literal["float32", "bfloat16", "float16"]
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
# What peft raises for an adapter that does not fit, or whose configuration holds a value of another kind.
UNFIT = (OSError, ValueError, RuntimeError, LookupError, TypeError, AttributeError, re.error)


@dataclass(frozen=True, eq=False)
class Model:
    """network: a `transformers` module in eval mode. context: longest input, in tokens."""

    folder: Path
    digest: str
    family: Family
    tokenizer: Any
    network: Any
    context: int
    precision: Precision

    @property
    def kind(self) -> str:
        return self.family.kind

    @property
    def stop_ids(self) -> tuple[int, ...]:
        """Every token id that ends an answer: generation config, config, tokenizer, in that order."""
        return _stop_ids(getattr(self.network, "generation_config", None), self.network.config, self.tokenizer)


def open_model(folder: Path, *, precision: Precision = "float32", adapter: Path | None = None) -> Model:
    """Open an ordinary local model folder, after the safety checks and against its family record.

    adapter: a `peft` folder put on top (not merged). Raises UntrustedInput, ModelError.
    """
    safety.check_folder(folder)
    if is_classifier(folder):
        raise ModelError(
            f"{folder} is a classifier: it gives the probability of each class, and no words.",
            expected="a model that predicts words",
            remedy="ask it for classes: limpide audit domain, or the pipeline 'text-classification' of transformers",
        )
    from transformers import AutoConfig, AutoTokenizer

    config = AutoConfig.from_pretrained(folder, trust_remote_code=False, local_files_only=True)
    family = family_of(config)
    with quiet_transformers():
        tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False, local_files_only=True)
        network = _load(folder, family, DTYPES[precision])
    check(network, family)
    attach_maps(network, folder)
    digest = model_digest(folder)
    if adapter is not None:
        refuse_head(adapter)
        network = with_adapter(network, adapter)
        digest = digests.of_value([digest, model_digest(adapter)])
    network.eval()
    network.requires_grad_(False)
    tokenizer = with_template(tokenizer, family.kind)
    return Model(folder, digest, family, tokenizer, network, context_of(config), precision)


def refuse_head(adapter: Path) -> None:
    """Raise ModelError for the adapter of a classifier, which brings a head of its own."""
    if (adapter / LABELS).is_file():
        raise ModelError(
            f"The adapter in {adapter} holds a classification head, and this model predicts words.",
            remedy="merge it with the step optimise.export, and open the folder that it writes",
        )


def context_of(config: Any) -> int:
    """Longest input, in tokens; 512 where the architecture has no limit."""
    return int(getattr(config, "max_position_embeddings", None) or getattr(config, "n_positions", None) or 512)


def open_tokenizer(folder: Path) -> tuple[Any, tuple[int, ...]]:
    """(tokenizer, stop ids) of a decoder folder, as `open_model` gives them, without its weights."""
    safety.check_folder(folder)
    from transformers import AutoConfig, AutoTokenizer, GenerationConfig

    config = AutoConfig.from_pretrained(folder, trust_remote_code=False, local_files_only=True)
    with quiet_transformers():
        tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False, local_files_only=True)
        generation = GenerationConfig.from_pretrained(folder) if (folder / "generation_config.json").is_file() else None
    return with_template(tokenizer, family_of(config).kind), _stop_ids(generation, config, tokenizer)


def _stop_ids(*holders: Any) -> tuple[int, ...]:
    found: list[int] = []
    for holder in holders:
        ids = getattr(holder, "eos_token_id", None)
        found += [] if ids is None else ([ids] if isinstance(ids, int) else list(ids))
    return tuple(dict.fromkeys(found))


def _load(folder: Path, family: Family, dtype: torch.dtype) -> Any:
    import transformers

    classes = {
        "decoder": transformers.AutoModelForCausalLM,
        "encoder": transformers.AutoModelForMaskedLM,
        "encoder-decoder": transformers.AutoModelForSeq2SeqLM,
    }
    options = {"trust_remote_code": False, "local_files_only": True, "use_safetensors": True}
    try:
        network, found = classes[family.kind].from_pretrained(folder, dtype=dtype, output_loading_info=True, **options)
    except (OSError, ValueError, RuntimeError, KeyError) as error:
        raise ModelError(
            f"The model in {folder} cannot be loaded.",
            received=str(error).splitlines()[0][:300],
            expected=f"a {family.title} folder with config.json and safetensors weights",
            remedy=f"look at it with: limpide open {folder}",
        ) from error
    missing = sorted(found["missing_keys"])
    if missing:  # transformers would fill them with random numbers
        raise ModelError(
            f"The weights in {folder} are not whole.",
            received=f"{len(missing)} missing, the first {missing[0]}",
            expected=f"every weight of a {family.title} model",
            remedy="download the model again",
        )
    return network


def with_adapter(network: Any, adapter: Path, name: str = "default") -> Any:
    """The network with the adapter of a `peft` folder on top, after the safety checks. Raises as `open_model`.

    name: by which `peft` tells it from others; a network that has some keeps them, and the new one is put beside them.
    """
    safety.check_folder(adapter)
    from peft import PeftModel

    try:
        if not isinstance(network, PeftModel):
            return PeftModel.from_pretrained(network, str(adapter), adapter_name=name)
        network.load_adapter(str(adapter), name)
        return network
    except UNFIT as error:
        raise ModelError(
            f"The adapter in {adapter} does not fit this model.",
            received=(str(error).splitlines() or [type(error).__name__])[0][:300],
            expected="an adapter that was trained on this very model",
            remedy=f"look which base it names in {adapter / 'adapter_config.json'}",
        ) from error


@contextlib.contextmanager
def quiet_transformers() -> Iterator[None]:
    """No bars and no notices from transformers: Limpide says what a person needs."""
    from transformers.utils import logging

    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()


def faster_precision(rounds: int = 15) -> Precision:
    """The precision in which this machine multiplies matrices faster, measured (about 0.1 s).

    The best of several rounds in turn counts: other work on the machine slows some rounds, and never all.
    bfloat16 must win by a quarter: without hardware support it is emulated and costs accuracy for nothing.
    """
    pairs = {
        name: (torch.ones(512, 576, dtype=DTYPES[name]), torch.ones(576, 1536, dtype=DTYPES[name]))
        for name in ("float32", "bfloat16")
    }
    best = dict.fromkeys(pairs, float("inf"))
    for _ in range(rounds):
        for name, (a, b) in pairs.items():
            started = time.perf_counter()
            _ = a @ b
            best[name] = min(best[name], time.perf_counter() - started)
    return "bfloat16" if best["float32"] > 1.25 * best["bfloat16"] else "float32"
