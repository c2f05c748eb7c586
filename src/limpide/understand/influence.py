"""Which training examples taught this answer? Gradient similarity on the adapter's weights over its training.

An update on an example z moves the weights by −rate × ∇loss(z); to first order this raises the answer's log-likelihood
by rate × ⟨∇loss(z), ∇loss(answer)⟩. The influence of z is the sum over the training, taken at a few states of the
adapter that were kept on the way, each with the learning rates of the updates up to the next.
Source: Pruthi et al. 2020, Estimating Training Data Influence by Tracing Gradient Descent (TracInCP).

Normalised, each product is divided by the lengths of both gradients. That is the default: long examples have long
gradients, and examples not yet learnt longer ones. Among 32 rows of a tiny model, of which 24 are long and teach
nothing, the row that taught a fact is first for 16 of 16 questions, against 15 with the bare product; with the first of
the states alone, for 16 against 12. With SmolLM2 and 49 rows of the press operator's example, of the rows ranked first
for 10 held-out questions those of the question's own topic are 40 of 40 both ways; with the last state alone, 39
against 37.

What it does not say: training here is by AdamW with gradients clipped, whose updates are not the bare gradient; an
example may teach by what it has in common with many, each of which is then small; and the ranking is a first-order
estimate until the leave-out check has confirmed it.
"""

import random
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch.nn.functional import cross_entropy

from limpide.core.errors import IntegrityError, ModelError
from limpide.core.progress import Progress
from limpide.models import trail
from limpide.models.families.registry import backbone, logits_from_hidden
from limpide.models.model import Model, open_model
from limpide.models.prompt import Rendered, render_example
from limpide.models.row import embed, final_hidden, target_log_likelihoods
from limpide.understand.left_out import LeftOut, check_removable, leave_out
from limpide.understand.question import Question
from limpide.understand.settings import InfluenceSettings
from limpide.understand.trained import Trained, find_trained

GROUP = 512  # tokens of examples whose gradients are taken at once, about
OTHER = 0.1  # nats a token by which two models that should be one may differ: a release is rounded to float16

Weights = Mapping[str, torch.nn.Parameter]


@dataclass(frozen=True)
class Ranked:
    """influence: positive where learning the example made the answer likelier. Normalised: the mean cosine of the two
    gradients over the training, from −1 to 1; else learning rate × nats², to be compared within one ranking only."""

    id: str
    prompt: str
    answer: str
    influence: float


@dataclass(frozen=True)
class Influence:
    """raises: strongest first, above zero; lowers: strongest first, below zero. checkpoints: states looked at.
    examples: rows ranked, of `trained` rows. check: None when it was not asked for."""

    raises: tuple[Ranked, ...]
    lowers: tuple[Ranked, ...]
    checkpoints: int
    examples: int
    trained: int
    normalised: bool
    check: LeftOut | None

    def record(self) -> dict[str, Any]:
        """Plain JSON, floats to 6 significant digits."""
        found = asdict(self) | {"check": None if self.check is None else self.check.record()}
        for side in ("raises", "lowers"):
            found[side] = [row | {"influence": float(f"{row['influence']:.6g}")} for row in found[side]]
        return found


def explain(
    model: Model, question: Question, settings: InfluenceSettings, progress: Progress, seed: int = 0
) -> Influence:
    """The training examples that raise and lower this answer's log-likelihood most (its log-odds, where it is held
    against another), and with settings.check whether training without the first of them shows it.

    model: a release, or what was opened from an adapt step; its training must be on this machine. Raises ModelError,
    MissingError, DataError, IntegrityError, UsageError.
    """
    trained = require(model, question, settings)
    adapted = open_model(trained.base, adapter=trained.adapter)
    chosen = _sample(len(trained.examples), settings.most, seed)
    if len(chosen) < len(trained.examples):
        progress.warn(
            f"{len(chosen)} of {len(trained.examples)} examples are looked at, drawn at random: "
            "raise influence.most for all"
        )
    examples = [trained.examples[i] for i in chosen]
    before = log_likelihood(adapted, question)
    _warn_other_model(log_likelihood(model, question), before, question, progress)
    scores = _influences(adapted, question, trained, [render_example(adapted, e) for e in examples], settings, progress)
    order = sorted(range(len(examples)), key=lambda i: (-scores[i], i))
    ranked = [Ranked(examples[i].id, examples[i].question, examples[i].answer, scores[i]) for i in order]
    check = None
    if settings.check:
        del adapted  # the trainings to come need its memory
        check = leave_out(
            trained, [r.id for r in ranked], before, settings, lambda m: log_likelihood(m, question), progress, seed
        )
    return Influence(
        raises=tuple(r for r in ranked if r.influence > 0)[: settings.top],
        lowers=tuple(r for r in reversed(ranked) if r.influence < 0)[: settings.top],
        checkpoints=len(trained.trail.checkpoints),
        examples=len(examples),
        trained=len(trained.examples),
        normalised=settings.normalised,
        check=check,
    )


