"""The training loop: from packs and a model with an adapter to the adapter's best weights.

What it promises, each held by a test: the loss of a step does not depend on how the step is cut into
micro-batches, nor on whether the frozen trunk's work is kept; a run stopped anywhere and begun again ends with the
bytes of an unbroken one; memory that runs out halves the micro-batch and keeps the step.
"""

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import torch

from limpide.adapt import checkpoint, loss
from limpide.adapt.fused import fused
from limpide.adapt.interrupts import whole
from limpide.adapt.packing import Pack, collate
from limpide.adapt.trunk import Trunk, entering, first_trained
from limpide.core.errors import ModelError
from limpide.core.progress import Progress
from limpide.models import trail
from limpide.models.families.family import Family

Found = TypeVar("Found")


@dataclass(frozen=True)
class Plan:
    """What the loop will do. steps_per_epoch is the same in every epoch; packs_per_step packs make one update.

    keep: states of the adapter kept for good, at most. trunk_bytes: of what the frozen layers give, at most, kept
    during the run; None: a quarter of the free disk.
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
    trunk_bytes: int | None = None

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
    """Everything that moves during training.

    flat: float32 copies of all trained weights, end to end, which the optimiser moves at once, with their gradient;
    masters: the same by name. judged: the last step whose held-out loss is known. trunk: what lies below the trained
    blocks, where something does.
    """

    network: Any
    family: Family
    plan: Plan
    pad: int
    precision: str
    weights: dict[str, torch.nn.Parameter]
    flat: torch.Tensor
    masters: dict[str, torch.Tensor]
    optimiser: torch.optim.AdamW
    micro: int
    trunk: Trunk | None = None
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
    def steps_kept(self) -> int:
        """Updates behind the weights that a finished training leaves."""
        return self.best_step if self.best else self.step

    @property
    def ended(self) -> bool:
        return self.step >= self.plan.steps or self.stale >= self.plan.patience


def trainer(network: Any, family: Family, plan: Plan, pad: int, micro: int | None = None) -> Trainer:
    """A trainer at step 0 over the network's trainable weights."""
    weights = {name: p for name, p in network.named_parameters() if p.requires_grad}
    flat = torch.cat([p.detach().float().flatten() for p in weights.values()]).requires_grad_(True)
    flat.grad = torch.zeros_like(flat)
    optimiser = torch.optim.AdamW(
        [flat], lr=plan.learning_rate, weight_decay=plan.weight_decay, betas=(0.9, 0.999), fused=True
    )
    precision = str(network.dtype).removeprefix("torch.")
    masters, micro = _by_name(flat, weights), micro or plan.packs_per_step
    below = _trunk(network, family, pad)
    return Trainer(network, family, plan, pad, precision, weights, flat, masters, optimiser, micro, below)


