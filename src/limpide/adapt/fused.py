"""A training step's arithmetic in fewer passes over memory, on the processor.

transformers and peft write each formula as many small operations, of which each reads and writes its whole tensor, and
keep for the way back what can be had again for nothing. Here the four that took half of a step's time have a way
forward and a way back of their own (docs/log.md says what each gained): a fixed weight with a low-rank adapter,
attention with rotated queries and keys, the root-mean-square norm, and the likelihood of a token.

What a module computes is known from its class alone; one that is not known stays as it is. The numbers are the same up
to the order of sums and where bfloat16 rounds (tests/unit/adapt/test_fused.py).
"""

import contextlib
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import torch
from torch.nn import functional

from limpide.models.gradients import wide_gradients
from limpide.models.linear import prefers_onednn, product

ROWS = 8  # of logits at a time: what is worked on stays in the processor's cache
ROTATED = ("LlamaAttention", "MistralAttention", "Qwen2Attention", "GemmaAttention")
NORMS = ("LlamaRMSNorm", "MistralRMSNorm", "Qwen2RMSNorm")  # weight · x ÷ root mean square


@contextlib.contextmanager
def fused(network: torch.nn.Module) -> Iterator[list[str]]:
    """Inside, the network's modules compute as above where their class is known; gives the names of what was found."""
    chosen: list[tuple[Any, str, Callable[..., Any]]] = []
    on_processor = next(network.parameters()).device.type == "cpu"
    for module in network.modules() if on_processor else ():
        known = _known(module)
        if known is not None and "forward" not in vars(module):
            chosen.append((module, *known))
    for module, _, forward in chosen:
        module.forward = forward
    try:
        with wide_gradients(network):
            yield sorted({name for _, name, _ in chosen})
    finally:
        for module, _, _ in chosen:
            del module.forward


def _known(module: Any) -> tuple[str, Callable[..., Any]] | None:
    kind = type(module).__name__
    if kind in NORMS and not module.weight.requires_grad:
        return "norm", lambda x: _Norm.apply(x, module.weight, module.variance_epsilon)  # type: ignore[no-untyped-call]
    if kind in ROTATED and module.config._attn_implementation == "eager":
        return "attention", partial(_attend, module)
    if _is_plain_adapter(module):
        return "adapter", partial(_adapted, module, type(module).forward)
    return None


# --- a fixed weight with a low-rank adapter


def _is_plain_adapter(module: Any) -> bool:
    """One LoRA adapter on a fixed linear layer: no dropout, no bias, no variant such as DoRA."""
    from peft.tuners.lora.layer import Linear
    from transformers.pytorch_utils import Conv1D

    if type(module) is not Linear or type(module.base_layer) not in (torch.nn.Linear, Conv1D):
        return False
    if len(module.lora_A) != 1 or module.lora_variant or any(module.lora_bias.values()):
        return False
    dropout = next(iter(module.lora_dropout.values()))
    return isinstance(dropout, torch.nn.Identity) and not module.base_layer.weight.requires_grad


def _adapted(module: Any, plain: Callable[..., torch.Tensor], x: torch.Tensor) -> torch.Tensor:
    name = next(iter(module.lora_A))
    if module.disable_adapters or module.merged or module.active_adapters != [name]:
        return plain(module, x)
    base = module.base_layer
    weight = base.weight if isinstance(base, torch.nn.Linear) else base.weight.t()
    down, up = module.lora_A[name].weight, module.lora_B[name].weight
    if x.dtype != down.dtype or weight.dtype != down.dtype:
        return plain(module, x)
    result: torch.Tensor = _Adapted.apply(x, weight, base.bias, down, up, module.scaling[name])  # type: ignore[no-untyped-call]
    return result


