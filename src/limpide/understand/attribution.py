"""On which words of the prompt an answer rests: gradient × input, integrated gradients, occlusion.

All three explain F, the log-likelihood of the whole answer in nats, or with another answer to hold it against, the
difference of the two (contrastive explanation, Yin and Neubig 2022). Only what a person wrote is explained. The chat
template's frame, a text's start token and an encoder's masks stay as they are, in every baseline and every occlusion,
and their share is 0: without them the model would be asked something else.

Shares say how F changes, to first order, along a path, or when a token is replaced: not what the model would do with
another text, nor why. Whether a ranking is better than chance is another test (understand/faithfulness.py).
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch

from limpide.core.errors import UsageError
from limpide.core.progress import Progress, Quiet
from limpide.models.gradients import gradient, nats, rows_at_once
from limpide.models.requests import Request
from limpide.models.row import Row, embed
from limpide.models.scoring import Options, score_with
from limpide.understand.integrated import StraightPath, Term, finite
from limpide.understand.settings import AttributionSettings

if TYPE_CHECKING:
    from limpide.models.model import Model
    from limpide.understand.question import Question

MOST_UNITS = 128  # tokens or words occluded one by one; in a longer prompt, runs of neighbouring words
ROUNDING = 1e-3  # nats: a completeness gap below is what float32 itself makes


@dataclass(frozen=True)
class Attribution:
    """tokens: nats of each token of the question; words: of each of its words; both 0 where nothing is explained.

    answer_tokens: [answer token][token], sums to `tokens`. total: what the values sum to but for `gap`, None where a
    method promises no sum. units: what was occluded at once.
    """

    method: str
    contrastive: bool
    tokens: tuple[float, ...]
    words: tuple[float, ...]
    answer_tokens: tuple[tuple[float, ...], ...] | None
    baseline: str
    total: float | None = None
    gap: float | None = None
    steps: int | None = None
    converged: bool | None = None
    units: str | None = None

    def record(self) -> dict[str, Any]:
        """Plain JSON, floats to six significant digits."""
        each = self.answer_tokens
        return {
            "method": self.method,
            "of": "answer against another" if self.contrastive else "answer",
            "unit": "nats",
            "tokens": [_rounded(value) for value in self.tokens],
            "words": [_rounded(value) for value in self.words],
            "answer_tokens": None if each is None else [[_rounded(value) for value in row] for row in each],
            "total": None if self.total is None else _rounded(self.total),
            "gap": None if self.gap is None else _rounded(self.gap),
            "steps": self.steps,
            "converged": self.converged,
            "baseline": self.baseline,
            "units": self.units,
        }


def explain(
    model: "Model",
    question: "Question",
    settings: AttributionSettings,
    progress: Progress | None = None,
    seed: int = 0,
) -> Attribution:
    """The share of each token and word of the prompt in the answer, by `settings.method`.

    A word has the sum of its tokens; occluded, what it loses when all of it is replaced at once, which differs from
    the sum where its tokens say the same thing twice. each_token: also for each token of the answer; left out where
    an answer is held against another. seed: of the sample that occlusion computes again the plain way.
    Raises UsageError when no token can be explained, ModelError when gradients are not numbers.
    """
    places = require(model, question, settings)
    progress = progress or Quiet()
    if settings.method == "occlusion":
        return _occlusion(model, question, places, settings, progress, seed)
    if settings.method == "gradient-x-input":
        return _gradient_x_input(model, question, places, settings)
    return _integrated(model, question, places, settings, progress)


def require(model: "Model", question: "Question", settings: AttributionSettings) -> list[int]:
    """Places of the tokens to explain. Raises UsageError where there is none."""
    places = explained(model, question)
    if not places:
        raise UsageError(
            "The prompt has no word of its own to explain.",
            received=question.prompt[:120],
            expected="a text with at least one word that is not a mask or part of the template",
            remedy="write more of the prompt, or look inside the model with: --method lens",
        )
    return places


def explained(model: "Model", question: "Question") -> list[int]:
    """Places of the tokens that a person wrote, an encoder's masks aside."""
    masks = question.row.read if model.kind == "encoder" else ()
    return [k for k, token in enumerate(question.tokens) if token.part != "frame" and k not in masks]


