"""One run of a dialect: find it, put its set to the model, and sum the items up as every audit does."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from limpide.audit.dialects import bbq, crows, pronouns, registry, stereoset, winobias, written
from limpide.audit.dialects.found import Asked, Chosen, Found
from limpide.audit.items import Spec, frame_of, not_run, save_evidence, summarise
from limpide.core.operation import Result, Subject
from limpide.core.progress import Progress
from limpide.models.respondents import Respondent

FAMILIES: dict[str, Callable[[Asked], Found]] = {
    "crows": crows.measure,
    "bbq": bbq.measure,
    "stereoset": stereoset.measure,
    "winobias": winobias.measure,
    "pronouns": pronouns.measure,
    "written": written.measure,
}


NOTHING = "the dialect leaves every item of this file out; the facts and warnings say why"


@dataclass(frozen=True)
class Run:
    """What the bias suite was told about a set. chosen: of one that is shipped."""

    dialect: str
    file: Path | None
    category: str | None
    precision: str
    chosen: Chosen


def run(subject: Subject, asked: Run, respondent: Respondent, progress: Progress) -> Result:
    """Raises UsageError (unknown dialect, no file), DataError (faults of the file), ModelError (kind of model)."""
    dialect = registry.find(asked.dialect)
    put = Asked(dialect, asked.file, asked.category, respondent, progress, asked.chosen)
    found = FAMILIES[dialect.family](put)
    save_evidence(subject.out, found.items, found.specs)
    frame = frame_of(subject, respondent, found.digest)
    why = found.unable or (None if found.items else NOTHING)
    if why is not None:
        measures = [not_run(spec, frame, why) for spec in found.specs]
    else:
        measures = summarise(found.items, found.specs, frame)
        if dialect.family == "crows":
            measures = crows.with_smallest_departure(measures, found.specs)
    facts = {"dialect": dialect.record(), "items": len(found.items), "precision": asked.precision}
    if asked.category is not None:
        facts["category"] = asked.category
    return Result(tuple(measures), facts | dict(found.facts) | respondent.facts(), found.warnings)


def specs_of(name: str) -> tuple[Spec, ...]:
    """The specs of a dialect, whatever the kind of model: names, units and slices do not depend on it."""
    dialect = registry.find(name)
    makers: dict[str, Callable[[], tuple[Spec, ...]]] = {
        "crows": lambda: crows.specs(dialect, encoder=True),
        "bbq": lambda: bbq.specs(dialect, likelihood=True),
        "stereoset": lambda: stereoset.specs(dialect),
        "winobias": lambda: winobias.specs(dialect),
        "pronouns": lambda: pronouns.specs(dialect),
        "written": lambda: written.specs(dialect),
    }
    return makers[dialect.family]()
