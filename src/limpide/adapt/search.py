"""Which learning rate and which rank: short trainings on the user's own rows, each judged on the rows kept aside.

Every trial is kept, with its interval, and none is made twice by a run that goes on. What wins a short training need
not win a long one, and rows that chose the winner flatter it: the held-out split, which chose nothing, judges it.
"""

import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from itertools import product
from pathlib import Path
from typing import Any

from limpide.adapt import training
from limpide.adapt.adapters import adapted_network
from limpide.adapt.fused import fused
from limpide.adapt.lessons import Material
from limpide.adapt.loss import Estimate, difference, estimate
from limpide.adapt.packing import Pack, packs_for
from limpide.adapt.settings import SearchSettings, TrainSettings
from limpide.adapt.stages import order_of, padding, plan_of
from limpide.core import files
from limpide.core.errors import ModelError
from limpide.core.progress import Progress
from limpide.models.model import Model

FILE = "search.jsonl"
FACTOR = 3.0  # between neighbouring learning rates, where none are given


@dataclass(frozen=True)
class Trial:
    """One short training. nats, tokens: of each conversation kept aside, after its last step; none where its
    loss was no number on the way."""

    learning_rate: float
    rank: int
    nats: tuple[float, ...]
    tokens: tuple[int, ...]
    seconds: float

    @property
    def failed(self) -> bool:
        return not self.nats

    @property
    def held_out(self) -> Estimate:
        return estimate(self.nats, self.tokens)

    def told(self) -> dict[str, Any]:
        kept = {"learning_rate": self.learning_rate, "rank": self.rank, "seconds": round(self.seconds, 1)}
        if self.failed:
            return kept | {"held_out": None, "low": None, "high": None}
        found = self.held_out
        return kept | {"held_out": found.mean, "low": found.low, "high": found.high}


def settle(
    model: Model, settings: TrainSettings, material: Material, out: Path, seed: int, progress: Progress
) -> tuple[TrainSettings, dict[str, Any]]:
    """The settings with the learning rate and rank that did best within the budget, and every trial as facts.

    Trials lie in `out`/search.jsonl. Raises ModelError where there is nothing to compare.
    """
    if settings.search is None:
        return settings, {}
    rows, aside = material.answers
    if len(aside) < 2:
        raise ModelError(
            "A search compares adapters on answers kept aside.",
            received=f"{len(aside)} answers kept aside",
            remedy="give more rows, raise adapt.validation, or leave out adapt.search",
        )
    packs, held_out = (packs_for(model, part, settings.pack_tokens, seed) for part in (rows, aside))
    path = out / FILE
    trials = [_read(row) for row in files.read_jsonl(path)] if path.is_file() else []
    wanted = [pair for pair in candidates(settings, settings.search) if pair not in _tried(trials)]
    count = len(wanted) + len(trials)
    with progress.task("searching", total=count, done=len(trials)) as task:
        for rate, rank in wanted:
            if trials and sum(trial.seconds for trial in trials) >= 60 * settings.search.minutes:
                break
            tried = _with(settings, rate, rank).model_copy(update={"epochs": settings.search.epochs})
            trials.append(_try(model, tried, packs, held_out, seed))
            files.write_jsonl(path, [asdict(trial) for trial in trials])
            task.advance(1, learning_rate=rate, rank=rank, held_out=trials[-1].told()["held_out"])
    best, facts = choose(trials, count)
    progress.say(told(best, trials, facts))
    return _with(settings, best.learning_rate, best.rank), facts


def candidates(settings: TrainSettings, search: SearchSettings) -> list[tuple[float, int]]:
    """(learning rate, rank) in the order they are tried: the usual rate first, then its neighbours; each once."""
    usual = settings.rate("answers")
    rates = search.learning_rates or (usual, usual / FACTOR, usual * FACTOR)
    return list(dict.fromkeys((float(f"{rate:.3g}"), rank) for rate, rank in product(rates, search.ranks)))


def _tried(trials: Sequence[Trial]) -> set[tuple[float, int]]:
    return {(trial.learning_rate, trial.rank) for trial in trials}


def _with(settings: TrainSettings, rate: float, rank: int) -> TrainSettings:
    return settings.model_copy(update={"learning_rate": rate, "rank": rank, "search": None})


def _read(row: dict[str, Any]) -> Trial:
    return Trial(**{**row, "nats": tuple(row["nats"]), "tokens": tuple(row["tokens"])})


def _try(model: Model, settings: TrainSettings, packs: Sequence[Pack], held_out: Sequence[Pack], seed: int) -> Trial:
    """A training of its own, from a fresh adapter that is taken off again."""
    started = time.monotonic()
    network = adapted_network(model, settings, seed)
    plan = plan_of(settings, "answers", packs, settings.epochs, seed)
    state = training.trainer(network, model.family, plan, padding(model))
    order = order_of(list(packs), seed)
    nats, tokens = list[float](), list[int]()
    with fused(network), suppress(ModelError):  # a loss that is no number ends the trial, and not the search
        while state.step < plan.steps:
            training.take_step(state, order(state.step // plan.steps_per_epoch))
        nats, tokens = training.by_conversation(state, held_out)
    network.unload()
    rate, rank = settings.rate("answers"), settings.rank
    return Trial(rate, rank, tuple(nats), tuple(tokens), time.monotonic() - started)


def choose(trials: Sequence[Trial], asked: int) -> tuple[Trial, dict[str, Any]]:
    """(the trial with the lowest loss, the facts behind it). search_lead: how much lower than the next best, paired.

    asked: trials that the budget might have held. Raises ModelError where none came to an end.
    """
    ended = [trial for trial in trials if not trial.failed]
    if not ended:
        raise ModelError(
            "The loss of every trial of the search was no number.",
            received=", ".join(f"learning rate {trial.learning_rate:g}, rank {trial.rank}" for trial in trials),
            remedy="give lower rates in adapt.search.learning_rates, or set adapt.precision: float32",
        )
    ranked = sorted(ended, key=lambda trial: (trial.held_out.mean, trial.rank))
    lead = difference(ranked[1], ranked[0]) if len(ranked) > 1 else None
    facts = {
        "search": [trial.told() for trial in trials],
        "search_left_out": asked - len(trials),
        "search_lead": None if lead is None else {"nats": lead.mean, "low": lead.low, "high": lead.high},
    }
    return ranked[0], facts


def told(best: Trial, trials: Sequence[Trial], facts: dict[str, Any]) -> str:
    return "; ".join(_told(best, trials, facts))


def _told(best: Trial, trials: Sequence[Trial], facts: dict[str, Any]) -> Iterator[str]:
    yield (
        f"search: of {len(trials)} trials, learning rate {best.learning_rate:g} and rank {best.rank} lose least on "
        f"rows kept aside ({best.held_out.mean:.4f} nats a token)"
    )
    lead = facts["search_lead"]
    if lead is not None and (lead["low"] is None or lead["low"] <= 0):
        yield "the next best cannot be told from it by chance"
    if facts["search_left_out"]:
        yield f"{facts['search_left_out']} trials were left out for want of time"
