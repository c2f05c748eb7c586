"""Questions with four options: does the model find the right one likeliest, and is it as sure as it should be?"""

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from limpide.audit.functionals import BINS, bin_of
from limpide.audit.items import Item, Spec, method_id
from limpide.audit.matching import contains_answer, without_thoughts
from limpide.audit.thoughts import CUT
from limpide.audit.truth_questions import LETTERS, Question
from limpide.core.progress import Progress
from limpide.models.requests import Score
from limpide.models.respondents import Opened, Respondent

SLICES: tuple[dict[str, str], ...] = ({}, {"language": "*"})
FEW = 300  # questions below which a binned calibration error is mostly noise when the model is well calibrated
CURVE = 50  # points of a risk–coverage curve kept for its picture
CHANCE = "Chance gives 0.25."
SURE = "The model's confidence is the probability of its choice among the four options."


# ------------------------------------------------------------------------------------------------------------ asking


def by_likelihood(respondent: Opened, questions: Sequence[Question], progress: Progress) -> list[Item]:
    """Each option scored as the answer to its question; the choice is the likeliest, the first of equals."""
    from limpide.models import prompt

    requests = [
        prompt.option_request(respondent.model, f"{q.id}/{letter}", q.plain().messages, option)
        for q in questions
        for letter, option in zip(LETTERS, q.options, strict=True)
    ]
    size = len(LETTERS)
    groups = [range(first, first + size) for first in range(0, len(requests), size)]
    scores = respondent.score(requests, progress, compared=groups)
    return [_scored(q, [scores[k] for k in group]) for q, group in zip(questions, groups, strict=True)]


def by_letter(respondent: Respondent, questions: Sequence[Question], allowed: int, progress: Progress) -> list[Item]:
    """The options shown as text, and the answer read. allowed: tokens. What cannot be read counts as wrong."""
    answers = respondent.answer([q.lettered() for q in questions], allowed, progress)
    return [_lettered(q, answer) for q, answer in zip(questions, answers, strict=True)]


# "The answer is", "my choice:", "la bonne réponse est", "c'est": after one of these a letter is a choice even when
# words follow it. Between "it is" and an English article nothing can be told, so "a" alone must end what is said.
_LEAD = re.compile(
    r"\W*(?:(?:so|thus|therefore|donc|alors|i think|i believe|i (?:would |'d )?(?:choose|pick|say)"
    r"|je (?:choisis|crois que|pense que|dirais))\b[\s,:]*)?"
    r"(?:(?:(?:the|my|la|ma)\s+)?(?:(?:correct|right|best|final|bonne|seule bonne)\s+)?"
    r"(?:answer|choice|option|letter|réponse|lettre)(?:\s+(?:correcte|exacte|juste|finale))?\s*(?:is|est|serait|:)?"
    r"|it\s+is|it's|that\s+is|that's|c['’]est|ce\s+serait|il\s+s['’]agit\s+de)"
    r"(?:\s+(?:(?:the|la|le)\b|l['’]))?(?:\s*\b(?:letter|option|answer|choice|lettre|réponse))?\W*",
    re.IGNORECASE,
)
_ENDED = re.compile(r"\s*(?:[.):,;*!\n]|$)")  # nothing but a mark comes after the letter
_GOES_ON = re.compile(
    r"\s*(?:[-–—(]|(?:because|since|as|for|is|which|car|parce|puisque|est|qui|and not|et non|the correct|la bonne)\b)",
    re.IGNORECASE,
)
_IS_RIGHT = re.compile(r"\s+(?:is|est)\s+(?:the\s+|la\s+)?(?:correct|right|best|bonne|juste|exacte?)\b", re.IGNORECASE)
_SEVERAL = re.compile(r"\W*(?:,|/|&|\b(?:and|or|et|ou)\b)\s*[A-D](?![\w'’])")
_NAMED = re.compile(r"(?:^|[\s\W])(?:option|letter|lettre|réponse|choice)\W*$", re.IGNORECASE)


def read_choice(answer: str, options: Sequence[str]) -> int | None:
    """The option that an answer names: by a letter after "the answer is" and its like, or by a letter alone.

    Else the only one whose words it holds; None otherwise. Where the words after a letter are those of one other
    option ("A: Lyon", when Lyon is B), the words decide: "A:" stands for "answer" too.
    """
    letter, rest = _letter(answer)
    said = _said(rest if letter is not None and rest.strip() else answer, options)
    if letter is None or (rest.lstrip()[:1] == ":" and said is not None):
        return said
    return letter


