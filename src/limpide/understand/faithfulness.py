"""Is an explanation true? Words are taken away in its order, and in random ones: the model itself is the judge.

Source: deletion and insertion, Petsiuk et al. 2018, section 3.3 (of words rather than pixels); comprehensiveness and
sufficiency, DeYoung et al. 2020, section 4.2. A prompt without some of its words is a text that the model may never
have met, so the numbers tell good rankings from bad ones; they do not say what the model would do with other prompts.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import stats

from limpide.core.errors import ModelError, UsageError
from limpide.core.progress import Progress
from limpide.understand.curves import (
    Curves,
    Floats,
    answer_values,
    counts,
    curves,
    descending,
    random_orders,
    removable,
    removed_sets,
)
from limpide.understand.sanity import Explain, Sanity, rank_correlation, sanity
from limpide.understand.settings import FaithfulnessSettings

if TYPE_CHECKING:
    from limpide.models.model import Model
    from limpide.understand.question import Question

ALPHA = 0.05
FEWEST_WORDS = 5  # four words have 24 orders: one in 24 would do as well as the best by chance
FEWEST_CLUSTERS = 10  # below, an interval resampled from them is too narrow
NEAR = 0.1  # of the range of the orders: a ranking so close to the best order is not 'no better than chance'
DRAWS = 2000  # resamples of the questions
ROUNDING = {"float32": 1e-3, "float16": 1e-2, "bfloat16": 5e-2}  # nats of an area that rounding alone can make
BETTER, NO_BETTER, TOO_LITTLE = "better than chance", "no better than chance", "insufficient evidence"


@dataclass(frozen=True)
class Compared:
    """A number of the ranking beside its mean over random orders, in nats. difference: how much better the ranking is,
    above zero whichever way the number itself is good; low, high: where 95 % of the differences to single random
    orders lie. They speak of this question alone.
    """

    value: float
    random: float
    difference: float
    low: float
    high: float


@dataclass(frozen=True)
class Curve:
    """share: of the words that are gone (deletion) or there (insertion). curve: nats of the answer, one each; random:
    mean of the random orders, between random_low and random_high for 95 % of them. The rest: `Compared`, of areas.
    """

    share: tuple[float, ...]
    curve: tuple[float, ...]
    random: tuple[float, ...]
    random_low: tuple[float, ...]
    random_high: tuple[float, ...]
    area: float
    random_area: float
    difference: float
    low: float
    high: float


@dataclass(frozen=True)
class Agreement:
    """Between rankings of the same words: Spearman's correlation (None: one ranks nothing), and the same first word."""

    methods: tuple[str, ...]
    rank_correlation: tuple[tuple[float | None, ...], ...]
    same_first_word: tuple[tuple[bool, ...], ...]


@dataclass(frozen=True)
class Faithfulness:
    """of: the ranking that is checked. n: words that could be taken away. p_value: one-sided, of a random order doing
    as well on both areas together (insertion − deletion), one of `random_orders` + 1 ranks. The verdict is better than
    chance when it is at most 0.05 with five words or more.
    """

    of: str
    verdict: str
    n: int
    p_value: float
    random_orders: int
    comprehensiveness: Compared
    sufficiency: Compared
    deletion: Curve
    insertion: Curve
    agreement: Agreement
    sanity: Sanity | None

    def record(self) -> dict[str, Any]:
        """Plain JSON; numbers to 6 significant digits."""
        rounded: dict[str, Any] = _rounded(asdict(self) | {"unit": "nats"})
        return rounded


def check(
    model: "Model",
    question: "Question",
    rankings: Mapping[str, Sequence[float]],
    settings: FaithfulnessSettings,
    progress: Progress,
    seed: int = 0,
    again: Explain | None = None,
) -> Faithfulness:
    """How well the first of the rankings says what the answer rests on, and whether the others agree with it.

    rankings: {method: a number for each word of the question}, the highest for the word that speaks most for the
    answer; the template's words are not looked at. again: the same method on another model, for the sanity check.
    The value followed is the answer's log-likelihood, or its log-odds when the question names another answer.
    Raises UsageError for rankings that do not fit the question, ModelError where no word can be taken away.
    """
    _refuse_misfits(question, rankings)
    words = removable(model, question)
    if not words:
        raise ModelError(
            "This prompt has no word that could be taken away, so no explanation of it can be checked.",
            expected="a prompt with words of its own, beside the template's and the masks",
        )
    ranked = {name: [scores[word] for word in words] for name, scores in rankings.items()}
    of, own = next(iter(ranked.items()))
    rng = np.random.default_rng(seed)
    drawn = [descending(own, rng), *random_orders(len(words), settings.random_orders, rng)]
    orders, at = [[words[k] for k in order] for order in drawn], counts(len(words), settings.points)
    values = answer_values(model, question, removed_sets(orders, at), progress)
    found = curves(orders, at, values)
    p_value, verdict = judge(found.area(found.insertion) - found.area(found.deletion), ROUNDING[model.precision])
    return Faithfulness(
        of=of,
        verdict=TOO_LITTLE if len(words) < FEWEST_WORDS else verdict,
        n=len(words),
        p_value=p_value,
        random_orders=len(orders) - 1,
        comprehensiveness=_compared(found.comprehensiveness(), 1),
        sufficiency=_compared(found.sufficiency(), -1),
        deletion=_curve(found, found.deletion, -1),
        insertion=_curve(found, found.insertion, 1),
        agreement=_agreement(ranked),
        sanity=sanity(model, own, lambda other: _of(again(other), words), settings.draws, seed, progress)
        if again and settings.sanity
        else None,
    )


