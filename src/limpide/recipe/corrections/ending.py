"""What every correction ends with: its record, what is kept of it, and the file that is served measured again."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from limpide.audit.memorisation import MemorisationSettings
from limpide.audit.retention import RetentionSettings
from limpide.audit.truth import TruthSettings
from limpide.core import catalogue
from limpide.core.errors import MissingError, UsageError
from limpide.core.operation import Result, Settings, Subject
from limpide.core.progress import Progress
from limpide.recipe.corrections.judging import Limit
from limpide.recipe.corrections.loop import CORRECTED, Asked, Bench, Goal, Target, correct, save_record

if TYPE_CHECKING:
    from limpide.models.model import Model
    from limpide.models.update import Update

SERVED = "q8_0"
ANSWERED = 50  # questions a kind and language to which answers are written: minutes, where choosing takes seconds
NEEDS_DATA = ("domain", "memorisation")
Suite = Literal["truth", "retention", "refusal", "robustness", "domain", "memorisation"]
# The measures of each suite that must not detectably worsen; perplexity has a limit of its own.
OWN_SETTINGS: dict[str, Settings] = {
    "truth": TruthSettings(parts=("options",)),
    "memorisation": MemorisationSettings(canary=False),  # whether one was planted is the recipe's to say
}
GUARDED = {
    "truth": ("truth.accuracy",),
    "retention": ("retention.truth_accuracy",),
    "refusal": ("refusal.declined_harmful", "refusal.declined_harmless"),
    "robustness": (),
    "domain": ("domain.accuracy",),
    "memorisation": ("memorisation.verbatim",),
}

WRITTEN = ("truth.short_accuracy", "truth.unsure_on_known", "truth.made_up")

now = time.monotonic


class PriceSettings(Settings):
    """What a correction may cost."""

    strength: float | None = Field(
        None, gt=0, le=100, description="a fixed one; default: the best of several within the limits. 1: in full"
    )
    perplexity: float = Field(0.02, gt=0, le=1, description="greatest rise of perplexity on general text, as a share")
    watch: tuple[Suite, ...] = Field(
        ("truth", "retention"), description="suites that must not detectably worsen, beside what is always watched"
    )
    write: bool = Field(True, description="write the corrected model; a recipe writes it with all else that it makes")


def check_files(settings: Settings) -> None:
    """Raise MissingError for a file of the settings, or of those inside them, that is not there: before the work."""
    for name, value in settings:
        if isinstance(value, Path) and not value.exists():
            raise MissingError(f"There is no file {value}.", received=f"{name}: {value}", remedy="check the path")
        if isinstance(value, Settings):
            check_files(value)


def price(bench: Bench, settings: PriceSettings) -> tuple[Asked, tuple[Asked, ...], float | None]:
    """(what is watched while a strength is chosen, what is watched at the end, the strength that was given)."""
    rise = Limit(settings.perplexity)
    quick = RetentionSettings(questions=0)
    cost = Asked("cost", "audit.retention", quick, {"retention.perplexity": rise})
    return cost, suites(bench, settings.watch, rise), settings.strength


def suites(bench: Bench, names: Sequence[str], rise: Limit) -> tuple[Asked, ...]:
    """The suites that are watched; those that need the user's data where there are some. Retention always is."""
    data = bench.subject.inputs.get("data")
    held_out = data is not None and (data / "held_out.jsonl").is_file() and bench.model.kind != "encoder"
    if data is None and (lacking := [name for name in names if name in NEEDS_DATA]):
        raise UsageError(
            "Some suites can be watched on your own prepared data alone.",
            received=", ".join(lacking),
            remedy="give the folder of a recipe's step 'data' with --data, or leave them out of 'watch'",
        )
    wanted = [*dict.fromkeys(("retention", *names, *(("domain",) if held_out else ())))]
    found = []
    for name in wanted:
        limits = {measure: Limit() for measure in GUARDED[name]}
        if name == "retention":
            limits["retention.perplexity"] = rise
        operation = catalogue.find(f"audit.{name}")
        settings = OWN_SETTINGS.get(name, operation.settings())
        found.append(Asked(name, operation.name, settings, limits))
    if "truth" in wanted and bench.model.kind != "encoder":
        written = TruthSettings(parts=("short", "unanswerable"), limit=ANSWERED)
        found.append(Asked("answers", "audit.truth", written, dict.fromkeys(WRITTEN, Limit())))
    return tuple(found)


