"""What a batch costs a network: the nats of each trained token, for every family, packed or alone."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch.nn.functional import cross_entropy

from limpide.adapt.fused import negative_log_likelihood
from limpide.adapt.packing import Batch
from limpide.adapt.trunk import Entered, passed_by
from limpide.models.families.family import Family
from limpide.models.families.registry import backbone, logits_from_hidden, plain
from limpide.models.masks import additive, attention_mask

HEAD_ROWS = 512  # trained positions projected on the vocabulary at once


@dataclass(frozen=True)
class Estimate:
    """Nats per trained token over conversations, and where the mean of others like them lies, 95 % of the time.

    The interval is of the conversations at hand being these and not others; it says nothing of another training. None
    with fewer than two conversations. Source: ratio estimator, Cochran 1977, §6.4, with Student's t.
    """

    mean: float
    low: float | None
    high: float | None


def estimate(nats: Sequence[float], tokens: Sequence[int]) -> Estimate:
    """nats, tokens: of each conversation."""
    count, total = len(nats), sum(tokens)
    mean = sum(nats) / total
    if count < 2:
        return Estimate(mean, None, None)
    from scipy.stats import t

    squares = sum((n - mean * k) ** 2 for n, k in zip(nats, tokens, strict=True))
    error = (count / (count - 1) * squares) ** 0.5 / total
    half = float(t.ppf(0.975, count - 1)) * error
    return Estimate(mean, mean - half, mean + half)


class Judged(Protocol):
    """What was lost on conversations kept aside. nats, tokens: of each."""

    @property
    def nats(self) -> tuple[float, ...]: ...

    @property
    def tokens(self) -> tuple[int, ...]: ...


def difference(one: Judged, other: Judged) -> Estimate:
    """How many nats a token more `one` loses than `other` on the same conversations, with its interval."""
    return estimate([a - b for a, b in zip(one.nats, other.nats, strict=True)], one.tokens)


def summed_loss(network: Any, family: Family, batch: Batch, entered: Entered | None = None) -> torch.Tensor:
    """Negative log-likelihood in nats, summed over trained tokens; logits exist at those places only.

    entered: what the frozen trunk made of the batch, where it is kept.
    """
    return token_nats(network, family, batch, entered).sum()


def token_nats(network: Any, family: Family, batch: Batch, entered: Entered | None = None) -> torch.Tensor:
    """Nats of each trained token, float32[trained tokens]."""
    hidden = _final_states(network, family, batch, entered)[batch.rows, batch.columns]
    parts = [
        _nats(logits_from_hidden(network, family, rows), targets)
        for rows, targets in zip(torch.split(hidden, HEAD_ROWS), torch.split(batch.targets, HEAD_ROWS), strict=True)
    ]
    return torch.cat(parts)


def _nats(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    if logits.device.type == "cpu":
        return negative_log_likelihood(logits, targets)
    return cross_entropy(logits.float(), targets, reduction="none")


def _final_states(network: Any, family: Family, batch: Batch, entered: Entered | None) -> torch.Tensor:
    """float[packs, width, hidden]."""
    body, config, dtype = backbone(network, family), plain(network).config, next(network.parameters()).dtype
    result: torch.Tensor
    if batch.read is not None:
        encoded = entered.states if entered else encoded_states(network, batch)
        result = body(
            input_ids=batch.ids,
            attention_mask=additive(batch.seen, dtype),
            encoder_hidden_states=encoded,
            encoder_attention_mask=additive(batch.read.crossed, dtype),
            use_cache=False,
        ).last_hidden_state
        return result
    options: dict[str, Any] = {"use_cache": False} if family.kind == "decoder" else {}
    with passed_by(network, family, entered):
        result = body(
            input_ids=batch.ids,
            attention_mask=attention_mask(batch.seen, batch.positions, config, dtype),
            position_ids=batch.positions,
            **options,
        ).last_hidden_state
    return result


def encoded_states(network: Any, batch: Batch) -> torch.Tensor:
    """What an encoder–decoder's encoder makes of the sources, float[packs, source width, hidden]."""
    assert batch.read is not None
    mask = additive(batch.read.seen, next(network.parameters()).dtype)
    result: torch.Tensor = plain(network).get_encoder()(input_ids=batch.read.ids, attention_mask=mask).last_hidden_state
    return result