def _of(scores: Sequence[float], words: Sequence[int]) -> list[float]:
    return [scores[word] for word in words]


def _refuse_misfits(question: "Question", rankings: Mapping[str, Sequence[float]]) -> None:
    if not rankings:
        raise UsageError("There is no ranking of words to check.", remedy="compute an attribution first")
    for name, scores in rankings.items():
        if len(scores) != len(question.words) or not all(map(math.isfinite, scores)):
            raise UsageError(
                f"The ranking '{name}' does not fit the question.",
                received=f"{len(scores)} values, {sum(map(math.isfinite, scores))} of them finite",
                expected=f"one finite number for each of its {len(question.words)} words",
            )


def judge(both: Floats, rounding: float) -> tuple[float, str]:
    """(p-value, verdict). both: insertion − deletion area in nats, float[orders], the ranking's first.

    The p-value is the share of orders, the ranking's own among them, that do as well as it does. The reverse of an
    order has the opposite number, so half of the orders say nothing new; that a random ranking beats all of them is
    nonetheless no likelier than this share says: 1/2 · 1/(pairs + 1) < 1/(2 · pairs + 1).

    Where one word of eight decides, one random order in eight begins with it, and no ranking can be shown to be better
    than chance: one that is nearly as good as the best of all orders is then 'insufficient evidence'.
    """
    p_value = (1 + int((both[1:] >= both[0] - rounding).sum())) / len(both)
    reach = float(np.ptp(both))
    if p_value <= ALPHA:
        return p_value, BETTER
    is_near_best = reach > rounding and both[0] >= both.max() - NEAR * reach
    return p_value, TOO_LITTLE if is_near_best else NO_BETTER


def _compared(values: Floats, good: int) -> Compared:
    """values: float[orders], the ranking's first. good: 1 when high is good, −1 when low is."""
    differences = good * (values[0] - values[1:])
    low, high = np.quantile(differences, [0.025, 0.975]).tolist()
    return Compared(float(values[0]), float(values[1:].mean()), float(differences.mean()), low, high)


def _curve(found: Curves, heights: Floats, good: int) -> Curve:
    """heights: float[orders, points]. good: as for `_compared`."""
    low, high = np.quantile(heights[1:], [0.025, 0.975], axis=0).tolist()
    areas = _compared(found.area(heights), good)
    return Curve(
        share=tuple(found.share.tolist()),
        curve=tuple(heights[0].tolist()),
        random=tuple(heights[1:].mean(0).tolist()),
        random_low=tuple(low),
        random_high=tuple(high),
        area=areas.value,
        random_area=areas.random,
        difference=areas.difference,
        low=areas.low,
        high=areas.high,
    )


def _agreement(ranked: Mapping[str, Sequence[float]]) -> Agreement:
    scores = list(ranked.values())
    first = [int(np.argmax(values)) for values in scores]
    return Agreement(
        tuple(ranked),
        tuple(tuple(rank_correlation(a, b) for b in scores) for a in scores),
        tuple(tuple(a == b for b in first) for a in first),
    )


@dataclass(frozen=True)
class Overall:
    """difference: mean over questions, in nats, of the area between a ranking's curve and the random orders'; low,
    high: 95 % interval, clusters of questions resampled whole (percentiles moved outwards as Student's t asks with so
    few clusters). share_better: of the questions, those with a difference above zero.
    """

    verdict: str
    difference: float
    low: float
    high: float
    share_better: float
    n: int
    clusters: int


def over_questions(differences: Sequence[float], clusters: Sequence[str], seed: int = 0) -> Overall:
    """Whether a method's rankings beat random orders over many questions.

    differences: one a question, such as `check(…).deletion.difference`. clusters: a name each; questions that share
    one are not independent. Raises UsageError for none, or for unequal lengths.
    """
    if not differences or len(differences) != len(clusters):
        raise UsageError(
            "There must be at least one question, and a cluster for each.",
            received=f"{len(differences)} differences, {len(clusters)} clusters",
        )
    names = {name: number for number, name in enumerate(dict.fromkeys(clusters))}
    index = np.array([names[name] for name in clusters])
    totals = np.stack([np.bincount(index, differences), np.bincount(index)], 1)  # [clusters, (sum, questions)]
    drawn = np.random.default_rng(seed).integers(len(names), size=(DRAWS, len(names)))
    sums = totals[drawn].sum(1)  # [draws, (sum, questions)]
    low, high = np.quantile(sums[:, 0] / sums[:, 1], _percentiles(len(names))).tolist()
    return Overall(
        verdict=TOO_LITTLE if len(names) < FEWEST_CLUSTERS else BETTER if low > 0 else NO_BETTER,
        difference=float(np.mean(differences)),
        low=low,
        high=high,
        share_better=float(np.mean(np.array(differences) > 0)),
        n=len(differences),
        clusters=len(names),
    )


def _percentiles(clusters: int) -> tuple[float, float]:
    """The 'expanded percentiles' of Hesterberg 2015, section 5.3: 2.5 % and 97.5 % when clusters are many."""
    if clusters < 2:
        return 0.0, 1.0
    reach = math.sqrt(clusters / (clusters - 1)) * float(stats.t.ppf(1 - ALPHA / 2, clusters - 1))
    tail = float(stats.norm.sf(reach))
    return tail, 1 - tail


def _rounded(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _rounded(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [_rounded(part) for part in value]
    return float(f"{value:.6g}") if isinstance(value, float) else value
