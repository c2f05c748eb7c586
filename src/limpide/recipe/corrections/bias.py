"""Correct a bias: make an outcome as likely whichever group the person is of, and prove it on unseen templates."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

from pydantic import Field, create_model

from limpide.adapt.correct.common import BiasMethodSettings
from limpide.audit.bias import BiasSettings
from limpide.audit.statistics import ALPHA
from limpide.core import catalogue
from limpide.core.operation import Operation, Result, Settings, Subject
from limpide.core.progress import Progress
from limpide.data.templates import AXES, PARTS, Part, read_cases
from limpide.recipe.corrections import ending, judging
from limpide.recipe.corrections.judging import Limit
from limpide.recipe.corrections.loop import Asked, Bench, Goal, Target, correct

if TYPE_CHECKING:
    from limpide.audit.items import Item
    from limpide.models.model import Model
    from limpide.models.update import Update

METHODS = ("counterfactual", "preference", "erasure", "steering")
MEASURE, METRIC = "bias.absolute_gap", "absolute_gap"
BEFORE = "measured/before-judge-part"  # the folder of the judged audit of the model as it was
LOCATED = 8  # layers that an erasure is told to work at
SHOWN = 12  # pairs shown with what they were and are
DOES_NOT_SHOW = ("few templates", "same persons", "other contexts", "hidden", "one axis")
NO_DROP = Limit()


class BiasChoices(BiasMethodSettings, ending.PriceSettings):
    """What is corrected, and what it may cost."""

    method: Literal["counterfactual", "preference", "erasure", "steering", "auto"] = Field(
        "counterfactual",
        description="auto tries all, and judges the one that did best in choosing strengths",
    )
    written: bool = Field(True, description="also compare what the model writes of both persons, where it writes")
    crows: Path | None = Field(None, description="file of CrowS-Pairs, measured before and after too")
    bbq: Path | None = Field(None, description="file of BBQ, measured before and after too")
    inside: bool = Field(True, description="tell where the bias sat, before and after, and what can still be read off")


BiasCorrectionSettings = create_model(
    "BiasCorrectionSettings",
    __base__=BiasChoices,
    __doc__="What is corrected, how, and what it may cost.",
    **cast(
        Any,
        {
            name: (catalogue.find(f"correct.{name}").settings | None, Field(None, description=f"settings of {name}"))
            for name in METHODS
        },
    ),
)


def run(subject: Subject, settings: Any, progress: Progress) -> Result:
    """Write correction.json, and kept/ with the update where it is accepted. Raises ModelError, DataError."""
    from limpide.adapt.correct.common import opened

    started = ending.now()
    ending.check_files(settings)
    bench = Bench(opened(subject), subject, progress)
    found = judging.found_bias(*_gaps(bench, settings), subject.seed)
    nothing = _nothing(found)
    if nothing is not None:
        return ending.finish(bench, {"of": "bias", "found": found, **nothing}, None, settings, started)
    inside = _Inside(bench, settings, progress)
    goal = _goal(bench, settings, inside)
    record, update = correct(bench, goal, inside.look)
    record |= {"found": found, "items": _worst(bench, record), "does_not_show": list(DOES_NOT_SHOW)}
    return ending.finish(bench, _told(record), update, settings, started, goal.target)


def _gaps(bench: Bench, settings: BiasChoices) -> tuple[list[Item], dict[str, str]]:
    """The gaps of all parts, and the pair of each item: whether there is a bias is asked before anything is fitted."""
    from limpide.audit.items import load_items

    items: list[Item] = []
    for part in PARTS:
        items += load_items(bench.before(_bias(f"{part}-part", settings, part)))
    cases = read_cases(settings.axes, settings.languages)
    return items, {case.id: case.pair for case in cases}


def _nothing(found: Mapping[str, Any]) -> dict[str, Any] | None:
    if found["p_value"] is None:
        few = {"code": "too few templates", "what": {"pairs": found["pairs"], "templates": found["templates"]}}
        return {"verdict": "insufficient evidence", "reasons": [few]}
    if found["p_value"] >= ALPHA or found["observed"] < judging.LARGE_ENOUGH:
        return {"verdict": "nothing to correct", "reasons": [{"code": "no bias found", "what": dict(found)}]}
    return None


def _bias(name: str, settings: BiasChoices, part: Part, limits: Mapping[str, Limit] | None = None) -> Asked:
    asked = BiasSettings(axes=settings.axes, languages=settings.languages, part=part)
    return Asked(name, "audit.bias", asked, limits or {})


def _goal(bench: Bench, settings: Any, inside: _Inside) -> Goal:
    wanted = METHODS if settings.method == "auto" else (settings.method,)
    cost, suites, strength = ending.price(bench, settings)
    methods = {name: _method(name, settings, inside) for name in wanted}
    return Goal("bias", target_of(settings), methods, cost, (*_watched(bench, settings), *suites), strength)


def target_of(settings: BiasChoices) -> Target:
    """What is to get smaller: the gap of these axes."""
    choose = _bias("choose-part", settings, "choose")
    judge = _bias("judge-part", settings, "judge", {MEASURE: NO_DROP})  # of several axes, none may get worse
    return Target(MEASURE, METRIC, {"axis": "+".join(settings.axes)}, choose, judge)


def _method(name: str, settings: Any, inside: _Inside) -> Settings:
    """A method's settings, about the axes and languages of the correction."""
    model = catalogue.find(f"correct.{name}").settings
    given = getattr(settings, name)
    values = {} if given is None else given.model_dump(exclude_unset=True)
    values |= {"axes": settings.axes, "languages": settings.languages}
    if name == "erasure" and "layers" not in values and (located := inside.layers()):
        values["layers"] = located
    return model(**values)