def require(model: Model, question: Question, settings: InfluenceSettings) -> Trained:
    """The training of the model, before anything is computed. Raises what `explain` raises where there is none."""
    if model.kind != "decoder":
        raise ModelError(
            f"Which examples taught an answer is told for adapted decoders; {model.family.title} is an {model.kind}.",
            remedy="choose other methods",
        )
    trained = find_trained(model.folder, model.folder, settings.adapter, settings.examples)
    if settings.check:
        check_removable(trained, settings)
    return trained


def _warn_other_model(asked: float, trained: float, question: Question, progress: Progress) -> None:
    """A release and its adapter differ by rounding only; more says that the two do not belong together."""
    if abs(asked - trained) > OTHER * len(question.answer_tokens):
        progress.warn(
            f"The model that was asked gives this answer {asked:.2f} nats, the adapter whose training is looked at "
            f"{trained:.2f}: are they the same model?"
        )


def log_likelihood(model: Model, question: Question) -> float:
    """Nats of the answer; its log-odds where it is held against another."""
    with torch.inference_mode():
        return float(_log_likelihood(model, question))


def _log_likelihood(model: Model, question: Question) -> torch.Tensor:
    """The same, differentiable."""
    rows = [question.row] if question.against_row is None else [question.row, question.against_row]
    nats = [target_log_likelihoods(model, r, final_hidden(model, r, embed(model, r.ids)[None])).sum() for r in rows]
    return nats[0] if len(nats) == 1 else nats[0] - nats[1]


def _sample(count: int, most: int, seed: int) -> list[int]:
    return list(range(count)) if count <= most else sorted(random.Random(seed).sample(range(count), most))


def _influences(
    model: Model,
    question: Question,
    trained: Trained,
    rows: Sequence[Rendered],
    settings: InfluenceSettings,
    progress: Progress,
) -> list[float]:
    """Influence of each row. Gradients live one group and one matrix at a time; only the answer's is kept."""
    checkpoints = trained.trail.checkpoints
    weights, groups = _adapter_weights(model), _groups(rows)
    all_rates = sum(c.rates for c in checkpoints)
    found = torch.zeros(len(rows), dtype=torch.float64)
    with progress.task("influence", total=len(rows) * len(checkpoints)) as task:
        for number, checkpoint in enumerate(checkpoints):
            _load(weights, trail.load_state(trained.folder, checkpoint))
            started = time.perf_counter()
            answer = _answer_gradient(model, question, weights)
            for group in groups:
                products, squares = similarities(model, answer, [rows[i] for i in group])
                if settings.normalised:
                    length = sum(float(g.square().sum()) for g in answer.values()) * squares
                    products = products / length.sqrt().clamp_min(1e-30) / all_rates
                found[group] += checkpoint.rates * products
                task.advance(len(group))
                if number == 0 and group is groups[0]:
                    _say_cost(rows, group, len(checkpoints), time.perf_counter() - started, progress)
    return [float(value) for value in found]


def _say_cost(rows: Sequence[Rendered], group: list[int], states: int, seconds: float, progress: Progress) -> None:
    tokens = sum(len(row.ids) for row in rows)
    share = tokens * states / max(1, sum(len(rows[i].ids) for i in group))
    progress.say(
        f"influence: {len(rows)} examples, {tokens} tokens, at {states} states of the adapter, "
        f"about {_duration(seconds * share)}"
    )


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.0f} min"


def _groups(rows: Sequence[Rendered]) -> list[list[int]]:
    """Rows of like length together, so that little is computed for nothing."""
    groups: list[list[int]] = []
    for i in sorted(range(len(rows)), key=lambda i: len(rows[i].ids)):
        if groups and (len(groups[-1]) + 1) * len(rows[i].ids) <= GROUP:
            groups[-1].append(i)
        else:
            groups.append([i])
    return groups


