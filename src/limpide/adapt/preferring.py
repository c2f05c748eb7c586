"""The last stage of a training: of two answers to a question, prefer the one that a person preferred.

It computes over the base as it is held, its trained weights in float32. Like the stages before, it is resumed where it
was killed, tells its loss on pairs kept aside after every epoch, and keeps the weights of the best.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from limpide.adapt import preference
from limpide.adapt.adapters import put, weights_of
from limpide.adapt.kept import metadata, save_with
from limpide.adapt.preference import Pair, Plan, References, Trained, judged
from limpide.adapt.settings import TrainSettings
from limpide.core import files
from limpide.core.progress import Progress
from limpide.models.model import Model, Precision

FILE = "preferences.safetensors"
REFERENCES = "references.json"  # nats of each text under the reference, in the order of `referred`
TOLD = ("losses", "margins", "accuracies", "holds", "tokens", "seconds")


def plan_of(settings: TrainSettings, pairs: int, seed: int, *, whole: bool) -> Plan:
    """whole: every weight is trained, so that there is no adapter to switch off for the reference."""
    chosen = settings.preferences
    batch = min(chosen.pairs, pairs)
    return Plan(
        steps=chosen.epochs * -(-pairs // batch),
        batch=batch,
        micro=min(chosen.at_once, batch),
        loss=chosen.loss,
        beta=chosen.beta,
        sft=chosen.sft,
        learning_rate=settings.rate("preferences"),
        warmup=settings.warmup,
        seed=seed,
        reference="before" if whole else chosen.reference,
    )


@dataclass
class Kept:
    """Follows a training of preferences: its checkpoints in `folder`, its loss on `aside`, its best weights.

    losses: one entry a step, and one before the first. stale: epochs since the best. saved: when the last checkpoint
    was, in seconds. now: optimiser and record of the training that is followed.
    """

    model: Model
    plan: Plan
    pairs: Sequence[Pair]
    aside: Sequence[Pair]
    folder: Path
    per_epoch: int
    patience: int
    seconds: float
    losses: list[dict[str, Any]] = field(default_factory=list)
    best: dict[str, Tensor] = field(default_factory=dict)
    best_step: int = 0
    best_loss: float | None = None
    stale: int = 0
    saved: float = field(default_factory=time.monotonic)
    before: References = field(default_factory=dict)
    now: tuple[torch.optim.Optimizer, Trained] | None = None

    def run(self, progress: Progress) -> Trained:
        """Train; the best weights are in the network afterwards. A person who stops it loses no step."""
        progress.say(
            f"preferences: {len(self.pairs)} pairs to learn and {len(self.aside)} kept aside, {self.plan.loss}, "
            f"at most {self.plan.steps} steps"
        )
        before = self._references(progress)
        try:
            trained = preference.train(
                self.model, self.pairs, self.plan, progress, course=self, aside=self.aside, before=before
            )
        except KeyboardInterrupt:
            self._leave()
            raise
        if self.best:
            put(self.model.network, self.best)
        return trained

    def _references(self, progress: Progress) -> References:
        """Read before the first step; a run that goes on finds what was read."""
        path, keys = self.folder / REFERENCES, preference.referred([*self.pairs, *self.aside], self.plan)
        asked = {"precision": self.model.precision, "texts": len(keys)}
        if path.is_file() and (kept := files.read_json(path))["of"] == asked:
            return dict(zip(keys, kept["nats"], strict=True))
        found = preference.references(self.model, [*self.pairs, *self.aside], self.plan, progress)
        files.write_json(path, {"of": asked, "nats": [found[key] for key in keys]})
        return found

    @property
    def steps_kept(self) -> int:
        """Updates behind the weights that a finished training leaves."""
        return self.best_step if self.best else int(self.losses[-1]["step"])

    def begin(self, optimiser: torch.optim.Optimizer, trained: Trained, before: References) -> bool:
        self.before, self.now = before, (optimiser, trained)
        if (self.folder / FILE).is_file():
            self._load(optimiser, trained)
        else:
            self._point(0, trained)
        return self.stale >= self.patience

    def stepped(self, optimiser: torch.optim.Optimizer, trained: Trained) -> bool:
        self._point(len(trained.losses), trained)
        if time.monotonic() - self.saved > self.seconds:
            self._save(optimiser, trained)
            self.saved = time.monotonic()
        return self.stale >= self.patience

    def _leave(self) -> None:
        """Keep the last whole step; in the middle of one, weights may have moved that its record does not tell."""
        if self.now is not None and self.losses and self.losses[-1]["step"] == len(self.now[1].losses):
            self._save(*self.now)

    def _point(self, step: int, trained: Trained) -> None:
        """Where the training is; after an epoch, what the pairs kept aside say of it."""
        point = {"step": step, "epoch": -(-step // self.per_epoch), "train": trained.losses[-1] if step else None}
        held = None
        if self.aside and step % self.per_epoch == 0:
            held, margin, accuracy = judged(self.model, self.aside, self.before, self.plan)
            point |= {"margin": margin, "accuracy": accuracy}
            self._record(step, held)
        self.losses.append(point | {"held_out": held})

    def _record(self, step: int, held: float) -> None:
        if self.best_loss is not None and held >= self.best_loss:
            self.stale += 1
            return
        self.best_loss, self.best_step, self.stale = held, step, 0
        self.best = {name: weight.detach().clone() for name, weight in weights_of(self.model.network).items()}

    def _save(self, optimiser: torch.optim.Optimizer, trained: Trained) -> None:
        """One file, written beside and renamed: whole or not at all."""
        weights = weights_of(self.model.network)
        tensors = {f"weight/{name}": w.detach() for name, w in weights.items()}
        tensors |= {f"best/{name}": w for name, w in self.best.items()}
        for name, weight in weights.items():
            tensors |= {f"optimiser/{key}/{name}": v for key, v in optimiser.state.get(weight, {}).items()}
        state = {key: getattr(trained, key) for key in TOLD}
        own = {key: getattr(self, key) for key in ("losses", "best_step", "best_loss", "stale")}
        save_with(self.folder / FILE, tensors, {"state": [state, own], "precision": self.model.precision})

    def _load(self, optimiser: torch.optim.Optimizer, trained: Trained) -> None:
        tensors, told = load_file(self.folder / FILE), metadata(self.folder / FILE)
        for holder, values in zip((trained, self), told["state"], strict=True):
            for key, value in values.items():
                setattr(holder, key, value)
        self.best = {k.removeprefix("best/"): t for k, t in tensors.items() if k.startswith("best/")}
        for name, weight in weights_of(self.model.network).items():
            with torch.no_grad():
                weight.copy_(tensors[f"weight/{name}"])
            keys = {k.split("/")[1] for k in tensors if k.startswith("optimiser/") and k.endswith(f"/{name}")}
            if keys:
                optimiser.state[weight] = {k: tensors[f"optimiser/{k}/{name}"] for k in keys}


def precision(folder: Path) -> Precision | None:
    """The precision in which the training to resume was begun; None when there is none."""
    kept: Precision | None = metadata(folder / FILE)["precision"] if (folder / FILE).is_file() else None
    return kept


def start(
    model: Model, settings: TrainSettings, pairs: Sequence[Pair], aside: Sequence[Pair], folder: Path, seed: int
) -> Kept:
    """A training of the trained weights of `model.network` on preferences, ready to be run.

    folder: where checkpoints are written and looked for.
    """
    plan = plan_of(settings, len(pairs), seed, whole=not hasattr(model.network, "peft_config"))
    return Kept(
        model=model,
        plan=plan,
        pairs=pairs,
        aside=aside,
        folder=folder,
        per_epoch=-(-len(pairs) // plan.batch),
        patience=settings.patience,
        seconds=settings.checkpoint_seconds,
    )
