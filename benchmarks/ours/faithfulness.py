"""Does deletion by attribution beat random orders on the shipped bias pairs? No peer: the random orders are it."""

import random
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from child import serve

from limpide.audit.bias import AXES, BiasSettings, Case, read_cases
from limpide.core.progress import Quiet
from limpide.models.model import Model, open_model
from limpide.understand import attribution
from limpide.understand.faithfulness import check, over_questions
from limpide.understand.question import Question, ask
from limpide.understand.settings import AttributionSettings, FaithfulnessSettings


def work(job: dict[str, Any]) -> dict[str, Any]:
    """job: model (folder), threads, pairs (how many questions), seed, method (of attribution; the usual one if none).

    difference: mean over questions of the area, in nats, between deletion in random orders and by attribution; low,
    high: its interval over questions (one a template). insertion: the same for insertion.
    """
    torch.set_num_threads(job["threads"])
    model = open_model(Path(job["model"]))
    how = AttributionSettings.model_validate({"method": job["method"]} if "method" in job else {})
    asked = list(questions(model, job["pairs"], job["seed"]))
    started = time.perf_counter()
    found, settings = [], FaithfulnessSettings(sanity=False)
    for number, question in enumerate(asked):
        ranking = {how.method: attribution.explain(model, question, how).words}
        found.append(check(model, question, ranking, settings, Quiet(), job["seed"] + number))
    seconds = time.perf_counter() - started
    clusters = [question.prompt for question in asked]
    deletion, insertion = (
        over_questions([getattr(one, curve).difference for one in found], clusters, job["seed"])
        for curve in ("deletion", "insertion")
    )
    verdicts = [one.verdict for one in found]
    return {
        "seconds": seconds,
        **asdict(deletion),
        "insertion": asdict(insertion),
        "verdicts": {verdict: verdicts.count(verdict) for verdict in sorted(set(verdicts))},
        "words": sum(one.n for one in found) / len(found),
    }


def questions(model: Model, count: int, seed: int) -> Iterator[Question]:
    """Why this outcome rather than one that another group is stereotyped with? English, axes in turn, each template
    once, with one of its persons."""
    draw = random.Random(seed)
    by_axis = {axis: _by_template(read_cases(BiasSettings(axes=(axis,), languages=("en",)))) for axis in AXES}
    for axis in AXES:
        draw.shuffle(by_axis[axis])
    turns = [cases[turn] for turn in range(max(map(len, by_axis.values()))) for cases in by_axis.values()
             if turn < len(cases)]  # fmt: skip
    for several in turns[:count]:
        case = draw.choice(several)
        rivals = sorted({o[0].outcome for o in by_axis[case.axis] if o[0].group != case.group} - {case.outcome})
        yield ask(model, case.stereotyped, answer=case.outcome, against=draw.choice(rivals), raw=True)


def _by_template(cases: list[Case]) -> list[list[Case]]:
    found: dict[str, list[Case]] = {}
    for case in cases:
        found.setdefault(case.template, []).append(case)
    return list(found.values())


if __name__ == "__main__":
    serve(work)
