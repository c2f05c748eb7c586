"""Measure, correct, measure again on the same items, accept or refuse: the same for every kind of correction.

The model is opened once. Each trial puts an update into its weights, at one strength, and takes it back; audits run on
the model as it then is. What a method learns from, what its strength is chosen on, and what it is judged on are three
parts of the templates or questions (data/templates.py).
"""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from limpide.adapt.correct.common import NothingToCorrectError
from limpide.core import catalogue, digests, files
from limpide.core.errors import LimpideError, ModelError, UsageError
from limpide.core.measure import Change
from limpide.core.operation import Result, Settings, Subject
from limpide.core.progress import Progress
from limpide.recipe.corrections import judging
from limpide.recipe.corrections.judging import Limit, Verdict

if TYPE_CHECKING:
    from limpide.audit.items import Item
    from limpide.models.model import Model
    from limpide.models.update import Update

RECORD, CORRECTED = "correction.json", "corrected"
TOLD = ("method", "strength", "target", "watched", "reasons")  # of those refused before another was accepted
FINE = 50_000  # resamples behind what is watched
JUDGED_AT_MOST = 3  # methods whose turn comes when the one before was refused


@dataclass(frozen=True)
class Asked:
    """One audit. name: of its folder. limits: {measure it leaves: how far it may worsen}; what is not named there is
    told and not judged."""

    name: str
    operation: str
    settings: Settings
    limits: Mapping[str, Limit] = field(default_factory=dict)


@dataclass(frozen=True)
class Target:
    """What must get better: the measure `name`, whose items carry `metric`. group: how it is told.

    choose, judge: the audits that ask it and nothing else, on two parts that have nothing in common. All their items
    count.
    """

    name: str
    metric: str
    group: Mapping[str, str]
    choose: Asked
    judge: Asked
    better: Literal["lower", "higher"] = "lower"


@dataclass(frozen=True)
class Goal:
    """of: bias, refusal … methods: {name: its settings}, tried in this order. cost: what is watched while a strength is
    chosen, one limit. watched: what is watched at the end, and told."""

    of: str
    target: Target
    methods: Mapping[str, Settings]
    cost: Asked
    watched: Sequence[Asked]
    strength: float | None = None


@dataclass(frozen=True)
class Trial:
    """One method at one strength on the choosing part. gap: mean of the target's metric. cost: perplexity ÷ before."""

    method: str
    strength: float
    gap: float
    gap_before: float
    cost: float
    within: bool
    seconds: float

    def record(self, chosen: bool, judged: bool) -> dict[str, Any]:
        return {
            "method": self.method,
            "strength": self.strength,
            "gap": self.gap,
            "gap_before": self.gap_before,
            "perplexity_ratio": self.cost,
            "within_limits": self.within,
            "chosen": chosen,
            "judged": judged,
            "seconds": round(self.seconds, 2),
            "error": None,
        }


class Bench:
    """The model being corrected, and the audits that were made of it, each kept in a folder."""

    def __init__(self, model: "Model", subject: Subject, progress: Progress) -> None:
        self.model, self.subject, self.progress = model, subject, progress

    def audit(self, asked: Asked, of: str, model: "Model") -> Path:
        """The folder of an audit of `model`, which is the opened one with or without an update. of: before, or a
        trial's name."""
        from limpide.models.respondents import Opened

        folder = self.subject.out / "measured" / digests.slug(f"{of}-{asked.name}")
        if (folder / "result.json").is_file():
            return folder
        folder.mkdir(parents=True, exist_ok=True)
        label = "base" if of == "before" else "result"
        inputs = {name: path for name, path in self.subject.inputs.items() if name == "data"}
        subject = Subject(folder, inputs, None, label, self.subject.seed, Opened(model))
        catalogue.find(asked.operation).run(subject, asked.settings, self.progress).save(folder)
        return folder

    def before(self, asked: Asked) -> Path:
        return self.audit(asked, "before", self.model)

    def changes(self, asked: Asked, after: Path) -> list[Change]:
        from limpide.audit.compare import compare

        return compare(self.before(asked), after, seed=self.subject.seed)


def correct(
    bench: Bench, goal: Goal, extras: Callable[["Model", "Update | None"], Mapping[str, Any]]
) -> tuple[dict[str, Any], "Update | None"]:
    """The record of a correction (without what every record has), and the update that was accepted, at strength 1.

    extras: what is shown of the model before (without an update) and of the judged one, and not judged.
    """
    try:
        trials, updates, failed = _try_methods(bench, goal)
    except NothingToCorrectError as nothing:
        why = {"code": nothing.what, "what": {"received": nothing.received}}
        return {"of": goal.of, "verdict": "nothing to correct", "reasons": [why]}, None
    ranked = _ranked(trials, goal.target.better)
    judged: list[tuple[Trial, dict[str, Any]]] = []
    turns = min(JUDGED_AT_MOST, len(ranked))
    for trial in ranked[:turns]:
        judged.append((trial, _judge(bench, goal, trial, updates[trial.method], turns, extras)))
        if not judged[-1][1]["reasons"]:
            break
    return _record(goal, trials, judged, failed), _accepted(judged, updates)