class _Adapted(torch.autograd.Function):
    """x Wᵀ + b + scale · (x Aᵀ) Bᵀ. x: float[…, in], W: float[out, in], fixed; A: float[rank, in], B: float[out, rank].

    Keeps x and x Aᵀ. Hu et al. 2021, eq. 3, and its derivatives.
    """

    @staticmethod
    def forward(
        ctx: Any,
        x: torch.Tensor,
        weight: torch.Tensor,
        bias: torch.Tensor | None,
        down: torch.Tensor,
        up: torch.Tensor,
        scale: float,
    ) -> torch.Tensor:
        rows = x.reshape(-1, x.shape[-1])
        inner = rows @ down.t()
        result = _times(rows, weight, bias).addmm_(inner, up.t(), alpha=scale)
        ctx.save_for_backward(rows, inner, down, up)
        ctx.weight, ctx.scale, ctx.shape = weight, scale, x.shape
        return result.view(*x.shape[:-1], -1)

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        rows, inner, down, up = ctx.saved_tensors
        slope = gradients[0].reshape(-1, up.shape[0])
        through = slope @ up
        if ctx.scale != 1:
            through *= ctx.scale
        to_x = None
        if ctx.needs_input_grad[0]:
            to_x = _times(slope, ctx.weight.t(), None).addmm_(through, down).view(ctx.shape)
        to_up = slope.t() @ inner
        if ctx.scale != 1:
            to_up *= ctx.scale
        return to_x, None, None, through.t() @ rows, to_up, None


