"""What is wrong with a gate before anything runs: measures that no suite makes, and limits that no value could meet.

A gate on a name that nobody measures would be noticed after hours of training only, as 'insufficient evidence'.
"""

from collections.abc import Mapping, Sequence
from itertools import permutations
from typing import Any

from pydantic import ValidationError

from limpide.core import catalogue
from limpide.core.errors import nearest
from limpide.core.operation import Measurable
from limpide.recipe.gates import WHOLE, Gate

ANY = "*"
BETWEEN_0_AND_1 = ("share", "AUC")  # units
SHOWN = 8  # names listed, at most


def given_by(suite: str, audit: Any) -> Sequence[Measurable] | None:
    """What the suite can measure with its settings in the section `audit` of a recipe.

    None where it does not tell, or where its settings are at fault themselves, which is said elsewhere.
    """
    operation = catalogue.find(f"audit.{suite}")
    sections: Mapping[str, Any] = audit if isinstance(audit, Mapping) else {}
    own = sections.get(suite) or {}
    if operation.gives is None or not isinstance(own, Mapping):
        return None
    shared = {"languages": sections["languages"]} if "languages" in sections else {}
    known = operation.settings.model_fields
    try:
        settings = operation.settings.model_validate({k: v for k, v in shared.items() if k in known} | dict(own))
    except ValidationError:
        return None
    return operation.gives(settings)


def fault_of(gate: Gate, given: Sequence[Measurable]) -> str | None:
    """Why the gate could never pass, or always would; None for a gate that can be judged. given: of its suite."""
    name = f"{gate.metric[0]}.{gate.metric[-1]}"
    named = [one for one in given if one.name == name]
    slices = frozenset(gate.metric[1:-1])
    meant = next((one for one in named if any(_fits(slices, pattern) for pattern in one.slices)), None)
    if meant is None:
        return _unknown(gate, named, given)
    if gate.rule in ("is above", "is below"):
        return _level_fault(gate, meant)
    if meant.better == "neither":
        return f"'{gate.text}': of {name}, neither direction is better; use 'is above' or 'is below'"
    if gate.rule == "worsens by less than" and meant.unit in BETWEEN_0_AND_1 and not gate.percent:
        assert gate.limit is not None
        if gate.limit >= 1:
            return (
                f"'{gate.text}': {name} lies between 0 and 1 and could not worsen by more. Write {gate.limit:g}% for a "
                f"part of its value before, or {gate.limit / 100:g} for {gate.limit:g} points"
            )
    return None


def _level_fault(gate: Gate, meant: Measurable) -> str | None:
    assert gate.limit is not None
    bounded = meant.unit in BETWEEN_0_AND_1
    if gate.percent and not bounded:
        number = f"{100 * gate.limit:g}"
        return f"'{gate.text}': {meant.name} is in {meant.unit}, not a share; write {number} without %"
    if not bounded:
        return None
    if abs(gate.limit) > 1 and not gate.percent:
        least = f"{gate.limit:g}% or {gate.limit / 100:g}"
        return f"'{gate.text}': {meant.name} lies between 0 and 1. Did you mean {least}?"
    lowest = -1 if meant.better == "nearer zero" else 0
    above = gate.rule == "is above"
    never = gate.limit >= 1 if above else gate.limit <= lowest
    always = gate.limit < lowest if above else gate.limit > 1
    if not never and not always:
        return None
    return f"'{gate.text}': {meant.name} lies between {lowest} and 1, so this {'never' if never else 'always'} passes"


def _fits(slices: frozenset[str], pattern: Mapping[str, str]) -> bool:
    """As in gates: every value of the slice is named; the whole, or the held-out part, where none is."""
    fixed = {value for value in pattern.values() if value != ANY}
    free = sum(value == ANY for value in pattern.values())
    if not slices:
        return not free and fixed in WHOLE
    return fixed <= slices and len(slices - fixed) == free


def _unknown(gate: Gate, named: Sequence[Measurable], given: Sequence[Measurable]) -> str:
    asked, suite = ".".join(gate.metric), gate.metric[0]
    known = list(dict.fromkeys(name for one in named or given for name in _names(one)))
    close = nearest(asked, known)
    if named:
        parts = dict.fromkeys(_written(one, pattern) for one in named for pattern in one.slices)
        listed = ", ".join([name.replace(ANY, "…") for name in parts][:SHOWN])
        more = f" and {len(parts) - SHOWN} more" if len(parts) > SHOWN else ""
        return f"'{gate.text}': there is no such part of {named[0].name}.{close} There is: {listed}{more}"
    quantities = ", ".join(dict.fromkeys(one.name.split(".", 1)[1] for one in given))
    return f"'{gate.text}': the suite '{suite}' does not measure '{gate.metric[-1]}'.{close} It measures: {quantities}"


def _names(one: Measurable) -> list[str]:
    """Every name a gate may use for it, in any order of its slices; none for slices whose values are not known."""
    suite, quantity = one.name.split(".", 1)
    names = []
    for pattern in one.slices:
        values = set(pattern.values())
        if ANY in values:
            continue
        orders = [()] if values in WHOLE else permutations(pattern.values())
        names += [".".join((suite, *order, quantity)) for order in orders]
    return names


def _written(one: Measurable, pattern: Mapping[str, str]) -> str:
    suite, quantity = one.name.split(".", 1)
    values = () if set(pattern.values()) in WHOLE else tuple(pattern.values())
    return ".".join((suite, *values, quantity))
