"""What the recipe page offers for its first questions: gates that fit what is measured, and how strongly to adapt."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from limpide.core import catalogue
from limpide.studio.visit import Visit

# Rules that protect or claim, for each suite; `{axis}` stands for each axis that is measured.
OFFERED: Mapping[str, tuple[str, ...]] = {
    "domain": ("domain.accuracy improves",),
    "bias": ("bias.{axis}.gap does not worsen",),
    "truth": ("truth.made_up does not worsen", "truth.accuracy does not worsen"),
    "robustness": ("robustness.flipped does not worsen",),
    "retention": ("retention.perplexity worsens by less than 20%", "retention.truth_accuracy does not worsen"),
    "memorisation": ("memorisation.personal_data does not worsen",),
    "refusal": ("refusal.declined_harmful does not worsen",),
    "charter": ("charter.respected improves", "charter.respected does not worsen"),
}
AXES: tuple[str, ...] = catalogue.find("audit.bias").settings.model_fields["axes"].default
Strength = Literal["none", "light", "medium", "strong", "own"]
# Settings of `adapt` that a strength stands for. The stronger, the more a small model forgets of ordinary language.
STRENGTHS: Mapping[Strength, Mapping[str, Any]] = {
    "light": {"rank": 16, "epochs": 3, "learning_rate": 0.0004},
    "medium": {"rank": 16, "epochs": 6, "learning_rate": 0.001},
    "strong": {"rank": 32, "epochs": 10, "learning_rate": 0.003},
}


@dataclass(frozen=True)
class Offer:
    """One gate that can be ticked. key: of its sentence. axis: of a bias."""

    gate: str
    key: str
    axis: str = ""


def offers(suites: Sequence[str], axes: Sequence[str]) -> list[Offer]:
    """Gates on what these suites measure, in the order of the suites."""
    found = []
    for suite, gates in OFFERED.items():
        for number, gate in enumerate(gates if suite in suites else (), start=1):
            key = f"recipe.gate.{suite}.{number}"
            if "{axis}" in gate:
                found += [Offer(gate.format(axis=axis), key, axis) for axis in axes]
            else:
                found.append(Offer(gate, key))
    return found


def offer_of(gate: str) -> Offer | None:
    """The offer that a gate is, word for word; None for a rule in somebody's own words."""
    return next((offer for offer in offers(list(OFFERED), AXES) if offer.gate == gate), None)


def said(visit: Visit, gate: str) -> str:
    """A gate in plain words, where it is one that the page offers; else as it is written."""
    offer = offer_of(gate)
    if offer is None:
        return gate
    return visit.say(offer.key, axis=visit.say(f"recipe.axis.{offer.axis}").lower() if offer.axis else "")


def without_suite(gates: Sequence[str], suite: str, axis: str = "") -> list[str]:
    """The gates that do not rest on a suite, or on one axis of it."""
    start = f"{suite}.{axis}." if axis else f"{suite}."
    return [gate for gate in gates if not str(gate).startswith(start)]


def strength_of(adapt: Any, usual: Mapping[str, Any]) -> Strength:
    """Which of the strengths a section `adapt` is; 'own' when it is another. usual: where it says nothing."""
    if adapt is None:
        return "none"
    said = {**usual, **adapt} if isinstance(adapt, Mapping) else {}
    for name, settings in STRENGTHS.items():
        if all(said.get(key) == value for key, value in settings.items()) and said.get("method") == "lora":
            return name
    # The usual learning rate of LoRA is left out in most recipes.
    strong = {**STRENGTHS["strong"], "learning_rate": None}
    return "strong" if all(said.get(key) == value for key, value in strong.items()) else "own"
