"""Change one fact, or a few: what the model says about a subject, and nothing else (ROME, MEMIT)."""

from __future__ import annotations

import time

from limpide.adapt.correct.common import keep, opened
from limpide.adapt.correct.edit_rows import EditSettings, edits_of
from limpide.core.operation import Operation, Result, Subject
from limpide.core.progress import Progress

STRENGTHS = (1.0,)  # what is asked for is asked at 1, and there are no prompts left to choose another on


def run(subject: Subject, settings: EditSettings, progress: Progress) -> Result:
    """Find the least change of MLP weights after which the new answers come. Writes update/, and edit-asks.jsonl:
    what an edited model is to be asked (edit_scores.py).

    Facts: the edits with their old answers, layers and why those, keys and values, and the scores before and after at
    strength 1. They are about these prompts; what the edit costs elsewhere is for the audits to say.
    """
    edits = edits_of(settings)
    from limpide.adapt.correct import edit_scores, edit_writing
    from limpide.models.update import applied

    started = time.perf_counter()
    model = opened(subject)
    resolved = [edit_scores.with_old_answer(model, edit) for edit in edits]
    update, facts = edit_writing.write(model, resolved, settings, subject.seed, progress)
    asks = edit_scores.asks_of(model, resolved, settings.language)
    edit_scores.save_asks(subject.out, asks)
    before = edit_scores.score_edit(model, asks, progress)
    with applied(model, update) as changed:
        after = edit_scores.score_edit(changed, asks, progress)
    facts |= {
        "form": settings.form,
        "edits": [edit.model_dump() for edit in resolved],
        "before": before,
        "after": after,
        "seconds": {**facts["seconds"], "whole": round(time.perf_counter() - started, 2)},
    }
    return keep(subject, update, STRENGTHS, facts, _warnings(after))


def _warnings(after: dict[str, dict[str, float | None]]) -> list[str]:
    """What a person should know before trying the edit."""
    share = after["efficacy"]["share"]
    if share is None or share == 1:
        return []
    return [f"the new answer is the likelier one in {share:.0%} of the edits: give other layers, or a greater reach"]


operation = Operation(
    name="correct.edit",
    verb="change",
    summary="One fact or association, or a few, said differently from now on.",
    settings=EditSettings,
    run=run,
    needs=("gradients", "activations"),
    source="ROME: Meng et al. 2022 (arXiv:2202.05262); several layers: MEMIT, Meng et al. 2023 (arXiv:2210.07229)",
)
