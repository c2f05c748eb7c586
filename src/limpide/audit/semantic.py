"""Semantic entropy: when the model is asked the same again, does it mean the same? And does that betray its errors?

Answers are grouped by meaning and the entropy of the groups is the model's uncertainty. Source: Farquhar et al. 2024,
Nature 630, p. 625. They decide with an entailment model whether two answers mean the same; Limpide ships none, and
takes two answers as equal when each holds the informative words of the other. Longer answers alone may predict errors
as well, so that baseline is always measured beside it.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from limpide.audit.drawing import draw
from limpide.audit.items import Item, Spec, method_id
from limpide.audit.matching import first_sentence, normalise
from limpide.audit.truth_questions import LANGUAGES, Question
from limpide.models.requests import Answer

CLUSTERS = "normalised"  # part of method ids: how answers of one meaning are found
NOTE = (
    "Answers mean the same here when they hold the same informative words; no entailment model is used, so two "
    "wordings of one answer may count as two meanings. Questions are compared within their language. 0.5 is chance."
)
# Words that leave the meaning of a short answer as it is. Negations and numbers never do.
_SLIGHT_TEXT = """
a an the of in on at to by for from with and or is are was were be been being it its this that these those as which who
what there he she they his her their has have had do does did i think believe answer called known
un une le la les l de du des d en à au aux dans par pour et ou est sont était étaient fut être ce cet cette ces c il
elle ils elles on qui que qu dont son sa ses leur leurs ont avait je pense crois réponse appelé appelée s se y
"""
_SLIGHT = frozenset(_SLIGHT_TEXT.split())


def drawn(questions: Sequence[Question], count: int, seed: int) -> list[Question]:
    """`count` of the questions, as many of each language as can be, by the seed and their ids alone."""
    languages = sorted({q.language for q in questions})
    chosen: list[Question] = []
    for k, language in enumerate(languages):
        able = sorted((q for q in questions if q.language == language), key=lambda q: q.id)
        share = count // len(languages) + (k < count % len(languages))
        chosen += draw(able, share, f"{seed}/{language}")
    return sorted(chosen, key=lambda q: q.id)


def meaning(answer: str, question: str) -> frozenset[str] | str:
    """What two answers must share to mean the same: their informative words, without those of the question.

    Of the first sentence; its normalised text where nothing informative is left.
    """
    said = normalise(first_sentence(answer))
    words = frozenset(said.split()) - _SLIGHT
    return words - frozenset(normalise(question).split()) or words or said


def entropies(answers: Sequence[Answer], question: str) -> dict[str, float]:
    """In nats: 'discrete', of the shares of answers of each meaning; and 'likelihood' where likelihoods are known.

    The second weighs each answer by its likelihood, the geometric mean of its tokens', and normalises over the
    answers drawn (their 'Rao' estimate). Source: Farquhar et al. 2024, eq. 5 and 8.
    """
    meanings = [meaning(answer.text, question) for answer in answers]
    found = {"discrete": _entropy(meanings, [1.0] * len(answers))}
    if all(answer.log_likelihood is not None and answer.tokens for answer in answers):
        per_token = [(answer.log_likelihood or 0.0) / (answer.tokens or 1) for answer in answers]
        top = max(per_token)
        found["likelihood"] = _entropy(meanings, [math.exp(value - top) for value in per_token])
    return found


def _entropy(meanings: Sequence[object], weights: Sequence[float]) -> float:
    totals: dict[object, float] = {}
    for one, weight in zip(meanings, weights, strict=True):
        totals[one] = totals.get(one, 0.0) + weight
    shares = [total / sum(weights) for total in totals.values()]
    return -sum(share * math.log(share) for share in shares if share > 0) + 0.0


def semantic_item(question: Question, greedy: str, right: bool, answers: Sequence[Answer], weights: str) -> Item:
    """weights: 'likelihood' or 'discrete', the entropy that counts. right: of the greedy answer."""
    found = entropies(answers, question.text)
    lengths = [len(normalise(answer.text).split()) for answer in answers]
    return Item(
        id=f"{question.id}/semantic",
        cluster=question.id,
        group=question.group("semantic"),
        metric={
            "semantic_entropy": found[weights],
            "sample_words": sum(lengths) / len(lengths),
            "wrong": float(not right),
            "stratum": float(LANGUAGES.index(question.language)),
        },
        shown={
            "question": question.text,
            "expected": question.expected[0],
            "answer": greedy,
            "samples": [answer.text for answer in answers],
            "meanings": len({meaning(answer.text, question.text) for answer in answers}),
            "entropies": found,
        },
    )


def weights_of(samples: Sequence[Sequence[Answer]], questions: Sequence[Question]) -> str:
    """'likelihood' when every answer has one, since entropies of two sorts do not rank together."""
    each = [entropies(answers, q.text) for answers, q in zip(samples, questions, strict=True)]
    return "likelihood" if each and all("likelihood" in found for found in each) else "discrete"


def specs(weights: str, parameters: Mapping[str, Any]) -> tuple[Spec, ...]:
    def spec(name: str, statistic: str, columns: tuple[str, ...], note: str, **how: Any) -> Spec:
        return Spec(
            name=name,
            metric=columns[0],
            kind="statistic",
            statistic=statistic,
            columns=columns,
            unit="AUC",
            better="higher",
            method=method_id(name, 1, pairs="within language", **how, **parameters),
            note=note,
        )

    entropy = {"clusters": CLUSTERS, "weights": weights}
    return (
        spec(
            "truth.semantic_entropy_auc",
            "auc_within",
            ("semantic_entropy", "wrong", "stratum"),
            f"How well the entropy of drawn answers tells wrong greedy answers from right ones. {NOTE}",
            **entropy,
        ),
        spec(
            "truth.length_auc",
            "auc_within",
            ("sample_words", "wrong", "stratum"),
            "The same with nothing but the mean length of the drawn answers, in words: what entropy has to beat.",
        ).model_copy(update={"better": "neither"}),
        spec(
            "truth.semantic_entropy_gain",
            "auc_gain_within",
            ("semantic_entropy", "sample_words", "wrong", "stratum"),
            f"What entropy tells beyond length: the first minus the second, on the same questions. {NOTE}",
            **entropy,
        ),
    )
