"""Preference training: of two texts, make the preferred one likelier and the other less likely.

The reference of DPO is the network with its adapter switched off: no second model is held. What it promises, each held
by a test: a step does not depend on how it is cut into micro-batches; equal seeds give equal weights; a loss that is
no number stops the training.
"""

import math
import random
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeVar

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid, softplus

from limpide.adapt.interrupts import whole
from limpide.core.errors import DataError, ModelError
from limpide.core.progress import Progress
from limpide.models.encoding import Encoded
from limpide.models.likelihood import read

if TYPE_CHECKING:
    from limpide.models.model import Model

Loss = Literal["dpo", "orpo"]
Holds = Callable[["Model", random.Random], Tensor]
Key = tuple[tuple[int, ...], tuple[int, ...]]
References = dict[Key, float]  # nats of a text under the reference
T = TypeVar("T")
FEW = 5  # steps
LEVEL = math.log(1.25)  # nats: one text a quarter likelier than the other is level enough to be counted as such
SURE = 1e-6  # nats: a mean likelihood of a token nearer to certainty than this counts as so near


@dataclass(frozen=True)
class Pair:
    """Two continuations, each after its own context, which are the same in a preference between two answers.

    level: neither is preferred in the end: whichever is likelier now gives way, until both are as likely.
    """

    chosen: Encoded
    rejected: Encoded
    level: bool = False


@dataclass(frozen=True)
class Plan:
    """beta: how fast a gain in log-likelihood counts as enough (DPO), or weight of the odds ratio (ORPO). sft: weight
    of the mean log-likelihood of a token of the chosen text (DPO alone; ORPO always has it, with weight 1).
    hold: weight of what keeps the rest as it was. batch: pairs behind one update; micro: of them at once in memory.
    enough: stop once the margin of the last epoch's pairs, or of as many as were seen, is on average so many nats.
    reference: of DPO, the network with its adapter switched off, or as it is when the training begins.
    """

    steps: int
    batch: int = 16
    micro: int = 16
    loss: Loss = "dpo"
    beta: float = 0.1
    sft: float = 0.0
    hold: float = 0.0
    learning_rate: float = 1e-3
    warmup: float = 0.1
    enough: float | None = None
    seed: int = 0
    reference: Literal["base", "before"] = "base"

    def rate(self, step: int) -> float:
        """Learning rate of update `step` (from 0): linear warm-up, then cosine to zero."""
        warm = max(1, round(self.warmup * self.steps))
        if step < warm:
            return self.learning_rate * (step + 1) / warm
        return self.learning_rate * 0.5 * (1 + math.cos(math.pi * (step - warm) / max(1, self.steps - warm)))


@dataclass
class Trained:
    """One entry a step, of its pairs before its update. margins: nats by which the chosen text gained on the rejected
    one, against the reference (DPO) or in log odds (ORPO); of pairs to level, minus how far apart both are.
    accuracies: share of pairs with a margin above zero; of those to level, above −LEVEL. holds: nats of the term that
    keeps the rest."""

    losses: list[float] = field(default_factory=list)
    margins: list[float] = field(default_factory=list)
    accuracies: list[float] = field(default_factory=list)
    holds: list[float] = field(default_factory=list)
    tokens: int = 0
    seconds: float = 0.0

    def facts(self) -> dict[str, Any]:
        """What was done, for the facts of an operation; first and last are means over FEW steps."""
        told = {"loss": self.losses, "margin": self.margins, "accuracy": self.accuracies, "hold": self.holds}
        first = {f"{name}_first": _mean(values[:FEW]) for name, values in told.items()}
        last = {f"{name}_last": _mean(values[-FEW:]) for name, values in told.items()}
        return {"steps": len(self.losses), "tokens": self.tokens, "seconds": round(self.seconds, 2), **first, **last}


@dataclass(frozen=True, eq=False)
class Sides:
    """Log-likelihoods of a batch of pairs, nats, float[pairs], and those of the reference; tokens: their lengths."""

    chosen: Tensor
    rejected: Tensor
    chosen_before: Tensor
    rejected_before: Tensor
    chosen_tokens: Tensor
    rejected_tokens: Tensor
    level: Tensor


