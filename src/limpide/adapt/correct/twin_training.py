"""Twins, and an adapter trained until they are equally likely: the torch work of `counterfactual`.

A twin is one continuation after two contexts that differ by the person. What an adapter learns from the few shipped
templates alone is about these templates; so the model also goes on, in its own words, after each person, and what it
says there is to be as likely after the other one.
"""

import math
import random
import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn.functional import huber_loss

from limpide.core.errors import ModelError
from limpide.core.progress import Progress
from limpide.data import swaps
from limpide.data.templates import Case, read_pairs
from limpide.models.encoding import Encoded, encode_requests
from limpide.models.families.registry import blocks, logits_from_hidden, plain
from limpide.models.generation import continuations
from limpide.models.likelihood import read
from limpide.models.requests import Request, Sampling

if TYPE_CHECKING:
    from limpide.models.model import Model

Hold = Callable[["Model", random.Random], Tensor]

WARMUP = 8  # steps in which the learning rate rises
MOST_TOKENS = 24  # of a continuation that the model writes
LEAST_WORDS = 2  # of a continuation, else it says nothing of the person
NORM = 1.0  # gradients are cut to this length
WORD = re.compile(r"\w+|[^\w\s]|\s+")


@dataclass(frozen=True)
class Twin:
    """first, second: with the same continuation, token by token. source: what it is a filling of; one a batch."""

    first: Encoded
    second: Encoded
    source: str


@dataclass(frozen=True)
class Twins:
    """outcomes: of templates, judged whole. texts: of running text, judged token by token. left_out: texts without a
    twin, or whose twins are cut into other tokens."""

    outcomes: tuple[Twin, ...]
    texts: tuple[Twin, ...] = ()
    left_out: int = 0


@dataclass(frozen=True)
class Plan:
    """steps: updates of the adapter. outcomes, texts: twins behind one update. delta: nats above which a difference
    counts in proportion, not squared (Huber 1964). text_weight: of one token of a text, beside one outcome. hold: of
    the distance to the base. first_layer: the adapter leaves the layers before alone."""

    steps: int
    outcomes: int
    texts: int
    learning_rate: float
    delta: float
    text_weight: float
    hold: float
    first_layer: int
    seed: int


