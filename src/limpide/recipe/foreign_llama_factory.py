"""LLaMA-Factory's configuration, key by key."""

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from limpide.core import files
from limpide.recipe.foreign_tool import (
    ADAPTER_ALONE,
    ALL_MASKED,
    BATCH,
    CODE,
    CUT,
    EPOCHS,
    FOUR_BITS,
    FRESH,
    MEASURED,
    METHODS,
    NO_DROPOUT,
    NO_FILE,
    OPTIMISER,
    PACKED,
    TEMPLATE,
    WARMUP,
    Carried,
    Left,
    Rows,
    Tool,
    names,
    number,
    seed,
    share,
    targets,
    whole,
)


def _llama_factory_method(config: Mapping[str, Any]) -> Iterator[Carried | Left]:
    kind = config.get("finetuning_type", "lora")
    variant = "dora" if config.get("use_dora") else "rslora" if config.get("use_rslora") else "lora"
    if kind in ("lora", "full"):
        yield Carried("finetuning_type", variant if kind == "lora" else "full", "adapt.method")
    else:
        yield Left("finetuning_type", kind, METHODS)
    rank = config.get("lora_rank", 8)
    if kind == "lora" and config.get("lora_alpha") is None and isinstance(rank, int):
        yield Carried("lora_alpha (not written: 2 × lora_rank)", 2 * rank, "adapt.alpha")
    stage = config.get("stage", "sft")
    if stage == "dpo":
        loss = {"sigmoid": "dpo", "orpo": "orpo"}.get(str(config.get("pref_loss", "sigmoid")))
        if loss:
            yield Carried("pref_loss", loss, "adapt.preferences.loss")
        else:
            yield Left("pref_loss", config.get("pref_loss"), "dpo (sigmoid) and orpo are known: adapt.preferences.loss")
    elif stage not in ("sft", "pt"):
        yield Left("stage", stage, "texts, answers and preferences are learnt here")


def _llama_factory_rows(config: Mapping[str, Any], folder: Path) -> Rows:
    """Names of datasets are looked up in dataset_info.json, in dataset_dir, from the configuration's folder upwards."""
    dataset_dir = str(config.get("dataset_dir", "data"))
    places = [parent / dataset_dir for parent in (folder, *list(folder.absolute().parents)[:3])] + [folder]
    place = next((p for p in places if (p / "dataset_info.json").is_file()), folder)
    try:
        known = files.read_json(place / "dataset_info.json") if (place / "dataset_info.json").is_file() else {}
    except ValueError:
        known = {}
    found: dict[str, list[Path]] = {"dataset": [], "eval_dataset": []}
    left: list[Left] = []
    columns: dict[str, str] = {}
    for key, paths in found.items():
        for name in names(config.get(key)):
            described = known.get(name) if isinstance(known, dict) else None
            record = described if isinstance(described, dict) else {}
            path = place / str(record.get("file_name", name))
            if os.path.isfile(path):
                paths.append(path)
                columns |= _columns(record.get("columns"))
            else:
                left.append(Left(key, name, NO_FILE))
    return Rows(tuple(found["dataset"]), tuple(found["eval_dataset"]), columns, tuple(left))


def _columns(given: object) -> dict[str, str]:
    """Our column names from a dataset's own, where they are not found by themselves."""
    ours = {"prompt": "prompt", "query": "input", "response": "answer", "system": "system", "messages": "messages"}
    named = given if isinstance(given, dict) else {}
    return {ours[key]: str(name) for key, name in named.items() if key in ours and isinstance(name, str)}


LLAMA_FACTORY = Tool(
    name="LLaMA-Factory",
    base="model_name_or_path",
    marks=("finetuning_type", "stage", "template", "lora_rank", "dataset"),
    to={
        "lora_rank": "adapt.rank",
        "lora_alpha": ("adapt.alpha", number),
        "lora_target": ("adapt.targets", targets),
        "learning_rate": ("adapt.learning_rate", number),
        "num_train_epochs": ("adapt.epochs", whole),
        "warmup_ratio": ("adapt.warmup", number),
        "weight_decay": ("adapt.weight_decay", number),
        "seed": ("seed.seed", seed),
        "val_size": ("data.held_out", share),
        "pref_beta": ("adapt.preferences.beta", number),
        "pref_ftx": ("adapt.preferences.sft", number),
    },
    why={
        "template": TEMPLATE,
        "cutoff_len": CUT,
        "lora_dropout": NO_DROPOUT,
        "per_device_train_batch_size": BATCH,
        "gradient_accumulation_steps": BATCH,
        "lr_scheduler_type": OPTIMISER,
        "optim": OPTIMISER,
        "bf16": MEASURED,
        "fp16": MEASURED,
        "pure_bf16": MEASURED,
        "train_on_prompt": ALL_MASKED,
        "mask_history": ALL_MASKED,
        "trust_remote_code": CODE,
        "max_samples": "every row of the files is read",
        "packing": PACKED,
        "neat_packing": PACKED,
        "quantization_bit": FOUR_BITS,
        "additional_target": ADAPTER_ALONE,
        "adapter_name_or_path": FRESH,
        "max_steps": EPOCHS,
        "warmup_steps": WARMUP,
    },
    machine="""
        do_train do_eval do_predict output_dir overwrite_output_dir overwrite_cache logging_steps logging_dir
        save_steps save_strategy save_total_limit save_only_model plot_loss report_to run_name ddp_timeout
        deepspeed fsdp fsdp_config dataloader_num_workers preprocessing_num_workers preprocessing_batch_size
        flash_attn use_unsloth enable_liger_kernel resume_from_checkpoint per_device_eval_batch_size
        eval_strategy evaluation_strategy eval_steps load_best_model_at_end gradient_checkpointing
        disable_gradient_checkpointing include_num_input_tokens_seen ddp_find_unused_parameters
        low_cpu_mem_usage push_to_hub hub_model_id streaming buffer_size tokenized_path cache_dir disable_tqdm
        local_rank export_dir export_size export_device export_legacy_format
    """,
    defaults={"lora_rank": 8, "learning_rate": 5e-5, "num_train_epochs": 3.0, "lora_target": "all"},
    method=_llama_factory_method,
    rows=_llama_factory_rows,
    own=("finetuning_type", "use_dora", "use_rslora", "stage", "pref_loss", "dataset", "eval_dataset", "dataset_dir"),
)