def dpo(sides: Sides, beta: float, sft: float = 0.0) -> tuple[Tensor, Tensor]:
    """(losses, margins), float[pairs]: −log σ(β m), m = gain of the chosen text − gain of the rejected one.

    Source: Rafailov et al. 2023, eq. 7; sft: Pang et al. 2024, eq. 1 (RPO). A pair to level is preferred one way as
    often as the other, and measured from a reference that finds both as likely: with d = log-likelihood of the chosen
    text − that of the rejected one, −½ log σ(β d) − ½ log σ(−β d), least exactly at d = 0, whatever d was before. Its
    margin is −|d|. Source of preferences with a label between 0 and 1: Mitchell 2023, 'conservative DPO'.
    """
    apart = sides.chosen - sides.rejected
    gained = apart - (sides.chosen_before - sides.rejected_before)
    losses = torch.where(sides.level, softplus(-beta * apart) + beta * apart / 2, softplus(-beta * gained))
    margins = torch.where(sides.level, -apart.abs(), gained)
    return losses - sft * sides.chosen / sides.chosen_tokens, margins


def orpo(sides: Sides, beta: float) -> tuple[Tensor, Tensor]:
    """(losses, margins), float[pairs]: nats a token of the chosen text − β log σ(log odds ratio); no reference.

    odds(y) = P/(1 − P), log P the mean log-likelihood of a token. Source: Hong et al. 2024, eqs. 4, 6 and 7.
    """
    chosen, rejected = sides.chosen / sides.chosen_tokens, sides.rejected / sides.rejected_tokens
    margins = _log_odds(chosen) - _log_odds(rejected)
    return -chosen - beta * logsigmoid(margins), margins


class Course(Protocol):
    """Who follows a training from outside: what is kept of it on the way, and when it is enough."""

    def begin(self, optimiser: torch.optim.Optimizer, trained: "Trained", before: "References") -> bool:
        """Before the first step of this run: bring weights, optimiser and `trained` to where a killed run was.

        True where it was stopped already.
        """

    def stepped(self, optimiser: torch.optim.Optimizer, trained: "Trained") -> bool:
        """After a step. True stops the training."""


def train(
    model: "Model",
    pairs: Sequence[Pair],
    plan: Plan,
    progress: Progress,
    hold: Holds | None = None,
    course: Course | None = None,
    aside: Sequence[Pair] = (),
    before: References | None = None,
) -> Trained:
    """Train the weights of the network that require gradients: those of its `peft` adapter.

    hold: gives what is added to the loss, times plan.hold; its draws begin anew in a run that goes on. aside: pairs not
    learnt, whose references the course is given too. before: references read earlier. Raises DataError for no pair, or
    one whose sides are the same; ModelError where a loss or a gradient is no number.
    """
    _check(pairs)
    order = [i for _, i in zip(range(plan.steps * plan.batch), _order(len(pairs), plan.seed), strict=False)]
    before = before or references(model, [*(pairs[i] for i in dict.fromkeys(order)), *aside], plan, progress)
    weights = [weight for weight in model.network.parameters() if weight.requires_grad]
    optimiser = torch.optim.AdamW(weights, lr=plan.learning_rate, weight_decay=0.0)
    rng, trained = random.Random(f"{plan.seed}/hold"), Trained()
    if course is not None and course.begin(optimiser, trained, before):
        return trained
    started, spent, done = time.perf_counter(), trained.seconds, len(trained.losses)
    with progress.task("learning preferences", total=plan.steps, done=done) as task:
        for step, chosen in enumerate(_cut(order, plan.batch)):
            if step < done:
                continue
            optimiser.zero_grad()
            _gradients(model, [pairs[i] for i in chosen], before, plan, trained)
            _hold(model, hold, plan, rng, trained)
            _require_number(trained.losses[-1] + trained.holds[-1], "loss", step)
            _require_number(float(torch.nn.utils.clip_grad_norm_(weights, 1.0)), "gradient", step)
            for group in optimiser.param_groups:
                group["lr"] = plan.rate(step)
            with whole():
                optimiser.step()
                trained.seconds = spent + time.perf_counter() - started
                stop = course is not None and course.stepped(optimiser, trained)
            task.advance(1, loss=trained.losses[-1], margin=trained.margins[-1])
            if stop or _is_enough(trained, plan, len(pairs)):
                break
    return trained


def _check(pairs: Sequence[Pair]) -> None:
    if not pairs:
        raise DataError("There is no pair to learn a preference from.")
    same = [n for n, pair in enumerate(pairs) if _key(pair.chosen) == _key(pair.rejected)]
    if same:
        raise DataError(
            "A pair prefers a text to itself.",
            received=f"{len(same)} of {len(pairs)} pairs, the first is number {same[0] + 1}",
            expected="two texts that differ",
        )


def _order(count: int, seed: int) -> Iterator[int]:
    """Every pair once an epoch, in another order each time, without end."""
    epoch = 0
    while True:
        yield from random.Random(f"{seed}/{epoch}").sample(range(count), count)
        epoch += 1


def _key(item: Encoded) -> Key:
    return item.context, item.continuation


