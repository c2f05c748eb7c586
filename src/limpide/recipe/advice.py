"""What to expect of a training before it takes its time: can it work, how long, how much memory, what would be seen."""

from __future__ import annotations

import statistics
from collections import Counter
from typing import TYPE_CHECKING, Any

from limpide.adapt.settings import TrainSettings
from limpide.core import files
from limpide.core.operation import Operation, Result, Subject
from limpide.core.progress import Progress

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from limpide.adapt.lessons import Lessons, Material
    from limpide.data.examples import Example
    from limpide.models.model import Model

FILE = "advice.json"
TRIED = 4  # steps taken, of which the first warms up
FEW_ROWS, FEW_WORDINGS = 50, 3
KNOWN = 0.6  # share of the words of an answer that a training answer has, for it to be taught
LOOKED_AT = 200  # held-out rows compared with the training rows, at most
TOLD_APART = 0.25  # a held-out split that shows nothing smaller than this says little
CHANGING = 0.25  # share of answers that a training is supposed to turn right or wrong, where nothing is known yet
LONG = 3600.0  # seconds
# Above a third of the base's own training, whoever trains on may count as provider of a new general-purpose model; of a
# base whose training is unknown, a third of 10²³. Source: Commission guidelines on GPAI models (2025), §§ 60–64.
THIRD, UNKNOWN_BASE = 1 / 3, 1e23


def run(subject: Subject, settings: TrainSettings, progress: Progress) -> Result:
    """Look at the rows, take a few steps, and say what the whole training would be. Writes advice.json.

    Nothing is kept of the steps. Raises DataError, ModelError as the training itself would.
    """
    from limpide.adapt import head
    from limpide.adapt.adapters import check_base_precision
    from limpide.adapt.lessons import find_lessons, render
    from limpide.models.model import faster_precision, open_model

    data = subject.input("data")
    check_base_precision(settings)
    lessons = find_lessons(data, settings, subject.seed)
    precision = faster_precision() if settings.precision == "auto" else settings.precision
    model = open_model(subject.the_model(), precision=precision)
    material = render(model, lessons, [], settings.pack_tokens)
    rows = rows_of(lessons, data) | languages(lessons, subject.the_model())
    speed = None if head.asked(subject, settings) else speed_of(model, material, settings, subject, progress)
    cost = cost_of(model, material, settings, speed) | compute_of(model, material, settings)
    told = [*reasons(rows, cost)]
    found = {"version": 1, "verdict": verdict(told), "reasons": told, "rows": rows, "cost": cost}
    files.write_json(subject.out / FILE, found)
    return Result(facts=found)


# ------------------------------------------------------------------------------------------------------ can it work?


def rows_of(lessons: Lessons, data: Path) -> dict[str, Any]:
    """What there is to learn and to judge on. taught: share of held-out answers whose words a training answer has."""
    from limpide.audit.statistics import smallest_detectable_paired_share
    from limpide.data.canary import canary
    from limpide.data.charter import NAME
    from limpide.data.examples import load_examples

    held_out, planted = load_examples(data / "held_out.jsonl"), canary(0).id  # the same of every seed
    learnt = [row for row in lessons.taught if row.id != planted]
    topics = Counter(row.topic for row in learnt if row.topic is not None)
    return {
        "answers": len(learnt) + len(lessons.charter),
        "texts": len(lessons.texts),
        "preferences": len(lessons.preferences),
        "charter": {
            "answers": len(lessons.charter),
            "preferences": sum((row.synthetic or "").startswith(NAME) for row in lessons.preferences),
        },
        "topics": len(topics),
        "wordings": statistics.median(topics.values()) if topics else None,
        "held_out": len(held_out),
        "smallest": smallest_detectable_paired_share(CHANGING, len(held_out)) if held_out else None,
        "taught": taught(learnt, held_out),
    }


def languages(lessons: Lessons, model: Path) -> dict[str, Any]:
    """Languages of the answers that the model is not declared to speak, and those that it is."""
    from limpide.data.texts import language
    from limpide.models.passport import languages_of, unspoken

    declared = languages_of(model)
    found = Counter(language(row) or "" for row in lessons.taught)
    return {"declared": list(declared), "unspoken": unspoken(declared, found)}


def taught(learnt: Sequence[Example], held_out: Sequence[Example]) -> dict[str, float] | None:
    """Share of held-out answers that the training rows hold, in whatever words: {value, low, high, n}.

    A training can teach new wordings of what its rows say; what they do not say has to be looked up elsewhere.
    """
    from limpide.audit.statistics import wilson
    from limpide.data.draft_filters import content

    known = [content(row.answer) for row in learnt]
    asked = [needed for row in held_out[:LOOKED_AT] if (needed := content(row.answer))]
    if not asked or not known:
        return None
    right = sum(any(len(needed & words) >= KNOWN * len(needed) for words in known) for needed in asked)
    low, high = wilson(right, len(asked))
    return {"value": right / len(asked), "low": low, "high": high, "n": len(asked)}


# -------------------------------------------------------------------------------------------------- what does it take?