def terms(question: "Question") -> list[Term]:
    """F as rows to run: one where the two answers are read at the same places, else one for each answer."""
    row, other = question.row, question.against_row
    if other is None:
        return [Term(row)]
    if replace(row, targets=()) == replace(other, targets=()):
        return [Term(row, other)]
    return [Term(row), Term(other, sign=-1)]


def neutral_token(model: "Model") -> int:
    """The token that stands for 'no word said here': an encoder's mask, else the tokenizer's unknown token, else its
    padding, end or start token.

    A mask is what an encoder was trained to read as a missing word. The unknown token comes before padding and end
    tokens because chat models use these to close a turn: inside a message they would break the frame.
    """
    tokenizer = model.tokenizer
    mask = tokenizer.mask_token_id if model.kind == "encoder" else None
    known = (mask, tokenizer.unk_token_id, tokenizer.pad_token_id, tokenizer.eos_token_id, tokenizer.bos_token_id)
    return next((int(token) for token in known if token is not None), 0)


def baseline_of(model: "Model", row: Row, places: Sequence[int], token: int) -> torch.Tensor:
    """float[tokens, width]: the row's embeddings with those of `places` replaced by the embedding of `token`."""
    return embed(model, _replaced(row.ids, places, token))


def _integrated(
    model: "Model", question: "Question", places: Sequence[int], settings: AttributionSettings, progress: Progress
) -> Attribution:
    token, size = neutral_token(model), len(question.tokens)
    chosen = [(term, baseline_of(model, term.row, places, token)) for term in terms(question)]
    path = StraightPath(model, chosen, progress)
    limit = max(settings.tolerance * abs(path.total), ROUNDING)
    path.refine(min(settings.steps, settings.most_steps), settings.most_steps, limit)
    shares = path.share()
    alone = settings.each_token and question.against_row is None
    return _summed(
        Attribution(
            method=settings.method,
            contrastive=question.against_row is not None,
            tokens=tuple(shares[:size].tolist()),
            words=(),
            answer_tokens=_rows(path.each_token()[:, :size] if alone else None),
            baseline=f"{_text(model, token)} in place of each token that a person wrote",
            total=path.total,
            gap=abs(float(shares.sum()) - path.total),
            steps=path.points,
            converged=path.gap <= limit,
        ),
        question,
    )


def _gradient_x_input(
    model: "Model", question: "Question", places: Sequence[int], settings: AttributionSettings
) -> Attribution:
    """Σ over the width of x · ∂F/∂x (Shrikumar et al. 2016): what F would lose, were it linear, without the token."""
    size, keep = len(question.tokens), torch.zeros(len(question.tokens), dtype=torch.float64)
    keep[list(places)] = 1
    found = torch.zeros(size, dtype=torch.float64)
    each = None
    for term in terms(question):
        whole = embed(model, term.row.ids)
        alone = settings.each_token and question.against_row is None
        _, slopes = gradient(model, term.row, whole[None], against=term.against, each_token=alone)
        shares = finite(model, (slopes * whole).sum(-1, dtype=torch.float64))[..., 0, :size] * keep * term.sign
        each = shares if alone else None
        found = found + (shares.sum(0) if alone else shares)
    return _summed(
        Attribution(
            method=settings.method,
            contrastive=question.against_row is not None,
            tokens=tuple(found.tolist()),
            words=(),
            answer_tokens=_rows(each),
            baseline="none",
        ),
        question,
    )


def _occlusion(
    model: "Model",
    question: "Question",
    places: Sequence[int],
    settings: AttributionSettings,
    progress: Progress,
    seed: int,
) -> Attribution:
    """F(x) − F(x with a token, or all of a word, replaced). In a prompt of more than MOST_UNITS tokens, runs of
    neighbouring words are replaced at once, and each token of a run has an equal share of its loss."""
    token = neutral_token(model)
    words = [tuple(k for k in word.tokens if k in set(places)) for word in question.words]
    whole = len(places) <= MOST_UNITS
    groups = [(k,) for k in places] + [w for w in words if len(w) > 1] if whole else _runs(words)
    losses = occluded(model, terms(question), groups, token, progress, seed)
    drop = losses[0] if len(losses) == 1 else torch.stack([loss.sum(1) for loss in losses]).sum(0)[:, None]
    size = len(question.tokens)
    each = torch.zeros(drop.shape[1], size, dtype=torch.float64)
    for group, loss in list(zip(groups, drop, strict=True))[: len(places) if whole else None]:
        each[:, list(group)] = loss[:, None] / len(group)
    lost = dict(zip(groups, drop.sum(1).tolist(), strict=True)) if whole else {}
    tokens = each.sum(0)
    return Attribution(
        method=settings.method,
        contrastive=question.against_row is not None,
        tokens=tuple(tokens.tolist()),
        words=tuple(lost.get(word, float(tokens[list(word)].sum())) for word in words),
        answer_tokens=_rows(each if settings.each_token and question.against_row is None else None),
        baseline=f"{_text(model, token)} in place of what is occluded",
        units="tokens and words" if whole else f"{len(groups)} runs of neighbouring words",
    )


