"""Why a word of an answer: an explanation turned into sentences, coloured words, a picture of layers, and examples."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from limpide.document import explained, heat, notes, telling
from limpide.document.explained import Block
from limpide.document.findings import Tone
from limpide.document.language import Language
from limpide.document.weighed import Weight, signed, strongest, visible, weights, written
from limpide.studio.pages.ask_words import of_word

TONES: dict[str, Tone] = {"better than chance": "good", "no better than chance": "bad"}
TO_DO = " To do: "  # between what happened and what is to be done, in a reason of an explanation
LISTED = 8  # words listed with their numbers


@dataclass(frozen=True)
class Taught:
    """A training example. influence: as it is written in this language."""

    prompt: str
    answer: str
    influence: str


@dataclass(frozen=True)
class Why:
    """All that is shown of one word.

    strip: the prompt, coloured for this word. weights: its heaviest words, each with its share. faithful: the verdict
    of the test in a word, its tone, and its sentences. layers: sentences; pictures: blocks of them. not_run: (what
    could not be answered, why).
    """

    word: str
    strip: tuple[Block, ...]
    weights: tuple[tuple[str, str, str], ...]
    faithful: tuple[str, Tone, tuple[str, ...]]
    layers: tuple[str, ...]
    pictures: tuple[Block, ...]
    not_run: tuple[tuple[str, notes.Said], ...]
    limits: tuple[str, ...]


def why(explanation: Mapping[str, Any], word: str, places: Sequence[int], spoken: Language) -> Why:
    """What the record of `limpide explain` says of one word of the answer, whose tokens are at `places`."""
    methods = explanation.get("methods", {})
    focused = of_word(explanation, places) or explanation
    found = weights(focused)
    lens = methods.get("lens")
    return Why(
        word=word,
        strip=tuple(_strip(focused, found, spoken)),
        weights=tuple(_listed(found, spoken)),
        faithful=_faithful(explanation, spoken),
        layers=tuple(telling.decided(explanation, spoken)),
        pictures=tuple(explained.layers(explanation, lens, spoken, explained.NARROW)) if lens else (),
        not_run=not_run(explanation, spoken),
        limits=tuple(telling.not_said(explanation, spoken.code, options=False)),
    )


def _strip(focused: Mapping[str, Any], found: Sequence[Weight], spoken: Language) -> list[Block]:
    attribution = focused.get("methods", {}).get("attribution") or {}
    made = [Block("strip", heat.prompt_strip(focused["question"], attribution.get("tokens") or (), found, spoken))]
    return [*made, explained.scale(found, spoken)] if found else made


def _listed(found: Sequence[Weight], spoken: Language) -> list[tuple[str, str, str]]:
    """(word, share of all weight with its sign, weight) of the heaviest words, for and against together."""
    heaviest = sorted((*strongest(found, 1), *strongest(found, -1)), key=lambda w: -w.share)[:LISTED]
    return [(written(w, spoken), signed(w, spoken), spoken.difference(w.value, "nats")) for w in heaviest]


def _faithful(explanation: Mapping[str, Any], spoken: Language) -> tuple[str, Tone, tuple[str, ...]]:
    verdict = str((explanation.get("methods", {}).get("faithfulness") or {}).get("verdict") or "")
    key = f"explain.verdict.{verdict}"
    word = spoken.say(key) if verdict and spoken.has(key) else spoken.say("explain.banner.untested")
    return word, TONES.get(verdict, "doubt"), tuple(telling.tested(explanation, spoken, options=False))


def not_run(explanation: Mapping[str, Any], spoken: Language) -> tuple[tuple[str, notes.Said], ...]:
    """(method, why it could not answer) of each that could not."""
    return tuple(
        (spoken.name("explain.method", name), notes.in_words(_without_options(str(reason)), spoken))
        for name, reason in explanation.get("not_run", {}).items()
    )


def _without_options(reason: str) -> str:
    """A reason without what is to be done about it where that is an option of the command line: here there is none."""
    what, _, to_do = reason.partition(TO_DO)
    return what if "--" in to_do else reason


def taught(explanation: Mapping[str, Any], side: str, spoken: Language) -> tuple[Taught, ...]:
    """The training examples that made an answer likelier (`raises`) or less likely (`lowers`), strongest first."""
    rows = (explanation.get("methods", {}).get("influence") or {}).get(side, ())
    return tuple(
        Taught(visible(row["prompt"]), visible(row["answer"]), spoken.significant(row["influence"])) for row in rows
    )
