"""What every audit shares: items, how measures are computed from them, and the files that keep both.

An audit writes `items.jsonl` (what was seen, item by item) and `specs.json` (which item metric feeds which measure,
on which slices). Measures follow from the two, and `compare` computes changes from them without knowing the suite.
"""

import math
import platform
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import Field, model_validator

from limpide.audit import functionals, statistics
from limpide.audit.functionals import FUNCTIONALS
from limpide.audit.statistics import Estimate, Floats, Link, Sample
from limpide.core import digests, files
from limpide.core.errors import LimpideError
from limpide.core.measure import Better, Frozen, Measure
from limpide.core.operation import Settings, Subject
from limpide.core.progress import Progress
from limpide.data.examples import Example
from limpide.data.personal import mask_values
from limpide.models.classifier import is_classifier
from limpide.models.requests import Asked
from limpide.models.respondents import Opened, Respondent, Sorter, open_respondent, open_sorter

ITEMS, SPECS = "items.jsonl", "specs.json"
NO_TEXT = "needs a model that writes answers, and this one only fills in words"
SORTS = "needs words from the model, and a classifier gives only the probability of each class"
MANY_EQUAL = (100, 30)  # items and clusters of one value, from which it is no accident of a few
ROUNDING = 1e-12  # of values that are equal but for their last bits
EVERY = "*"  # in a slice: one measure for each value of this key
LINKS: dict[str, Link] = {"identity": statistics.identity, "exp": np.exp, "absolute": np.abs}


class AuditSettings(Settings):
    """What every audit of an opened model can be told."""

    precision: Literal["float32", "bfloat16", "fast"] = Field(
        default="float32",
        description="number format of the weights while measuring; fast: bfloat16, and float32 again where it is close",
    )


@dataclass(frozen=True)
class Item:
    """One thing asked of the model. group: its slices. metric: numbers by name. shown: free fields for people.

    within: what is independent inside the cluster, where a slice takes one cluster alone (see Spec.nested); the item
    itself when None.
    """

    id: str
    cluster: str
    group: Mapping[str, str]
    metric: Mapping[str, float]
    shown: Mapping[str, Any] = field(default_factory=dict)
    within: str | None = None

    def record(self) -> dict[str, Any]:
        own: dict[str, Any] = {
            "id": self.id,
            "cluster": self.cluster,
            "group": dict(self.group),
            "metric": dict(self.metric),
        }
        if self.within is not None:
            own["within"] = self.within
        return own | {name: value for name, value in self.shown.items() if name not in own}


class Spec(Frozen):
    """How one measure follows from items: link(Σ weight·metric / Σ weight), on each slice."""

    name: str = Field(description="suite.quantity")
    metric: str = Field(description="item metric averaged; 0 or 1 for a share; a total when `weight` is given")
    weight: str | None = Field(default=None, description="item metric that `metric` is a total over, such as tokens")
    kind: Literal["share", "mean", "statistic"]
    statistic: str | None = Field(default=None, description="a name of functionals.FUNCTIONALS, when kind is statistic")
    columns: tuple[str, ...] = Field(default=(), description="item metrics that the statistic takes, `metric` first")
    ends: tuple[float, float] | None = Field(
        default=None, description="least and greatest value that the metric of a mean can have, where there are such"
    )
    link: Literal["identity", "exp"] = "identity"
    unit: str
    better: Better
    slices: tuple[dict[str, str], ...] = Field(default=({},), description="group keys to values; '*' for each value")
    nested: str | None = Field(
        default=None, description="group key whose values are the clusters: a slice of one value counts what is within"
    )
    method: str
    note: str | None = None

    @model_validator(mode="after")
    def _statistic_has_its_columns(self) -> "Spec":
        if self.kind != "statistic":
            if self.statistic is not None or self.columns:
                raise ValueError("only a spec of kind 'statistic' names a statistic and its columns")
            return self
        if self.statistic not in FUNCTIONALS:
            raise ValueError(f"no statistic is called {self.statistic!r}; there are {', '.join(FUNCTIONALS)}")
        needed = FUNCTIONALS[self.statistic].columns
        if len(self.columns) != len(needed) or self.columns[0] != self.metric:
            raise ValueError(f"{self.statistic} takes the columns {needed}, `metric` first, not {self.columns}")
        if self.weight is not None or self.link != "identity":
            raise ValueError("a statistic has neither weight nor link")
        return self

    @property
    def metrics(self) -> tuple[str, ...]:
        """Item metrics without which an item does not count."""
        return self.columns or (self.metric,)


