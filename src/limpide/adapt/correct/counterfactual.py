"""Correct a bias by counterfactual training: sentences that differ by the person become equally likely.

A low-rank adapter is trained on twins of the templates that may be learnt from, of what the model itself says of the
shipped persons and, where given, of the user's own texts; all else is held to the base by the distance between their
next-token distributions on neutral text. Source: counterfactual data augmentation (Lu et al. 2018, arXiv:1807.11714)
and pairing (Garg et al. 2019, arXiv:1809.10610), here on differences of log-likelihood.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from limpide.adapt.correct.common import BiasMethodSettings, fit_cases, keep, opened
from limpide.core.errors import DataError
from limpide.core.operation import Operation, Result, Subject
from limpide.core.progress import Progress

if TYPE_CHECKING:
    from collections.abc import Sequence

    from limpide.adapt.correct.twin_training import Plan, Twins
    from limpide.data.templates import Case
    from limpide.models.model import Model
    from limpide.models.update import Update

STRENGTHS = (0.5, 0.75, 1.0, 1.25, 1.5)
LEAST_TEXTS = 8  # of the user's own, that have a twin
TEXTS_A_STEP = 4  # text twins behind one update
TEXT_WEIGHT = 0.3  # of one token of them, beside one outcome


class CounterfactualSettings(BiasMethodSettings):
    """How the adapter is shaped, what it learns from, and what it must leave alone."""

    rank: int = Field(8, ge=1, le=256, description="rank of the adapter's matrices")
    first_layer: float = Field(
        0.45, ge=0, lt=1, description="share of the layers, from the first one, that the adapter leaves alone"
    )
    steps: int = Field(120, ge=1, le=100_000, description="updates of the adapter")
    twins: int = Field(8, ge=1, le=4096, description="twins of templates behind one update")
    learning_rate: float = Field(3e-3, gt=0, le=1, description="highest learning rate, after warm-up")
    delta: float = Field(2.0, gt=0, description="nats above which a difference counts in proportion, not squared")
    hold: float = Field(2.0, ge=0, description="weight of the distance to the base, in nats, on neutral text")
    neutral_texts: int = Field(80, ge=1, le=10_000, description="neutral texts that hold the model to its base")
    own_words: int = Field(
        4, ge=0, le=1000, description="continuations that the model writes after each shipped person, to learn from"
    )
    texts: Path | None = Field(
        None,
        description="sentences of your own to learn from, one a line, whose persons are swapped by a list of words",
    )
    texts_language: Literal["en", "fr"] = Field("en", description="language of these sentences")
    swaps: Path | None = Field(
        None, description="the words to swap in them: two columns, a word and what it is swapped with; default: shipped"
    )
    precision: Literal["auto", "float32", "bfloat16"] = Field(
        "auto", description="auto measures which one this machine multiplies faster"
    )


def run(subject: Subject, settings: CounterfactualSettings, progress: Progress) -> Result:
    """Train an adapter until twins are equally likely; its weights are the update.

    Raises DataError for too few templates, pairs of one group, a faulty swap list, or texts in which too little can be
    swapped; ModelError where training gives no number.
    """
    from limpide.adapt.correct import twin_training
    from limpide.adapt.correct.low_rank import update_of, with_adapter
    from limpide.adapt.correct.neutral import Hold, neutral_texts

    _require_two_groups(settings)
    cases, texts = fit_cases(settings), _texts(settings)
    listed = _swaps(settings)
    model = _opened(subject, settings)
    twins = _twins(model, cases, texts, listed, settings, subject.seed, progress)
    hold = Hold.of(model, neutral_texts(model, settings.neutral_texts, subject.seed, progress))
    model = with_adapter(model, settings.rank, subject.seed)
    trained = twin_training.train(model, twins, hold.loss, _plan(settings, model, subject.seed), progress)
    facts = {
        "templates": len({case.template for case in cases}),
        "twins": len(twins.outcomes),
        "text_twins": len(twins.texts),
        "texts_left_out": twins.left_out,
        "rank": settings.rank,
        "precision": model.precision,
    }
    return keep(subject, _learnt(update_of(model)), STRENGTHS, facts | trained.facts(), _warnings(twins, len(texts)))


def _learnt(update: Update) -> Update:
    """Without the weights of the layers that were left alone."""
    from limpide.models.update import Update

    return Update({name: (left, right) for name, (left, right) in update.factors.items() if left.any() and right.any()})


def _opened(subject: Subject, settings: CounterfactualSettings) -> Model:
    """The model to correct, in the precision to train in."""
    from dataclasses import replace

    from limpide.models.model import DTYPES, faster_precision

    model = opened(subject)
    precision = settings.precision if settings.precision != "auto" else faster_precision()
    return replace(model, network=model.network.to(DTYPES[precision]), precision=precision)


def _require_two_groups(settings: CounterfactualSettings) -> None:
    from limpide.data.templates import read_pairs

    for axis in settings.axes:
        groups = {
            group for language in settings.languages for pair in read_pairs(axis)[language] for group in pair["groups"]
        }
        if len(groups) < 2:
            raise DataError(
                f"The pairs of the axis '{axis}' name one group alone, so there are no twins.",
                received=", ".join(groups) or "none",
                expected="two persons of different groups in each pair",
                remedy=f"choose another axis than {axis}, or add pairs to it",
            )


def _texts(settings: CounterfactualSettings) -> list[tuple[str, str]]:
    """(language, sentence) of each line of the user's file."""
    if settings.texts is None:
        return []
    try:
        lines = settings.texts.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(
            f"The sentences in {settings.texts} cannot be read.", received=str(error), expected="UTF-8 text, one a line"
        ) from error
    return [(settings.texts_language, line.strip()) for line in lines if line.strip()]


