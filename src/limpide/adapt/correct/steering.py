"""Steer by a direction: add one to what the layers say, or take one away.

For a bias the direction in which two persons differ is taken away: a constant shift would move both alike and leave
them as unequal as they were. For refusal and tone the direction is added. Difference of means: Rimsky et al. 2024
(arXiv:2312.06681); ablation and its folding into weights: Arditi et al. 2024 (arXiv:2406.11717).
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from limpide.adapt.correct.common import BiasMethodSettings, fit_cases, keep, opened
from limpide.core.operation import Operation, Result, Subject
from limpide.core.progress import Progress
from limpide.data.templates import Part

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from limpide.adapt.correct.contrasts import Sets
    from limpide.adapt.correct.directions import Contrast, Separation
    from limpide.models.model import Model
    from limpide.models.stacks import Stack
    from limpide.models.update import Update

ABLATED, ADDED = (0.5, 0.75, 1.0), (0.25, 0.5, 1.0, 1.5, 2.0)  # strengths worth trying
KEPT = 0.25  # share of the layers, from the first, that are not ablated: they tell which word stands where
SEARCHED = 0.8  # share of the layers, from the first, where a direction is looked for: later ones hold the next word
NO_BIAS = (
    "This model has no bias that could hold the shift: it is kept as a module beside the weights "
    "(limpide_maps.safetensors), which Limpide applies and other tools do not."
)


class SteeringSettings(BiasMethodSettings):
    """What is steered, and where."""

    of: Literal["bias", "refusal", "tone"] = Field("bias", description="what is steered")
    wanted: Path | None = Field(None, description="texts in the tone to move towards: .txt lines, or examples")
    unwanted: Path | None = Field(None, description="texts in the tone to move away from")
    part: Part | None = Field(None, description="of: tone, learn from one part of the questions of both files alone")
    layers: tuple[int, ...] | None = Field(
        None,
        min_length=1,
        description="layers, from 0, that are steered; default for a bias: all but the first quarter; else the one "
        "whose direction tells the two sets apart best",
    )

    @model_validator(mode="after")
    def _fits(self) -> SteeringSettings:
        if [self.wanted is not None, self.unwanted is not None] != [self.of == "tone"] * 2:
            raise PydanticCustomError("files", "'wanted' and 'unwanted' are both needed for of: tone, and only there")
        return self

    @property
    def mode(self) -> Literal["ablate", "add"]:
        """A shift moves both persons alike and leaves their gap as it was; without the direction of refusal a model
        would answer what it should decline."""
        return "ablate" if self.of == "bias" else "add"


def run(subject: Subject, settings: SteeringSettings, progress: Progress) -> Result:
    """Fit the direction on the fit part of the templates or requests, or on the two files. Writes update/ and, where
    a direction is added, control_vector.gguf.

    Strength 1 takes the direction away whole, or adds the mean distance between the two sets along it. Raises
    UsageError for a layer that does not exist, DataError for sets that are too small or alike, ModelError.
    """
    from limpide.models.stacks import stacks

    started = time.monotonic()
    model = opened(subject)
    stack = stacks(model)[-1]
    layers = _layers(stack, settings)
    sets = _sets(model, settings)
    if settings.mode == "ablate":
        update, facts, directions = _ablated(model, stack, sets, layers, progress)
        strengths: Sequence[float] = ABLATED
    else:
        update, facts, directions = _added(subject.out, model, stack, sets, settings, progress)
        strengths = ADDED
    texts = [text for each in sets for side in (each.above, each.below) for text in side]
    facts = {
        "of": settings.of,
        "mode": settings.mode,
        **facts,
        "rows": len(texts),
        "tokens": sum(len(text.item) for text in texts),
        "directions": directions,
        "folded": not update.maps,
        "seconds": round(time.monotonic() - started, 1),
    }
    return keep(subject, update, strengths, facts, _warnings(directions, update))


def _sets(model: Model, settings: SteeringSettings) -> list[Sets]:
    from limpide.adapt.correct import contrasts

    if settings.of == "bias":
        return contrasts.persons(model, fit_cases(settings))
    if settings.of == "refusal":
        return contrasts.refusals(model, settings.languages)
    assert settings.wanted is not None
    assert settings.unwanted is not None
    return contrasts.tones(model, settings.wanted, settings.unwanted, settings.part)


def _layers(stack: Stack, settings: SteeringSettings) -> list[int]:
    """Layers to look at. Raises UsageError for one that does not exist."""
    if settings.layers is not None:
        for layer in settings.layers:
            stack.module(layer, "")
        return sorted(set(settings.layers))
    if settings.mode == "ablate":
        return list(range(int(KEPT * len(stack)), len(stack)))
    first = min(1, len(stack) - 1)  # no control vector reaches layer 0
    return list(range(first, max(first + 1, round(SEARCHED * len(stack)))))


def _added(
    folder: Path, model: Model, stack: Stack, sets: Sequence[Sets], settings: SteeringSettings, progress: Progress
) -> tuple[Update, dict[str, Any], list[dict[str, Any]]]:
    """The shift, shared by the layers asked for, and the control vector that does the same in llama.cpp."""
    from limpide.adapt.correct.directions import best, contrast, separation, shift, streams
    from limpide.models.control_vector import FILE, write_control_vector

    (one,) = sets
    layers = _layers(stack, settings)
    found = contrast(model, streams(stack, layers), one.name, (one.above, one.below), progress, paired=one.paired)
    apart = separation(found)
    choice, part = best(found, apart)
    chosen = layers if settings.layers else [layers[part]]
    vectors = {k: found.difference()[choice, layers.index(k)] / len(chosen) for k in chosen}
    facts: dict[str, Any] = {
        "layers": chosen,
        "place": choice,  # of the prompt of a refusal, 0 is the last; elsewhere there is one choice
        "distance": {str(k): round(float(vector.norm()) * len(chosen), 4) for k, vector in vectors.items()},
    }
    if min(vectors) > 0 and model.kind == "decoder":
        write_control_vector(folder / FILE, vectors, str(model.network.config.model_type))
        facts["control_vector"] = {"file": FILE, "use": f"llama-server --control-vector-scaled {FILE}:STRENGTH"}
    return shift(model, stack, vectors), facts, [_told(found, apart, choice, part)]


def _ablated(
    model: Model, stack: Stack, sets: Sequence[Sets], layers: Sequence[int], progress: Progress
) -> tuple[Update, dict[str, Any], list[dict[str, Any]]]:
    """What each weight writes of the directions between the sets, taken away."""
    from limpide.adapt.correct.directions import ablation, best, carriers, contrast, separation, spans

    parts = carriers(model, stack, layers)
    found = [contrast(model, parts, s.name, (s.above, s.below), progress, paired=s.paired) for s in sets]
    told = []
    for each in found:
        apart = separation(each)
        choice, part = best(each, apart)
        told.append(_told(each, apart, choice, part))
    bases, means = spans(found)
    return ablation(model, stack, bases, means), {"layers": list(layers), "weights": len(bases)}, told


def _told(found: Contrast, apart: Separation, choice: int, part: int) -> dict[str, Any]:
    """right: share of held-out texts, or twins, that the best direction tells apart, with its interval and number.
    separation: of the two sets along each direction, in standard deviations, on held-out texts."""
    from limpide.adapt.correct.directions import wilson

    right = int(apart.right[choice, part])
    low, high = wilson(right, apart.n)
    effects = zip(found.parts, apart.effect[choice], strict=True)
    return {
        "between": found.name,
        "right": {"value": round(right / apart.n, 4), "low": round(low, 4), "high": round(high, 4), "n": apart.n},
        "separation": {f"{layer} {where}": round(float(effect), 3) for (layer, where), effect in effects},
    }


def _warnings(directions: Sequence[Mapping[str, Any]], update: Update) -> list[str]:
    found = [
        f"Insufficient evidence that this model tells '{each['between']}' apart: its direction is right on "
        f"{each['right']['value']:.0%} of {each['right']['n']} held-out texts, which chance could give."
        for each in directions
        if each["right"]["low"] <= 0.5
    ]
    return [*found, NO_BIAS] if update.maps else found


operation = Operation(
    name="correct.steering",
    verb="change",
    summary="Take away the direction in which two persons differ, or add that of a tone or of refusal.",
    settings=SteeringSettings,
    run=run,
    needs=("activations",),
    source="Rimsky et al. 2024 (arXiv:2312.06681); Arditi et al. 2024 (arXiv:2406.11717)",
)