def speed_of(
    model: Model, material: Material, settings: TrainSettings, subject: Subject, progress: Progress
) -> float | None:
    """Seconds a token, from a few steps on the answers, or on the texts where there are none; None without either."""
    from limpide.adapt import adapters, stages, training
    from limpide.adapt.fused import fused
    from limpide.adapt.packing import packs_for

    rows = material.answers[0] or material.texts[0]
    if not rows:
        return None
    packs = packs_for(model, rows, settings.pack_tokens, subject.seed)
    plan = stages.plan_of(settings, "answers", packs, TRIED, subject.seed)
    network = adapters.trained_network(model, _all_layers(settings), subject.seed)
    state = training.trainer(network, model.family, plan, stages.padding(model))
    times = []
    with fused(network), progress.task("trying a few steps", total=TRIED) as task:
        for _ in range(min(TRIED, plan.steps)):
            before = state.seconds, state.tokens
            training.take_step(state, packs)
            times.append((state.seconds - before[0]) / max(1, state.tokens - before[1]))
            task.advance(1)
    return statistics.median(times[1:] or times)


def cost_of(model: Model, material: Material, settings: TrainSettings, speed: float | None) -> dict[str, Any]:
    """Seconds of the whole training, at most, and the highest memory so far. speed: seconds a token of its main stage.

    Other stages are told at the same speed, preferences at a third of it, since each pair is read twice and once more
    without the adapter; a search at its whole budget.
    """
    import psutil

    memory = psutil.Process().memory_info()
    search = 0.0 if settings.search is None else 60 * settings.search.minutes
    return {
        "seconds": None if speed is None else speed * _weighed_tokens(material, settings) + search,
        "peak_bytes": getattr(memory, "peak_wset", None) or _highest() or memory.rss,
        "machine_bytes": psutil.virtual_memory().total,
        "precision": model.precision,
    }


def _all_layers(settings: TrainSettings) -> TrainSettings:
    """A trial of layers is not made to say how long a training takes."""
    return settings.model_copy(update={"layers": "all"}) if settings.layers == "auto" else settings


def _highest() -> int | None:
    """Highest resident memory of this process so far, in bytes; None where the system does not tell."""
    try:
        import resource
    except ImportError:  # Windows
        return None
    import sys

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def _tokens(material: Material, settings: TrainSettings) -> dict[str, int]:
    """Tokens that each stage reads over all its epochs; general examples mixed in count as long as others."""
    retained = 0.0 if settings.retain is None else settings.retain.share
    pairs = sum(len(pair.chosen) + len(pair.rejected) for pair in material.preferences[0])
    return {
        "texts": settings.texts.epochs * sum(len(row.ids) for row in material.texts[0]),
        "answers": round(settings.epochs * sum(len(row.ids) for row in material.answers[0]) / (1 - retained)),
        "preferences": settings.preferences.epochs * pairs,
    }


def _weighed_tokens(material: Material, settings: TrainSettings) -> int:
    tokens = _tokens(material, settings)
    return tokens["texts"] + tokens["answers"] + 3 * tokens["preferences"]


def compute_of(model: Model, material: Material, settings: TrainSettings) -> dict[str, Any]:
    """Floating-point operations of the training, at most (6 for each parameter and token), and their share of those
    that made the base, where its makers tell how many tokens it was trained on."""
    from limpide.models.embedded import trained_tokens

    parameters = sum(weight.numel() for weight in model.network.parameters())
    flops = 6.0 * parameters * sum(_tokens(material, settings).values())
    base_tokens = trained_tokens(model.folder)
    base = None if base_tokens is None else 6.0 * parameters * base_tokens
    return {"flops": flops, "base_flops": base, "share_of_third": flops / (THIRD * (base or UNKNOWN_BASE))}


# --------------------------------------------------------------------------------------------------- what to do, then


def reasons(rows: Mapping[str, Any], cost: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """What a person should know before the training, each a code with its numbers."""
    known = rows["taught"]
    if known is not None and known["high"] < 0.5:
        yield {"code": "look up", "what": known}
    if rows.get("unspoken"):
        yield {"code": "language", "what": {"declared": rows["declared"], "unspoken": rows["unspoken"]}}
    if rows["texts"] and not rows["answers"]:
        yield {"code": "texts alone", "what": {"texts": rows["texts"]}}
    if 0 < rows["answers"] < FEW_ROWS:
        yield {"code": "few rows", "what": {"rows": rows["answers"], "enough": FEW_ROWS}}
    if rows["wordings"] is not None and rows["wordings"] < FEW_WORDINGS:
        yield {"code": "few wordings", "what": {"wordings": rows["wordings"], "enough": FEW_WORDINGS}}
    if rows["smallest"] is None or rows["smallest"] > TOLD_APART:
        yield {"code": "little to judge on", "what": {"held_out": rows["held_out"], "smallest": rows["smallest"]}}
    if cost["peak_bytes"] > 0.8 * cost["machine_bytes"]:
        yield {"code": "memory", "what": {name: cost[name] for name in ("peak_bytes", "machine_bytes")}}
    if cost["seconds"] is not None and cost["seconds"] > LONG:
        yield {"code": "long", "what": {"seconds": cost["seconds"]}}


def verdict(found: Sequence[Mapping[str, Any]]) -> str:
    """look up: what is asked is not in the rows; doubtful: it may work, and here is why not; train."""
    codes = {reason["code"] for reason in found}
    if "look up" in codes:
        return "look up"
    return "doubtful" if codes - {"long"} else "train"


operation = Operation(
    name="adapt.advice",
    verb="look",
    summary="say what to expect of a training, from its rows and a few steps",
    settings=TrainSettings,
    run=run,
    needs=("gradients",),
    source="smallest difference: Connor 1987; compute: 6 × parameters × tokens, Kaplan et al. 2020, §2.1",
)