@dataclass(frozen=True)
class Frame:
    """What every measure of one run carries. precision: of the weights while measuring, where they are here.

    wordless: the model is a classifier, which explains every measure of words that is not run.
    """

    subject: str
    seed: int
    model_digest: str | None
    data_digest: str
    precision: str = "float32"
    wordless: bool = False

    def method(self, spec: Spec) -> str:
        """The spec's method id, with the precision unless it is float32: rounding moves near ties and likelihoods."""
        if self.precision == "float32":
            return spec.method
        begun = spec.method.removesuffix(")")
        return f"{begun}{'' if begun.endswith('(') else ','}precision={self.precision})"


# ------------------------------------------------------------------------------------------------- items → measures


def summarise(items: Sequence[Item], specs: Sequence[Spec], frame: Frame) -> list[Measure]:
    """Every measure of every spec, in their order. A slice without items gives none."""
    return [summarise_slice(spec, group, chosen, frame) for spec in specs for group, chosen in slices(spec, items)]


def slices(spec: Spec, items: Sequence[Item]) -> list[tuple[dict[str, str], list[Item]]]:
    """(group, its items) for each slice of `spec` that has items with its metrics, values in alphabetical order."""
    able = [item for item in items if all(name in item.metric for name in spec.metrics)]
    found: list[tuple[dict[str, str], list[Item]]] = []
    for pattern in spec.slices:
        matching = [
            item
            for item in able
            if all(key in item.group and value in (EVERY, item.group[key]) for key, value in pattern.items())
        ]
        values = sorted({tuple(item.group[key] for key in pattern) for item in matching})
        for value in values:
            group = dict(zip(pattern, value, strict=True))
            chosen = [i for i in matching if all(i.group[k] == v for k, v in group.items())]
            inside = spec.nested is not None and spec.nested in group
            found.append((group, [replace(i, cluster=i.within or i.id) for i in chosen] if inside else chosen))
    return found


def sample_of(spec: Spec, items: Sequence[Item]) -> Sample:
    """The items' metric as a Sample; a total becomes total/weight, weighted by it."""
    values = [item.metric[spec.metric] for item in items]
    clusters = [item.cluster for item in items]
    if spec.weight is None:
        return Sample.of(values, clusters)
    weights = [item.metric[spec.weight] for item in items]
    return Sample.of([value / weight for value, weight in zip(values, weights, strict=True)], clusters, weights)


def columns_of(spec: Spec, items: Sequence[Item]) -> Floats:
    """float[k, items]: what the spec's statistic is computed from."""
    return np.array([[item.metric[name] for item in items] for name in spec.columns])


def summarise_slice(spec: Spec, group: dict[str, str], items: Sequence[Item], frame: Frame) -> Measure:
    estimate, why = _estimate(spec, items, frame.seed)
    return Measure(
        name=spec.name,
        subject=frame.subject,
        value=estimate.value if estimate else None,
        unit=spec.unit,
        better=spec.better,
        n=len(items),
        low=estimate.low if estimate else None,
        high=estimate.high if estimate else None,
        interval=estimate.method if estimate else None,
        clusters=len({item.cluster for item in items}),
        group=group,
        state="measured" if estimate else "insufficient evidence",
        method=frame.method(spec),
        model_digest=frame.model_digest,
        data_digest=frame.data_digest,
        seed=frame.seed,
        versions=library_versions(),
        note=spec.note if estimate else why,
    )


