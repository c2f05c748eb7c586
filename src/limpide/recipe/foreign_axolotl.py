"""Axolotl's configuration, key by key."""

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

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
    true,
    whole,
)


def _axolotl_method(config: Mapping[str, Any]) -> Iterator[Carried | Left]:
    kind = config.get("adapter") or "full"
    variant = "dora" if config.get("peft_use_dora") else "rslora" if config.get("peft_use_rslora") else "lora"
    if kind in ("lora", "qlora"):
        yield Carried("adapter", variant, "adapt.method")
    elif kind == "full":
        yield Carried("adapter (not written)", "full", "adapt.method")
    else:
        yield Left("adapter", kind, METHODS)
    if kind == "qlora" or config.get("load_in_4bit"):
        yield Left("load_in_4bit", True, FOUR_BITS)
    if config.get("rl") in ("dpo", "orpo"):
        yield Carried("rl", config["rl"], "adapt.preferences.loss")
    elif config.get("rl"):
        yield Left("rl", config["rl"], "dpo and orpo are known: adapt.preferences.loss")


def _axolotl_rows(config: Mapping[str, Any], folder: Path) -> Rows:
    """Datasets are files of this machine, or names of the hub, which nothing here downloads."""
    found: dict[str, list[Path]] = {"datasets": [], "test_datasets": []}
    left: list[Left] = []
    columns: dict[str, str] = {}
    for key, paths in found.items():
        entries = config.get(key) if isinstance(config.get(key), list) else []
        for entry in (entry if isinstance(entry, dict) else {"path": entry} for entry in entries or ()):
            named = [*names(entry.get("data_files")), str(entry.get("path"))]
            path = next((p for name in named for p in (folder / name, Path(name)) if os.path.isfile(p)), None)
            if path is None:
                left.append(Left(key, entry.get("path"), NO_FILE))
                continue
            paths.append(path)
            columns |= _axolotl_columns(entry)
    return Rows(tuple(found["datasets"]), tuple(found["test_datasets"]), columns, tuple(left))


def _axolotl_columns(entry: Mapping[str, Any]) -> dict[str, str]:
    kind = entry.get("type")
    fields = {**entry, **(kind if isinstance(kind, dict) else {})}
    ours = {
        "field_messages": "messages",
        "field_instruction": "prompt",
        "field_input": "input",
        "field_output": "answer",
    }
    ours |= {"field_system": "system"}
    return {ours[key]: str(name) for key, name in fields.items() if key in ours and isinstance(name, str)}


AXOLOTL = Tool(
    name="Axolotl",
    base="base_model",
    marks=("datasets", "adapter", "sequence_len", "lora_r", "micro_batch_size"),
    to={
        "lora_r": "adapt.rank",
        "lora_alpha": ("adapt.alpha", number),
        "lora_target_modules": ("adapt.targets", targets),
        "lora_target_linear": ("adapt.targets", true("all-linear")),
        "learning_rate": ("adapt.learning_rate", number),
        "num_epochs": ("adapt.epochs", whole),
        "warmup_ratio": ("adapt.warmup", number),
        "weight_decay": ("adapt.weight_decay", number),
        "seed": ("seed.seed", seed),
        "val_set_size": ("data.held_out", share),
        "rl_beta": ("adapt.preferences.beta", number),
        "dpo_beta": ("adapt.preferences.beta", number),
        "early_stopping_patience": "adapt.patience",
    },
    why={
        "chat_template": TEMPLATE,
        "chat_template_jinja": TEMPLATE,
        "sequence_len": CUT,
        "lora_dropout": NO_DROPOUT,
        "micro_batch_size": BATCH,
        "gradient_accumulation_steps": BATCH,
        "lr_scheduler": OPTIMISER,
        "optimizer": OPTIMISER,
        "bf16": MEASURED,
        "fp16": MEASURED,
        "tf32": MEASURED,
        "load_in_8bit": MEASURED,
        "train_on_inputs": ALL_MASKED,
        "trust_remote_code": CODE,
        "sample_packing": PACKED,
        "eval_sample_packing": PACKED,
        "pad_to_sequence_len": PACKED,
        "group_by_length": PACKED,
        "warmup_steps": WARMUP,
        "max_steps": EPOCHS,
        "special_tokens": "the base's own tokens are used; a vocabulary that was changed does not fit the base",
        "tokens": "the base's own tokens are used; a vocabulary that was changed does not fit the base",
        "lora_modules_to_save": ADAPTER_ALONE,
        "lora_model_dir": FRESH,
        "lora_fan_in_fan_out": "it follows from the model's family",
        "plugins": CODE,
    },
    machine="""
        model_type tokenizer_type tokenizer_config base_model_config is_llama_derived_model strict output_dir
        dataset_prepared_path logging_steps save_steps saves_per_epoch evals_per_epoch eval_steps
        save_total_limit save_strategy eval_strategy wandb_project wandb_entity wandb_watch wandb_name
        wandb_log_model wandb_run_id mlflow_tracking_uri mlflow_experiment_name gradient_checkpointing
        gradient_checkpointing_kwargs resume_from_checkpoint auto_resume_from_checkpoints local_rank
        xformers_attention flash_attention s2_attention sdp_attention flex_attention deepspeed fsdp fsdp_config
        fsdp_version debug hub_model_id hub_strategy eval_table_size eval_max_new_tokens eval_batch_size
        loss_watchdog_threshold loss_watchdog_patience torch_compile dataset_processes dataloader_num_workers
        lora_mlp_kernel lora_qkv_kernel lora_o_kernel liger_rope liger_rms_norm liger_glu_activation
        liger_fused_linear_cross_entropy push_dataset_to_hub hf_use_auth_token shuffle_merged_datasets
    """,
    defaults={"num_epochs": 1},
    method=_axolotl_method,
    rows=_axolotl_rows,
    own=("adapter", "peft_use_dora", "peft_use_rslora", "load_in_4bit", "rl", "datasets", "test_datasets"),
)