def _adapter_weights(model: Model) -> Weights:
    """The adapter's weights, from now on the only ones with a gradient."""
    found = {name: p for name, p in model.network.named_parameters() if ".lora_" in name}
    for weight in found.values():
        weight.requires_grad_(True)
    return found


def _load(weights: Weights, state: Mapping[str, torch.Tensor]) -> None:
    if {n: w.shape for n, w in weights.items()} != {n: t.shape for n, t in state.items()}:
        raise IntegrityError(
            "A checkpoint of the training does not fit the adapter beside it.",
            received=f"{len(state)} matrices",
            expected=f"the adapter's {len(weights)}",
            remedy="train again: limpide run recipe.yaml --from adapt",
        )
    with torch.no_grad():
        for name, tensor in state.items():
            weights[name].copy_(tensor)


def _answer_gradient(model: Model, question: Question, weights: Weights) -> dict[str, torch.Tensor]:
    """Gradient of the answer's loss, by the name of the module that holds the weight."""
    loss = -_log_likelihood(model, question)
    gradients = torch.autograd.grad(loss, list(weights.values()), allow_unused=True)
    named = zip(weights, gradients, strict=True)
    return {name.removesuffix(".weight"): g for name, g in named if g is not None}


def similarities(
    model: Model, direction: Mapping[str, torch.Tensor], rows: Sequence[Rendered]
) -> tuple[torch.Tensor, torch.Tensor]:
    """(⟨gradient, direction⟩, ‖gradient‖²) of the loss of each row, float[rows] both.

    direction: {module: float[out, in]}, of the linear modules of the adapter. One pass for all rows: the gradient of
    a row on a matrix is Σ over its tokens of (gradient of the module's output) ⊗ (its input), taken as it goes by.
    """
    products, squares = torch.zeros(len(rows), dtype=torch.float64), torch.zeros(len(rows), dtype=torch.float64)

    def take(name: str, read: torch.Tensor, gradient: torch.Tensor) -> None:
        read, gradient = (t.reshape(len(rows), -1, t.shape[-1]) for t in (read, gradient))
        each = gradient.mT @ read  # [rows, out, in]
        products.add_((each * direction[name]).sum((1, 2)))
        squares.add_(each.square().sum((1, 2)))

    with _watched(model, list(direction), take):
        row_losses(model, rows).sum().backward()  # type: ignore[no-untyped-call]  # torch leaves backward untyped
    return products, squares


@contextmanager
def _watched(
    model: Model, names: Sequence[str], take: Callable[[str, torch.Tensor, torch.Tensor], None]
) -> Iterator[None]:
    """During the next passes `take` is given, for each named module, its input and the gradient of its output."""

    def watch(name: str) -> Any:
        def forward(module: Any, read: tuple[torch.Tensor, ...], written: torch.Tensor) -> None:
            kept = read[0].detach()
            written.register_hook(lambda gradient: take(name, kept, gradient))  # type: ignore[no-untyped-call]

        return model.network.get_submodule(name).register_forward_hook(forward)

    handles = [watch(name) for name in names]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
        model.network.zero_grad(set_to_none=True)


def row_losses(model: Model, rows: Sequence[Rendered]) -> torch.Tensor:
    """Nats of each row, summed over its trained tokens as training takes them. Returns float[rows], differentiable."""
    width = max(len(row.ids) for row in rows)
    ids = torch.zeros(len(rows), width, dtype=torch.long)  # padded on the right, which no earlier token sees
    for k, row in enumerate(rows):
        ids[k, : len(row.ids)] = torch.tensor(row.ids)
    learnt = [(k, at) for k, row in enumerate(rows) for at, trained in enumerate(row.trained) if trained and at]
    which, places = torch.tensor(learnt).unbind(1)
    hidden = backbone(model.network, model.family)(input_ids=ids, use_cache=False).last_hidden_state
    logits = logits_from_hidden(model.network, model.family, hidden[which, places - 1]).float()  # [learnt, vocabulary]
    nats = cross_entropy(logits, ids[which, places], reduction="none")
    return torch.zeros(len(rows)).index_add(0, which, nats)