def _swaps(settings: CounterfactualSettings) -> tuple[tuple[str, str], ...] | None:
    from limpide.data.swaps import read_swaps

    return read_swaps(settings.swaps) if settings.swaps is not None else None


def _twins(
    model: Model,
    cases: Sequence[Case],
    texts: Sequence[tuple[str, str]],
    listed: tuple[tuple[str, str], ...] | None,
    settings: CounterfactualSettings,
    seed: int,
    progress: Progress,
) -> Twins:
    """Twins of templates, of the user's texts, and of what a decoder says itself."""
    from limpide.adapt.correct import twin_training

    theirs, left_out = twin_training.of_texts(model, texts, settings.axes[0], listed)
    if texts and len(theirs) < LEAST_TEXTS:
        raise DataError(
            f"In too few sentences of {settings.texts} can the persons be swapped.",
            received=f"{len(theirs)} of {len(texts)}",
            expected=f"at least {LEAST_TEXTS}, each with two words or more after the person",
            remedy="give sentences about one person, of a gender that a word shows; or a list of your own words: swaps",
        )
    own = []
    if model.kind == "decoder" and settings.own_words:
        own = twin_training.of_own_words(model, settings.axes, settings.languages, settings.own_words, seed, progress)
    return twin_training.Twins(tuple(twin_training.of_cases(model, cases)), (*theirs, *own), left_out)


def _plan(settings: CounterfactualSettings, model: Model, seed: int) -> Plan:
    from limpide.adapt.correct.twin_training import Plan
    from limpide.models.families.registry import blocks

    return Plan(
        steps=settings.steps,
        outcomes=settings.twins,
        texts=TEXTS_A_STEP,
        learning_rate=settings.learning_rate,
        delta=settings.delta,
        text_weight=TEXT_WEIGHT,
        hold=settings.hold,
        first_layer=int(settings.first_layer * len(blocks(model.network, model.family))),
        seed=seed,
    )


def _warnings(twins: Twins, texts: int) -> list[str]:
    """What a person should know of the texts that could not be used."""
    if not twins.left_out:
        return []
    return [
        f"{twins.left_out} of {texts} sentences were left out: no person of theirs could be swapped with the grammar "
        "kept for sure, or nothing followed that both twins share."
    ]


operation = Operation(
    name="correct.counterfactual",
    verb="change",
    summary="Train an adapter until sentences that differ by the person are equally likely; all else is held.",
    settings=CounterfactualSettings,
    run=run,
    needs=("gradients",),
    source="counterfactual data augmentation, Lu et al. 2018; logit pairing, Garg et al. 2019",
)
