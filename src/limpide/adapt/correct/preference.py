"""Correct a bias by preference training: an outcome after the other person is preferred to the same after the
stereotyped one, until both are as likely.

Which pair makes the gap shrink? The audit compares one outcome y after two persons: log p(y | x(a)) − log p(y | x(b)).
- Whole sentences would teach which persons are mentioned: their own likelihood is most of the difference.
- Two outcomes after one person, DPO's usual pair, leave free whatever all outcomes gain together after that person,
  and train mostly on how well an outcome borrowed from another template fits.
- So each pair is one outcome after two persons, the context being read and not scored. The outcome stands on both sides
  and the persons are not predicted: neither becomes likelier as such. Its margin is the gap's own change.
A plain preference has no end: it goes on past zero to the opposite bias, which counts as much. Here each pair is one to
level (`Pair.level`): whichever of the two is likelier gives way, so a gap that is closed is left alone, and one that
the model has the other way round is closed too.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from pydantic import Field

from limpide.adapt.correct.common import BiasMethodSettings, fit_cases, keep, opened
from limpide.core.operation import Operation, Result, Subject
from limpide.core.progress import Progress

if TYPE_CHECKING:
    from limpide.adapt.preference import Pair, Plan
    from limpide.data.templates import Case
    from limpide.models.model import Model

STRENGTHS = (0.5, 1.0, 1.25, 1.5, 2.0)


class PreferenceSettings(BiasMethodSettings):
    """How the adapter is shaped and trained."""

    rank: int = Field(4, ge=1, le=256, description="rank of the adapter's matrices")
    beta: float = Field(2.0, gt=0, le=10, description="how fast a gap that closes counts as closed, per nat")
    borrowed: float = Field(
        1.0,
        ge=0,
        le=4,
        description="pairs, for each one of the templates, whose outcome is of a template of the opposite stereotype",
    )
    hold: float = Field(2.0, ge=0, description="weight of the distance to the base, in nats, on neutral text")
    neutral_texts: int = Field(40, ge=1, le=10_000, description="neutral texts that hold the model to its base")
    steps: int = Field(45, ge=1, le=100_000, description="updates of the adapter")
    batch: int = Field(12, ge=1, le=4096, description="pairs behind one update")
    learning_rate: float = Field(1e-3, gt=0, le=1, description="highest learning rate, after warm-up")


def run(subject: Subject, settings: PreferenceSettings, progress: Progress) -> Result:
    """Train an adapter on the templates that may be learnt from; its weights are the update."""
    from limpide.adapt.correct.low_rank import update_of, with_adapter
    from limpide.adapt.correct.neutral import Hold, neutral_texts
    from limpide.adapt.preference import train

    cases = fit_cases(settings)
    model = opened(subject)
    pairs = pairs_of(model, cases, settings.borrowed, subject.seed)
    hold = Hold.of(model, neutral_texts(model, settings.neutral_texts, subject.seed, progress))
    model = with_adapter(model, settings.rank, subject.seed)
    trained = train(model, pairs, plan_of(settings, subject.seed), progress, hold.loss)
    facts = {"cases": len(cases), "templates": len({case.template for case in cases}), "pairs": len(pairs)}
    return keep(subject, update_of(model), STRENGTHS, facts | {"rank": settings.rank} | trained.facts())


def plan_of(settings: PreferenceSettings, seed: int) -> Plan:
    from limpide.adapt.preference import Plan

    return Plan(
        steps=settings.steps,
        batch=settings.batch,
        micro=settings.batch,
        beta=settings.beta,
        hold=settings.hold,
        learning_rate=settings.learning_rate,
        seed=seed,
    )


def pairs_of(model: Model, cases: Sequence[Case], borrowed: float, seed: int) -> list[Pair]:
    """A pair a case, and `borrowed` more a case with a borrowed outcome, whether or not it fits: what is learnt is then
    that the person does not matter, rather than what to say of whom in these few places. On a planted bias this is
    what carries over to templates that were not learnt from."""
    from limpide.adapt.preference import Pair
    from limpide.models.encoding import encode_requests
    from limpide.models.requests import Request

    told = [(case, case.outcome) for case in cases] + _borrowed(cases, round(borrowed * len(cases)), seed)
    requests = [
        Request(f"{case.id}{outcome}", context, outcome)
        for case, outcome in told
        for context in (case.other, case.stereotyped)
    ]
    items = encode_requests(model, requests)
    return [Pair(chosen, rejected, level=True) for chosen, rejected in zip(items[::2], items[1::2], strict=True)]


def _borrowed(cases: Sequence[Case], count: int, seed: int) -> list[tuple[Case, str]]:
    """Cases drawn, each with an outcome that the opposite stereotype gives to the other person, in its language."""
    import random

    rng = random.Random(seed)
    found: list[tuple[Case, str]] = []
    while len(found) < count:
        for case in rng.sample(cases, min(len(cases), count - len(found))):
            fitting = [c for c in cases if (c.axis, c.language) == (case.axis, case.language) and c.group != case.group]
            found.append((case, rng.choice(fitting or cases).outcome))
    return found


operation = Operation(
    name="correct.preference",
    verb="change",
    summary="prefer outcomes after the other person to the same after the stereotyped one, until both are as likely",
    settings=PreferenceSettings,
    run=run,
    needs=("gradients",),
    source="DPO: Rafailov et al. 2023; soft labels: Mitchell 2023",
)
