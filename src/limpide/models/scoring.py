"""The likelihood engine: how likely a model finds a continuation after a context.

Decoders see requests arranged as one prefix tree, so that shared text is computed once; encoder–decoders encode
each context once; encoders fill batches with masked copies. The vocabulary is projected only where a token is
scored, so no [batch, tokens, vocabulary] tensor ever exists. Every run computes a random sample again the plain way.
"""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from limpide.core.errors import LimpideError
from limpide.core.progress import Progress, Quiet
from limpide.models import scorers
from limpide.models.budget import tree_budget
from limpide.models.encoding import Bos, Encoded, Overlong, encode_requests
from limpide.models.families.registry import backbone, logits_from_hidden
from limpide.models.linear import wide_products
from limpide.models.naive import differences, draw
from limpide.models.requests import Request, Score
from limpide.models.score_cache import ScoreCache, pack_values, unpack_values
from limpide.models.scorers import Values

if TYPE_CHECKING:
    from limpide.models.model import Model

SAMPLE = 8  # texts computed again the plain way, at most
# Nats at one scored token, and so √n times as much for n of them: larger differences are not rounding (docs/log.md).
TOLERANCE = {"float32": 2.5e-4, "float16": 0.1, "bfloat16": 0.5}
LEAST_TOLERANCE = 2e-3  # nats: one ill-conditioned token is worth so much in float32 (docs/log.md)
RELATIVE = 1e-5  # of a log-likelihood: a network with wild weights gives thousands of nats, and rounds them as such
PROBE = (11, 12, 13, 14, 15, 16, 17, 18)  # token ids that every vocabulary has


@dataclass(frozen=True)
class Options:
    """How requests become numbers; recorded with them. budget: tokens of a tree's pack; None: what this machine likes.

    sample: texts computed again the plain way, at most; 0 for none. cache: where results are kept, if anywhere; give
    one only for a model as it is on disk.
    """

    bos: Bos = "auto"
    overlong: Overlong = "refuse"
    budget: int | None = None
    sample: int = SAMPLE
    seed: int = 0
    cache: ScoreCache | None = None


@dataclass(frozen=True)
class Scored:
    """scores: in the order of the requests. record: how they were computed, plain JSON."""

    scores: list[Score]
    record: Mapping[str, Any]


def score(model: "Model", requests: Sequence[Request], progress: Progress | None = None) -> list[Score]:
    """Scores in the order of `requests`, with the options that are usual. See `score_with`."""
    return score_with(model, requests, Options(), progress).scores


def score_with(
    model: "Model", requests: Sequence[Request], options: Options, progress: Progress | None = None
) -> Scored:
    """Score every request, then a sample of them again the plain way.

    A decoder conditions on the context; an encoder gives the pseudo-log-likelihood, each token masked in turn.
    Raises ModelError for an empty continuation or a request longer than the context; LimpideError on NaN, or when
    the sample differs by more than rounding can.
    """
    items = encode_requests(model, requests, bos=options.bos, overlong=options.overlong)
    run, progress = _Run(model, items, options), progress or Quiet()
    try:
        values = run.values(progress, len(requests))
        if options.cache and options.cache.trouble:
            progress.say(options.cache.trouble)
        scores = _scores(requests, items, values)
        return Scored(scores, run.record(values))
    except LimpideError:
        run.forget()
        raise


