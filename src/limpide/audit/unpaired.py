"""Changes of measures whose items cannot be paired: from the two intervals, or from a rank among random candidates."""

import math
from collections.abc import Callable, Mapping

from scipy import stats

from limpide.audit import statistics
from limpide.audit.statistics import ALPHA
from limpide.audit.wording import finished, verdict_of
from limpide.core.measure import Change, Measure

Ends = tuple[float, float, float]  # value, low, high
# How often a model that never saw it ranks a phrase so high, (k + 1) / (n + 1), from each quantity that tells it.
CHANCE: Mapping[str, Callable[[float, int], float]] = {
    "memorisation.canary_rank": lambda rank, n: rank / n,
    "memorisation.exposure": lambda bits, n: 2.0**-bits,
}


def unpaired_change(before: Measure, after: Measure, why: str | None = None) -> Change:
    """From the two intervals alone (square and add, no correlation): cautious. why: they are not paired.

    For 'nearer zero' the difference is of absolute values, whose intervals are the images of the two. p_value is the
    level at which the interval reaches 0 if its reach were that of a normal law, so the two agree at 5 %.
    """
    ends = [_ends(measure) for measure in (before, after)]
    if ends[0] is None or ends[1] is None:
        return finished(_change(before, after, "none"))
    first, second = (_folded(e) if after.better == "nearer zero" else e for e in (ends[0], ends[1]))
    low, high = statistics.square_and_add(first, second)
    difference = second[0] - first[0]
    verdict = verdict_of(after.better, difference, low > 0 or high < 0)
    found = {
        "difference": difference,
        "low": low,
        "high": high,
        "p_value": _p_value(difference, low, high, after.level),
        "verdict": verdict,
    }
    test = "the two intervals, unpaired" + (f": {why}" if why else "")
    return finished(_change(before, after, test).model_copy(update=found))


def ranked_change(before: Measure, after: Measure) -> Change:
    """Of the rank of one planted phrase among n random candidates, or of its exposure.

    The interval of a rank is over the candidates alone: two models that never saw the phrase rank it anywhere, each
    with its narrow interval, so two intervals apart show no memory. 'Worse' therefore asks that chance rarely gives
    the rank of the result and not that of the base, 'better' the other way round, each at half of 5 % since both are
    looked for, and that the intervals are apart too. Source: Carlini et al. 2019 for the rank; the test is exact,
    since a phrase drawn like its candidates has each rank equally often.
    """
    change = unpaired_change(before, after)
    if change.difference is None or before.value is None or after.value is None:
        return change
    if 1 / after.n >= ALPHA / 2:
        why = f"{after.n} phrases are too few to tell even the first rank from chance"
        nothing = _change(before, after, "none")
        return nothing.model_copy(update={"sentence": f"{nothing.label}: insufficient evidence, {why}."})
    chance = CHANCE[after.name]
    by_chance = [chance(before.value, before.n), chance(after.value, after.n)]
    alike = (by_chance[0] < ALPHA / 2) == (by_chance[1] < ALPHA / 2)
    found = {
        "test": f"rank among candidates, as high by chance: base {by_chance[0]:.2g}, result {by_chance[1]:.2g}",
        "verdict": "no detectable change" if alike else change.verdict,
        "p_value": None,  # Holm's correction is of tests of a difference
    }
    return finished(change.model_copy(update=found))


def _ends(measure: Measure) -> Ends | None:
    if measure.value is None or measure.low is None or measure.high is None:
        return None
    return measure.value, measure.low, measure.high


def _folded(ends: Ends) -> Ends:
    """The absolute value, and the image of the interval: from 0 on where it holds 0."""
    value, low, high = ends
    sizes = sorted((abs(low), abs(high)))
    return abs(value), 0.0 if low <= 0 <= high else sizes[0], sizes[1]


def _p_value(difference: float, low: float, high: float, level: float) -> float:
    """Two-sided, of no difference; from the side of the interval that looks to 0."""
    reach = difference - low if difference > 0 else high - difference
    if difference == 0 or math.isclose(reach, 0.0, abs_tol=1e-15):
        return 1.0 if difference == 0 else 0.0
    return float(2 * stats.norm.sf(stats.norm.ppf(0.5 + level / 2) * abs(difference) / reach))


def _change(before: Measure, after: Measure, test: str) -> Change:
    """Both sides, with nothing said of their difference."""
    return Change(
        name=after.name,
        group=after.group,
        unit=after.unit,
        better=after.better,
        before=before.value,
        after=after.value,
        difference=None,
        low=None,
        high=None,
        level=after.level,
        n=min(before.n, after.n),
        test=test,
        p_value=None,
        smallest_detectable=None,
        verdict="insufficient evidence",
        sentence="",
    )
