"""The training loop: from packs and a model with an adapter to the adapter's best weights.

What it promises, each held by a test: the loss of a step does not depend on how the step is cut into
micro-batches; a run killed anywhere and resumed ends with the bytes of an unbroken one; memory that runs out
halves the micro-batch and keeps the step.
"""

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch.nn.functional import cross_entropy

from limpide.adapt import checkpoint
from limpide.adapt.packing import Batch, Pack, collate
from limpide.core.errors import ModelError
from limpide.core.progress import Progress
from limpide.models import trail
from limpide.models.families.family import Family
from limpide.models.families.registry import backbone, logits_from_hidden, plain
from limpide.models.masks import attention_mask

HEAD_ROWS = 512  # trained positions projected on the vocabulary at once


@dataclass(frozen=True)
class Plan:
    """What the loop will do. steps_per_epoch is the same in every epoch; packs_per_step packs make one update.

    keep: states of the adapter kept for good, at most.
    """

    epochs: int
    packs_per_step: int
    steps_per_epoch: int
    learning_rate: float
    warmup: float
    weight_decay: float
    patience: int
    seed: int
    checkpoint_seconds: float
    keep: int = 0

    @property
    def steps(self) -> int:
        return self.epochs * self.steps_per_epoch

    def rate(self, step: int) -> float:
        """Learning rate of update `step` (from 0): linear warm-up, then cosine to zero."""
        warm = max(1, round(self.warmup * self.steps))
        if step < warm:
            return self.learning_rate * (step + 1) / warm
        return self.learning_rate * 0.5 * (1 + math.cos(math.pi * (step - warm) / max(1, self.steps - warm)))


