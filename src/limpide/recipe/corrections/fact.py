"""Change what a model says about a subject, and prove that other wordings follow and other subjects are left alone."""

from __future__ import annotations

from limpide.adapt.correct.edit_rows import EditSettings, edits_of
from limpide.core.operation import Operation, Result, Subject
from limpide.core.progress import Progress
from limpide.recipe.corrections import ending
from limpide.recipe.corrections.asked import NEIGHBOURS, NEW, AskedSettings
from limpide.recipe.corrections.judging import Limit
from limpide.recipe.corrections.loop import Asked, Bench, Goal, Target, correct

METHOD = "edit"
CHANGED = (
    0.2  # of the neighbours' answers, the whole interval: all were as they should be before, so chance plays no part
)
DOES_NOT_SHOW = ("consequences of a fact", "few wordings")


class FactCorrectionSettings(EditSettings, ending.PriceSettings):
    """The fact, or a file of several, and what it may cost."""


def run(subject: Subject, settings: FactCorrectionSettings, progress: Progress) -> Result:
    """Write correction.json, and kept/ with the update where it is accepted. Raises UsageError, DataError, ModelError.

    There is one way to ask for one fact, so nothing is left to choose a strength on: what is chosen on the prompt and
    its wordings is judged on them, and what must stay as it was has no part in the edit.
    """
    from limpide.adapt.correct.common import opened

    started = ending.now()
    ending.check_files(settings)
    own = EditSettings(**{name: getattr(settings, name) for name in EditSettings.model_fields})
    edits_of(own)  # what is wrong with them is told before a model is opened
    bench = Bench(opened(subject), subject, progress)
    folder = subject.out / "methods" / METHOD
    asked = Asked("judge-part", "correct.asked", AskedSettings(folder=folder), {NEIGHBOURS: Limit(CHANGED)})
    goal = Goal("fact", Target(NEW, "took", {}, asked, asked, "higher"), {METHOD: own}, *ending.price(bench, settings))
    record, update = correct(bench, goal, ending.nothing_inside)
    record |= {"does_not_show": list(DOES_NOT_SHOW)}
    if "method" in record:
        record |= {"edits": Result.load(folder).facts["edits"]}
    return ending.finish(bench, ending.told(record), update, settings, started, goal.target)


operation = Operation(
    name="correct.fact",
    verb="change",
    summary="change what the model says about a subject, where other subjects are left alone",
    settings=FactCorrectionSettings,
    run=run,
    needs=("scores", "gradients"),
    resumes=True,
    source="ROME and MEMIT: Meng et al. 2022 and 2023",
)
