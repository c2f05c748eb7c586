"""What is trained: a fresh adapter over a frozen base, or every weight; and how it is written when it is done."""

import contextlib
import shutil
from collections.abc import Iterator, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import psutil
import torch
from torch import Tensor

from limpide.adapt.settings import TrainSettings
from limpide.core import files
from limpide.core.errors import ModelError
from limpide.models.changed import WHOLE
from limpide.models.encoding import encode_requests
from limpide.models.families.family import Family
from limpide.models.families.registry import blocks, plain
from limpide.models.families.targets import PARTS, Targets, adapter_targets, upper
from limpide.models.likelihood import read
from limpide.models.model import DTYPES, Model, quiet_transformers
from limpide.models.requests import Request
from limpide.models.sources import public_name

ADAPTER = "adapter"  # the folder of an adapter; of a model all of whose weights were trained, it is WHOLE
TASKS = {"decoder": "CAUSAL_LM", "encoder-decoder": "SEQ_2_SEQ_LM"}  # `peft` has none for masked words
ROOM = 0.8  # share of the free memory that training every weight may be planned to take
STATE = 32  # bytes a trained weight: the first, present, best and last in float32, gradients, two moments of AdamW
LARGE = ("*.safetensors", "*.safetensors.index.json", "*.gguf", "config.json")  # not copied beside new weights


def trained_network(model: Model, settings: TrainSettings, seed: int) -> Any:
    """The model's network with the weights to train marked: those of a fresh adapter, or all. Raises ModelError."""
    model.network.set_attn_implementation("eager")  # on a CPU, a quarter faster than the fused kernel with a mask
    if settings.method == "full":
        _check_memory(model, settings)
        model.network.requires_grad_(settings.layers == "all")
        for block in (
            blocks(model.network, model.family)[-settings.layers :] if isinstance(settings.layers, int) else ()
        ):
            block.requires_grad_(True)
        model.network.eval()
        return model.network
    return adapted_network(model, settings, seed)


def lora_config(
    settings: TrainSettings, targets: Targets, family: Family, task: str | None, saved: Sequence[str] = ()
) -> Any:
    """What `peft` is told of an adapter. task: its name for the kind of model. saved: modules that are learnt whole."""
    from peft import LoraConfig

    return LoraConfig(
        r=settings.rank,
        lora_alpha=settings.scale,
        target_modules=list(targets.modules),
        target_parameters=list(targets.parameters) or None,
        modules_to_save=list(saved) or None,
        lora_dropout=0.0,
        bias="none",
        task_type=task,
        fan_in_fan_out=family.transposed,
        use_rslora=settings.method == "rslora",
        use_dora=settings.method == "dora",
    )


def adapted_network(model: Model, settings: TrainSettings, seed: int) -> Any:
    """The model's network with a fresh adapter; the seed is set first, because the adapter's start is random.

    lora: Hu et al. 2021. rslora: Kalajdzievski 2023, scaled by alpha ÷ √rank. dora: Liu et al. 2024, which computes the
    length of every row of W + BA in each pass. Raises ModelError for what `peft` cannot adapt.
    """
    from peft import get_peft_model

    targets = targets_of(model, settings)
    model.network.requires_grad_(False)
    torch.manual_seed(seed)
    config = lora_config(settings, targets, model.family, TASKS.get(model.kind))
    network = get_peft_model(model.network, config, autocast_adapter_dtype=False)
    network.eval()  # no dropout: the loss of a step must not depend on how the step is cut
    return network


def targets_of(model: Model, settings: TrainSettings) -> Targets:
    """What the adapter is put on. 'all-linear' is every part that has linear layers, reached by their names."""
    family = model.family
    whole = "all-linear" in settings.targets
    named = {"attention": family.attention_targets, "mlp": family.mlp_targets}
    asked = [part for part in PARTS if part in settings.targets or (whole and named.get(part))]
    targets = adapter_targets(model.network, family, asked)
    if isinstance(settings.layers, int):
        targets = upper(targets, model.network, family, settings.layers)
    if settings.method == "dora" and targets.parameters:
        raise ModelError(
            f"DoRA does not reach {family.title}'s weights that are no linear layer of their own.",
            received=f"targets: {', '.join(settings.targets)} ({', '.join(targets.parameters)})",
            expected="targets: attention, or method: lora or rslora",
            remedy="change adapt.method or adapt.targets in the recipe",
        )
    return targets


def _check_memory(model: Model, settings: TrainSettings) -> None:
    """Raise ModelError where training every weight would not fit, saying what would."""
    weights = sum(p.numel() for p in model.network.parameters())
    each = DTYPES[model.precision].itemsize
    needed, free = weights * (each + STATE), psutil.virtual_memory().available
    if needed > ROOM * free:
        fits = int(ROOM * free / (each + STATE))
        raise ModelError(
            "There is not enough memory to train every weight of this model.",
            received=f"{weights / 1e6:,.0f} million weights, about {needed / 1e9:.1f} GB; {free / 1e9:.1f} GB are free",
            expected=f"at most {fits / 1e6:,.0f} million weights here, or an adapter",
            remedy=f"set adapt.method: lora, which needs about {weights * each / 1e9:.1f} GB and little more",
        )


