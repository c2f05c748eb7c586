"""Adapt a decoder to examples with low-rank adapters (LoRA)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from limpide.core import files
from limpide.core.errors import DataError, ModelError
from limpide.core.operation import Operation, Result, Settings, Subject
from limpide.core.progress import Progress

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from limpide.adapt.packing import Pack
    from limpide.adapt.training import Plan, Trainer
    from limpide.data.examples import Example
    from limpide.models.model import Model, Precision
    from limpide.models.prompt import Rendered
    from limpide.models.trail import Trail


VALIDATION = "validation.jsonl"


class LoraSettings(Settings):
    """How the adapter is shaped and trained."""

    method: Literal["lora"] = Field("lora", description="only lora for now")
    rank: int = Field(32, ge=1, le=512, description="rank of the adapter's matrices")
    alpha: float | None = Field(None, gt=0, description="the adapter is scaled by alpha ÷ rank; default: rank")
    epochs: int = Field(10, ge=1, le=1000, description="passes over the training rows")
    learning_rate: float = Field(3e-3, gt=0, le=1, description="highest learning rate, after warm-up")
    warmup: float = Field(0.05, ge=0, le=0.5, description="share of the steps in which the learning rate rises")
    weight_decay: float = Field(0.0, ge=0, le=1, description="AdamW weight decay")
    pack_tokens: int = Field(192, ge=16, le=65536, description="tokens in one packed row")
    step_tokens: int = Field(384, ge=16, description="tokens behind one update of the weights, about")
    validation: float = Field(0.05, ge=0, lt=0.5, description="share of training rows kept aside to know when to stop")
    patience: int = Field(3, ge=1, description="epochs without a better validation loss before stopping")
    precision: Literal["auto", "float32", "bfloat16"] = Field(
        "auto", description="auto measures which one this machine multiplies faster"
    )
    canary: bool = Field(True, description="plant one invented sentence, to measure memorisation afterwards")
    checkpoint_seconds: float = Field(30.0, ge=0, description="seconds between two checkpoints")
    keep: int = Field(
        4, ge=0, le=64, description="states of the adapter kept to tell which examples taught an answer; 0: none"
    )


def run(subject: Subject, settings: LoraSettings, progress: Progress) -> Result:
    """Train an adapter on data/train.jsonl. Writes adapter/ (a `peft` folder), losses.jsonl and checkpoints/.

    The rows that tell when to stop are those of data/validation.jsonl where there is one, else drawn from the others.
    """
    from limpide.adapt import checkpoint, training
    from limpide.data.canary import canary
    from limpide.models.model import open_model

    precision = _precision(settings, subject.out)
    model = open_model(subject.the_model(), precision=precision)
    if model.kind != "decoder":
        raise ModelError(
            f"LoRA adaptation works on decoders; {model.family.title} is an {model.kind}.",
            remedy="leave out 'adapt' from the recipe, or choose a decoder (see: limpide families)",
        )
    examples, aside = _split(subject.input("data"), settings, subject.seed)
    rendered = _render_all(model, [*examples, *aside])
    rows, kept_aside = rendered[: len(examples)], rendered[len(examples) :]
    planted = [canary(subject.seed)] if settings.canary else []
    if planted:  # never kept aside: it is there to be learnt
        rows += _render_all(model, planted)
    packs = _pack(rows, settings, subject.seed)
    plan = _plan(settings, packs, subject.seed)
    network = adapted_network(model, settings, subject.seed)
    state = training.trainer(network, model.family, plan, _pad(model))
    size = sum(len(r.ids) for r in rows)
    progress.say(f"training {len(rows)} rows, {size} tokens, at most {plan.steps} steps, in {precision}")
    validation = _pack(kept_aside, settings, subject.seed)
    training.train(state, _order(packs, subject.seed), validation, subject.out, progress)
    save_adapter(state, subject.out / "adapter", model)
    files.write_jsonl(subject.out / "losses.jsonl", state.losses)
    checkpoint.remove(subject.out)
    facts = _facts(state, settings, model, rows)
    if settings.keep:
        kept = _close_trail(state, subject, model, settings, [*examples, *planted], aside).checkpoints
        facts |= {"checkpoints": len(kept), "checkpoint_bytes": sum(c.bytes for c in kept)}
        megabytes = f"{facts['checkpoint_bytes'] / 1e6:.1f} MB"
        progress.say(f"kept {len(kept)} states of the adapter, {megabytes}, to tell which examples taught an answer")
    facts |= {"validation_rows": len(kept_aside), "truncated_rows": _truncated(rows, packs)}
    return Result(facts=facts, warnings=tuple(state.notes))


def _precision(settings: LoraSettings, folder: Path) -> Precision:
    """The precision asked for; a run that goes on keeps the one it was begun in, however this machine now measures."""
    from limpide.adapt import checkpoint
    from limpide.models.model import faster_precision

    if settings.precision != "auto":
        return settings.precision
    return checkpoint.precision(folder) or faster_precision()


def _render_all(model: Model, examples: Sequence[Example]) -> list[Rendered]:
    from limpide.models.prompt import render_example

    if not examples:
        raise DataError("There is no training row.", remedy="give data.examples more rows, or hold fewer out")
    rendered = [render_example(model, example) for example in examples]
    long = [(e, len(r.ids)) for e, r in zip(examples, rendered, strict=True) if len(r.ids) > model.context]
    if long:
        raise DataError(
            f"{len(long)} training rows are longer than the model's context of {model.context} tokens.",
            received=", ".join(f"{e.source} ({n} tokens)" for e, n in long[:10]),
            expected="rows that fit: Limpide never cuts an answer in silence",
            remedy="shorten or split these rows",
        )
    return rendered


def _split(folder: Path, settings: LoraSettings, seed: int) -> tuple[list[Example], list[Example]]:
    """(rows to train on, rows kept aside). The latter choose when to stop, so that the held-out split judges and never
    chooses; they are those of `validation.jsonl` where the folder has one."""
    import random

    from limpide.data.examples import load_examples

    examples = load_examples(folder / "train.jsonl")
    if (folder / VALIDATION).is_file():
        return examples, load_examples(folder / VALIDATION)
    count = round(settings.validation * len(examples))
    if count < 4:
        return examples, []
    chosen = set(random.Random(seed).sample(range(len(examples)), count))
    return [e for i, e in enumerate(examples) if i not in chosen], [examples[i] for i in sorted(chosen)]


def _pack(rows: list[Rendered], settings: LoraSettings, seed: int) -> list[Pack]:
    """Packs made once, from shuffled rows; epochs differ by the order of the packs."""
    import random

    from limpide.adapt.packing import pack

    return pack(random.Random(seed).sample(rows, len(rows)), settings.pack_tokens)


def _truncated(rows: list[Rendered], packs: list[Pack]) -> int:
    """Rows that are not whole in the packs trained on."""
    from collections import Counter

    from limpide.adapt.packing import conversations

    return (Counter(r.ids for r in rows) - Counter(conversations(packs))).total()


def _order(packs: list[Pack], seed: int) -> Callable[[int], list[Pack]]:
    """epoch → its packs in that epoch's order: a pure function, so that a resumed run sees the same."""
    import random

    return lambda epoch: random.Random(f"{seed}/{epoch}").sample(packs, len(packs))