def _letter(answer: str) -> tuple[int | None, str]:
    """(index of the letter that is named, if any; what is said after it)."""
    lead = _LEAD.match(answer)
    for start in dict.fromkeys([lead.end() if lead else 0, 0]):
        found = re.compile(r"\W*([A-Da-d])(?![\w'’])").match(answer, start)
        if found is None:
            continue
        rest = answer[found.end() :]
        named = bool(start and _NAMED.search(answer[:start]))
        article = found[1] == "a" or (found[1] == "A" and not start)  # "it is a river", "A city in the south"
        if _SEVERAL.match(rest):
            continue
        if (
            _ENDED.match(rest)
            or _IS_RIGHT.match(rest)
            or (start and (named or not article) and (named or _GOES_ON.match(rest)))
        ):
            return LETTERS.index(found[1].upper()), rest
    return None, answer


def _said(answer: str, options: Sequence[str]) -> int | None:
    """The only option whose words the answer holds; of options within each other, the longest."""
    said = [k for k, option in enumerate(options) if contains_answer(answer, option)]
    widest = [k for k in said if not any(contains_answer(options[o], options[k]) for o in said if o != k)]
    return widest[0] if len(widest) == 1 else None


def _scored(question: Question, scores: Sequence[Score]) -> Item:
    sums = [score.log_likelihood for score in scores]
    each = [score.log_likelihood / score.tokens for score in scores]
    probabilities = softmax(sums)
    chosen, chosen_per_token = (max(range(len(v)), key=v.__getitem__) for v in (sums, each))
    brier = sum((p - (k == question.right)) ** 2 for k, p in enumerate(probabilities))
    metric = {
        "correct": float(chosen == question.right),
        "correct_per_token": float(chosen_per_token == question.right),
        "confidence": probabilities[chosen],
        "brier": brier,
    }
    return _item(question, metric, chosen, log_likelihoods=sums, tokens=[score.tokens for score in scores])


def _lettered(question: Question, answer: str) -> Item:
    said = without_thoughts(answer)
    chosen = read_choice(said or "", question.options)
    metric = {"correct": float(chosen == question.right), "unreadable": float(chosen is None)}
    return _item(question, metric, chosen, said=said or "", **({CUT: True} if said is None else {}))


def _item(question: Question, metric: Mapping[str, float], chosen: int | None, **shown: Any) -> Item:
    own = {
        "question": question.text,
        "options": list(question.options),
        "expected": question.options[question.right],
        "answer": None if chosen is None else question.options[chosen],
    }
    return Item(question.id, question.id, question.group("options"), metric, own | shown)


def softmax(values: Sequence[float]) -> list[float]:
    """Probabilities from log-likelihoods in nats."""
    top = max(values)
    weights = [math.exp(value - top) for value in values]
    return [weight / sum(weights) for weight in weights]


# ---------------------------------------------------------------------------------------------------------- measures


def accuracy_spec(how: str, **parameters: Any) -> Spec:
    """how: 'likelihood' of each option, or 'letter' read from an answer."""
    read = " Answers that name no option count as wrong." if how == "letter" else ""
    return Spec(
        name="truth.accuracy",
        metric="correct",
        kind="share",
        unit="share",
        better="higher",
        slices=SLICES,
        method=method_id("truth.accuracy", 2 if how == "letter" else 1, choice=how, **parameters),
        note=f"{CHANCE}{read} General knowledge on Limpide's own questions, not the organisation's domain.",
    )


def unreadable_spec(**parameters: Any) -> Spec:
    return Spec(
        name="truth.unreadable",
        metric="unreadable",
        kind="share",
        unit="share",
        better="lower",
        slices=SLICES,
        method=method_id("truth.unreadable", 2, choice="letter", **parameters),
        note="Share of answers that name no option, or several.",
    )


