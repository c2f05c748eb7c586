"""Which measures a suite can leave, from its specs: told before any model is opened."""

from collections.abc import Mapping, Sequence
from itertools import product

from limpide.audit.items import EVERY, Spec
from limpide.core.operation import Measurable


def measurable(specs: Sequence[Spec], **values: Sequence[str]) -> tuple[Measurable, ...]:
    """One for each spec. values: group key → all the values that it can have; '*' stays for keys not named here."""
    return tuple(
        Measurable(
            spec.name, spec.unit, spec.better, tuple(s for pattern in spec.slices for s in _spelled(pattern, values))
        )
        for spec in specs
    )


def _spelled(pattern: Mapping[str, str], values: Mapping[str, Sequence[str]]) -> list[dict[str, str]]:
    choices = [
        dict.fromkeys(values.get(key, (EVERY,))) if value == EVERY else (value,) for key, value in pattern.items()
    ]
    return [dict(zip(pattern, chosen, strict=True)) for chosen in product(*choices)]