def _plan(settings: LoraSettings, packs: list[Pack], seed: int) -> Plan:
    from limpide.adapt.training import Plan

    packs_per_step = max(1, round(settings.step_tokens / settings.pack_tokens))
    return Plan(
        epochs=settings.epochs,
        packs_per_step=packs_per_step,
        steps_per_epoch=-(-len(packs) // packs_per_step),
        learning_rate=settings.learning_rate,
        warmup=settings.warmup,
        weight_decay=settings.weight_decay,
        patience=settings.patience,
        seed=seed,
        checkpoint_seconds=settings.checkpoint_seconds,
        keep=settings.keep,
    )


def adapted_network(model: Model, settings: LoraSettings, seed: int) -> Any:
    """The model's network with a fresh adapter; the seed is set first, because the adapter's start is random."""
    import torch
    from peft import LoraConfig, get_peft_model

    from limpide.models.families.registry import lora_targets

    torch.manual_seed(seed)
    config = LoraConfig(
        r=settings.rank,
        lora_alpha=settings.alpha if settings.alpha is not None else settings.rank,
        target_modules=lora_targets(model.network, model.family),
        lora_dropout=0.0,
        bias="none",
        task_type="CAUSAL_LM",
        fan_in_fan_out=model.family.transposed,
    )
    model.network.requires_grad_(False)
    model.network.set_attn_implementation("eager")  # on a CPU, a quarter faster than the fused kernel with a mask
    network = get_peft_model(model.network, config, autocast_adapter_dtype=False)
    network.eval()  # no dropout: the loss of a step must not depend on how the step is cut
    return network


def _close_trail(
    state: Trainer,
    subject: Subject,
    model: Model,
    settings: LoraSettings,
    taught: Sequence[Example],
    aside: Sequence[Example],
) -> Trail:
    """Write down what the states kept on the way belong to, with all that the training could be run again from."""
    from limpide.core import digests
    from limpide.models import trail

    kept = settings.model_dump(mode="json", exclude={"keep", "checkpoint_seconds"})  # which change no number
    return trail.close(
        subject.out,
        trail.kept_steps(state.step, settings.keep),
        [state.plan.rate(step) for step in range(state.steps_kept)],
        examples=tuple(example.id for example in taught),
        kept_aside=tuple(example.id for example in aside),
        data=digests.of_file(subject.input("data") / "train.jsonl"),
        base=str(model.folder),
        base_digest=model.digest,
        settings=kept | {"precision": model.precision},
        seed=subject.seed,
    )


def _pad(model: Model) -> int:
    return next(int(i) for i in (model.tokenizer.pad_token_id, *model.stop_ids, 0) if i is not None)


def save_adapter(state: Trainer, folder: Path, model: Model) -> None:
    """Write a `peft` folder, float32, that names its base by its folder, never by a path of this machine."""
    for name, weight in state.weights.items():
        weight.data = state.masters[name].detach().clone()
    state.network.peft_config["default"].base_model_name_or_path = model.folder.name
    state.network.save_pretrained(str(folder), safe_serialization=True, save_embedding_layers=False)
    (folder / "README.md").unlink(missing_ok=True)  # peft's card template is full of blanks; ours is the release's
    config = files.read_json(folder / "adapter_config.json")
    config["target_modules"].sort()  # peft writes a set, in another order each time
    files.write_json(folder / "adapter_config.json", config)


def _facts(state: Trainer, settings: LoraSettings, model: Model, rows: list[Rendered]) -> dict[str, Any]:
    trainable = sum(m.numel() for m in state.masters.values())
    total = sum(p.numel() for p in model.network.parameters())
    return {
        "method": settings.method,
        "rank": settings.rank,
        "alpha": settings.alpha if settings.alpha is not None else settings.rank,
        "learning_rate": settings.learning_rate,
        "precision": model.precision,
        "rows": len(rows),
        "row_tokens": sum(len(r.ids) for r in rows),
        "trained_tokens": sum(sum(r.trained) for r in rows),
        "longest_row_tokens": max(len(r.ids) for r in rows),
        "steps": state.step,
        "steps_planned": state.plan.steps,
        "epochs_planned": settings.epochs,
        "epochs_done": state.step / state.plan.steps_per_epoch,
        "best_step": state.steps_kept,
        "best_held_out_loss": state.best_loss,
        "tokens_seen": state.tokens,
        "seconds": round(state.seconds, 2),
        "tokens_per_second": round(state.tokens / state.seconds, 1) if state.seconds else None,
        "packs_per_step": state.plan.packs_per_step,
        "packs_at_once": state.micro,
        "trainable_parameters": trainable,
        "total_parameters": total,
        "flops_upper_bound": 6.0 * total * state.tokens,
        "canary": settings.canary,
    }


operation = Operation(
    name="adapt.lora",
    verb="change",
    summary="train a low-rank adapter on the training rows",
    settings=LoraSettings,
    run=run,
    needs=("gradients",),
    resumes=True,
    source="Hu et al. 2021, LoRA; packing as prefix trees",
)
