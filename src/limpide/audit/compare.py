"""Before and after, paired on the same items: what changed, how surely, and what could not have been seen."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from pydantic import Field

from limpide.audit import functionals, statistics
from limpide.audit.functionals import FUNCTIONALS, UndefinedError
from limpide.audit.items import (
    ITEMS,
    LINKS,
    Item,
    Spec,
    columns_of,
    load_items,
    load_specs,
    sample_of,
    slices,
    too_few,
)
from limpide.audit.statistics import ALPHA, Paired
from limpide.audit.unpaired import CHANCE, ranked_change, unpaired_change
from limpide.audit.wording import finished, insufficient, verdict_of
from limpide.core import files
from limpide.core.errors import LimpideError, UsageError
from limpide.core.measure import Change, Measure, load_measures
from limpide.core.operation import Operation, Result, Settings, Subject
from limpide.core.progress import Progress

CHANGES = "changes.jsonl"
BEFORE, AFTER = "base", "result"
PAIRABLE = 0.9  # share of the larger side's items below which those on both sides do not stand for it
# Clusters of shares below which even a change of all of them is no 5 % event: McNemar's and the sign-flip p is 2·2^−k.
TESTABLE = next(k for k in range(1, 64) if 2 * 0.5**k < ALPHA)


class CompareSettings(Settings):
    draws: int = Field(default=statistics.DRAWS, ge=1000, description="resamples of each paired bootstrap")


def run(subject: Subject, settings: CompareSettings, progress: Progress) -> Result:
    """Inputs `base:<suite>` and `result:<suite>`, folders of audits. Writes changes.jsonl.

    Raises LimpideError when a suite has one side only; UsageError when the two sides did not ask the same.
    """
    changes: list[Change] = []
    warnings: list[str] = []
    suites = suites_of(subject.inputs)
    with progress.task("comparing", total=len(suites)) as task:
        for suite in suites:
            before, after = subject.input(f"{BEFORE}:{suite}"), subject.input(f"{AFTER}:{suite}")
            changes += compare(before, after, seed=subject.seed, draws=settings.draws)
            warnings += [*_same_model(suite, before, after), *_unpaired_items(suite, before, after)]
            task.advance()
    save_changes(subject.out / CHANGES, changes)
    verdicts = {verdict: sum(c.verdict == verdict for c in changes) for verdict in sorted({c.verdict for c in changes})}
    return Result(facts={"suites": suites, "changes": len(changes), "verdicts": verdicts}, warnings=tuple(warnings))


def suites_of(inputs: Mapping[str, Path]) -> list[str]:
    """Names of the suites that have both sides. Raises LimpideError when one side is missing."""
    sides = {
        side: {name.split(":", 1)[1] for name in inputs if name.startswith(f"{side}:")} for side in (BEFORE, AFTER)
    }
    alone = sides[BEFORE] ^ sides[AFTER]
    if alone or not sides[BEFORE]:
        raise LimpideError(
            "A comparison needs each audit of the base and of the result.",
            received=sorted(inputs),
            expected=f"{BEFORE}:<suite> and {AFTER}:<suite> for each suite",
        )
    return sorted(sides[BEFORE])


def compare(before: Path, after: Path, *, seed: int = 0, draws: int = statistics.DRAWS) -> list[Change]:
    """A Change for every measure present in both audit folders, in the order of the second's measures.

    Measures of which neither direction is better have no verdict and are left out.
    Measures that follow from items are paired by item id; others are compared by their two intervals, a rank among
    random candidates by how often chance alone gives it. So are those whose items differ between the sides: a metric
    of the questions that were answered rightly is of other questions once the answers change, and what is left of
    both would hide the change.
    """
    measures = {m.label: m for m in load_measures(before / "measures.jsonl")}
    both = [(measures[m.label], m) for m in load_measures(after / "measures.jsonl") if m.label in measures]
    pairs = [
        (first, second)
        for first, second in both
        if second.better != "neither" and "not run" not in (first.state, second.state)
    ]
    for first, second in pairs:
        _refuse_different(first, second)
    specs = {spec.name: spec for spec in load_specs(after)}
    sides = load_items(before), load_items(after)
    in_slice = {spec.name: [_by_slice(spec, items) for items in sides] for spec in specs.values()}
    changes = []
    for first, second in pairs:
        spec = specs.get(second.name)
        if spec is None:
            changes.append((ranked_change if second.name in CHANCE else unpaired_change)(first, second))
            continue
        left, right = (found.get(_key(second.group), []) for found in in_slice[second.name])
        shared = _paired(left, right)
        most = max(len(left), len(right))
        if len(shared[0]) < PAIRABLE * most:
            changes.append(_change_of_others(spec, first, second, len(shared[0]), most))
        else:
            changes.append(paired_change(spec, second.group, *shared, seed=seed, draws=draws))
    return changes


def _change_of_others(spec: Spec, before: Measure, after: Measure, shared: int, most: int) -> Change:
    """From the two intervals, where too few of the items that count are on both sides. most: on the larger side."""
    lost = f"{shared} of {most} items count on both sides"
    if "insufficient evidence" in (before.state, after.state):
        why = f"{lost}, too few to be paired, and one side alone holds too little for an interval"
        return insufficient(spec, after.group, shared, why)
    return unpaired_change(before, after, lost)


def paired_change(
    spec: Spec,
    group: dict[str, str],
    before: Sequence[Item],
    after: Sequence[Item],
    *,
    seed: int = 0,
    draws: int = statistics.DRAWS,
) -> Change:
    """The change of one measure on one slice. `before` and `after` hold the same items in the same order.

    For 'nearer zero' the difference is of absolute values. When the result is near zero its absolute value is drawn
    too large, so the interval errs towards less improvement. With fewer than TESTABLE clusters a share of 0 % that
    became 100 % could not be told from chance: that is insufficient evidence, and never 'no detectable change'.
    """
    needed = fewest(spec)
    if len({item.cluster for item in before}) < needed:
        return insufficient(spec, group, len(before), f"{too_few(before, needed)} to tell a change from chance")
    try:
        found, values = _paired_values(spec, before, after, seed, draws)
    except UndefinedError as undefined:
        return insufficient(spec, group, len(before), str(undefined))
    verdict = verdict_of(spec.better, found.difference, found.p_value < ALPHA)
    return finished(
        Change(
            name=spec.name,
            group=group,
            unit=spec.unit,
            better=spec.better,
            before=values[0],
            after=values[1],
            difference=found.difference,
            low=found.low,
            high=found.high,
            n=found.n,
            test=found.test if found.clusters == found.n else f"{found.test} ({found.clusters} clusters)",
            p_value=found.p_value,
            smallest_detectable=found.smallest_detectable,
            verdict=verdict,
            sentence="",
        )
    )


def fewest(spec: Spec) -> int:
    """Clusters below which a change of this measure is never told from chance."""
    return max(statistics.minimum_clusters(spec.kind), TESTABLE if spec.kind == "share" else 0)


def _paired_values(
    spec: Spec, before: Sequence[Item], after: Sequence[Item], seed: int, draws: int
) -> tuple[Paired, tuple[float, float]]:
    """The difference, and both values as they are shown: with their signs for 'nearer zero'."""
    link = LINKS["absolute" if spec.better == "nearer zero" else spec.link]
    if spec.kind == "statistic":
        sides, name = (columns_of(spec, before), columns_of(spec, after)), str(spec.statistic)
        clusters = [item.cluster for item in before]
        found = functionals.paired(name, *sides, clusters, link=link, draws=draws, seed=seed)
        shown = (FUNCTIONALS[name].value(sides[0]), FUNCTIONALS[name].value(sides[1]))
        return found, shown
    first, second = sample_of(spec, before), sample_of(spec, after)
    if spec.kind == "share":
        found = statistics.paired_shares(first, second, draws=draws, seed=seed)
    else:
        found = statistics.paired_difference(first, second, link=link, draws=draws, seed=seed)
    return found, (first.mean, second.mean) if spec.better == "nearer zero" else (found.before, found.after)


def holm_adjusted(changes: Sequence[Change]) -> list[Change]:
    """The same changes, each p replaced by Holm's over all of them and the verdict judged again.

    Give it the slices that are judged together. Changes without a p (too few items, or no items) stay as they are and
    do not count.
    """
    adjusted = iter(statistics.holm([c.p_value for c in changes if c.p_value is not None]))
    tested = sum(c.p_value is not None for c in changes)
    return [c if c.p_value is None else _readjusted(c, next(adjusted), tested) for c in changes]


def _readjusted(change: Change, p_value: float, tested: int) -> Change:
    assert change.difference is not None
    verdict = verdict_of(change.better, change.difference, p_value < ALPHA)
    test = change.test if tested == 1 else f"{change.test}, Holm over {tested}"
    return finished(change.model_copy(update={"p_value": p_value, "verdict": verdict, "test": test}))


def save_changes(path: Path, changes: Sequence[Change]) -> None:
    files.write_jsonl(path, (change.model_dump(mode="json") for change in changes))


def load_changes(path: Path) -> list[Change]:
    return [Change.model_validate(row) for row in files.read_jsonl(path)]


# ---------------------------------------------------------------------------------------------------------- pairing


def _refuse_different(before: Measure, after: Measure) -> None:
    """Two numbers made in two ways, or on other items, have no difference."""
    for what, first, second in (
        ("method", before.method, after.method),
        ("data", before.data_digest, after.data_digest),
    ):
        if first != second:
            raise UsageError(
                f"'{after.label}' cannot be compared: base and result were measured with a different {what}.",
                received=f"base {first}, result {second}",
                remedy="audit both models again with the same settings and data",
            )


def _paired(before: Sequence[Item], after: Sequence[Item]) -> tuple[list[Item], list[Item]]:
    """The items present on both sides, in the order of the first."""
    second = {item.id: item for item in after}
    shared = [item for item in before if item.id in second]
    return shared, [second[item.id] for item in shared]


def _by_slice(spec: Spec, items: Sequence[Item]) -> dict[tuple[tuple[str, str], ...], list[Item]]:
    """{sorted group: its items} of every slice at once: one pass over the items a spec, not one a change."""
    return {_key(group): chosen for group, chosen in slices(spec, items)}


def _key(group: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    return tuple(sorted(group.items()))


def _same_model(suite: str, before: Path, after: Path) -> Iterator[str]:
    """A change that changed nothing, such as an adapter that was never applied, must not pass in silence."""
    first, second = ({m.model_digest for m in load_measures(f / "measures.jsonl")} for f in (before, after))
    if first == second and first - {None}:
        yield f"{suite}: base and result are the same model, byte for byte: nothing was changed between them."


def _unpaired_items(suite: str, before: Path, after: Path) -> Iterator[str]:
    first, second = ({item.id for item in load_items(folder)} for folder in (before, after))
    alone = sorted(first ^ second)
    if alone and first and second:  # a side without items says itself why nothing could be asked of it
        yield (
            f"{suite}: {len(alone)} items have one side only and were left out wherever items are paired, "
            f"for example '{alone[0]}' (see {ITEMS})."
        )


operation = Operation(
    name="audit.compare",
    verb="look",
    summary="What changed between the base and the result, item by item, and what could not have been seen.",
    settings=CompareSettings,
    run=run,
    source="McNemar 1947; Newcombe 1998; Hesterberg 2015",
)