def _times(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
    """x Wᵀ + b by the faster library. x: float[rows, in], weight: float[out, in]."""
    if x.dtype == torch.float32 and prefers_onednn():
        return product(weight, bias, x.contiguous())
    return functional.linear(x, weight, bias)


# --- attention


def _attend(
    module: Any,
    hidden_states: torch.Tensor,
    position_embeddings: tuple[torch.Tensor, torch.Tensor],
    attention_mask: torch.Tensor,
    **_: Any,
) -> tuple[torch.Tensor, None]:
    """What the eager attention of the classes in ROTATED computes. attention_mask: float[rows, 1, queries, keys]."""
    q, k, v = (layer(hidden_states) for layer in (module.q_proj, module.k_proj, module.v_proj))
    turns, scale, width = position_embeddings, module.scaling, module.head_dim
    mixed: torch.Tensor = _Attention.apply(q, k, v, turns, attention_mask, scale, width)  # type: ignore[no-untyped-call]
    return module.o_proj(mixed), None


class _Attention(torch.autograd.Function):
    """softmax(scale · q kᵀ + mask) v, the queries and keys turned by their positions first.

    q: float[batch, places, heads · width], k, v: float[batch, places, groups · width]; each group of heads shares keys
    and values, and is one product. Keeps the turned queries and keys, the values and the probabilities.
    Su et al. 2021, eq. 34; Ainslie et al. 2023.
    """

    @staticmethod
    def forward(
        ctx: Any,
        q: torch.Tensor,
        k: torch.Tensor,
        v: torch.Tensor,
        turns: tuple[torch.Tensor, torch.Tensor],
        mask: torch.Tensor,
        scale: float,
        width: int,
    ) -> torch.Tensor:
        (batch, places, _), (cosine, sine) = q.shape, turns
        groups = k.shape[2] // width
        turned = _turn(_by_head(q, width), cosine * scale, sine * scale).view(batch * groups, -1, width)
        keys = _turn(_by_head(k, width), cosine, sine).view(batch * groups, places, width)
        values = _by_head(v, width).reshape(batch * groups, places, width)
        scores = torch.bmm(turned, keys.transpose(1, 2))
        scores.view(batch, -1, places, places).add_(mask)
        shares = torch.softmax(scores, -1, dtype=torch.float32).to(q.dtype)  # faster than within bfloat16
        mixed = torch.bmm(shares, values)
        ctx.save_for_backward(turned, keys, values, shares, cosine, sine)
        ctx.scale, ctx.shapes = scale, (q.shape, k.shape, width)
        return _side_by_side(mixed.view(batch, -1, places, width))

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        turned, keys, values, shares, cosine, sine = ctx.saved_tensors
        (batch, places, _), _, width = ctx.shapes
        slope = _by_head(gradients[0], width).reshape(turned.shape)
        to_values = torch.bmm(shares.transpose(1, 2), slope)
        to_shares = torch.bmm(slope, values.transpose(1, 2))
        to_scores = torch._softmax_backward_data(to_shares, shares, -1, shares.dtype)
        to_turned = torch.bmm(to_scores, keys).view(batch, -1, places, width)
        to_keys = torch.bmm(to_scores.transpose(1, 2), turned).view(batch, -1, places, width)
        to_q = _turn_back(to_turned, cosine * ctx.scale, sine * ctx.scale)
        to_k = _turn_back(to_keys, cosine, sine)
        to_v = to_values.view(batch, -1, places, width)
        return _side_by_side(to_q), _side_by_side(to_k), _side_by_side(to_v), None, None, None, None


def _by_head(x: torch.Tensor, width: int) -> torch.Tensor:
    """[batch, places, heads · width] → [batch, heads, places, width], a view."""
    return x.view(*x.shape[:2], -1, width).transpose(1, 2)


def _side_by_side(x: torch.Tensor) -> torch.Tensor:
    """[batch, heads, places, width] → [batch, places, heads · width]."""
    return x.transpose(1, 2).reshape(x.shape[0], x.shape[2], -1)


def _turn(x: torch.Tensor, cosine: torch.Tensor, sine: torch.Tensor) -> torch.Tensor:
    """x · cosine + (−second half, first half) · sine. x: [batch, heads, places, width]; contiguous result."""
    result = torch.empty(x.shape, dtype=x.dtype)
    half = x.shape[-1] // 2
    (a, b), (c, d), (s, t) = (torch.split(y, half, -1) for y in (x, cosine[:, None], sine[:, None]))
    torch.mul(a, c, out=result[..., :half]).addcmul_(b, s, value=-1)
    torch.mul(b, d, out=result[..., half:]).addcmul_(a, t)
    return result


def _turn_back(slope: torch.Tensor, cosine: torch.Tensor, sine: torch.Tensor) -> torch.Tensor:
    """The derivative of `_turn` towards x, times slope."""
    result = torch.empty(slope.shape, dtype=slope.dtype)
    half = slope.shape[-1] // 2
    (a, b), (c, d), (s, t) = (torch.split(y, half, -1) for y in (slope, cosine[:, None], sine[:, None]))
    torch.mul(a, c, out=result[..., :half]).addcmul_(b, t)
    torch.mul(b, d, out=result[..., half:]).addcmul_(a, s, value=-1)
    return result


# --- norm


class _Norm(torch.autograd.Function):
    """weight · x ÷ √(mean x² + ε), the quotient in float32. x: float[…, width]. Zhang and Sennrich 2019, eq. 4."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, weight: torch.Tensor, epsilon: float) -> torch.Tensor:
        wide = x.to(torch.float32, copy=True)
        norm = torch.linalg.vector_norm(wide, dim=-1, keepdim=True)
        inverse = (norm.square() / x.shape[-1] + epsilon).rsqrt()
        ctx.save_for_backward(x, weight, inverse)
        return wide.mul_(inverse).to(x.dtype).mul_(weight)

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor, None, None]:
        x, weight, inverse = ctx.saved_tensors
        unit = x.to(torch.float32, copy=True).mul_(inverse)
        slope = (gradients[0] * weight).float()
        along = torch.linalg.vecdot(slope, unit).unsqueeze(-1) / x.shape[-1]
        return slope.addcmul_(unit, along, value=-1).mul_(inverse).to(x.dtype), None, None


# --- the likelihood of tokens


def negative_log_likelihood(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Nats of each target, float32[rows]. logits: float[rows, vocabulary], targets: long[rows]."""
    wanted = torch.is_grad_enabled() and logits.requires_grad
    result: torch.Tensor = _Likelihood.apply(logits, targets, wanted)  # type: ignore[no-untyped-call]
    return result


class _Likelihood(torch.autograd.Function):
    """log Σ exp(logits) − logits[target]. Its slope, softmax − one-hot, is made while a row is still in cache."""

    @staticmethod
    def forward(ctx: Any, logits: torch.Tensor, targets: torch.Tensor, wanted: bool) -> torch.Tensor:
        slopes = torch.empty_like(logits) if wanted else None
        nats = torch.empty(len(logits), dtype=torch.float32)
        for first in range(0, len(logits), ROWS):
            some = slice(first, first + ROWS)
            rows, right = logits[some].to(torch.float32, copy=True), targets[some, None]
            own, most = rows.gather(1, right), rows.amax(1, keepdim=True)
            total = rows.sub_(most).exp_().sum(1, keepdim=True)
            nats[some] = (total.log() + most - own)[:, 0]
            if slopes is not None:
                rows.div_(total).scatter_add_(1, right, -torch.ones_like(own))
                slopes[some] = rows
        ctx.slopes = slopes
        return nats

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor, None, None]:
        return ctx.slopes.mul_(gradients[0].to(ctx.slopes.dtype)[:, None]), None, None
