"""Erasure: no linear predictor finds the person's group any more in what chosen layers give.

Fitted in closed form, without training (leace.py), on twins of the templates' first part (erasing.py), and on neutral
texts beside them: the change is the least on both together. What the attention or the MLP of a layer adds to the
stream is erased in the weights that write it, so that any tool runs the result as it is. Only what is linear there is
erased: a group can still be told by other predictors, or elsewhere.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from limpide.adapt.correct.common import BiasMethodSettings, fit_cases, keep, opened
from limpide.core.operation import Operation, Result, Subject
from limpide.core.progress import Progress

if TYPE_CHECKING:
    from collections.abc import Sequence

    from limpide.adapt.correct.erasing import Erased, Row, Spot
    from limpide.models.model import Model

STRENGTHS = (0.5, 0.75, 1.0)
SCREENED = "largest share of the gap, by gradient times the difference of groups"
APART = (
    "The erased streams are kept as modules beside the weights: Limpide applies them, other tools do not. "
    "site: outputs puts the erasure into the weights."
)


class ErasureSettings(BiasMethodSettings):
    """Where the group is erased."""

    site: Literal["outputs", "attention", "mlp", "residual"] = Field(
        "outputs",
        description="what is erased in a layer: what its attention and its MLP give, one of them, or the whole stream "
        "after it (which no weight holds: it stays a module beside the model)",
    )
    layers: tuple[int, ...] | None = Field(
        None, min_length=1, description="layers, from 0; default: those that carry most of the gap, by gradients"
    )
    most: int = Field(8, ge=1, description="how many layers, where none are named")
    neutral: int = Field(
        128, ge=0, description="neutral texts on which the change is kept least too; 0: least on the templates alone"
    )
    shrinkage: float = Field(
        0.0,
        ge=0,
        le=1,
        description="share by which covariances are drawn to equal variances, for few texts against the width",
    )


def run(subject: Subject, settings: ErasureSettings, progress: Progress) -> Result:
    """Raises UsageError for a layer that does not exist, DataError for too few templates, ModelError."""
    from limpide.adapt.correct.erasing import erase, neutral_rows, rows_of, spots_of
    from limpide.adapt.correct.neutral import neutral_texts
    from limpide.models.writes import joined

    started = time.monotonic()
    model = opened(subject)
    named = spots_of(model, _sites(settings), settings.layers)
    rows = rows_of(model, fit_cases(settings))
    spots, screen = (named, []) if settings.layers is not None else _found(model, rows, named, settings.most, progress)
    held = neutral_rows(neutral_texts(model, settings.neutral, subject.seed, progress), len(rows[0].group))
    erased = erase(model, [*rows, *held], spots, settings.shrinkage, progress)
    facts: dict[str, Any] = {
        "texts": len(rows),
        "neutral_texts": len(held),
        "places": max(one.places for one in erased),
        "layers_by": "named" if settings.layers is not None else SCREENED,
        "layers": {name: sorted(layers) for name, layers in _layers(erased).items()},
        "spots": [_record(one) for one in erased],
        "screen": screen,
        "mean_not_kept": sum(not one.whole for one in erased),
        "seconds": round(time.monotonic() - started, 1),
    }
    warnings = (APART,) if settings.site == "residual" else ()
    return keep(subject, joined(*(one.update for one in erased)), STRENGTHS, facts, warnings)


def _sites(settings: ErasureSettings) -> tuple[Any, ...]:
    return ("attention", "mlp") if settings.site == "outputs" else (settings.site,)


def _found(
    model: Model, rows: Sequence[Row], spots: Sequence[Spot], most: int, progress: Progress
) -> tuple[list[Spot], list[dict[str, Any]]]:
    """(the spots of the layers that carry most of the gap, what each layer carries in nats)."""
    from limpide.adapt.correct.erasing import carried

    nats: dict[tuple[str, int], float] = {}
    for spot, value in zip(spots, carried(model, rows, spots, progress), strict=True):
        nats[spot.stack.name, spot.layer] = nats.get((spot.stack.name, spot.layer), 0.0) + value
    chosen = sorted(nats, key=lambda layer: -nats[layer])[:most]
    screen = [{"stack": s, "layer": n, "nats": round(value, 6)} for (s, n), value in nats.items()]
    return [spot for spot in spots if (spot.stack.name, spot.layer) in chosen], screen


def _layers(erased: Sequence[Erased]) -> dict[str, set[int]]:
    found: dict[str, set[int]] = {}
    for one in erased:
        found.setdefault(one.spot.stack.name, set()).add(one.spot.layer)
    return found


def _record(one: Erased) -> dict[str, Any]:
    """told_before: share of the group's variance that a linear predictor explained there; it is 0 now. mean_kept:
    False where the layer has no bias to hold it, and what does not vary was moved too."""
    return {
        "stack": one.spot.stack.name,
        "layer": one.spot.layer,
        "site": one.spot.site,
        "told_before": round(one.told, 6),
        "rank": one.eraser.left.shape[1],
        "mean_kept": one.whole,
    }


operation = Operation(
    name="correct.erasure",
    verb="change",
    summary="Erase the person's group from what chosen layers give, in closed form (LEACE).",
    settings=ErasureSettings,
    run=run,
    needs=("activations", "gradients"),
    source="Belrose et al. 2023, arXiv:2306.03819",
)