def _accepted(judged: Sequence[tuple[Trial, Mapping[str, Any]]], updates: Mapping[str, "Update"]) -> "Update | None":
    if not judged or judged[-1][1]["reasons"]:
        return None
    trial = judged[-1][0]
    return updates[trial.method].scaled(trial.strength)


def _try_methods(bench: Bench, goal: Goal) -> tuple[list[Trial], dict[str, "Update"], list[dict[str, Any]]]:
    """Every method at every strength; those that cannot do this model, with the reason, unless none can."""
    trials: list[Trial] = []
    updates: dict[str, Update] = {}
    failed: list[dict[str, Any]] = []
    errors: list[LimpideError] = []
    for method, settings in goal.methods.items():
        started = time.monotonic()
        try:
            updates[method], strengths = _fit(bench, method, settings)
            trials += _strengths(bench, goal, method, updates[method], strengths, started)
        except NothingToCorrectError:
            raise
        except (ModelError, UsageError) as error:
            errors.append(error)
            empty = Trial(method, 0.0, 0.0, 0.0, 1.0, False, time.monotonic() - started)
            failed.append(empty.record(False, False) | {"strength": None, "gap": None, "error": str(error)})
    if not trials and errors:
        raise errors[0]
    return trials, updates, failed


def _fit(bench: Bench, method: str, settings: Settings) -> tuple["Update", Sequence[float]]:
    """Run a method on the model as it is. Returns its update and the strengths that it thinks worth trying."""
    from limpide.adapt.correct.common import UPDATE
    from limpide.models.update import load_update

    folder = bench.subject.out / "methods" / method
    operation = catalogue.find(f"correct.{method}")
    if not (folder / "result.json").is_file():
        folder.mkdir(parents=True, exist_ok=True)
        bench.progress.say(f"fitting: {operation.summary}")
        subject = Subject(folder, bench.subject.inputs, bench.subject.model, bench.subject.label, bench.subject.seed)
        operation.run(subject, settings, bench.progress).save(folder)
    result = Result.load(folder)
    for warning in result.warnings:
        bench.progress.warn(f"{method}: {warning}")
    return load_update(folder / UPDATE), result.facts["strengths"]


def _strengths(
    bench: Bench, goal: Goal, method: str, update: "Update", strengths: Sequence[float], started: float
) -> list[Trial]:
    """The target and the cost on the choosing part, at each strength."""
    from limpide.models.update import applied

    given = [goal.strength] if goal.strength is not None else sorted(set(strengths))
    target, measure = goal.target, next(iter(goal.cost.limits))
    gap_before = _mean(bench.before(target.choose), target.metric)
    cost_before = _value(bench.before(goal.cost), measure)
    found = []
    with bench.progress.task(f"strengths of {method}", total=len(given)) as task:
        for strength in given:
            with applied(bench.model, update, strength) as tried:
                name = f"{method}-{strength:g}"
                gap = _mean(bench.audit(target.choose, name, tried), target.metric)
                spent = bench.audit(goal.cost, name, tried)
            cost = _value(spent, measure) / cost_before
            prices = judging.watch(_limited(goal.cost, bench.changes(goal.cost, spent)))
            within = all(price.held is not False for price in prices)
            found.append(Trial(method, strength, gap, gap_before, cost, within, time.monotonic() - started))
            started = time.monotonic()
            task.advance(1, gap=round(gap, 3), cost=round(cost, 4))
    return found


def _value(folder: Path, name: str) -> float:
    """A measure of the whole that an audit left."""
    from limpide.core.measure import load_measures

    for measure in load_measures(folder / "measures.jsonl"):
        if measure.name == name and not measure.group:
            if measure.value is None:
                raise UsageError(f"{measure.label} cannot be measured here.", received=measure.note or measure.state)
            return measure.value
    raise LimpideError(f"The audit in {folder} left no {name}.")


def items_of(folder: Path, metric: str) -> "list[Item]":
    """The items of an audit that have a metric."""
    from limpide.audit.items import load_items

    return [item for item in load_items(folder) if metric in item.metric]


def _mean(folder: Path, metric: str) -> float:
    values = [item.metric[metric] for item in items_of(folder, metric)]
    return sum(values) / len(values)


def _ranked(trials: Sequence[Trial], better: str) -> list[Trial]:
    """The best strength of each method, the best method first. Where no strength is within the limit, the one that
    costs least is judged, so that what broke is named."""

    def badness(trial: Trial) -> float:
        return trial.gap if better == "lower" else -trial.gap

    best = []
    for method in dict.fromkeys(trial.method for trial in trials):
        own = [trial for trial in trials if trial.method == method]
        able = [trial for trial in own if trial.within]
        best.append(min(able, key=badness) if able else min(own, key=lambda t: t.cost))
    return sorted(best, key=lambda t: (not t.within, badness(t)))