def referred(pairs: Sequence[Pair], plan: Plan) -> dict[Key, Encoded]:
    """The texts whose likelihood under the reference the loss asks for, each once, in the order of the pairs."""
    asking = [pair for pair in pairs if plan.loss == "dpo" and not pair.level]
    return {_key(item): item for pair in asking for item in (pair.chosen, pair.rejected)}


def references(model: "Model", pairs: Sequence[Pair], plan: Plan, progress: Progress) -> References:
    """Log-likelihood of each text under the reference; of those alone whose loss asks for it."""
    items = referred(pairs, plan)
    if not items:
        return {}
    ordered = sorted(items.values(), key=len)
    found: References = {}
    off = model.network.disable_adapter() if plan.reference == "base" else nullcontext()
    with torch.no_grad(), off, progress.task("reading the texts of the pairs", total=len(ordered)) as task:
        for some in _cut(ordered, 2 * plan.micro):
            nats = read(model, some).log_likelihoods(model).tolist()
            found.update(zip(map(_key, some), nats, strict=True))
            task.advance(len(some))
    return found


def judged(model: "Model", pairs: Sequence[Pair], before: References, plan: Plan) -> tuple[float, float, float]:
    """(loss, margin, accuracy) of pairs that are not learnt from now: means, as those of a step in Trained."""
    total, margin, right = 0.0, 0.0, 0
    with torch.no_grad():
        for some in _cut(pairs, plan.micro):
            losses, margins, level = _losses(model, some, before, plan)
            total, margin = total + float(losses.sum()), margin + float(margins.sum())
            right += int((margins > torch.where(level, -LEVEL, 0.0)).sum())
    return total / len(pairs), margin / len(pairs), right / len(pairs)


def _losses(model: "Model", pairs: Sequence[Pair], before: References, plan: Plan) -> tuple[Tensor, Tensor, Tensor]:
    """(losses, margins, is the pair to level), of one entry a pair each."""
    sides = _sides(model, pairs, before)
    losses, margins = dpo(sides, plan.beta, plan.sft) if plan.loss == "dpo" else orpo(sides, plan.beta)
    return losses, margins, sides.level


def _gradients(model: "Model", pairs: Sequence[Pair], before: References, plan: Plan, trained: Trained) -> None:
    """Add up the gradients of a step's mean loss, micro-batch by micro-batch."""
    total, margin, right = 0.0, 0.0, 0
    for some in _cut(pairs, plan.micro):
        losses, margins, level = _losses(model, some, before, plan)
        (losses.sum() / len(pairs)).backward()  # type: ignore[no-untyped-call]  # torch leaves backward untyped
        total, margin = total + float(losses.detach().sum()), margin + float(margins.detach().sum())
        right += int((margins > torch.where(level, -LEVEL, 0.0)).sum())
    trained.losses.append(total / len(pairs))
    trained.margins.append(margin / len(pairs))
    trained.accuracies.append(right / len(pairs))
    trained.tokens += sum(len(pair.chosen) + len(pair.rejected) for pair in pairs)


def _sides(model: "Model", pairs: Sequence[Pair], before: References) -> Sides:
    chosen, rejected = [pair.chosen for pair in pairs], [pair.rejected for pair in pairs]
    nats = read(model, [*chosen, *rejected]).log_likelihoods(model)
    known = [torch.tensor([before.get(_key(item), 0.0) for item in side]) for side in (chosen, rejected)]
    lengths = [torch.tensor([float(len(item.continuation)) for item in side]) for side in (chosen, rejected)]
    level = torch.tensor([pair.level for pair in pairs])
    return Sides(nats[: len(pairs)], nats[len(pairs) :], known[0], known[1], lengths[0], lengths[1], level)


def _hold(model: "Model", hold: Holds | None, plan: Plan, rng: random.Random, trained: Trained) -> None:
    if hold is None or plan.hold == 0:
        trained.holds.append(0.0)
        return
    kept = hold(model, rng)
    (plan.hold * kept).backward()  # type: ignore[no-untyped-call]  # torch leaves backward untyped
    trained.holds.append(float(kept.detach()))


def _is_enough(trained: Trained, plan: Plan, pairs: int) -> bool:
    if plan.enough is None:
        return False
    return _mean(trained.margins[-max(1, pairs // plan.batch) :]) >= plan.enough


def _require_number(value: float, what: str, step: int) -> None:
    if not math.isfinite(value):
        raise ModelError(
            f"The {what} of step {step + 1} of the preference training is not a number.",
            received=value,
            remedy="lower learning_rate",
        )


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else 0.0


def _log_odds(log_probability: Tensor) -> Tensor:
    below = log_probability.clamp(max=-SURE)
    return below - torch.log(-torch.expm1(below))


def _cut(items: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    return (items[first : first + size] for first in range(0, len(items), size))