def _runs(words: Sequence[tuple[int, ...]]) -> list[tuple[int, ...]]:
    """Neighbouring words in at most MOST_UNITS groups of about as many tokens."""
    own = [word for word in words if word]
    size = sum(map(len, own)) / MOST_UNITS
    groups: dict[int, list[int]] = {}
    before = 0
    for word in own:
        groups.setdefault(int(before / size), []).extend(word)
        before += len(word)
    return [tuple(group) for group in groups.values()]


def occluded(
    model: "Model",
    of: Sequence[Term],
    groups: Sequence[Sequence[int]],
    token: int,
    progress: Progress | None = None,
    seed: int = 0,
) -> list[torch.Tensor]:
    """For each term of F, its loss in nats when the tokens of a group are replaced by `token`, a group at a time.

    One teacher-forced pass gives all the targets. A decoder's passes are one prefix tree: what lies before the first
    replaced token is computed once, and two answers share the prompts they follow. Returns float64[groups, read] each.
    """
    if model.kind == "decoder":
        return list(_by_tree(model, of, groups, token, progress or Quiet(), seed))
    return [_in_batches(model, term, groups, token, progress or Quiet()) for term in of]


def _by_tree(
    model: "Model", of: Sequence[Term], groups: Sequence[Sequence[int]], token: int, progress: Progress, seed: int
) -> Iterator[torch.Tensor]:
    rows = [(row, sign) for term in of for row, sign in ((term.row, 1), (term.against, -1)) if row is not None]
    requests = []
    for number, (row, _) in enumerate(rows):
        prompt = row.ids[: row.read[0] + 1]
        for k, group in enumerate([(), *groups]):
            requests.append(Request(f"{number} {k}", _replaced(prompt, group, token), row.targets))
    scores = score_with(model, requests, Options(seed=seed), progress).scores
    found = []
    for number, (_, sign) in enumerate(rows):
        own = scores[number * (len(groups) + 1) :][: len(groups) + 1]
        table = torch.tensor([score.token_log_likelihoods for score in own], dtype=torch.float64)
        found.append((table[0] - table[1:]) * sign)
    for term in of:
        loss = found.pop(0)
        yield (loss if term.against is None else loss + found.pop(0)) * term.sign


def _in_batches(
    model: "Model", term: Term, groups: Sequence[Sequence[int]], token: int, progress: Progress
) -> torch.Tensor:
    found = []
    everything = [(), *groups]
    size = rows_at_once(term.row)
    with progress.task("occlusion", total=len(everything)) as task:
        for first in range(0, len(everything), size):
            chosen = everything[first : first + size]
            batch = torch.stack([embed(model, _replaced(term.row.ids, group, token)) for group in chosen])
            found.append(nats(model, term.row, batch, term.against).double())
            task.advance(len(chosen))
    table = torch.cat(found)  # [1 + groups, read]
    return (table[0] - table[1:]) * term.sign


def _replaced(ids: Sequence[int], places: Sequence[int], token: int) -> tuple[int, ...]:
    gone = set(places)
    return tuple(token if k in gone else found for k, found in enumerate(ids))


def _summed(found: Attribution, question: "Question") -> Attribution:
    return replace(found, words=tuple(sum(found.tokens[k] for k in word.tokens) for word in question.words))


def _rows(each: torch.Tensor | None) -> tuple[tuple[float, ...], ...] | None:
    return None if each is None else tuple(tuple(row) for row in each.tolist())


def _text(model: "Model", token: int) -> str:
    return str(model.tokenizer.convert_ids_to_tokens(token))


def _rounded(value: float) -> float:
    return float(f"{value:.6g}") if math.isfinite(value) else value