def _judge(
    bench: Bench,
    goal: Goal,
    trial: Trial,
    update: "Update",
    turns: int,
    extras: Callable[["Model", "Update | None"], Mapping[str, Any]],
) -> dict[str, Any]:
    """Everything that is said of one corrected model. turns: how many may be judged on this part."""
    from limpide.models.update import applied

    name = f"{trial.method}-{trial.strength:g}"
    bench.progress.say(f"judging {trial.method} at strength {trial.strength:g}")
    before = dict(extras(bench.model, None))
    asked = (goal.target.judge, *goal.watched)
    with ExitStack() as stack:
        for one in asked:
            bench.before(one)
        tried = stack.enter_context(applied(bench.model, update, trial.strength))
        folders = {one.name: bench.audit(one, name, tried) for one in asked}
        after = dict(extras(tried, update))
    changes = {one.name: bench.changes(one, folders[one.name]) for one in asked}
    target = _target(bench, goal.target, folders[goal.target.judge.name], turns)
    watched = judging.watch(
        [
            (_finely(bench, one, folders[one.name], change), limit)
            for one in asked
            for change, limit in _limited(one, changes[one.name])
        ]
    )
    return {
        "method": trial.method,
        "strength": trial.strength,
        "target": target,
        "changes": {name: [c.model_dump(mode="json") for c in found] for name, found in changes.items()},
        "watched": [thing.record() for thing in watched],
        "reasons": judging.reasons_of(target, watched),
        "extras": {"before": before, "after": after},
        "measured": {name: str(folder) for name, folder in folders.items()},
    }


def _finely(bench: Bench, asked: Asked, after: Path, change: Change) -> Change:
    """The same change from more resamples: with the usual number the least p that a few clusters can have is too large
    to be more than chance among a dozen things that are watched."""
    from limpide.audit.compare import paired_change
    from limpide.audit.items import load_items, load_specs, slices

    spec = next(spec for spec in load_specs(after) if spec.name == change.name)
    if spec.kind == "statistic" or change.verdict == "insufficient evidence":
        return change
    sides = []
    for folder in (bench.before(asked), after):
        found = next(items for group, items in slices(spec, load_items(folder)) if group == change.group)
        sides.append({item.id: item for item in found})
    shared = [name for name in sides[0] if name in sides[1]]
    pair = ([side[name] for name in shared] for side in sides)
    return paired_change(spec, dict(change.group), *pair, seed=bench.subject.seed, draws=FINE)


def _limited(asked: Asked, changes: Iterable[Change]) -> list[tuple[Change, Limit]]:
    """Those changes of an audit that are watched. Slices of what is watched whole would be the same items again: they
    count for a limit of their own, and are told without one."""
    named = [change for change in changes if change.name in asked.limits]
    fewest = {name: min(len(c.group) for c in named if c.name == name) for name in {c.name for c in named}}
    return [
        (change, asked.limits[change.name])
        for change in named
        if len(change.group) == fewest[change.name] or asked.limits[change.name].rise is not None
    ]


def _target(bench: Bench, target: Target, after: Path, turns: int) -> dict[str, Any]:
    """The record of what was to get better, over all the items of its audit.

    p_value: times the number that may be judged on this part (Bonferroni).
    """
    from limpide.audit.compare import paired_change
    from limpide.audit.items import load_specs

    sides = items_of(bench.before(target.judge), target.metric), items_of(after, target.metric)
    spec = next(spec for spec in load_specs(after) if spec.name == target.name)
    change = paired_change(spec, dict(target.group), *sides, seed=bench.subject.seed)
    gain = change.difference
    if gain is not None and change.better == "lower":
        gain = -gain
    kept = ("unit", "better", "before", "after", "difference", "low", "high", "n", "test")
    return {
        "measure": target.name,
        "group": dict(target.group),
        **{name: getattr(change, name) for name in kept},
        "gain": gain,
        "p_value": None if change.p_value is None else min(1.0, change.p_value * turns),
        "clusters": len({item.cluster for item in sides[0]}),
        "cut": judging.cut_of(*sides, target.metric, bench.subject.seed) if change.better == "lower" else None,
    }


def _record(
    goal: Goal,
    trials: Sequence[Trial],
    judged: Sequence[tuple[Trial, dict[str, Any]]],
    failed: Sequence[dict[str, Any]],
) -> dict[str, Any]:
    """The last one judged tells the story; those judged before it are kept beside."""
    chosen, last = judged[-1] if judged else (None, {})
    reasons = last.get("reasons", [])
    verdict: Verdict = "accepted" if judged else "insufficient evidence"
    if reasons:
        few = all(reason["code"] == "too few templates" for reason in reasons)
        verdict = "insufficient evidence" if few else "refused"
    turns = [trial for trial, _ in judged]
    return {
        "of": goal.of,
        "verdict": verdict,
        **last,
        "trials": [t.record(t is chosen, t in turns) for t in trials] + list(failed),
        "refused_before": [{name: found[name] for name in TOLD} for _, found in judged[:-1]],
    }


def save_record(folder: Path, record: Mapping[str, Any]) -> None:
    files.write_json(folder / RECORD, record)