@dataclass
class Trainer:
    """Everything that moves during training. masters: float32 copies of the trained weights, by name."""

    network: Any
    family: Family
    plan: Plan
    pad: int
    precision: str
    weights: dict[str, torch.nn.Parameter]
    masters: dict[str, torch.Tensor]
    optimiser: torch.optim.AdamW
    micro: int
    step: int = 0
    seconds: float = 0.0
    tokens: int = 0
    stale: int = 0
    best: dict[str, torch.Tensor] = field(default_factory=dict)
    best_loss: float | None = None
    best_step: int = 0
    losses: list[dict[str, float | int | None]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def steps_kept(self) -> int:
        """Updates behind the weights that a finished training leaves."""
        return self.best_step if self.best else self.step


def trainer(network: Any, family: Family, plan: Plan, pad: int, micro: int | None = None) -> Trainer:
    """A trainer at step 0 over the network's trainable weights."""
    weights = {name: p for name, p in network.named_parameters() if p.requires_grad}
    masters = {name: p.detach().float().clone().requires_grad_(True) for name, p in weights.items()}
    optimiser = torch.optim.AdamW(
        list(masters.values()), lr=plan.learning_rate, weight_decay=plan.weight_decay, betas=(0.9, 0.999)
    )
    precision = str(network.dtype).removeprefix("torch.")
    return Trainer(network, family, plan, pad, precision, weights, masters, optimiser, micro or plan.packs_per_step)


def train(
    state: Trainer,
    epoch_packs: Callable[[int], Sequence[Pack]],
    held_out: Sequence[Pack],
    folder: Path,
    progress: Progress,
) -> None:
    """Train to the end of the plan, or until the held-out loss has not improved for `patience` epochs.

    epoch_packs: the packs of an epoch (from 0), in order; a pure function, so that a resumed run sees the same.
    folder: where checkpoints are written and looked for.
    """
    checkpoint.load(folder, state)
    saved = time.monotonic()
    if not state.losses:
        state.losses.append({"step": 0, "epoch": 0, "train": None, "held_out": _record_best(state, held_out)})
    with progress.task("training", total=state.plan.steps, done=state.step) as task:
        while state.step < state.plan.steps and state.stale < state.plan.patience:
            trail.keep_state(folder, state.step, state.weights, state.plan.keep)
            epoch = state.step // state.plan.steps_per_epoch
            loss, tokens, seconds = _timed_step(state, _step_packs(state, epoch_packs(epoch)))
            state.tokens, state.seconds = state.tokens + tokens, state.seconds + seconds
            state.step += 1
            ended = state.step % state.plan.steps_per_epoch == 0
            held = _record_best(state, held_out) if ended else None
            state.losses.append({"step": state.step, "epoch": epoch + 1, "train": loss, "held_out": held})
            task.advance(1, loss=loss, tokens_per_second=round(state.tokens / state.seconds))
            if time.monotonic() - saved > state.plan.checkpoint_seconds:
                checkpoint.save(folder, state)
                saved = time.monotonic()
    if state.best and state.best_step == 0:
        state.notes.append("training never lowered the validation loss: the adapter changes nothing")
    _copy(state.best or state.masters, state.masters)
    _publish(state)


def _timed_step(state: Trainer, packs: Sequence[Pack]) -> tuple[float, int, float]:
    started = time.perf_counter()
    loss = _in_memory(state, lambda: _gradients(state, packs))
    _require_number(loss, f"training loss of step {state.step + 1}")
    _update(state)
    return loss, sum(p.tokens for p in packs), time.perf_counter() - started


def _require_number(value: float, what: str) -> None:
    if not math.isfinite(value):
        raise ModelError(
            f"The {what} is not a number.",
            received=value,
            remedy="lower adapt.learning_rate in the recipe, or set adapt.precision: float32",
        )


def _in_memory(state: Trainer, work: Callable[[], float]) -> float:
    """The result of `work`, begun again with half the packs at a time as often as memory runs out."""
    while True:
        try:
            return work()
        except (RuntimeError, MemoryError) as error:
            _halve(state, error)


def _halve(state: Trainer, error: Exception) -> None:
    """Out of memory: try the same step in smaller pieces; anything else is not ours to hide."""
    out_of_memory = isinstance(error, MemoryError | torch.OutOfMemoryError) or "allocate memory" in str(error)
    if not out_of_memory:
        raise error
    if state.micro == 1:
        raise ModelError(
            "There is not enough memory to train on a single pack.",
            received=str(error) or type(error).__name__,
            remedy="lower adapt.pack_tokens or adapt.rank in the recipe, or close other programs",
        ) from error
    state.micro = max(1, state.micro // 2)
    at_once = "1 pack" if state.micro == 1 else f"{state.micro} packs"
    state.notes.append(f"memory ran out: {at_once} at a time after step {state.step}, the steps themselves unchanged")


def _step_packs(state: Trainer, packs: Sequence[Pack]) -> Sequence[Pack]:
    first = (state.step % state.plan.steps_per_epoch) * state.plan.packs_per_step
    return packs[first : first + state.plan.packs_per_step]


def _gradients(state: Trainer, packs: Sequence[Pack]) -> float:
    """Loss of a step, its gradients added to the masters in float32.

    Micro-batches add up their summed losses, so how the step is cut changes nothing.
    """
    state.optimiser.zero_grad()
    for weight in state.weights.values():
        weight.grad = None
    batches = [collate(packs[i : i + state.micro], state.pad) for i in range(0, len(packs), state.micro)]
    trained = sum(b.trained_tokens for b in batches)
    total = 0.0
    for batch in batches:
        loss = summed_loss(state.network, state.family, batch) / trained
        loss.backward()  # type: ignore[no-untyped-call]  # torch leaves backward untyped
        total += loss.item()
        for name, weight in state.weights.items():
            _add_gradient(state.masters[name], weight)
    return total


def _add_gradient(master: torch.Tensor, weight: torch.nn.Parameter) -> None:
    if weight.grad is not None:
        gradient = weight.grad.float()
        master.grad = gradient if master.grad is None else master.grad + gradient
        weight.grad = None


def _update(state: Trainer) -> None:
    """One optimiser step from the masters' gradients."""
    for group in state.optimiser.param_groups:
        group["lr"] = state.plan.rate(state.step)
    norm = torch.nn.utils.clip_grad_norm_(list(state.masters.values()), 1.0)
    _require_number(float(norm), f"gradient of step {state.step + 1}")
    state.optimiser.step()
    _publish(state)


def _publish(state: Trainer) -> None:
    """Put the float32 masters into the weights that compute."""
    _copy(state.masters, state.weights)


def _copy(source: Mapping[str, torch.Tensor], target: Mapping[str, torch.Tensor]) -> None:
    with torch.no_grad():
        for name, tensor in source.items():
            target[name].copy_(tensor)


def summed_loss(network: Any, family: Family, batch: Batch) -> torch.Tensor:
    """Negative log-likelihood in nats, summed over trained tokens; logits exist at those places only."""
    dtype = next(network.parameters()).dtype
    output = backbone(network, family)(
        input_ids=batch.ids,
        attention_mask=attention_mask(batch.seen, batch.positions, plain(network).config, dtype),
        position_ids=batch.positions,
        use_cache=False,
    )
    hidden, targets = output.last_hidden_state[batch.rows, batch.columns], batch.targets
    parts = [
        cross_entropy(logits_from_hidden(network, family, h).float(), t, reduction="sum")
        for h, t in zip(_rows(hidden), _rows(targets), strict=True)
    ]
    return torch.stack(parts).sum()


def mean_loss(state: Trainer, packs: Sequence[Pack]) -> float:
    """Nats per trained token over `packs`."""
    total, tokens = 0.0, 0
    with torch.inference_mode():
        for batch in _micro_batches(packs, state):
            total += float(summed_loss(state.network, state.family, batch))
            tokens += batch.trained_tokens
    return total / tokens


def _micro_batches(packs: Sequence[Pack], state: Trainer) -> Iterator[Batch]:
    for first in range(0, len(packs), state.micro):
        yield collate(packs[first : first + state.micro], state.pad)


def _record_best(state: Trainer, held_out: Sequence[Pack]) -> float | None:
    """Held-out loss now; the weights are kept when it is the lowest so far."""
    if not held_out:
        return None
    loss = _in_memory(state, lambda: mean_loss(state, held_out))
    _require_number(loss, f"validation loss after step {state.step}")
    if state.best_loss is None or loss < state.best_loss:
        state.best_loss, state.best_step, state.stale = loss, state.step, 0
        state.best = {name: m.detach().clone() for name, m in state.masters.items()}
    else:
        state.stale += 1
    return loss


def _rows(tensor: torch.Tensor) -> tuple[torch.Tensor, ...]:
    return torch.split(tensor, HEAD_ROWS)