@dataclass(frozen=True)
class Trained:
    """history: (mean size of the gap between the twins of templates, loss, distance to the base), nats, a step each.
    seconds: of the wall clock."""

    history: tuple[tuple[float, float, float], ...]
    seconds: float

    def facts(self) -> dict[str, float]:
        """Gaps and distance are means over a tenth of the steps: batches differ."""
        count = max(1, len(self.history) // 10)
        (before, _, _), (after, _, distance) = (
            [sum(column) / count for column in zip(*part, strict=True)]
            for part in (self.history[:count], self.history[-count:])
        )
        return {
            "steps": len(self.history),
            "seconds": round(self.seconds, 2),
            "gap_in_first_steps": before,
            "gap_in_last_steps": after,
            "distance_in_last_steps": distance,
        }


# ------------------------------------------------------------------------------------------------------------- twins


def of_cases(model: "Model", cases: Sequence[Case]) -> list[Twin]:
    """A twin for each filled template."""
    return _twins(model, [(case.template, case.stereotyped, case.other, case.outcome) for case in cases])


def of_texts(
    model: "Model", texts: Sequence[tuple[str, str]], axis: str, listed: swaps.Pairs | None
) -> tuple[list[Twin], int]:
    """(twins, texts left out) of running text, (language, text) each: the longest stretch that both twins share after
    the first word swapped, read after all that stands before it."""
    found = []
    for number, (language, text) in enumerate(texts):
        other = swaps.swapped(text, language, axis, listed)
        shared = _shared(text, other) if other is not None else None
        if shared is not None:
            found.append((f"text-{number}", *shared))
    made = _twins(model, found)
    return made, len(texts) - len(made)


def of_own_words(
    model: "Model", axes: Sequence[str], languages: Sequence[str], count: int, seed: int, progress: Progress
) -> list[Twin]:
    """`count` continuations that the model draws after each shipped person, up to the first word that says which
    gender the person is of: what follows may differ by right, as 'she' does from 'he'."""
    pairs = [
        (language, *pair["groups"].values())
        for axis in axes
        for language in languages
        for pair in read_pairs(axis)[language]
    ]
    starts = list(dict.fromkeys((language, a, b) for language, one, two in pairs for a, b in ((one, two), (two, one))))
    sampling = Sampling(count=count, temperature=1.0, max_new_tokens=MOST_TOKENS, seed=seed)
    written = continuations(model, [person for _, person, _ in starts], sampling, progress)
    found: list[tuple[str, str, str, str]] = []
    for (language, person, other), drawn in zip(starts, written, strict=True):
        for one in drawn:
            before, whole = (
                model.tokenizer.decode(ids, skip_special_tokens=True) for ids in (one.context, one.context + one.ids)
            )
            said = _ungendered(whole[len(before) :], language)
            if len(said.split()) >= LEAST_WORDS and not said[:1].isalnum():
                found.append((f"own-{len(found)}", person, other, said))
    return _twins(model, found)


def _twins(model: "Model", texts: Sequence[tuple[str, str, str, str]]) -> list[Twin]:
    """texts: (source, context, other context, continuation). Those that the tokenizer cuts otherwise are left out."""
    requests = [Request(t[0], context, t[3]) for t in texts for context in t[1:3]]
    items = encode_requests(model, requests)
    pairs = zip(texts, items[::2], items[1::2], strict=True)
    return [Twin(a, b, t[0]) for t, a, b in pairs if a.continuation == b.continuation]


def _ungendered(text: str, language: str) -> str:
    """The text before its first word of a gender, and before its first line break; whole words only."""
    whole = re.sub(r"\s*\S+$", "", text.split("\n")[0])  # the last word may be cut
    return swaps.before_gender(whole, language).rstrip()


def _shared(text: str, other: str) -> tuple[str, str, str] | None:
    """(context, other context, continuation): the longest run of words that both have after the first swap."""
    a, b = WORD.findall(text), WORD.findall(other)
    matches = SequenceMatcher(None, a, b, autojunk=False).get_matching_blocks()
    first = next((m.size for m in matches if m.a == m.b == 0), 0)
    after = [m for m in matches if m.a >= first and m.size and m.a + m.size > first and (m.a or m.b)]
    if not after:
        return None
    run = max(after, key=lambda m: m.size)
    said = "".join(a[run.a : run.a + run.size])
    if len(said.split()) < LEAST_WORDS:
        return None
    return "".join(a[: run.a]), "".join(b[: run.b]), said


# ---------------------------------------------------------------------------------------------------------- training


def train(model: "Model", twins: Twins, hold: Hold, plan: Plan, progress: Progress) -> Trained:
    """Train the adapter that the network already has. Deterministic given the plan's seed.

    Loss of a step: Huber of the difference in log-likelihood between twins, of outcomes and, weighted, of each token of
    texts, summed and divided by the number of outcomes; and the distance to the base on neutral text, weighted. Raises
    ModelError when it is no number.
    """
    weights = _trainable(model, plan.first_layer)
    optimiser = torch.optim.AdamW(weights, lr=plan.learning_rate, weight_decay=0.0, betas=(0.9, 0.99))
    rng, history, started = random.Random(plan.seed), [], time.perf_counter()
    sources = _by_source(twins.outcomes)
    with progress.task("training on twins", total=plan.steps) as task:
        for step in range(plan.steps):
            gaps = differences(model, _drawn(sources, plan.outcomes, rng)).sums
            loss = huber_loss(gaps, torch.zeros_like(gaps), delta=plan.delta)
            if twins.texts and plan.texts:
                some = rng.sample(twins.texts, min(plan.texts, len(twins.texts)))
                each = differences(model, some).tokens
                told = huber_loss(each, torch.zeros_like(each), delta=plan.delta, reduction="sum")
                loss = loss + plan.text_weight * told / len(gaps)
            distance = hold(model, rng) if plan.hold else gaps.new_zeros(())
            _update(loss + plan.hold * distance, weights, optimiser, plan, step)
            history.append((float(gaps.detach().abs().mean()), float(loss.detach()), float(distance.detach())))
            task.advance(1, gap=history[-1][0], distance=history[-1][2])
    return Trained(tuple(history), time.perf_counter() - started)


@dataclass(frozen=True, eq=False)
class Differences:
    """tokens: float[tokens], log p after the first context − after the second. sums: float[twins]."""

    tokens: Tensor
    sums: Tensor


def differences(model: "Model", twins: Sequence[Twin]) -> Differences:
    """In nats; differentiable. Twins of an encoder are compared by pseudo-log-likelihoods."""
    places = read(model, [*(twin.first for twin in twins), *(twin.second for twin in twins)])
    logits = logits_from_hidden(model.network, model.family, places.hidden).float()
    nats = logits.gather(1, places.targets[:, None])[:, 0] - logits.logsumexp(1)
    first, second = nats.chunk(2)  # both have the same continuations, in the same order
    tokens = first - second
    owner = places.owner[: len(tokens)]
    return Differences(tokens, tokens.new_zeros(len(twins)).index_add(0, owner, tokens))


def _by_source(twins: Sequence[Twin]) -> dict[str, list[Twin]]:
    found: dict[str, list[Twin]] = {}
    for twin in twins:
        found.setdefault(twin.source, []).append(twin)
    return found


def _drawn(sources: dict[str, list[Twin]], count: int, rng: random.Random) -> list[Twin]:
    """One filling each of `count` templates."""
    return [rng.choice(sources[name]) for name in rng.sample(sorted(sources), min(count, len(sources)))]


def _trainable(model: "Model", first_layer: int) -> list[torch.nn.Parameter]:
    """The adapter's weights, float32 whatever the network computes in; those of earlier layers stay as they are."""
    for block in blocks(model.network, model.family)[:first_layer]:
        block.requires_grad_(False)
    weights = [p for p in plain(model.network).parameters() if p.requires_grad]
    for weight in weights:
        weight.data = weight.data.float()
    return weights


def _update(
    loss: Tensor, weights: list[torch.nn.Parameter], optimiser: torch.optim.Optimizer, plan: Plan, step: int
) -> None:
    """One step of the optimiser: warm-up, then cosine to zero."""
    rising, falling = min(1.0, (step + 1) / WARMUP), 0.5 * (1 + math.cos(math.pi * step / plan.steps))
    for group in optimiser.param_groups:
        group["lr"] = plan.learning_rate * rising * falling
    optimiser.zero_grad()
    loss.backward()  # type: ignore[no-untyped-call]  # torch leaves backward untyped
    norm = torch.nn.utils.clip_grad_norm_(weights, NORM)
    if not math.isfinite(float(norm) + float(loss.detach())):
        raise ModelError(
            f"Training on twins gave no number at step {step + 1}.",
            received=f"loss {float(loss.detach())}",
            remedy="lower correct.bias.counterfactual.learning_rate in the recipe",
        )
    optimiser.step()
