"""What an answer loses when words of its prompt are taken away in an order, and what a few words alone give back.

A word is taken away by taking its tokens out of the text. Occlusion writes a neutral token over them instead: if the
test did the same, its first step would be the explanation itself. Removing and adding look at the same prompts from two
ends: the words that an order keeps until the end are those its reverse takes first. Random orders therefore come in
pairs, an order and its reverse, and every prompt scored serves both.
"""

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from limpide.core.progress import Progress
from limpide.models.gradients import nats
from limpide.models.requests import Request
from limpide.models.row import embed
from limpide.models.scoring import Options, score_with
from limpide.understand.attribution import explained, neutral_token

if TYPE_CHECKING:
    from limpide.models.model import Model
    from limpide.models.row import Row
    from limpide.understand.question import Question

Floats = NDArray[np.float64]
Gone = frozenset[int]  # words taken away, by their number in the question
BINS = (0.01, 0.05, 0.1, 0.2, 0.5)  # shares of the words called the rationale (DeYoung et al. 2020, section 4.2)


@dataclass(frozen=True)
class Curves:
    """Values of the answer, in nats, along one order or several.

    counts: int[points], ascending from 0 to the number of words. deletion: float[orders, points], the first `counts`
    words of the order taken away. insertion: float[orders, points], all words taken away but those.
    """

    counts: tuple[int, ...]
    deletion: Floats
    insertion: Floats

    @property
    def share(self) -> Floats:
        """float[points]: share of the words that are gone (deletion) or there (insertion)."""
        return np.array(self.counts) / self.counts[-1]

    def area(self, curves: Floats) -> Floats:
        """Mean height of each curve over the share of words (trapezia), in nats. curves: float[orders, points]."""
        heights = (curves[:, 1:] + curves[:, :-1]) / 2
        return heights @ np.diff(self.share)

    def comprehensiveness(self) -> Floats:
        """float[orders], in nats: what the answer loses when the rationale goes, mean over the five sizes of BINS.

        DeYoung et al. 2020 (ERASER), eq. 1 and section 4.2, with log-likelihoods in the place of probabilities, whole
        words in the place of tokens, at least one, and without their empty rationale, which loses nothing.
        """
        return self._lost(self.deletion)

    def sufficiency(self) -> Floats:
        """float[orders], in nats: what the answer loses when only the rationale stays (there, eq. 2); low is good."""
        return self._lost(self.insertion)

    def _lost(self, curves: Floats) -> Floats:
        sizes = [self.counts.index(size) for size in rationales(self.counts[-1])]
        lost: Floats = self.deletion[:, 0] - curves[:, sizes].mean(1)
        return lost


def rationales(words: int) -> list[int]:
    """How many words each share of BINS is: rounded up, so at least one."""
    return [math.ceil(share * words) for share in BINS]


def counts(words: int, points: int) -> tuple[int, ...]:
    """Where the curves are computed: evenly spaced, in about `points` steps, at the sizes of the rationales, and at as
    many words from the other end, so that an order and its reverse look at the same prompts."""
    even = np.linspace(0, words, min(points, words) + 1).round().astype(int).tolist()
    return tuple(sorted({end for n in (*even, *rationales(words)) for end in (n, words - n)}))


def removable(model: "Model", question: "Question") -> list[int]:
    """Numbers of the words that can be taken away: not the template's, nor the masks that an encoder fills."""
    places = set(explained(model, question))
    return [k for k, word in enumerate(question.words) if places.issuperset(word.tokens)]


def descending(scores: Sequence[float], rng: np.random.Generator) -> list[int]:
    """Places of `scores`, highest first; equal ones in random order, so that what a ranking does not say, it does not
    owe to where the words stand."""
    return np.lexsort((rng.random(len(scores)), -np.asarray(scores))).tolist()  # type: ignore[no-any-return]


def random_orders(words: int, at_least: int, rng: np.random.Generator) -> list[list[int]]:
    """Pairs of a random order and its reverse, one after the other."""
    drawn = [rng.permutation(words).tolist() for _ in range(math.ceil(at_least / 2))]
    return [order for one in drawn for order in (one, one[::-1])]


def removed_sets(orders: Iterable[Sequence[int]], at: Sequence[int]) -> list[Gone]:
    """Every set of words whose absence the curves of these orders look at, each once."""
    found = [part for order in orders for n in at for part in (frozenset(order[:n]), frozenset(order[n:]))]
    return list(dict.fromkeys(found))


def curves(orders: Sequence[Sequence[int]], at: Sequence[int], values: Mapping[Gone, float]) -> Curves:
    """values: nats of the answer without each of `removed_sets(orders, at)`."""
    deletion = [[values[frozenset(order[:n])] for n in at] for order in orders]
    insertion = [[values[frozenset(order[n:])] for n in at] for order in orders]
    return Curves(tuple(at), np.array(deletion), np.array(insertion))


def answer_values(
    model: "Model", question: "Question", gone: Sequence[Gone], progress: Progress | None = None
) -> dict[Gone, float]:
    """Log-likelihood of the answer in nats, or its log-odds against the other one, without each set of words.

    No sample is computed again the plain way: a prompt of which little is left is so unlike a text that float32 itself
    is unsure of it, by some thousandths of a nat.
    """
    rows = [(question.row, 1)] + [(row, -1) for row in (question.against_row,) if row is not None]
    away = [{place for word in words for place in question.words[word].tokens} for words in gone]
    if model.kind == "decoder":  # both answers in one tree: they share the prompts they follow
        prompts = [_without(model, question.row.ids[: question.row.read[0] + 1], places) for places in away]
        requests = [Request(str(k), prompt, row.targets) for row, _ in rows for k, prompt in enumerate(prompts)]
        scores = score_with(model, requests, Options(sample=0), progress).scores
        found = np.array([score.log_likelihood for score in scores]).reshape(len(rows), len(gone))
    else:
        found = np.array([_one_by_one(model, row, away) for row, _ in rows])
    values = np.array([sign for _, sign in rows]) @ found
    return dict(zip(gone, values.tolist(), strict=True))


def _without(model: "Model", ids: Sequence[int], away: Collection[int]) -> tuple[int, ...]:
    """The neutral token stands where nothing is left to read."""
    return tuple(id for place, id in enumerate(ids) if place not in away) or (neutral_token(model),)


def _one_by_one(model: "Model", row: "Row", away: Sequence[Collection[int]]) -> list[float]:
    """Nats of the answer in a row without each set of places, of an encoder or encoder–decoder."""
    found = []
    for places in away:
        ids = _without(model, row.ids, places)
        read = row.read if row.written else tuple(k - sum(gone < k for gone in places) for k in row.read)
        shorter = replace(row, ids=ids, read=read)
        found.append(float(nats(model, shorter, embed(model, ids)[None]).sum()))
    return found