def _watched(bench: Bench, settings: BiasChoices) -> list[Asked]:
    """The other axes, a second benchmark and what is written: nothing there may detectably worsen."""
    others = tuple(axis for axis in AXES if axis not in settings.axes)
    found = []
    if others:
        asked = BiasSettings(axes=others, languages=settings.languages, part="judge")
        found.append(Asked("other-axes", "audit.bias", asked, {MEASURE: NO_DROP}))
    if "gender" in settings.axes:
        asked = BiasSettings(languages=settings.languages, dialect="pronouns@limpide")
        pronouns = {f"bias.pronouns_limpide_{quantity}": NO_DROP for quantity in ("spread", "alignment")}
        found.append(Asked("pronouns", "audit.bias", asked, pronouns))
    files = {"crows@lm-eval": settings.crows, "bbq@lm-eval": settings.bbq}
    for dialect, file in files.items():
        if file is not None:
            asked = BiasSettings(dialect=dialect, file=file)
            found.append(Asked(dialect.split("@")[0], "audit.bias", asked, {}))
    if settings.written and bench.model.kind != "encoder":
        asked = BiasSettings(axes=settings.axes, languages=settings.languages, part="judge", dialect="written@limpide")
        found.append(Asked("written", "audit.bias", asked, {"bias.written_limpide_divergence": NO_DROP}))
    return found


class _Inside:
    """Where the bias sits, and whether the group can be read off: computed before, and again in the corrected model."""

    def __init__(self, bench: Bench, settings: BiasChoices, progress: Progress) -> None:
        self.bench, self.settings, self.progress = bench, settings, progress
        self.judged = read_cases(settings.axes, settings.languages, "judge")
        self.fitted = read_cases(settings.axes, settings.languages, "fit")
        self.before: dict[str, Any] = {}

    def layers(self) -> tuple[int, ...]:
        """The layers that carry most of the bias on the part that is fitted on: what is judged must not guide."""
        from limpide.understand.sits import layers_of, where

        found = where(self.bench.model, self.fitted, self.progress)
        return layers_of(found, min(LOCATED, found["layers"]))

    def look(self, model: Model, update: Update | None) -> dict[str, Any]:
        """update: None for the model as it was, which is looked at once."""
        if not self.settings.inside or (update is None and self.before):
            return self.before
        from limpide.understand.probing import probe
        from limpide.understand.sits import where

        same = self.before.get("sits", {}).get("cases")  # the same twins before and after
        cases = self.judged if same is None else [case for case in self.judged if case.id in same]
        found = {
            "probe": probe(model, [*self.fitted, *self.judged], self.bench.subject.seed, self.progress),
            "sits": where(model, cases, self.progress),
        }
        if update is None:
            self.before = found
        return found


def _worst(bench: Bench, record: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The pairs that were worst before, with what became of them."""
    from limpide.audit.items import load_items

    if "measured" not in record:
        return []
    before = {i.id: i for i in load_items(bench.subject.out / BEFORE)}
    after = {i.id: i for i in load_items(Path(record["measured"]["judge-part"]))}
    worst = sorted(before.values(), key=lambda i: (-i.metric[METRIC], i.id))
    return [
        {
            **{name: item.shown[name] for name in ("stereotyped", "other", "outcome")},
            "group": item.group["stereotyped"],
            "language": item.group["language"],
            "before": item.metric["gap"],
            "after": after[item.id].metric["gap"],
        }
        for item in _one_a_template(worst)[:SHOWN]
    ]


def _one_a_template(items: Sequence[Item]) -> list[Item]:
    first: dict[str, Item] = {}
    for item in items:
        first.setdefault(item.cluster, item)
    return list(first.values())


def _told(record: dict[str, Any]) -> dict[str, Any]:
    """The record with the parts that only a bias has."""
    extras = record.get("extras", {"before": {}, "after": {}})
    record = ending.told(record, ("judge-part", "other-axes"))
    suites = record["suites"]
    record["written"] = suites.pop("written", [])
    second = {"pronouns": "pronouns@limpide", "crows": "crows@lm-eval", "bbq": "bbq@lm-eval"}
    record["second"] = [{"dialect": second[name], "changes": suites.pop(name)} for name in second if name in suites]
    before, after = extras["before"], extras["after"]
    if before.get("probe", {}).get("state") == "measured" == after["probe"]["state"]:
        kinds = ("linear", "nonlinear")
        read_off = {kind: {"before": before["probe"][kind], "after": after["probe"][kind]} for kind in kinds}
        record["probe"] = {**read_off, "chance": before["probe"]["chance"], "layer": before["probe"]["layer"]}
    if before.get("sits", {}).get("pairs"):
        shown = ("attention", "mlp", "heads")
        sides = {side: {name: found["sits"][name] for name in shown} for side, found in extras.items()}
        record["sits"] = {"layers": before["sits"]["layers"], "pairs": before["sits"]["pairs"], **sides}
    return record


operation = Operation(
    name="correct.bias",
    verb="change",
    summary="make outcomes as likely whichever group the person is of, and refuse it when the price is too high",
    settings=BiasCorrectionSettings,
    run=run,
    needs=("scores", "gradients"),
    resumes=True,
    source="measured as audit.bias; the methods name their own sources",
)
