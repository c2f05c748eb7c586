"""Gates: rules in words, judged on intervals, never on the bare number.

domain.accuracy improves
bias.gender.gap does not worsen
retention.loss worsens by less than 2%
domain.accuracy is above 90%          memorisation.verbatim is below 0.5

Several gates on one quantity: of four slices that training left as they were, one looks better by chance in one run of
ten (four tests, each wrong on the good side at 2.5 %). So gates that claim a benefit ('improves') are corrected by Holm
over all the slices of the quantity that the recipe claims it of. Gates that protect ('does not worsen') are judged one
by one: corrected, harm to one group would need the stronger proof the more groups are looked after, and a 'worse' could
become a pass. They fail for nothing a little more often instead. A limit ('worsens by less than') passes only when the
whole interval is within it, and a level when the interval is above or below it: there the doubt is on the safe side
already, and all gates must pass. See docs/decisions/0009-holm-in-gates.md.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from limpide.audit.compare import holm_adjusted
from limpide.core.errors import RecipeError
from limpide.core.measure import Change, Measure

Outcome = Literal["pass", "fail", "insufficient evidence"]
Rule = Literal["improves", "does not worsen", "worsens by less than", "is above", "is below"]
GRAMMAR = re.compile(
    r"^(?P<metric>[a-z_]+(?:\.[a-z_0-9]+)+)\s+"
    r"(?:(?P<plain>improves|does not worsen)|"
    r"(?P<limited>worsens by less than|is above|is below)\s+(?P<number>-?\d+(?:\.\d+)?)\s*(?P<percent>%)?)$"
)
WHOLE: tuple[set[str], ...] = (set(), {"held_out"})  # slice values of what a gate without slices is about
EXAMPLES = "domain.accuracy improves · bias.gender.gap does not worsen · retention.loss worsens by less than 2%"


@dataclass(frozen=True)
class Gate:
    """metric: suite, slices, quantity. limit: a number, or a share when `relative`."""

    text: str
    metric: tuple[str, ...]
    rule: Rule
    limit: float | None = None
    percent: bool = False


@dataclass(frozen=True)
class Judged:
    rule: str
    verdict: Outcome
    sentence: str


def parse_gate(text: str) -> Gate:
    """Raises RecipeError when the text is no gate."""
    found = GRAMMAR.match(" ".join(text.split()))
    if found is None:
        raise RecipeError(f"'{text}' is no gate. Examples: {EXAMPLES}")
    number = found["number"]
    limit = None if number is None else float(number) / (100 if found["percent"] else 1)
    rule: Rule = found["plain"] or found["limited"]  # type: ignore[assignment]  # the expression allows only these
    return Gate(text, tuple(found["metric"].split(".")), rule, limit, bool(found["percent"]))


def judge_all(gates: Sequence[Gate], changes: Sequence[Change], results: Sequence[Measure]) -> list[Judged]:
    """The verdicts on all gates of a recipe, in their order: 'improves' after Holm, where it is said of several slices.

    The sentence of a corrected gate says over how many slices ("Holm over 2"). Source: Holm 1979.
    """
    claims = [gate for gate in gates if gate.rule == "improves"]
    corrected: dict[str, Change] = {}
    for quantity in {(gate.metric[0], gate.metric[-1]) for gate in claims}:
        family = [_change(gate, changes) for gate in claims if (gate.metric[0], gate.metric[-1]) == quantity]
        once = {change.label: change for change in family if change is not None}
        if len(once) > 1:
            corrected |= {change.label: change for change in holm_adjusted(list(once.values()))}
    claimed = [corrected.get(change.label, change) for change in changes]
    return [judge(gate, claimed if gate.rule == "improves" else changes, results) for gate in gates]


def judge(gate: Gate, changes: Sequence[Change], results: Sequence[Measure]) -> Judged:
    """The verdict on one gate alone. A metric that was not measured is 'insufficient evidence'."""
    if gate.rule in ("is above", "is below"):
        return _judge_level(gate, results)
    change = _change(gate, changes)
    if change is None or change.verdict == "insufficient evidence":
        why = "it was not measured on both models" if change is None else change.sentence
        return Judged(gate.text, "insufficient evidence", f"{'.'.join(gate.metric)} cannot be judged: {why}")
    if gate.rule == "improves":
        return Judged(gate.text, "pass" if change.verdict == "better" else "fail", change.sentence)
    if gate.rule == "does not worsen":
        return Judged(gate.text, "fail" if change.verdict == "worse" else "pass", change.sentence)
    return _judge_limit(gate, change)


def _judge_limit(gate: Gate, change: Change) -> Judged:
    """Pass when even the unfavourable end of the interval is within the limit; fail when the estimate is not."""
    assert gate.limit is not None
    if gate.percent and change.before == 0:
        why = f"{change.label} was 0 before, and no percentage of 0 can be told; give the limit without %."
        return Judged(gate.text, "insufficient evidence", why)
    if change.difference is None or change.low is None or change.high is None or change.before is None:
        return Judged(gate.text, "insufficient evidence", change.sentence)
    scale = abs(change.before) if gate.percent else 1.0
    worse = -1.0 if change.better == "higher" else 1.0
    estimate = worse * change.difference / scale
    bound = max(worse * change.low, worse * change.high) / scale
    unit = "%" if gate.percent else f" {change.unit}"
    factor = 100 if gate.percent else 1
    sentence = (
        f"{change.label} worsened by {factor * estimate:.2f}{unit}, at most {factor * bound:.2f}{unit} "
        f"at {change.level:.0%} confidence; the limit is {factor * gate.limit:g}{unit}."
    )
    if bound < gate.limit:
        return Judged(gate.text, "pass", sentence)
    return Judged(gate.text, "fail" if estimate >= gate.limit else "insufficient evidence", sentence)


def _judge_level(gate: Gate, results: Sequence[Measure]) -> Judged:
    """Judged on the worst of the models measured: the merged result, and the file that is served."""
    assert gate.limit is not None
    above = gate.rule == "is above"
    found = [m for m in results if matches(gate.metric, m.name, m.group)]
    usable = [m for m in found if m.value is not None and m.low is not None and m.high is not None]
    if not found or len(usable) < len(found):
        return Judged(gate.text, "insufficient evidence", f"{'.'.join(gate.metric)} was not measured well enough.")
    measure = min(usable, key=lambda m: m.low or 0.0) if above else max(usable, key=lambda m: m.high or 0.0)
    assert measure.value is not None
    assert measure.low is not None
    assert measure.high is not None
    sure = measure.low > gate.limit if above else measure.high < gate.limit
    likely = measure.value > gate.limit if above else measure.value < gate.limit
    interval = f"{measure.value:.4g} [{measure.low:.4g}; {measure.high:.4g}]"
    sentence = f"{measure.label} of {measure.subject} is {interval}; the limit is {gate.limit:g}."
    return Judged(gate.text, "pass" if sure else "insufficient evidence" if likely else "fail", sentence)


def _change(gate: Gate, changes: Sequence[Change]) -> Change | None:
    return next((c for c in changes if matches(gate.metric, c.name, c.group)), None)


def matches(metric: tuple[str, ...], name: str, group: dict[str, str]) -> bool:
    """bias.gender.gap is bias.gap in the slice gender; without slices, the whole, or the held-out split of domain."""
    if (metric[0], metric[-1]) != tuple(name.split(".", 1)):
        return False
    slices = set(metric[1:-1])
    values = set(group.values())
    return values == slices if slices else values in WHOLE
