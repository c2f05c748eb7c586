"""The questions of an edit put to a model: the new answer, other wordings of it, and what must stay as it was."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from limpide.audit.items import Frame, Item, Spec, method_id, save_evidence, summarise
from limpide.core import digests
from limpide.core.operation import Operation, Result, Settings, Subject
from limpide.core.progress import Progress

NEW = "edit.new_answer"
NEIGHBOURS = "edit.neighbourhood"


class AskedSettings(Settings):
    """Where the questions are."""

    folder: Path = Field(description="folder of the method that made the edit, with edit-asks.jsonl")


def run(subject: Subject, settings: AskedSettings, progress: Progress) -> Result:
    """Shares of prompts after which the answer that should be the likeliest one is. Wordings of one fact are alike:
    the intervals are about such wordings, not about other facts."""
    from limpide.adapt.correct.edit_scores import FILE, load_asks, score_asks

    asks = load_asks(settings.folder)
    respondent = subject.respondent
    held = score_asks(respondent.model, asks, progress)
    items = [
        Item(
            id=f"{place}",
            cluster=f"{place}",
            group={"kind": ask.kind},
            metric={("stayed" if ask.kind == "neighbourhood" else "took"): float(right), "margin": margin},
            shown={"prompt": ask.prompt, "options": list(ask.options), "right": ask.options[ask.right]},
        )
        for place, (ask, (right, margin)) in enumerate(zip(asks, held, strict=True))
    ]
    made = specs()
    save_evidence(subject.out, items, made)
    frame = Frame(subject.label, subject.seed, respondent.digest, digests.of_file(settings.folder / FILE))
    return Result(tuple(summarise(items, made, frame)))


def specs() -> tuple[Spec, ...]:
    took = Spec(
        name=NEW,
        metric="took",
        kind="share",
        unit="share",
        better="higher",
        slices=({}, {"kind": "*"}),
        method=method_id(NEW, 1, options="likelihood"),
        note="Efficacy and paraphrase of Meng et al. 2022, §3.1.",
    )
    stayed = took.model_copy(
        update={
            "name": NEIGHBOURS,
            "metric": "stayed",
            "slices": ({},),
            "method": method_id(NEIGHBOURS, 1, options="likelihood"),
            "note": "Neighbourhood of Meng et al. 2022, §3.1: right is what the model chose before.",
        }
    )
    return took, stayed


operation = Operation(
    name="correct.asked",
    verb="look",
    summary="ask what an edit should have changed, and what it should have left alone",
    settings=AskedSettings,
    run=run,
    needs=("scores",),
    source="Meng et al. 2022 (arXiv:2202.05262), §3.1",
)