def likelihood_specs(**parameters: Any) -> tuple[Spec, ...]:
    """What only the likelihoods of the options tell."""
    confidence = {"confidence": "softmax of sums", **parameters}

    def calibration(name: str, statistic: str, note: str, **how: Any) -> Spec:
        return Spec(
            name=name,
            metric="confidence",
            kind="statistic",
            statistic=statistic,
            columns=("confidence", "correct"),
            unit="share",
            better="lower",
            slices=SLICES,
            method=method_id(name, 1, **how, **confidence),
            note=f"{note} {SURE}",
        )

    noisy = (
        f"Noise alone lifts it above zero, most below {FEW} questions: a low end of 0 means that a perfectly "
        "calibrated model could have given the value."
    )
    return (
        Spec(
            name="truth.accuracy_per_token",
            metric="correct_per_token",
            kind="share",
            unit="share",
            better="higher",
            slices=SLICES,
            method=method_id("truth.accuracy_per_token", 1, choice="likelihood per token", **parameters),
            note=f"{CHANCE} Likelihood divided by the number of tokens, so that long options are not set back.",
        ),
        calibration("truth.ece", "ece_equal_width", noisy, bins=BINS, width="equal", closed="right"),
        calibration("truth.ece_equal_mass", "ece_equal_mass", noisy, bins=BINS, mass="equal"),
        Spec(
            name="truth.brier",
            metric="brier",
            kind="mean",
            unit="squared probability",
            better="lower",
            slices=SLICES,
            method=method_id("truth.brier", 1, sum_over="options", **confidence),
            note="0 is best, 0.75 is what equal probabilities give, 2 is worst.",
        ),
        calibration("truth.aurc", "aurc", "Mean error when the least sure answers are left out, over every share."),
        calibration(
            "truth.selective_accuracy", "selective_accuracy_50", "Accuracy on the half of which the model is surest."
        ).model_copy(update={"better": "higher"}),
    )


# ---------------------------------------------------------------------------------------------------------- pictures


def pictures(items: Sequence[Item]) -> dict[str, Any]:
    """Points of the reliability diagram and of the risk–coverage curve, of all the questions and of each language."""
    known = [item for item in items if "confidence" in item.metric]
    if not known:
        return {}
    groups = {"all": known} | {
        language: [item for item in known if item.group["language"] == language]
        for language in sorted({item.group["language"] for item in known})
    }
    return {
        "reliability": {name: reliability(chosen) for name, chosen in groups.items()},
        "risk_coverage": {name: risk_coverage(chosen) for name, chosen in groups.items()},
    }


def reliability(items: Sequence[Item]) -> list[dict[str, float | int | None]]:
    """One row a bin of confidence: its ends, its number of answers, their mean confidence and their accuracy."""
    bins: list[list[Item]] = [[] for _ in range(BINS)]
    places = bin_of(np.array([item.metric["confidence"] for item in items])).tolist()
    for item, k in zip(items, places, strict=True):
        bins[k].append(item)
    return [
        {
            "low": k / BINS,
            "high": (k + 1) / BINS,
            "n": len(inside),
            "confidence": _mean(inside, "confidence"),
            "accuracy": _mean(inside, "correct"),
        }
        for k, inside in enumerate(bins)
    ]


def risk_coverage(items: Sequence[Item]) -> list[dict[str, float]]:
    """At most CURVE points: the share of answers kept, the surest first, and the share of them that is wrong."""
    ranked = sorted(items, key=lambda item: (-item.metric["confidence"], item.id))
    kept = sorted({math.ceil(len(ranked) * step / CURVE) for step in range(1, CURVE + 1)})
    wrong = [0.0]
    for item in ranked:
        wrong.append(wrong[-1] + 1 - item.metric["correct"])
    return [{"coverage": k / len(ranked), "risk": wrong[k] / k} for k in kept]


def by_topic(items: Sequence[Item], metric: str) -> dict[str, dict[str, float | int | None]]:
    """{topic: its number of questions and their plain mean}: too few for intervals, for a person to look at."""
    topics = sorted({item.group["topic"] for item in items if metric in item.metric})
    found = {t: [i for i in items if i.group["topic"] == t and metric in i.metric] for t in topics}
    return {topic: {"n": len(inside), "mean": _mean(inside, metric)} for topic, inside in found.items()}


def _mean(items: Sequence[Item], metric: str) -> float | None:
    return sum(item.metric[metric] for item in items) / len(items) if items else None
