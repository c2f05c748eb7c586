"""The stages of a training, one after the other on the same weights: texts, answers, preferences.

Each leaves its weights, losses and facts in a file of its own, so that a run that was killed goes on in the stage where
it was, with the bytes of an unbroken one.
"""

import math
import random
import shutil
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from limpide.adapt import checkpoint, preferring, training
from limpide.adapt.adapters import put, save_trained, weights_of, whole
from limpide.adapt.kept import UNFINISHED, metadata, save_with
from limpide.adapt.lessons import Material
from limpide.adapt.packing import Pack, conversations, packs_for
from limpide.adapt.settings import StageName, TrainSettings
from limpide.adapt.training import Plan, Trainer
from limpide.core import files
from limpide.core.progress import Progress
from limpide.models.model import Model, Precision
from limpide.models.prompt import Rendered

FOLDER = "stages"
INTERRUPTED = "interrupted"  # the best so far of a run that a person stopped


@dataclass(frozen=True, eq=False)
class Work:
    """What every stage works on. model: its network is the one being trained."""

    model: Model
    settings: TrainSettings
    out: Path
    seed: int
    progress: Progress


@dataclass(frozen=True, eq=False)
class Learnt:
    """What a stage left. weights: float32, by the names of the network. losses: one entry a step, in nats a token or a
    pair. rates: learning rate of every update behind the weights."""

    name: StageName
    weights: Mapping[str, Tensor]
    facts: Mapping[str, Any]
    losses: Sequence[Mapping[str, Any]]
    notes: Sequence[str]
    rates: Sequence[float]


def learn(work: Work, names: Sequence[StageName], material: Material) -> list[Learnt]:
    """The stages named, in order. The network ends with the weights of the last."""
    learnt: list[Learnt] = []
    for name in names:
        path = work.out / FOLDER / f"{name}.safetensors"
        found = _load(path) if path.is_file() else None
        if found is None:
            found = _LEARN[name](work, material)
            _save(path, found)
        checkpoint.remove(stage_folder(work.out, name))
        put(work.model.network, found.weights)
        learnt.append(found)
    return learnt


def stage_folder(out: Path, name: StageName) -> Path:
    """Where a stage keeps what it needs to go on."""
    return out if name == "answers" else out / FOLDER / name


def begun_in(out: Path) -> Precision | None:
    """The precision in which the training to go on was begun; None when there is none."""
    for path in sorted((out / FOLDER).glob("*.safetensors")):
        kept: Precision = metadata(path)["facts"]["precision"]
        return kept
    return (
        checkpoint.precision(out)
        or checkpoint.precision(stage_folder(out, "texts"))
        or preferring.precision(stage_folder(out, "preferences"))
    )


def tidy(out: Path) -> None:
    """Remove what only a run that goes on needs."""
    for folder in (FOLDER, INTERRUPTED):
        shutil.rmtree(out / folder, ignore_errors=True)


# ------------------------------------------------------------------------------------------------- texts and answers


def _learn_texts(work: Work, material: Material) -> Learnt:
    return _learn_rows(work, "texts", *material.texts, work.settings.texts.epochs)


def _learn_answers(work: Work, material: Material) -> Learnt:
    return _learn_rows(work, "answers", *material.answers, work.settings.epochs)


def _learn_rows(work: Work, name: StageName, rows: list[Rendered], aside: list[Rendered], epochs: int) -> Learnt:
    """Learn rows by their likelihood, from the weights as they are."""
    network, settings = work.model.network, work.settings
    packs, packs_aside = (packs_for(work.model, part, settings.pack_tokens, work.seed) for part in (rows, aside))
    plan = plan_of(settings, name, packs, epochs, work.seed)
    before = whole(network)
    state = _trainer(work, plan, before)
    size = sum(len(row.ids) for row in rows)
    work.progress.say(f"{name}: {len(rows)} rows, {size} tokens, at most {plan.steps} steps, in {state.precision}")
    try:
        training.train(state, order_of(packs, work.seed), packs_aside, stage_folder(work.out, name), work.progress)
    except KeyboardInterrupt:
        _keep_best(work, state.best or state.masters, name, state.best_loss)
        raise
    weights = {name: master.detach().clone() for name, master in state.masters.items()}
    facts = _row_facts(state, rows, packs) | {"validation_rows": len(aside), "moved": moved(before, weights)}
    rates = [plan.rate(step) for step in range(state.steps_kept)]
    return Learnt(name, weights, facts, state.losses, [f"{name}: {note}" for note in state.notes], rates)


def _trainer(work: Work, plan: Plan, weights: Mapping[str, Tensor]) -> Trainer:
    """A trainer whose masters are `weights`, whole, and whose network computes in the base's precision."""
    network = work.model.network
    dtype = getattr(torch, work.model.precision)
    for parameter in weights_of(network).values():
        parameter.data = parameter.data.to(dtype)
    state = training.trainer(network, work.model.family, plan, padding(work.model))
    with torch.no_grad():
        for name, weight in weights.items():
            state.masters[name].copy_(weight)
    return state


def order_of(packs: list[Pack], seed: int) -> Callable[[int], list[Pack]]:
    """epoch → its packs in that epoch's order: a pure function, so that a resumed run sees the same."""
    return lambda epoch: random.Random(f"{seed}/{epoch}").sample(packs, len(packs))


