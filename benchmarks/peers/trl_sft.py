"""The peer: TRL's SFTTrainer on the same rows. Runs in its own environment, offline.

It gets the ids and labels that Limpide trains on (TRL takes a dataset that is already tokenised as it is), the same
adapter, learning rates, weight decay and clipping, and no logging, saving, evaluation or gradient checkpointing.
"""

import logging
import math
import shutil
import tempfile
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from child import Step, peak_bytes, rate, serve
from datasets import Dataset  # type: ignore[import-not-found]  # in .venv-bench alone
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM, AutoTokenizer, TrainerCallback
from trl import SFTConfig, SFTTrainer  # type: ignore[import-not-found]  # in .venv-bench alone

Job = dict[str, Any]


class Timed(SFTTrainer):  # type: ignore[misc]  # untyped where mypy runs
    """SFTTrainer that counts real tokens and follows Limpide's learning rates; nothing else is changed."""

    def __init__(self, *args: Any, rows: Job, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.rows, self.real_tokens = rows, 0

    def training_step(self, model: Any, inputs: Job, *args: Any, **kwargs: Any) -> Any:
        mask = inputs.get("attention_mask")  # none where sequences are laid end to end without padding
        self.real_tokens += inputs["input_ids"].numel() if mask is None else int(mask.sum())
        return super().training_step(model, inputs, *args, **kwargs)

    def create_scheduler(self, num_training_steps: int, optimizer: Any = None) -> Any:
        warm: int = max(1, round(self.rows["warmup"] * num_training_steps))

        def share(step: int) -> float:
            if step < warm:
                return (step + 1) / warm
            return 0.5 * (1 + math.cos(math.pi * (step - warm) / max(1, num_training_steps - warm)))

        self.lr_scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer or self.optimizer, share)
        return self.lr_scheduler


class Clock(TrainerCallback):  # type: ignore[misc]  # transformers is untyped for mypy
    """Notes when each step ended and how many real tokens it took."""

    def __init__(self) -> None:
        self.steps: list[Step] = []
        self.before = 0
        self.trainer: Timed | None = None

    def on_step_end(self, *_: Any, **__: Any) -> None:
        assert self.trainer is not None
        self.steps.append((time.perf_counter(), self.trainer.real_tokens - self.before))
        self.before = self.trainer.real_tokens


def work(job: Job) -> Job:
    """job: rows (answer of rows.py), rows_file, candidates, seed, threads, changes to the rows' settings; then one of

    steps: time so many steps of each candidate; or epochs, with folder: train by the only candidate, save its adapter.
    """
    torch.set_num_threads(job["threads"])
    job = job | {"rows": job["rows"] | job.get("changes", {})}
    logging.getLogger("transformers").setLevel(logging.ERROR)
    if "steps" in job:
        return {"rates": [rate(_train(job, c)[1].steps) for c in job["candidates"]], "version": version("trl")}
    trainer, clock = _train(job, job["candidates"][0])
    peak = peak_bytes()
    total = sum(tokens for _, tokens in clock.steps)
    assert total == job["epochs"] * job["rows"]["row_tokens"], f"the peer saw {total} tokens"
    trainer.model.save_pretrained(job["folder"], save_embedding_layers=False)
    Path(job["folder"], "README.md").unlink(missing_ok=True)
    return {"steps": clock.steps, "peak_bytes": peak, "threads": torch.get_num_threads(), "version": version("trl")}


def _train(job: Job, candidate: Job) -> tuple[Timed, Clock]:
    torch.manual_seed(job["seed"])
    tokenizer = AutoTokenizer.from_pretrained(job["rows"]["base"], local_files_only=True)
    network, adapter = _network(job["rows"], candidate)
    clock = Clock()
    scratch = tempfile.mkdtemp()
    trainer = Timed(
        model=network,
        args=_config(job, candidate, scratch),
        train_dataset=Dataset.from_json(job["rows_file"], cache_dir=scratch),
        processing_class=tokenizer,
        peft_config=adapter,
        callbacks=[clock],
        rows=job["rows"],
    )
    clock.trainer = trainer
    torch.set_num_threads(job["threads"])  # should a library have changed it meanwhile
    trainer.train()
    shutil.rmtree(scratch, ignore_errors=True)
    return trainer, clock


def _network(rows: Job, candidate: Job) -> tuple[Any, LoraConfig | None]:
    """(network, adapter for TRL to put on). In pure bfloat16 the adapter is put on here, or it would be float32."""
    network = AutoModelForCausalLM.from_pretrained(
        rows["base"],
        dtype=torch.float32 if candidate["precision"] == "float32" else torch.bfloat16,
        attn_implementation=candidate["attention"],
        local_files_only=True,
    )
    adapter = LoraConfig(
        r=rows["rank"],
        lora_alpha=rows["alpha"],
        target_modules=rows["targets"],
        layers_to_transform=_upper(network, rows),
        lora_dropout=0.0,
        bias="none",
        task_type="CAUSAL_LM",
    )
    if candidate["precision"] == "pure bfloat16":
        return get_peft_model(network, adapter, autocast_adapter_dtype=False), None
    return network, adapter


def _upper(network: Any, rows: Job) -> list[int] | None:
    """The blocks that carry an adapter; None: all."""
    count = network.config.num_hidden_layers
    return list(range(count - rows["layers"], count)) if "layers" in rows else None


def _config(job: Job, candidate: Job, scratch: str) -> SFTConfig:
    rows, packed = job["rows"], candidate["layout"] == "packed"
    return SFTConfig(
        output_dir=scratch,
        use_cpu=True,
        bf16=candidate["precision"] == "bfloat16 autocast",
        gradient_checkpointing=False,
        per_device_train_batch_size=candidate["batch"],
        gradient_accumulation_steps=candidate["accumulate"],
        num_train_epochs=job.get("epochs", 1000),
        max_steps=job.get("steps", -1),
        packing=packed,
        max_length=candidate["width"] if packed else None,
        padding_free=candidate["layout"] == "padding-free",
        train_sampling_strategy="group_by_length" if candidate["layout"] == "grouped" else "random",
        learning_rate=rows["learning_rate"],
        weight_decay=rows["weight_decay"],
        max_grad_norm=1.0,
        seed=job["seed"],
        logging_strategy="no",
        save_strategy="no",
        eval_strategy="no",
        report_to="none",
        disable_tqdm=True,
        dataloader_num_workers=0,
        dataloader_pin_memory=False,
    )


if __name__ == "__main__":
    serve(work)