def _estimate(spec: Spec, items: Sequence[Item], seed: int) -> tuple[Estimate | None, str]:
    """The value with its interval, or None and why there is none."""
    clusters = [item.cluster for item in items]
    needed = statistics.minimum_clusters(spec.kind)
    enough = len(set(clusters)) >= needed
    if spec.kind == "statistic":
        if not enough:
            return None, f"{too_few(items, needed)}."
        try:
            return functionals.estimate(str(spec.statistic), columns_of(spec, items), clusters, seed=seed), ""
        except functionals.UndefinedError as undefined:
            return None, f"{len(items)} items, and {undefined}."
    sample = sample_of(spec, items)
    if not enough:
        return None, f"{too_few(items, needed)}; their plain mean is {sample.mean:.4g}."
    if spec.kind == "share":
        return statistics.share(sample), ""
    if np.ptp(sample.values) <= ROUNDING * max(1.0, abs(sample.mean)):
        return _all_equal(spec, sample)
    return statistics.bootstrap_mean(sample, link=LINKS[spec.link], seed=seed), ""


def _all_equal(spec: Spec, sample: Sample) -> tuple[Estimate | None, str]:
    """As `_estimate`, for items of one value v, whose resampling would claim certainty.

    Where the metric has ends a and b, clusters unlike all that were seen may be a share u of them, up to Wilson's
    bound, and lie at either end: [v − u(v − a), v + u(b − v)]. At an end this is the interval of the share itself, as
    0.5 of a departure that is a share − 0.5, or 1 of scores of −1 and 1. Without ends nothing bounds what was not
    seen, so the evidence is insufficient; save that MANY_EQUAL real numbers are not equal by chance but because they
    must be, as the gaps of a model that never reads the person: they stand, without width.
    """
    value, n, g = sample.mean, len(sample.values), sample.n_clusters
    link = LINKS[spec.link]
    if spec.ends is None and (n < MANY_EQUAL[0] or g < MANY_EQUAL[1]):
        shown = float(link(np.array([value]))[0])
        return None, f"All {n} values are equal ({shown:.4g}), so their spread is unknown and there is no interval."
    all_seen = statistics.share(Sample.of([1.0] * n, sample.clusters))
    unseen = 1 - all_seen.low if spec.ends is not None else 0.0
    least, most = spec.ends or (value, value)
    ends = value - unseen * (value - least), value + unseen * (most - value)
    value, low, high = (float(x) for x in link(np.array([value, *ends])))
    return Estimate(value, low, high, 0.0, n, g, all_seen.method if spec.ends else "all values are equal"), ""


def too_few(items: Sequence[Item], needed: int) -> str:
    """Why there is no interval."""
    clusters = len({item.cluster for item in items})
    return f"{len(items)} items in {clusters} independent clusters, where at least {needed} clusters are needed"


def method_id(name: str, number: int, **parameters: object) -> str:
    """`bias.gap@1(axes=gender+origin,templates=0123456789ab)`: everything that changes the result, in a fixed order."""
    inside = ",".join(f"{key}={_written(value)}" for key, value in parameters.items())
    return f"{name}@{number}({inside})"


def _written(value: object) -> str:
    return "+".join(map(str, value)) if isinstance(value, (tuple, list)) else str(value)


