"""One answer as it is made: each token as soon as the model has chosen it. And the likeliest words under masks.

`transformers` runs the model; only the choice of the next token is made here, so that several models can draw at once,
each from its own seed, and every token can be looked at before the next one is computed.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from limpide.models.families.registry import plain
from limpide.models.generation import generation_config, no_defaults, padding
from limpide.models.linear import wide_products
from limpide.models.requests import Sampling

if TYPE_CHECKING:
    from limpide.models.model import Model


@dataclass(frozen=True)
class Drawing:
    """How the next token is chosen. temperature: 0 takes the likeliest. top_p: share of the probability drawn from.
    top_k: likeliest tokens drawn from, 0 for all. min_p: least probability, as a share of the likeliest token's.
    seed: None for another text each time."""

    temperature: float = 0.0
    top_p: float = 1.0
    top_k: int = 0
    min_p: float = 0.0
    seed: int | None = None


@dataclass(frozen=True)
class Chosen:
    """A token id. log_probability: nats, at temperature 1. alternatives: (id, nats), likeliest first."""

    id: int
    log_probability: float
    alternatives: tuple[tuple[int, float], ...] = ()


def write(
    model: "Model",
    prompt: Sequence[int],
    drawing: Drawing,
    goes_on: Callable[[Chosen], bool],
    *,
    most: int,
    alternatives: int = 0,
) -> None:
    """Continue `prompt` (an encoder–decoder: answer it) by at most `most` tokens, to the first end token.

    goes_on: told each token, end token included, before the next one is computed; the work stops where it says False.
    Greedy choices are those of `generate`, token for token. Equal seeds give equal texts on the CPU.
    """
    chooser = _Chooser(drawing, alternatives)

    def enough(ids: torch.Tensor, _: Any) -> torch.Tensor:
        return torch.tensor([not goes_on(chooser.chosen(int(ids[0, -1])))])

    from transformers import LogitsProcessorList, StoppingCriteriaList

    ids = torch.tensor([list(prompt)])
    with torch.inference_mode(), wide_products(model.network), no_defaults(plain(model.network)) as network:
        network.generate(
            input_ids=ids,
            attention_mask=torch.ones_like(ids),
            generation_config=generation_config(model, padding(model), Sampling(max_new_tokens=most)),
            logits_processor=LogitsProcessorList([chooser]),
            stopping_criteria=StoppingCriteriaList([enough]),
        )


def fill(model: "Model", ids: Sequence[int], alternatives: int = 0) -> list[Chosen]:
    """The likeliest token under each mask of an encoder's text, each on its own, first to last."""
    masks = [place for place, token in enumerate(ids) if token == model.tokenizer.mask_token_id]
    with torch.inference_mode(), wide_products(model.network):
        logits = model.network(input_ids=torch.tensor([list(ids)])).logits[0, masks].float()  # [mask, vocabulary]
    return [_chosen(int(row.argmax()), row, alternatives) for row in logits]


class _Chooser:
    """Chooses the next token by leaving no other: `transformers` then takes the likeliest that is left."""

    def __init__(self, drawing: Drawing, alternatives: int) -> None:
        self._alternatives = alternatives
        self._draws = drawing.temperature > 0
        self._narrowing = _narrowing(drawing) if self._draws else None
        self._random = torch.Generator()
        if drawing.seed is None:
            self._random.seed()
        else:
            self._random.manual_seed(drawing.seed)
        self._logits = torch.empty(0)

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """scores: float[1, vocabulary], the logits of the next token."""
        self._logits = scores[0]
        if self._narrowing is None:
            return scores
        probabilities = self._narrowing(input_ids, scores).softmax(1)
        drawn = torch.multinomial(probabilities, 1, generator=self._random)  # [1, 1]
        return torch.full_like(scores, -torch.inf).scatter(1, drawn, 0.0)

    def chosen(self, token: int) -> Chosen:
        return _chosen(token, self._logits, self._alternatives)


def _narrowing(drawing: Drawing) -> Any:
    """Temperature, then the tokens that may be drawn, in the order of `transformers` and llama.cpp."""
    from transformers.generation import logits_process as of

    found = [of.TemperatureLogitsWarper(float(drawing.temperature))]
    found += [of.TopKLogitsWarper(drawing.top_k)] if drawing.top_k > 0 else []
    found += [of.TopPLogitsWarper(drawing.top_p)] if drawing.top_p < 1 else []
    found += [of.MinPLogitsWarper(drawing.min_p)] if drawing.min_p > 0 else []
    return of.LogitsProcessorList(found)


def _chosen(token: int, logits: torch.Tensor, alternatives: int) -> Chosen:
    """logits: float[vocabulary]."""
    total = logits.logsumexp(0)
    likeliest = logits.topk(min(alternatives, len(logits)))
    values = (likeliest.values - total).tolist()
    return Chosen(token, float(logits[token] - total), tuple(zip(likeliest.indices.tolist(), values, strict=True)))