def check_base_precision(settings: TrainSettings) -> None:
    """Raise ModelError where a base in four bits is asked for, which this engine cannot compute with."""
    if settings.base_precision == "whole":
        return
    found = "no CUDA device"
    if torch.cuda.is_available():
        found = "bitsandbytes" if find_spec("bitsandbytes") else "a CUDA device without bitsandbytes"
    raise ModelError(
        "A base in four bits needs a CUDA device and bitsandbytes, and a training that runs there; "
        "Limpide's runs on the processor, where four bits save memory and cost time.",
        received=f"base_precision: 4bit, on a machine with {found}",
        remedy="leave out adapt.base_precision: the base is then held in bfloat16 or float32. "
        "A model tuned elsewhere in four bits can be taken in with: limpide import",
    )


def weights_of(network: Any) -> dict[str, torch.nn.Parameter]:
    """The weights that are trained, by the names the network gives them."""
    return {name: p for name, p in network.named_parameters() if p.requires_grad}


def whole(network: Any) -> dict[str, Tensor]:
    """A copy in float32 of the weights that are trained."""
    return {name: weight.detach().float().clone() for name, weight in weights_of(network).items()}


def put(network: Any, weights: Mapping[str, Tensor]) -> None:
    """Put trained weights into the network in float32, whatever the base is held in."""
    own = weights_of(network)
    for name, tensor in weights.items():
        own[name].data = tensor.detach().float().clone()


def save_trained(network: Any, weights: Mapping[str, Tensor], folder: Path, model: Model) -> Path:
    """Write what was trained under `folder`, in float32: adapter/, a `peft` folder; or model/, an ordinary folder.

    Returns the folder written.
    """
    put(network, weights)
    if not hasattr(network, "peft_config"):
        _save_whole(network, folder / WHOLE, model)
        return folder / WHOLE
    _save_adapter(network, folder / ADAPTER, model)
    return folder / ADAPTER


def _save_adapter(network: Any, folder: Path, model: Model) -> None:
    """It names its base as others know it, never by a path of this machine."""
    network.peft_config["default"].base_model_name_or_path = public_name(model.folder)
    network.save_pretrained(str(folder), safe_serialization=True, save_embedding_layers=False)
    (folder / "README.md").unlink(missing_ok=True)  # peft's card template is full of blanks; ours is the release's
    config = files.read_json(folder / "adapter_config.json")
    for key in ("target_modules", "target_parameters"):
        if config.get(key):
            config[key].sort()  # peft writes a set, in another order each time
    files.write_json(folder / "adapter_config.json", config)
    readable(folder, "adapter_config.json")


def readable(folder: Path, beside: str) -> None:
    """Weights as readable as the file `beside` them: safetensors writes them for their owner alone."""
    for path in folder.glob("*.safetensors"):
        shutil.copymode(folder / beside, path)


def _save_whole(network: Any, folder: Path, model: Model) -> None:
    """New weights, and all else as the base has it."""
    network.float()
    with quiet_transformers(), _default_generation(network), files.clear_write_errors(folder):
        network.save_pretrained(folder, max_shard_size="4GB")
        (folder / "generation_config.json").unlink(missing_ok=True)
        readable(folder, "config.json")
        for path in model.folder.iterdir():
            if path.is_file() and not any(path.match(pattern) for pattern in LARGE):
                shutil.copyfile(path, folder / path.name)


@contextlib.contextmanager
def _default_generation(network: Any) -> Iterator[None]:
    """transformers refuses to write sampling settings of a greedy configuration; the base's file is copied instead."""
    from transformers import GenerationConfig

    kept = getattr(network, "generation_config", None)
    network.generation_config = GenerationConfig()
    try:
        yield
    finally:
        network.generation_config = kept


def likelihoods(model: Model, requests: Sequence[Request]) -> list[float]:
    """Nats of each continuation, by the network as it now is."""
    items = encode_requests(model, requests)
    with torch.inference_mode():
        return [float(read(model, [item]).log_likelihoods(model)[0]) for item in items]


def is_traceable(model: Model) -> bool:
    """Can influence be told from states of what is trained: an adapter of a decoder's linear modules alone?"""
    config = getattr(model.network, "peft_config", {}).get("default")
    return model.kind == "decoder" and config is not None and not config.use_dora and not config.target_parameters


def size(network: Any) -> int:
    """Weights of the network, those of an adapter among them."""
    return sum(p.numel() for p in plain(network).parameters())


def described(model: Model, settings: TrainSettings) -> dict[str, Any]:
    """What will be trained of the model, for facts; before an adapter is put on it."""
    if settings.method == "full":
        return {"method": "full", "rank": None, "alpha": None, "targets": None, "left_out": []}
    targets = targets_of(model, settings)
    return {
        "method": settings.method,
        "rank": settings.rank,
        "alpha": settings.scale,
        "targets": [*targets.modules, *targets.parameters],
        "left_out": list(targets.left_out),
    }