@cache
def library_versions() -> dict[str, str]:
    """Versions of what takes part in a number; nothing is imported. Not to be changed."""
    found = {"python": platform.python_version()}
    for name in ("limpide", "numpy", "scipy", "torch", "transformers", "tokenizers"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:  # Limpide in a source tree, or a machine without torch
            continue
    return found


# --------------------------------------------------------------------------------------------------------- the files


def save_evidence(folder: Path, items: Sequence[Item], specs: Sequence[Spec]) -> None:
    """Write items.jsonl and specs.json. Raises LimpideError for a metric that is not finite, or an id met twice.

    Releases publish both: personal data in whatever is shown, of the rows or the model's own, is masked here for all
    suites. Metrics were computed before, from the texts as they are.
    """
    seen: set[str] = set()
    for item in items:
        wrong = [name for name, value in item.metric.items() if not math.isfinite(value)]
        if wrong:
            raise LimpideError(
                f"The audit got a number that is not finite for item '{item.id}'.",
                received=", ".join(f"{name} = {item.metric[name]}" for name in wrong),
                remedy="audit again in float32 (precision: float32); if it persists the weights are damaged",
            )
        if item.id in seen:
            raise LimpideError(f"Two audit items have the id '{item.id}', so results could not be paired.")
        seen.add(item.id)
    masked = (replace(item, shown=mask_values(item.shown)) for item in items)
    files.write_jsonl(folder / ITEMS, (item.record() for item in masked))
    files.write_json(folder / SPECS, [spec.model_dump(mode="json") for spec in specs])


def load_items(folder: Path) -> list[Item]:
    return [
        Item(
            row.pop("id"),
            row.pop("cluster"),
            row.pop("group"),
            row.pop("metric"),
            within=row.pop("within", None),
            shown=row,
        )
        for row in files.read_jsonl(folder / ITEMS)
    ]


def load_specs(folder: Path) -> list[Spec]:
    return [Spec.model_validate(row) for row in files.read_json(folder / SPECS)]


def data_digest(folder: Path, names: Iterable[str]) -> str:
    """Digest of the named files of a prepared data folder."""
    return digests.of_value(digests.of_files(folder, names))


# --------------------------------------------------------------------------------------------------------- the model


def respondent_of(subject: Subject, settings: AuditSettings) -> Respondent:
    """Who is asked: the one that was given, else the subject's model, opened."""
    if subject.respondent is not None:
        respondent: Respondent = subject.respondent
        return respondent
    if is_classifier(subject.the_model()):
        return open_sorter(subject.the_model(), settings.precision)
    return open_respondent(subject.the_model(), settings.precision, fresh=subject.fresh)


def frame_of(subject: Subject, respondent: Respondent, data: str) -> Frame:
    precision = "float32"
    if isinstance(respondent, Opened):
        precision = respondent.model.precision if respondent.exact is None else "fast"
    elif isinstance(respondent, Sorter):
        precision = respondent.classifier.precision
    return Frame(subject.label, subject.seed, respondent.digest, data, precision, isinstance(respondent, Sorter))


def not_run(spec: Spec, frame: Frame, why: str) -> Measure:
    """A measure that this respondent cannot have, and why: the report lists what is impossible without weights."""
    return Measure(
        name=spec.name,
        subject=frame.subject,
        value=None,
        unit=spec.unit,
        better=spec.better,
        n=0,
        state="not run",
        method=frame.method(spec),
        model_digest=frame.model_digest,
        data_digest=frame.data_digest,
        seed=frame.seed,
        versions=library_versions(),
        note=SORTS if frame.wordless else why,
    )


def decoding(respondent: Respondent, max_new_tokens: int) -> dict[str, object]:
    """How written answers came about, for method ids: those of a file are as they were given."""
    if respondent.kind in ("answers", "classifier"):
        return {"decoding": "given" if respondent.kind == "answers" else "likeliest class"}
    return {"decoding": "greedy", "max_new_tokens": max_new_tokens}


def greedy_answers(
    respondent: Respondent, examples: Sequence[Example], at_least: int, progress: Progress
) -> tuple[list[str], int]:
    """Greedy answers to the examples' prompts, and the number of tokens each was allowed.

    `at_least`, or more where an expected answer is longer: a limit that cuts the right answer would count it wrong.
    For a respondent that generates, or a classifier, whose answer is its likeliest class.
    """
    from limpide.models import prompt

    if isinstance(respondent, Sorter):
        return [max(found, key=found.__getitem__) for found in respondent.classify(examples, progress)], at_least
    allowed = at_least
    if isinstance(respondent, Opened):
        requests = [prompt.answer_request(respondent.model, example) for example in examples]
        allowed = max([at_least, *(len(request.continuation) for request in requests)])
    asked = [Asked(example.id, example.prompt) for example in examples]
    return respondent.answer(asked, allowed, progress), allowed
