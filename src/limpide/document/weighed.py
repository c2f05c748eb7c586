"""What stands out in an explanation: words, layers, places and parts; and how its texts are quoted in a sentence."""

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from limpide.document.language import Language

Explanation = Mapping[str, Any]
LONGEST = 160  # characters of a text that is quoted
NAMED = 3  # words, parts or examples that a sentence names
CLEAR = 0.05  # of all weight, or of the answer restored: below it a word or a part is not named
LEAST = 0.0005  # nats: below it a weight is written 0.000, which moves a probability by less than 0.05 %
WIDE_GAP = 0.5  # of the total: a completeness gap beyond it leaves the weights unsettled


@dataclass(frozen=True)
class Weight:
    """What a word of the prompt adds to the score. share: of the sum of all absolute values. nth: which of several
    equal words it is, from 1; 0 where it stands there once."""

    text: str
    part: str
    value: float
    share: float
    nth: int = 0


@dataclass(frozen=True)
class Place:
    """One cell of a grid of patches. stack: '' where there is only one. effect: 1 restores the whole answer."""

    site: str
    stack: str
    layer: int
    at: int
    text: str
    effect: float


def weights(explanation: Explanation) -> list[Weight]:
    """The weight of each word of the prompt, in the order of the prompt; empty without an attribution."""
    found = explanation.get("methods", {}).get("attribution")
    if not found:
        return []
    pairs = list(zip(explanation["question"].get("words", ()), found.get("words") or (), strict=False))
    total = sum(abs(value) for _, value in pairs if value is not None) or 1.0
    of_all = Counter((word["text"], word["part"] == "frame") for word, _ in pairs)
    so_far, made = Counter[tuple[str, bool]](), []
    for word, v in pairs:
        kind = (word["text"], word["part"] == "frame")
        so_far[kind] += 1
        nth = so_far[kind] if of_all[kind] > 1 and not kind[1] else 0
        made.append(Weight(word["text"], word["part"], v or 0.0, abs(v or 0.0) / total, nth))
    return made


def strongest(found: Iterable[Weight], sign: int) -> list[Weight]:
    """The words that weigh most for (1) or against (-1) the answer, punctuation and the template's marks left out."""
    clear = [w for w in found if sign * w.value >= LEAST and w.share >= CLEAR]
    kept = [w for w in clear if w.part != "frame" and not is_mark(w.text)]
    return sorted(kept, key=lambda w: -w.share)[:NAMED]


def weightless(found: Iterable[Weight]) -> bool:
    """Whether no word weighs anything that can be told from zero: shares of such a sum would say nothing."""
    return all(abs(w.value) < LEAST for w in found)


def is_mark(text: str) -> bool:
    """Whether a word is made of punctuation alone; '+' and '=' are symbols, not punctuation."""
    return all(unicodedata.category(c)[0] in "PZC" for c in text)


def moved_words(before: Explanation, after: Explanation) -> list[tuple[Weight, float]]:
    """(the word after, its value before) of the words that stand in both prompts, what moved most first."""
    sides = [[w for w in weights(side) if w.part != "frame"] for side in (before, after)]
    pairs = [(new, old.value) for old, new in zip(*sides, strict=False) if old.text == new.text]
    return sorted(pairs, key=lambda pair: -abs(pair[0].value - pair[1]))


def unsettled(explanation: Explanation) -> bool:
    """Whether the weights of the words miss so much of what they should sum to that they cannot be relied upon."""
    found = explanation.get("methods", {}).get("attribution") or {}
    total, gap = found.get("total"), found.get("gap")
    return total is not None and gap is not None and abs(gap) > WIDE_GAP * abs(total)


def ahead_from(lens: Mapping[str, Any]) -> int | None:
    """The first layer from which the token is likelier than its rival to the end; None where it is not at the end."""
    pairs = list(zip(lens["probability"]["token"], lens["probability"]["rival"], strict=False))
    behind = [k for k, (token, rival) in enumerate(pairs) if token <= rival]
    first = behind[-1] + 1 if behind else 0
    return first if first < len(pairs) else None


def best_place(patching: Mapping[str, Any], site: str) -> Place | None:
    """The cell of a site that restores most of the answer, over all stacks."""
    stacks = patching.get("stacks", ())
    cells = [
        Place(site, stack["name"] if len(stacks) > 1 else "", layer, at, _text(stack, at), effect)
        for stack in stacks
        for layer, row in enumerate(stack.get("sites", {}).get(site) or ())
        for at, effect in enumerate(row)
        if effect is not None
    ]
    return max(cells, key=lambda cell: cell.effect, default=None)


def best_parts(patching: Mapping[str, Any], kind: str) -> list[tuple[int, int, float]]:
    """(layer, index, effect) of the heads or experts that restore most, best first."""
    cells = [
        (layer, index, effect)
        for stack in patching.get("stacks", ())
        for layer, row in enumerate(stack.get(kind) or ())
        for index, effect in enumerate(row or ())
        if effect is not None
    ]
    return sorted(cells, key=lambda cell: -cell[2])


def _text(stack: Mapping[str, Any], at: int) -> str:
    tokens = stack.get("tokens") or ()
    return str(tokens[at]) if at < len(tokens) else f"#{at + 1}"


def clip(text: str, longest: int = LONGEST) -> str:
    """A text on one line, cut in its middle where it is long: a question often stands at its end."""
    text = " ".join(str(text).split())
    if len(text) <= longest:
        return text
    return f"{text[: longest * 2 // 3].rstrip()} […] {text[-(longest // 3) :].lstrip()}"


def visible(token: str) -> str:
    """A token as it can be seen: spaces around it left out, line ends and empty ones drawn."""
    text = str(token)
    return text.strip() or {"\n": "↵", "\n\n": "↵↵"}.get(text, "␣" if text else "∅")


def quote(text: str, spoken: Language) -> str:
    return spoken.say("explain.quote", text=clip(visible(text), 40))


def named(word: Weight, spoken: Language, *beside: str) -> str:
    """'“tired” (2nd, 12%)': which of several equal words it is and what is beside it, in one pair of brackets."""
    inside = ", ".join([*([ordinal(word.nth, spoken)] if word.nth else []), *beside])
    return spoken.say("explain.with", what=quote(word.text, spoken), of=inside) if inside else quote(word.text, spoken)


def written(word: Weight, spoken: Language) -> str:
    """A word as it stands in a table: 'tired (2nd)' where several are equal."""
    text = visible(word.text)
    return spoken.say("explain.with", what=text, of=ordinal(word.nth, spoken)) if word.nth else text


def ordinal(nth: int, spoken: Language) -> str:
    """1st, 2nd, 3rd, 4th … 11th … 21st; 1er, 2e …"""
    last = 0 if nth % 100 in (11, 12, 13) else nth % 10
    key = "first" if nth == 1 else str(last) if last in (1, 2, 3) else "other"
    return spoken.say(f"explain.nth.{key}", nth=nth)


def signed(word: Weight, spoken: Language) -> str:
    """The share of a word with its sign: +12% for the answer, −12% against it."""
    sign = ("+" if word.value > 0 else "−") if word.share else ""
    return re.sub(r"(?=\d)", sign, share(word.share, spoken), count=1)  # > +99%


def share(value: float, spoken: Language) -> str:
    """A share without decimals."""
    return spoken.percent(value, 0)