def plan_of(settings: TrainSettings, name: StageName, packs: Sequence[Pack], epochs: int, seed: int) -> Plan:
    packs_per_step = max(1, round(settings.step_tokens / settings.pack_tokens))
    return Plan(
        epochs=epochs,
        packs_per_step=packs_per_step,
        steps_per_epoch=-(-len(packs) // packs_per_step),
        learning_rate=settings.rate(name),
        warmup=settings.warmup,
        weight_decay=settings.weight_decay,
        patience=settings.patience,
        seed=seed,
        checkpoint_seconds=settings.checkpoint_seconds,
        keep=settings.keep if name == "answers" else 0,
        trunk_bytes=settings.trunk_bytes,
    )


def truncated(rows: Sequence[Rendered], packs: Sequence[Pack]) -> int:
    """Rows that are not whole in the packs trained on."""
    return (Counter(r.ids for r in rows) - Counter(conversations(packs))).total()


def padding(model: Model) -> int:
    return next(int(i) for i in (model.tokenizer.pad_token_id, *model.stop_ids, 0) if i is not None)


def _row_facts(state: Trainer, rows: Sequence[Rendered], packs: Sequence[Pack]) -> dict[str, Any]:
    return {
        "learning_rate": state.plan.learning_rate,
        "precision": state.precision,
        "rows": len(rows),
        "row_tokens": sum(len(r.ids) for r in rows),
        "trained_tokens": sum(sum(r.trained) for r in rows),
        "longest_row_tokens": max(len(r.ids) for r in rows),
        "truncated_rows": truncated(rows, packs),
        "steps": state.step,
        "steps_planned": state.plan.steps,
        "epochs_planned": state.plan.epochs,
        "epochs_done": state.step / state.plan.steps_per_epoch,
        "best_step": state.steps_kept,
        "best_held_out_loss": state.best_loss,
        "tokens_seen": state.tokens,
        "seconds": round(state.seconds, 2),
        "packs_per_step": state.plan.packs_per_step,
        "packs_at_once": state.micro,
    }


# -------------------------------------------------------------------------------------------------------- preferences


def _learn_preferences(work: Work, material: Material) -> Learnt:
    network = work.model.network
    before = whole(network)
    if not hasattr(network, "peft_config"):
        network.float()
    put(network, before)
    folder = stage_folder(work.out, "preferences")
    kept = preferring.start(work.model, work.settings, *material.preferences, folder, work.seed)
    try:
        trained = kept.run(work.progress)
    except KeyboardInterrupt:
        _keep_best(work, kept.best or whole(network), "preferences", kept.best_loss)
        raise
    weights = whole(network)
    facts = trained.facts() | _pair_facts(kept, work) | {"tokens_seen": trained.tokens, "moved": moved(before, weights)}
    notes = ["preferences: no step was better than none on the pairs kept aside"] if not kept.steps_kept else []
    rates = [kept.plan.rate(step) for step in range(kept.steps_kept)]
    return Learnt("preferences", weights, facts, kept.losses, notes, rates)


def _pair_facts(kept: preferring.Kept, work: Work) -> dict[str, Any]:
    plan = kept.plan
    return {
        "loss": plan.loss,
        "beta": plan.beta,
        "reference": plan.reference if plan.loss == "dpo" else None,
        "learning_rate": plan.learning_rate,
        "precision": work.model.precision,
        "rows": len(kept.pairs),
        "validation_rows": len(kept.aside),
        "steps_planned": plan.steps,
        "epochs_planned": work.settings.preferences.epochs,
        "epochs_done": kept.losses[-1]["step"] / kept.per_epoch,
        "best_step": kept.steps_kept,
        "best_held_out_loss": kept.best_loss,
        "packs_per_step": plan.batch,
        "packs_at_once": plan.micro,
    }


_LEARN: dict[StageName, Callable[[Work, Material], Learnt]] = {
    "texts": _learn_texts,
    "answers": _learn_answers,
    "preferences": _learn_preferences,
}


# -------------------------------------------------------------------------------------------------------- on the way


def moved(before: Mapping[str, Tensor], after: Mapping[str, Tensor]) -> float:
    """How far the trained weights went: Euclidean distance between both, all weights as one vector."""
    return math.sqrt(sum(float((after[name] - before[name]).square().sum()) for name in before))


def _keep_best(work: Work, weights: Mapping[str, Tensor], name: StageName, loss: float | None) -> None:
    """A person stopped the run: what it has come to so far is kept as an ordinary adapter, and named."""
    place = save_trained(work.model.network, weights, work.out / INTERRUPTED, work.model)
    files.write_json(place / UNFINISHED, {"stage": name, "validation_loss": loss})
    how_good = "" if loss is None else f" (validation loss {loss:.4g})"
    work.progress.say(f"stopped in the stage {name}: the best so far{how_good} is kept in {place}")


def _save(path: Path, learnt: Learnt) -> None:
    facts = {key: getattr(learnt, key) for key in ("name", "facts", "losses", "notes", "rates")}
    save_with(path, learnt.weights, facts)


def _load(path: Path) -> Learnt:
    return Learnt(weights=load_file(path), **metadata(path))