class _Run:
    """One pass over encoded requests."""

    def __init__(self, model: "Model", items: Sequence[Encoded], options: Options) -> None:
        self.model, self.items, self.options = model, items, options
        self.budget = options.budget or tree_budget(model)
        self.tree = model.kind == "decoder" and takes_trees(model)
        cache = options.cache
        self.keys = [cache.key("score", item.context, item.continuation) if cache else b"" for item in items]
        self.remembered = 0
        self.products = "torch"

    @property
    def method(self) -> str:
        if self.model.kind != "decoder":
            return "masked copies in batches" if self.model.kind == "encoder" else "each context encoded once"
        return "prefix tree" if self.tree else "padded batches: this model's attention does not take a tree"

    def values(self, progress: Progress, total: int) -> list[Values]:
        """Of each piece, in their order."""
        cache = self.options.cache
        keys = self.keys
        kept = {key: unpack_values(data) for key, data in (cache.known(keys) if cache else {}).items()}
        number = {id(item): k for k, item in enumerate(self.items)}
        missing = [item for item, key in zip(self.items, keys, strict=True) if key not in kept]
        self.remembered = len(self.items) - len(missing)
        values = {k: kept[key] for k, key in enumerate(keys) if key in kept}
        waiting = {item.index for item in missing}
        left = Counter(item.index for item in missing)
        with (
            progress.task("scoring", total=total) as task,
            torch.inference_mode(),
            wide_products(self.model.network) as self.products,
        ):
            task.advance(total - len(waiting))
            for part in self._parts(missing):
                values |= {number[id(item)]: found for item, found in part}
                if cache:
                    cache.keep({keys[number[id(item)]]: pack_values(found) for item, found in part})
                left.subtract(item.index for item, _ in part)
                done = {item.index for item, _ in part if left[item.index] == 0}
                task.advance(len(done))
        return [values[k] for k in range(len(self.items))]

    def forget(self) -> None:
        """Numbers that a check refused are not kept, those of earlier runs among them."""
        if self.options.cache:
            self.options.cache.drop(self.keys)

    def _parts(self, items: Sequence[Encoded]) -> scorers.Scored:
        if self.model.kind == "encoder":
            return scorers.score_masked(self.model, items)
        if self.model.kind == "encoder-decoder":
            return scorers.score_pairs(self.model, items)
        if self.tree:
            return scorers.score_trees(self.model, items, self.budget)
        return scorers.score_padded(self.model, items)

    def record(self, values: Sequence[Values]) -> dict[str, Any]:
        """How the numbers were computed. Raises LimpideError when the sample disagrees."""
        chosen = draw(len(self.items), 2, self.options.sample, self.options.seed)
        found = differences(self.model, [self.items[k] for k in chosen], [sum(values[k][0]) for k in chosen])
        for k, difference in zip(chosen, found, strict=True):
            limit = max(tolerance(self.model, self.items[k]), RELATIVE * abs(sum(values[k][0])))
            if not difference <= limit:
                raise LimpideError(
                    "The likelihood engine disagrees with the plain computation on this model.",
                    received=f"{difference:.3g} nats on a text of {len(self.items[k].continuation)} scored tokens",
                    expected=f"at most {limit:.2g} nats in {self.model.precision}",
                    remedy="report it with the model's name; the numbers of this run were not kept",
                )
        return {
            "method": self.method,
            "precision": self.model.precision,
            "products": self.products,
            "bos": self.options.bos if self.model.kind == "decoder" else None,
            "overlong": self.options.overlong,
            "texts": len(self.items),
            "texts_remembered": self.remembered,
            "results_kept": self.options.cache is not None and self.options.cache.trouble is None,
            "tokens_read": sum(map(len, self.items)),
            "tokens_scored": sum(len(item.continuation) for item in self.items),
            "merged_boundaries": sum(item.merged for item in self.items),
            "tree_budget": self.budget if self.tree else None,
            "parity_sample": len(chosen),
            "largest_difference_nats": max(found, default=0.0),
        }


def tolerance(model: "Model", item: Encoded) -> float:
    """The largest difference, in nats, that rounding makes on this text."""
    return max(LEAST_TOLERANCE, TOLERANCE[model.precision] * math.sqrt(len(item.continuation)))


def takes_trees(model: "Model") -> bool:
    """Does the network give a branch of a tree what it gives the branch alone? Tried once a network."""
    known: bool | None = getattr(model.network, "limpide_takes_trees", None)
    if known is None:
        ids = PROBE
        items = [Encoded(0, ids[:4], ids[4:]), Encoded(1, ids[:4], ids[:4]), Encoded(2, ids[:6], ids[2:5])]
        try:
            with torch.inference_mode():
                found = {i.index: v for part in scorers.score_trees(model, items, 5) for i, (v, _) in part}
            off = differences(model, items, [sum(found[item.index]) for item in items])
            known = all(d <= tolerance(model, item) for d, item in zip(off, items, strict=True))
        except (RuntimeError, TypeError, ValueError, AttributeError, IndexError):  # the network refuses such a mask
            known = False
        model.network.limpide_takes_trees = known
    return known


def _scores(requests: Sequence[Request], items: Sequence[Encoded], values: Sequence[Values]) -> list[Score]:
    pieces: list[list[int]] = [[] for _ in requests]
    for k, item in enumerate(items):
        pieces[item.index].append(k)
    scores = []
    for request, own in zip(requests, pieces, strict=True):
        found = [value for k in own for value in values[k][0]]
        total = sum(found)
        if not math.isfinite(total):
            raise LimpideError(
                f"The model gave NaN logits for request '{request.id}'.",
                received=total,
                remedy="open it in float32, and check the weights with: limpide open MODEL",
            )
        greedy = all(values[k][1] for k in own)
        scores.append(Score(request.id, total, len(found), greedy, tuple(found), items[own[0]].merged, len(own)))
    return scores


def log_probabilities(model: "Model", ids: Sequence[int], last: int) -> torch.Tensor:
    """Next-token log-probabilities, in nats, after each of the last `last` tokens of one sequence (decoders).

    Returns float32[last, vocabulary]; row −1 is what follows the whole sequence.
    """
    with torch.inference_mode():
        output = backbone(model.network, model.family)(input_ids=torch.tensor([list(ids)]), use_cache=False)
        hidden = output.last_hidden_state[0, -last:]
        return logits_from_hidden(model.network, model.family, hidden).float().log_softmax(-1)
