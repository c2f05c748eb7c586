"""Gradients of an answer's log-likelihood with respect to the embeddings of the text before it, a batch at a time.

The network's weights get no gradients, so a linear layer keeps nothing but its weight. Its products, forward and
backward, are by the faster of the two libraries of models/linear.py. A text too long for one batch keeps only what
enters each block, and computes the block again on the way back.
"""

import contextlib
from collections.abc import Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch.utils.checkpoint import checkpoint

from limpide.models.families.registry import plain
from limpide.models.linear import bent_weights, prefers_onednn, product, wide_products
from limpide.models.row import Row, final_hidden, target_log_likelihoods
from limpide.models.scorers import HEAD_BYTES
from limpide.models.stacks import stacks

if TYPE_CHECKING:
    from limpide.models.model import Model

TOKENS = 512  # rows × places of a batch: beyond, products are no faster and kept activations grow (docs/log.md)


def rows_at_once(row: Row) -> int:
    """How many copies of a row fill a batch."""
    return max(1, TOKENS // _places(row))


def nats(model: "Model", row: Row, embeddings: torch.Tensor, against: Row | None = None) -> torch.Tensor:
    """What `gradient` differentiates, without gradients: float[batch, read]."""
    found = []
    with torch.inference_mode(), wide_products(model.network):
        for batch in torch.split(embeddings, rows_at_once(row)):
            hidden = final_hidden(model, row, batch)
            found += [_nats(model, row, against, part) for part in _head_batches(model, hidden)]
    return torch.cat(found)


def gradient(
    model: "Model", row: Row, embeddings: torch.Tensor, *, against: Row | None = None, each_token: bool = False
) -> tuple[torch.Tensor, torch.Tensor]:
    """(nats of each target, gradient of their sum) for each of a batch of embeddings of one row.

    embeddings: float[batch, tokens, width], in the place of the row's own. against: a row that is read at the same
    places with other targets; then the nats are the difference of the two. each_token: the gradient of each target
    alone. Returns float[batch, read] and float[batch, tokens, width], or with each_token float[read, batch, tokens,
    width]. Each target alone costs one more way back through the network.
    """
    values, gradients = [], []
    longer = _places(row) > TOKENS
    with (
        torch.inference_mode(False),
        torch.enable_grad(),
        wide_gradients(model.network),
        recomputed(model) if longer else contextlib.nullcontext(),
    ):
        for batch in torch.split(embeddings, rows_at_once(row)):
            inputs = batch.detach().clone().requires_grad_()
            hidden = final_hidden(model, row, inputs)
            found, slopes = _at_head(model, row, against, hidden.detach())
            values.append(found)
            gradients.append(_back(hidden, inputs, slopes, each_token))
    return torch.cat(values), torch.cat(gradients, 1 if each_token else 0)


def _back(hidden: torch.Tensor, inputs: torch.Tensor, slopes: torch.Tensor, each_token: bool) -> torch.Tensor:
    """Through the layers. slopes: float[batch, read, width], the gradient with respect to the final hidden states."""
    if not each_token:
        return torch.autograd.grad(hidden, inputs, slopes)[0]
    alone = []
    for k in range(slopes.shape[1]):  # the nats of a target rest on its own final state alone
        own = torch.zeros_like(slopes)
        own[:, k] = slopes[:, k]
        alone.append(torch.autograd.grad(hidden, inputs, own, retain_graph=k + 1 < slopes.shape[1])[0])
    return torch.stack(alone)


def _at_head(model: "Model", row: Row, against: Row | None, hidden: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """(nats, float[batch, read]; their gradients with respect to hidden), a few megabytes of logits at a time."""
    values, slopes = [], []
    for part in _head_batches(model, hidden):
        inputs = part.clone().requires_grad_()
        found = _nats(model, row, against, inputs)
        slopes.append(torch.autograd.grad(found.sum(), inputs)[0])
        values.append(found.detach())
    return torch.cat(values), torch.cat(slopes)


def _head_batches(model: "Model", hidden: torch.Tensor) -> tuple[torch.Tensor, ...]:
    logits = 4 * int(plain(model.network).config.vocab_size) * hidden.shape[1]  # bytes of one row
    return torch.split(hidden, max(1, HEAD_BYTES // logits))


def _nats(model: "Model", row: Row, against: Row | None, hidden: torch.Tensor) -> torch.Tensor:
    found = target_log_likelihoods(model, row, hidden)
    return found if against is None else found - target_log_likelihoods(model, against, hidden)


def _places(row: Row) -> int:
    return len(row) + len(row.written)


class _Product(torch.autograd.Function):
    """x @ weight.T + bias, and on the way back gradient @ weight, both by oneDNN. x: float32[…, in]."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
        ctx.weight = weight  # a constant here, float32[out, in], so that nothing else need be kept
        return product(weight, bias, x)

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor, None, None]:
        return product(ctx.weight.t(), None, gradients[0].contiguous()), None, None


@contextlib.contextmanager
def wide_gradients(network: torch.nn.Module) -> Iterator[str]:
    """Inside, linear layers with fixed weights use the faster of the two libraries (its name is given), both ways."""
    chosen: list[tuple[Any, torch.Tensor]] = []
    if prefers_onednn():
        moving = bent_weights(network)
        chosen = [(m, w) for m in network.modules() if m not in moving and (w := _weight(m)) is not None]
    for module, weight in chosen:
        module.forward = partial(_multiply, weight, module.bias)
    try:
        yield "oneDNN" if chosen else "torch"
    finally:
        for module, _ in chosen:
            del module.forward


def _multiply(weight: torch.Tensor, bias: torch.Tensor | None, x: torch.Tensor) -> torch.Tensor:
    result: torch.Tensor = _Product.apply(x, weight, bias)  # type: ignore[no-untyped-call]  # torch has no type here
    return result


def _weight(module: torch.nn.Module) -> torch.Tensor | None:
    """float32[out, in] of a plain linear layer on the processor whose weights are fixed, else None."""
    from transformers.pytorch_utils import Conv1D

    if type(module) not in (torch.nn.Linear, Conv1D) or "forward" in vars(module):
        return None
    weight: torch.Tensor = module.weight  # type: ignore[assignment]  # of a module it could be anything
    if weight.dtype != torch.float32 or weight.device.type != "cpu":
        return None
    if any(parameter.requires_grad for parameter in module.parameters()):
        return None
    return weight if type(module) is torch.nn.Linear else weight.t()


@contextlib.contextmanager
def recomputed(model: "Model") -> Iterator[None]:
    """Inside, a block keeps nothing but what enters it, and is computed again when its gradient is asked for."""
    blocks = [block for stack in stacks(model) for block in stack.blocks]
    for block in blocks:
        again: Callable[..., Any] = partial(checkpoint, block.forward, use_reentrant=False, preserve_rng_state=False)
        block.forward = again
    try:
        yield
    finally:
        for block in blocks:
            del block.forward