def _by_name(flat: torch.Tensor, weights: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Views of the pieces of `flat`, in the shapes of `weights`."""
    pieces = torch.split(flat.detach(), [weight.numel() for weight in weights.values()])
    return {name: piece.view(weights[name].shape) for name, piece in zip(weights, pieces, strict=True)}


def _trunk(network: Any, family: Family, pad: int) -> Trunk | None:
    first = first_trained(network, family)
    if first == 0:
        return None
    if family.kind == "encoder-decoder":
        return Trunk(first, pad, lambda batch: loss.encoded_states(network, batch))
    run = lambda batch: loss.token_nats(network, family, batch)  # noqa: E731
    return Trunk(first, pad, entering(network, family, first, run))


def train(
    state: Trainer,
    epoch_packs: Callable[[int], Sequence[Pack]],
    held_out: Sequence[Pack],
    folder: Path,
    progress: Progress,
) -> None:
    """Train to the end of the plan, or until the held-out loss has not improved for `patience` epochs.

    epoch_packs: the packs of an epoch (from 0), in order; a pure function, so that a resumed run sees the same.
    folder: where checkpoints are written and looked for. Ctrl-C leaves one.
    """
    checkpoint.load(folder, state)
    if state.trunk:
        progress.say(state.trunk.keep(folder, [*epoch_packs(0), *held_out], state.plan.trunk_bytes))
    try:
        with fused(state.network), progress.task("training", total=state.plan.steps, done=state.step) as task:
            _steps(state, epoch_packs, held_out, folder, task)
    except KeyboardInterrupt:
        checkpoint.save(folder, state)
        progress.say(
            f"stopped after {state.step} of {state.plan.steps} steps{_best_so_far(state)}; "
            "all of it is kept, and the same command goes on from there"
        )
        raise
    if state.best and state.best_step == 0:
        state.notes.append("training never lowered the validation loss: the adapter changes nothing")
    _copy(state.best or state.masters, state.masters)
    _publish(state)


def _steps(
    state: Trainer,
    epoch_packs: Callable[[int], Sequence[Pack]],
    held_out: Sequence[Pack],
    folder: Path,
    task: Any,
) -> None:
    saved = time.monotonic()
    while True:
        if state.step % state.plan.steps_per_epoch == 0 and state.judged < state.step:
            _judge(state, held_out)
        if state.ended:
            return
        trail.keep_state(folder, state.step, state.weights, state.plan.keep)
        take_step(state, epoch_packs(state.step // state.plan.steps_per_epoch))
        task.advance(1, **_live(state))
        if time.monotonic() - saved > state.plan.checkpoint_seconds:
            checkpoint.save(folder, state)
            saved = time.monotonic()


def _live(state: Trainer) -> dict[str, Any]:
    """What a person sees beside the bar."""
    facts = {"loss": state.losses[-1]["train"], "tokens_per_second": round(state.tokens / state.seconds)}
    held = next((row for row in reversed(state.losses) if row["held_out"] is not None), None)
    if held is None:
        return facts
    low, high = held["held_out_low"], held["held_out_high"]
    return facts | {"held_out": f"{held['held_out']:.3f}" + ("" if low is None else f" ({low:.3f} to {high:.3f})")}


def _best_so_far(state: Trainer) -> str:
    return f", the best held-out loss so far {state.best_loss:.4f} after {state.best_step}" if state.best else ""


def take_step(state: Trainer, packs: Sequence[Pack]) -> None:
    """The next update, and all that tells of it; Ctrl-C finds it undone or whole. packs: of the whole epoch."""
    started, packs = time.perf_counter(), _step_packs(state, packs)
    found = _in_memory(state, lambda: _gradients(state, packs))
    _require_number(found, f"training loss of step {state.step + 1}")
    with whole():
        _update(state)
        state.tokens += sum(p.tokens for p in packs)
        state.seconds += time.perf_counter() - started
        state.step += 1
        epoch = -(-state.step // state.plan.steps_per_epoch)
        state.losses.append(_point(state.step, epoch, found))


def _point(step: int, epoch: int, train: float | None) -> dict[str, float | int | None]:
    nothing = {"held_out": None, "held_out_low": None, "held_out_high": None}
    return {"step": step, "epoch": epoch, "train": train, **nothing}


def _require_number(value: float, what: str) -> None:
    if not math.isfinite(value):
        raise ModelError(
            f"The {what} is not a number.",
            received=value,
            remedy="lower adapt.learning_rate in the recipe, or set adapt.precision: float32",
        )


def _in_memory(state: Trainer, work: Callable[[], Found]) -> Found:
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
    """Loss of a step, its gradients added up in float32.

    Micro-batches add up their summed losses, so how the step is cut changes nothing.
    """
    _gradient(state).zero_()
    for weight in state.weights.values():
        weight.grad = None
    trained = sum(len(pack.learnt) for pack in packs)
    total = 0.0
    for some in _at_once(packs, state.micro):
        mean = _nats(state, some).sum() / trained
        mean.backward()  # type: ignore[no-untyped-call]  # torch leaves backward untyped
        total += mean.item()
        _collect(state)
    return total


def _gradient(state: Trainer) -> torch.Tensor:
    assert state.flat.grad is not None
    return state.flat.grad


def _collect(state: Trainer) -> None:
    """Move the weights' gradients into the float32 sum."""
    for place, weight in zip(_by_name(_gradient(state), state.weights).values(), state.weights.values(), strict=True):
        if weight.grad is not None:
            place += weight.grad
            weight.grad = None


def _update(state: Trainer) -> None:
    """One optimiser step from the masters' gradient, its norm clipped at 1."""
    for group in state.optimiser.param_groups:
        group["lr"] = state.plan.rate(state.step)
    norm = float(torch.linalg.vector_norm(_gradient(state)))
    _require_number(norm, f"gradient of step {state.step + 1}")
    if norm > 1:
        _gradient(state).div_(norm)
    state.optimiser.step()
    _publish(state)


def _publish(state: Trainer) -> None:
    """Put the float32 masters into the weights that compute."""
    _copy(state.masters, state.weights)


def _copy(source: Mapping[str, torch.Tensor], target: Mapping[str, torch.Tensor]) -> None:
    with torch.no_grad():
        for name, tensor in source.items():
            target[name].copy_(tensor)


def _nats(state: Trainer, packs: Sequence[Pack]) -> torch.Tensor:
    """Nats of each trained token of the packs, in their order."""
    entered = state.trunk.entered(packs) if state.trunk else None
    return loss.token_nats(state.network, state.family, collate(packs, state.pad), entered)


def held_out_loss(state: Trainer, packs: Sequence[Pack]) -> loss.Estimate:
    """Nats per trained token over the conversations of `packs`."""
    return loss.estimate(*by_conversation(state, packs))


def by_conversation(state: Trainer, packs: Sequence[Pack]) -> tuple[list[float], list[int]]:
    """(nats, trained tokens) of each conversation, in the order of the packs."""
    nats: list[float] = []
    with torch.no_grad():
        for some in _at_once(packs, state.micro):
            counts = [count for pack in some for count in pack.counts]
            nats += [float(own.sum()) for own in torch.split(_nats(state, some), counts)]
    return nats, [count for pack in packs for count in pack.counts]


def _at_once(packs: Sequence[Pack], micro: int) -> Iterator[Sequence[Pack]]:
    for first in range(0, len(packs), micro):
        yield packs[first : first + micro]


def _judge(state: Trainer, held_out: Sequence[Pack]) -> None:
    """Held-out loss now, written beside the step; the weights are kept when it is the lowest so far."""
    found = _in_memory(state, lambda: held_out_loss(state, held_out)) if held_out else None
    with whole():
        if not state.losses:
            state.losses.append(_point(0, 0, None))
        state.judged = state.step
        if found is None:
            return
        _require_number(found.mean, f"validation loss after step {state.step}")
        state.losses[-1] |= {"held_out": found.mean, "held_out_low": found.low, "held_out_high": found.high}
        if state.best_loss is None or found.mean < state.best_loss:
            state.best_loss, state.best_step, state.stale = found.mean, state.step, 0
            state.best = _by_name(state.flat.detach().clone(), state.weights)
        else:
            state.stale += 1