def corrected(
    subject: Subject,
    settings: PriceSettings,
    progress: Progress,
    goal_of: Callable[[Bench], Goal],
    does_not_show: Sequence[str],
) -> Result:
    """A correction from the opening of the model to its record, where the loop is all there is to it."""
    from limpide.adapt.correct.common import opened

    started = now()
    bench = Bench(opened(subject), subject, progress)
    goal = goal_of(bench)
    record, update = correct(bench, goal, nothing_inside)
    record |= {"does_not_show": list(does_not_show)}
    return finish(bench, told(record), update, settings, started, goal.target)


def nothing_inside(model: Model, update: Update | None) -> dict[str, Any]:
    """For a correction that shows nothing of the inside."""
    return {}


def told(record: dict[str, Any], changes: Sequence[str] = ("judge-part",)) -> dict[str, Any]:
    """The record with its changes where reports look for them. changes: audits that are about what was corrected."""
    found = record.pop("changes", {})
    record.pop("measured", None)
    record.pop("extras", None)
    record["changes"] = [change for name in changes for change in found.pop(name, [])]
    record["suites"] = found
    return record


def finish(
    bench: Bench,
    record: Mapping[str, Any],
    update: Update | None,
    settings: PriceSettings,
    started: float,
    target: Target | None = None,
) -> Result:
    """Write correction.json; kept/, the update, where it is accepted; then, where asked, corrected/ too: the model's
    folder, with a GGUF where the family has one, on which the target is measured once more."""
    from limpide.audit.items import library_versions

    model, subject = bench.model, bench.subject
    whole = {
        "version": 1,
        "model": {
            "title": model.folder.name,
            "digest": model.digest,
            "family": model.family.title,
            "kind": model.kind,
        },
        **record,
    }
    whole |= {
        "settings": settings.model_dump(mode="json"),
        "seconds": round(now() - started, 1),
        "seed": subject.seed,
        "versions": library_versions(),
    }
    save_record(subject.out, whole)  # first, so that what fails below loses no evidence
    _keep(subject, update)
    if update is not None and settings.write:
        whole["served"] = _write_corrected(bench, update, target)
        save_record(subject.out, whole | {"seconds": round(now() - started, 1)})
    return Result(facts={"verdict": whole["verdict"], "method": whole.get("method"), "strength": whole.get("strength")})


def _keep(subject: Subject, update: Update | None) -> None:
    """kept/: all the corrections accepted so far as one update, so that a later step needs the last one alone."""
    from limpide.models.changed import KEPT, correction_of, one_after_another
    from limpide.models.update import load_update

    before = correction_of(subject)
    if before is not None:
        first = load_update(before)
        update = first if update is None else one_after_another(first, update)
    if update is not None:
        update.save(subject.out / KEPT)


def _write_corrected(bench: Bench, update: Update, target: Target | None) -> dict[str, Any] | None:
    """Fold the update in for good and write the model. Returns what the file that is served measures."""
    from limpide.models.changed import one_after_another
    from limpide.models.update import fold, load_maps, save_maps
    from limpide.optimise.export import ExportSettings, merge
    from limpide.optimise.gguf_writer import write_gguf
    from limpide.recipe.corrections.served import measured_again

    model, folder = bench.model, bench.subject.out / CORRECTED
    before = None if target is None else bench.before(target.judge)
    maps = one_after_another(load_maps(model.folder), fold(model, update))
    merge(model, model.folder, folder, ExportSettings().precision)
    save_maps(folder, maps)
    if maps or not model.family.gguf:
        return None
    gguf = write_gguf(folder, folder / "gguf" / f"model-{SERVED}.gguf", SERVED)
    if target is None or before is None:
        return None
    return measured_again(gguf, target, before, bench.subject, bench.progress)
