"""The training loop of a classification head: weighted cross-entropy over texts, until held-out loss stops falling.

The loss of an update does not depend on how its texts are cut into batches, and a run killed anywhere and resumed ends
with the bytes of an unbroken one.
"""

import random
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from torch.nn.functional import cross_entropy

from limpide.adapt import checkpoint
from limpide.adapt.interrupts import whole
from limpide.adapt.training import Plan
from limpide.core.errors import ModelError
from limpide.core.progress import Progress
from limpide.models.classifier import Classifier, batches, logits


@dataclass(frozen=True)
class Row:
    """A text as token ids, and the place of its class among the labels."""

    ids: tuple[int, ...]
    label: int


@dataclass
class State:
    """What moves during training. weights: those that are trained, in float32; a checkpoint's masters are the same.

    class_weights: float32[classes]. judged: the last step whose held-out loss is known.
    """

    classifier: Classifier
    plan: Plan
    class_weights: torch.Tensor
    weights: dict[str, torch.nn.Parameter]
    optimiser: torch.optim.AdamW
    precision: str = "float32"
    micro: int = 1
    step: int = 0
    seconds: float = 0.0
    tokens: int = 0
    stale: int = 0
    judged: int = -1
    best: dict[str, torch.Tensor] = field(default_factory=dict)
    best_loss: float | None = None
    best_step: int = 0
    losses: list[dict[str, float | int | None]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def masters(self) -> Mapping[str, torch.Tensor]:
        return self.weights

    @property
    def kept_step(self) -> int:
        """Updates behind the weights that a finished training leaves."""
        return self.best_step if self.best else self.step


def start(classifier: Classifier, plan: Plan, class_weights: Sequence[float]) -> State:
    """At step 0, over the weights of the network that ask for gradients."""
    weights = {name: p for name, p in classifier.network.named_parameters() if p.requires_grad}
    optimiser = torch.optim.AdamW(list(weights.values()), lr=plan.learning_rate, weight_decay=plan.weight_decay)
    return State(classifier, plan, torch.tensor(class_weights), weights, optimiser)


def train(state: State, rows: Sequence[Row], aside: Sequence[Row], folder: Path, progress: Progress) -> None:
    """To the end of the plan, or until the loss on `aside` has not fallen for `patience` epochs; the best weights stay.

    folder: where checkpoints are written and looked for. Ctrl-C leaves one.
    """
    kept: Any = state  # has all that a checkpoint keeps of a Trainer
    checkpoint.load(folder, kept)
    saved = time.monotonic()
    try:
        with progress.task("training", total=state.plan.steps, done=state.step) as task:
            while True:
                if state.step % state.plan.steps_per_epoch == 0 and state.judged < state.step:
                    _judge(state, aside)
                if state.step == state.plan.steps or state.stale == state.plan.patience:
                    break
                loss = _step(state, rows_of_step(state.plan, state.step, rows))
                task.advance(1, loss=loss, tokens_per_second=round(state.tokens / max(state.seconds, 1e-9)))
                if time.monotonic() - saved > state.plan.checkpoint_seconds:
                    checkpoint.save(folder, kept)
                    saved = time.monotonic()
    except KeyboardInterrupt:
        checkpoint.save(folder, kept)
        raise
    if state.best and state.best_step == 0:
        state.notes.append("training never lowered the validation loss: the head is as it was made, at random")
    keep_best(state)


def keep_best(state: State) -> None:
    """Put the best weights so far into the network; without any, it stays as it is."""
    with torch.no_grad():
        for name, tensor in state.best.items():
            state.weights[name].copy_(tensor)


def rows_of_step(plan: Plan, step: int, rows: Sequence[Row]) -> list[Row]:
    """The texts of update `step`: a pure function of seed and step, so that a resumed run sees the same."""
    epoch, place = divmod(step, plan.steps_per_epoch)
    first = place * plan.packs_per_step
    return [rows[k] for k in _order(plan.seed, epoch, len(rows))[first : first + plan.packs_per_step]]


@lru_cache(maxsize=1)
def _order(seed: int, epoch: int, count: int) -> list[int]:
    return random.Random(f"{seed}/{epoch}").sample(range(count), count)


def _step(state: State, rows: Sequence[Row]) -> float:
    """One update on the mean weighted loss of `rows`, in nats, which it returns; Ctrl-C finds it undone or whole."""
    started = time.perf_counter()
    loss = _gradients(state, rows)
    norm = torch.nn.utils.clip_grad_norm_(list(state.weights.values()), 1.0)
    _require_numbers(loss, float(norm), state.step + 1)
    with whole():
        for group in state.optimiser.param_groups:
            group["lr"] = state.plan.rate(state.step)
        state.optimiser.step()
        state.tokens += sum(len(row.ids) for row in rows)
        state.seconds += time.perf_counter() - started
        state.step += 1
        epoch = -(-state.step // state.plan.steps_per_epoch)
        state.losses.append({"step": state.step, "epoch": epoch, "train": loss, "held_out": None, "macro_f1": None})
    return loss


def _gradients(state: State, rows: Sequence[Row]) -> float:
    state.optimiser.zero_grad()
    total, weight = 0.0, float(state.class_weights[[row.label for row in rows]].sum())
    for batch in batches([len(row.ids) for row in rows]):
        chosen = [rows[k] for k in batch]
        loss = weighted_loss(state, chosen) / weight
        loss.backward()  # type: ignore[no-untyped-call]  # torch leaves backward untyped
        total += loss.item()
    return total


def _require_numbers(loss: float, norm: float, step: int) -> None:
    if not (torch.isfinite(torch.tensor([loss, norm])).all()):
        raise ModelError(
            f"The training loss of step {step} is not a number.",
            received=f"loss {loss}, gradient {norm}",
            remedy="lower adapt.learning_rate in the recipe",
        )


def weighted_loss(state: State, rows: Sequence[Row]) -> torch.Tensor:
    """Σ weight of the class · −log probability of the class, nats."""
    found = logits(state.classifier.network, [row.ids for row in rows], state.classifier.pad)
    wanted = torch.tensor([row.label for row in rows])
    return cross_entropy(found, wanted, weight=state.class_weights, reduction="sum")


def _judge(state: State, aside: Sequence[Row]) -> None:
    """Note where an epoch left the rows kept aside; the weights are kept when their loss is the lowest so far."""
    found = scores(state, aside) if aside else None
    with whole():
        state.judged = state.step
        if state.step == 0:
            state.losses.append({"step": 0, "epoch": 0, "train": None, "held_out": None, "macro_f1": None})
        if found is None:
            return
        state.losses[-1] |= found
        if state.best_loss is None or found["held_out"] < state.best_loss:
            state.best_loss, state.best_step, state.stale = found["held_out"], state.step, 0
            state.best = {name: weight.detach().clone() for name, weight in state.weights.items()}
        else:
            state.stale += 1


def scores(state: State, rows: Sequence[Row]) -> dict[str, float]:
    """held_out: mean weighted loss in nats. macro_f1: see `macro_f1`."""
    loss, predicted = 0.0, [0] * len(rows)
    with torch.inference_mode():
        for batch in batches([len(row.ids) for row in rows]):
            chosen = [rows[k] for k in batch]
            found = logits(state.classifier.network, [row.ids for row in chosen], state.classifier.pad)
            wanted = torch.tensor([row.label for row in chosen])
            loss += float(cross_entropy(found, wanted, weight=state.class_weights, reduction="sum"))
            for k, label in zip(batch, found.argmax(-1).tolist(), strict=True):
                predicted[k] = label
    expected = [row.label for row in rows]
    return {
        "held_out": loss / float(state.class_weights[expected].sum()),
        "macro_f1": macro_f1(expected, predicted),
    }


def macro_f1(expected: Sequence[int], predicted: Sequence[int]) -> float:
    """2·right / (asked + said) of each class that is asked or said, averaged. Source: Opitz and Burst 2019, eq. 1."""
    found = []
    for label in sorted({*expected, *predicted}):
        right = sum(e == p == label for e, p in zip(expected, predicted, strict=True))
        found.append(2 * right / (expected.count(label) + predicted.count(label)))
    return sum(found) / len(found)


def share_of_padding(plan: Plan, rows: Sequence[Row]) -> float:
    """Of the places computed in the first epoch, those that hold no token."""
    held = places = 0
    for step in range(plan.steps_per_epoch):
        lengths = [len(row.ids) for row in rows_of_step(plan, step, rows)]
        held += sum(lengths)
        places += sum(len(batch) * max(lengths[k] for k in batch) for batch in batches(lengths))
    return 1 - held / places
