"""Adapt a model to texts, answers and preferences: by a low-rank adapter, or every weight of a small one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from limpide.adapt.settings import TrainSettings
from limpide.core import files
from limpide.core.operation import Operation, Result, Subject
from limpide.core.progress import Progress

if TYPE_CHECKING:
    from collections.abc import Sequence

    from limpide.adapt.lessons import Lessons
    from limpide.adapt.stages import Learnt, Work
    from limpide.data.examples import Example
    from limpide.models.model import Model, Precision


def run(subject: Subject, settings: TrainSettings, progress: Progress) -> Result:
    """Train on the folder of data.prepare. Writes adapter/ (a `peft` folder), or model/ where every weight is trained;
    losses.jsonl, with the stage of each entry; and checkpoints/.

    Stages, each where there is something for it: texts (passages.jsonl), answers (train.jsonl, and what a charter
    yields), preferences (rows with a rejected answer). Raises DataError, ModelError.
    """
    from dataclasses import replace

    from limpide.adapt import adapters, head, search, stages
    from limpide.adapt.layers import settle
    from limpide.adapt.lessons import find_lessons, probes_of, render
    from limpide.models.model import open_model

    if head.asked(subject, settings):
        return head.run(subject, settings, progress)
    adapters.check_base_precision(settings)
    model = open_model(subject.the_model(), precision=_precision(subject, settings))
    lessons = find_lessons(subject.input("data"), settings, subject.seed)
    rows = len(lessons.taught) + len(lessons.charter)
    general, warnings = _general(model, settings, rows, subject, progress)
    material = render(model, lessons, general, settings.pack_tokens)
    settings, layers = settle(model, settings, material, subject.out, subject.seed, progress)
    settings, searched = search.settle(model, settings, material, subject.out, subject.seed, progress)
    described = adapters.described(model, settings) | {"layers": settings.layers} | layers | searched
    if described["left_out"]:
        progress.say(f"left as it is: {', '.join(described['left_out'])}")
    network = adapters.trained_network(model, settings, subject.seed)
    model = replace(model, network=network)
    if settings.keep and not adapters.is_traceable(model):
        progress.say("no state is kept on the way: which examples taught an answer is told for LoRA on decoders alone")
        settings = settings.model_copy(update={"keep": 0})
    work = stages.Work(model, settings, subject.out, subject.seed, progress)
    before = adapters.likelihoods(model, probes := probes_of(model, lessons))
    learnt = stages.learn(work, lessons.stages, material)
    adapters.save_trained(network, learnt[-1].weights, subject.out, model)
    files.write_jsonl(subject.out / "losses.jsonl", [{**row, "stage": s.name} for s in learnt for row in s.losses])
    effect = max(abs(a - b) for a, b in zip(adapters.likelihoods(model, probes), before, strict=True))
    facts = _facts(work, learnt) | described | {"retained_rows": len(general), "largest_effect": effect}
    if settings.keep and "answers" in lessons.stages:
        facts |= _close_trail(work, subject, lessons, next(s for s in learnt if s.name == "answers"))
    stages.tidy(subject.out)
    warnings += [note for stage in learnt for note in stage.notes]
    if effect == 0:
        warnings.append("the training changes nothing: the model gives what its base gives, to the last bit")
    return Result(facts=facts, warnings=tuple(warnings))


def _precision(subject: Subject, settings: TrainSettings) -> Precision:
    """The precision asked for; a run that goes on keeps the one it was begun in, however this machine now measures."""
    from limpide.adapt.stages import begun_in
    from limpide.models.model import faster_precision

    if settings.precision != "auto":
        return settings.precision
    return begun_in(subject.out) or faster_precision()


def _general(
    model: Model, settings: TrainSettings, rows: int, subject: Subject, progress: Progress
) -> tuple[list[Example], list[str]]:
    """(general examples to mix in, what a person should know of them)."""
    from limpide.adapt.retain import retained

    if settings.retain is None or rows == 0:
        return [], []
    return retained(model, settings.retain, rows, subject.out, subject.seed, progress)


def _close_trail(work: Work, subject: Subject, lessons: Lessons, answers: Learnt) -> dict[str, Any]:
    """Write down what the states kept on the way belong to, with all that the training could be run again from."""
    from limpide.core import digests
    from limpide.models import trail

    settings, model = work.settings, work.model
    kept = settings.model_dump(mode="json", exclude={"keep", "checkpoint_seconds"})  # which change no number
    found = trail.close(
        subject.out,
        trail.kept_steps(answers.facts["steps"], settings.keep),
        list(answers.rates),
        examples=tuple(example.id for example in lessons.taught),
        kept_aside=tuple(example.id for example in lessons.answers_aside),
        data=digests.of_file(subject.input("data") / "train.jsonl"),
        base=str(model.folder),
        base_digest=model.digest,
        settings=kept | {"precision": model.precision},
        seed=subject.seed,
    ).checkpoints
    size = sum(checkpoint.bytes for checkpoint in found)
    work.progress.say(
        f"kept {len(found)} states of the adapter, {size / 1e6:.1f} MB, to tell which examples taught an answer"
    )
    return {"checkpoints": len(found), "checkpoint_bytes": size}


def _facts(work: Work, learnt: Sequence[Learnt]) -> dict[str, Any]:
    """What was done: of its main stage, the answers where there are some, tokens a second among it; seconds and
    tokens_seen of the whole training."""
    from limpide.adapt.adapters import size

    stages = {stage.name: dict(stage.facts) for stage in learnt}
    main = next(name for name in ("answers", "texts", "preferences") if name in stages)
    seconds, tokens = (sum(facts[key] for facts in stages.values()) for key in ("seconds", "tokens_seen"))
    total = size(work.model.network)
    return {
        **stages[main],
        "stage": main,
        "stages": stages,
        "tokens_seen": tokens,
        "seconds": round(seconds, 2),
        "tokens_per_second": _speed(stages[main]),
        "trainable_parameters": sum(weight.numel() for weight in learnt[-1].weights.values()),
        "total_parameters": total,
        "flops_upper_bound": 6.0 * total * tokens,
        "canary": work.settings.canary and main == "answers",
    }


def _speed(facts: dict[str, Any]) -> float | None:
    return round(facts["tokens_seen"] / facts["seconds"], 1) if facts["seconds"] else None


operation = Operation(
    name="adapt.train",
    verb="change",
    summary="train on texts, answers and preferences: an adapter, or every weight of a small model",
    settings=TrainSettings,
    run=run,
    needs=("gradients",),
    resumes=True,
    source="Hu et al. 2021, LoRA; Kalajdzievski 2023, rsLoRA; Liu et al. 2024, DoRA; packing as prefix trees",
)
