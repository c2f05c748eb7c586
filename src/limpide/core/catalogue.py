"""Every operation, by name. Adding one is one file and one line here."""

from functools import cache
from importlib import import_module

from limpide.core.errors import UsageError, nearest
from limpide.core.operation import Operation

# name → module that holds its `operation`. Strings, so that listing imports nothing.
CATALOGUE: dict[str, str] = {
    "data.prepare": "limpide.data.prepare",
    "data.check": "limpide.data.check",
    "audit.domain": "limpide.audit.domain",
    "audit.bias": "limpide.audit.bias",
    "audit.truth": "limpide.audit.truth",
    "audit.robustness": "limpide.audit.robustness",
    "audit.retention": "limpide.audit.retention",
    "audit.memorisation": "limpide.audit.memorisation",
    "audit.refusal": "limpide.audit.refusal",
    "audit.charter": "limpide.audit.charter",
    "audit.compare": "limpide.audit.compare",
    "audit.served": "limpide.audit.served",
    "understand.explain": "limpide.understand.explain",
    "understand.cases": "limpide.understand.cases",
    "adapt.train": "limpide.adapt.train",
    "adapt.advice": "limpide.recipe.advice",
    "adapt.imported": "limpide.adapt.imported",
    "correct.counterfactual": "limpide.adapt.correct.counterfactual",
    "correct.preference": "limpide.adapt.correct.preference",
    "correct.erasure": "limpide.adapt.correct.erasure",
    "correct.steering": "limpide.adapt.correct.steering",
    "correct.edit": "limpide.adapt.correct.edit",
    "correct.abstain": "limpide.adapt.correct.abstain",
    "correct.bias": "limpide.recipe.corrections.bias",
    "correct.invention": "limpide.recipe.corrections.invention",
    "correct.refusal": "limpide.recipe.corrections.refusal",
    "correct.fact": "limpide.recipe.corrections.fact",
    "correct.tone": "limpide.recipe.corrections.tone",
    "correct.spoken": "limpide.recipe.corrections.spoken",
    "correct.asked": "limpide.recipe.corrections.asked",
    "correct.served": "limpide.recipe.corrections.served",
    "optimise.export": "limpide.optimise.export",
    "optimise.parity": "limpide.optimise.parity",
}

GOALS = ("bias", "invention", "refusal", "tone", "fact")  # what `limpide correct` and a recipe can ask to be corrected
OF_STEPS = ("compare", "served")  # audits of what other steps of a recipe made, not of a model


@cache
def find(name: str) -> Operation:
    """The operation called `name`. Raises UsageError naming the nearest."""
    if name not in CATALOGUE:
        raise UsageError(
            f"There is no operation '{name}'.{nearest(name, list(CATALOGUE))}", expected=", ".join(CATALOGUE)
        )
    operation = import_module(CATALOGUE[name]).operation
    assert isinstance(operation, Operation)
    return operation


def every() -> list[Operation]:
    return [find(name) for name in CATALOGUE]


def suites() -> list[str]:
    """Short names of the audits that look at one model: what a recipe lists and `limpide audit` offers."""
    audits = [name.split(".")[1] for name in CATALOGUE if name.startswith("audit.")]
    return [suite for suite in audits if suite not in OF_STEPS]


def in_room(room: str) -> list[Operation]:
    return [find(name) for name in CATALOGUE if name.startswith(f"{room}.")]
