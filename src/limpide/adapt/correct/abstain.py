"""Correct made-up answers: teach the model to say that it does not know, with questions that it can answer watched.

Pairs are the model's own: what it makes up on shipped questions on things that do not exist is rejected for an
abstention in the question's language; and on questions that have an answer, an abstention is rejected for its own right
answer, or the reference's. Without the latter, it would learn to abstain whatever is asked. The likelihood of the
preferred answer is raised too: a preference alone is met by making the made-up answer unlikely, and leaves an
abstention that the model never said as unlikely as it was. What it does not show:
that the model knows what it knows; it may learn how invented names look.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from limpide.adapt.correct.common import keep, opened
from limpide.core.operation import Operation, Result, Settings, Subject
from limpide.core.progress import Progress

STRENGTHS = (0.5, 0.75, 1.0, 1.5)


class AbstainSettings(Settings):
    """On which questions the adapter is trained, and how."""

    languages: tuple[Literal["en", "fr"], ...] = Field(
        ("en", "fr"), min_length=1, description="languages of the questions"
    )
    known: float = Field(1.0, gt=0, le=10, description="questions that have an answer, for each one that has none")
    max_new_tokens: int = Field(24, ge=1, le=1024, description="tokens of the model's own answers")
    loss: Literal["dpo", "orpo"] = Field("dpo", description="how a preference is counted")
    rank: int = Field(8, ge=1, le=256, description="rank of the adapter's matrices")
    beta: float = Field(0.1, gt=0, le=10, description="how fast a preference counts as learnt, per nat")
    sft: float = Field(2.0, ge=0, le=10, description="weight of the likelihood of the preferred answer itself")
    hold: float = Field(1.0, ge=0, description="weight of the distance to the base, in nats, on neutral text")
    neutral_texts: int = Field(40, ge=1, le=10_000, description="neutral texts that hold the model to its base")
    steps: int = Field(60, ge=1, le=100_000, description="updates of the adapter")
    batch: int = Field(8, ge=1, le=4096, description="pairs behind one update")
    learning_rate: float = Field(5e-4, gt=0, le=1, description="highest learning rate, after warm-up")


def run(subject: Subject, settings: AbstainSettings, progress: Progress) -> Result:
    """Ask, then train an adapter on what was answered; its weights are the update."""
    from limpide.adapt.correct.abstaining import answered, pairs_of, require_chat
    from limpide.adapt.correct.low_rank import update_of, with_adapter
    from limpide.adapt.correct.neutral import Hold, neutral_texts
    from limpide.adapt.preference import Plan, train

    model = opened(subject)
    require_chat(model)
    answers = answered(model, settings.languages, settings.known, settings.max_new_tokens, subject.seed, progress)
    pairs = pairs_of(model, answers, subject.seed)
    hold = Hold.of(model, neutral_texts(model, settings.neutral_texts, subject.seed, progress))
    model = with_adapter(model, settings.rank, subject.seed)
    plan = Plan(
        steps=settings.steps,
        batch=settings.batch,
        micro=settings.batch,
        loss=settings.loss,
        beta=settings.beta,
        sft=settings.sft,
        hold=settings.hold,
        learning_rate=settings.learning_rate,
        seed=subject.seed,
    )
    trained = train(model, pairs, plan, progress, hold.loss)
    facts = {
        "asked_unanswerable": answers.asked,
        "made_up": len(answers.unknown),
        "asked_answerable": len(answers.known),
        "right": answers.right,
        "pairs": len(pairs),
    }
    return keep(subject, update_of(model), STRENGTHS, facts | {"rank": settings.rank} | trained.facts())


operation = Operation(
    name="correct.abstain",
    verb="change",
    summary="teach the model to say that it does not know where it makes answers up",
    settings=AbstainSettings,
    run=run,
    needs=("gradients", "generates"),
    source="DPO: Rafailov et al. 2023; ORPO: Hong et al. 2024",
)
