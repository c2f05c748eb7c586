"""Matrix products at the processor's own width.

torch gives float32 products to MKL, which on AMD processors uses half the width of AVX-512; oneDNN, which torch also
brings, uses all of it: about twice the rate, the same float32 numbers up to the order of sums (docs/decisions/0008).
The choice follows from the processor alone and is never measured, so that a machine repeats itself.

Some rows can be kept to torch's own product: the first tokens of a text carry huge activations, and there the order
of sums alone moves a text's log-likelihood by up to 2e-3 nats (docs/log.md).
"""

import contextlib
import platform
from collections.abc import Iterator, Sequence
from contextvars import ContextVar
from functools import cache, partial
from pathlib import Path
from typing import Any

import torch

CPUINFO = Path("/proc/cpuinfo")
_torch_rows: ContextVar[torch.Tensor | None] = ContextVar("torch_rows", default=None)


@cache
def prefers_onednn() -> bool:
    """Does MKL leave half of this processor's vector width unused, and is oneDNN's product there?"""
    if platform.machine() not in ("x86_64", "AMD64") or not torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
        return False
    if torch.backends.cpu.get_cpu_capability() != "AVX512" or not _is_amd():
        return False
    try:
        x, w = torch.arange(6.0).reshape(2, 3), torch.arange(12.0).reshape(4, 3)
        return torch.equal(product(w, None, x), x @ w.T)
    except (AttributeError, RuntimeError):  # another version of torch without this operator
        return False


def _is_amd() -> bool:
    try:
        return "AuthenticAMD" in CPUINFO.read_text()[:2000]
    except OSError:
        return "AMD" in platform.processor()


def product(weight: torch.Tensor, bias: torch.Tensor | None, x: torch.Tensor) -> torch.Tensor:
    """x @ weight.T + bias by oneDNN. x: float32[…, in], weight: float32[out, in]. Inference only."""
    result: torch.Tensor = torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "")
    rows = _torch_rows.get()
    if rows is not None and x.dim() == 3:  # experts get rows of their own, [rows, in]
        result[:, rows] = torch.nn.functional.linear(x[:, rows], weight, bias)
    return result


@contextlib.contextmanager
def torch_rows(rows: Sequence[int]) -> Iterator[None]:
    """Inside, these rows of every product, x float32[batch, rows, in], are computed as torch does by itself."""
    token = _torch_rows.set(torch.tensor(rows, dtype=torch.long) if rows else None)
    try:
        yield
    finally:
        _torch_rows.reset(token)


@contextlib.contextmanager
def wide_products(network: torch.nn.Module) -> Iterator[str]:
    """Inside, the network's linear layers use the faster of the two libraries, whose name is given. No gradients.

    GPT-2's activation, eight passes over memory as transformers writes it, is torch's one-pass form of the same.
    """
    moving = bent_weights(network)
    chosen: list[Any] = [m for m in network.modules() if _fits(m) and m not in moving] if prefers_onednn() else []
    bent: list[Any] = [m for m in network.modules() if _is_unfused_gelu(m)]
    for module in chosen:
        weight = module.weight if isinstance(module, torch.nn.Linear) else module.weight.T  # a view, no copy
        module.forward = partial(product, weight, module.bias)
    for module in bent:
        module.forward = partial(torch.nn.functional.gelu, approximate="tanh")
    try:
        yield "oneDNN" if chosen else "torch"
    finally:
        for module in (*chosen, *bent):
            del module.forward


def bent_weights(network: torch.nn.Module) -> set[torch.nn.Module]:
    """Modules one of whose weights an adapter bends in each pass, as `peft` does with `target_parameters`: the weight
    that is there between two passes is not the one they compute with."""
    return {m.get_base_layer() for m in network.modules() if hasattr(m, "parameter_name") and hasattr(m, "base_layer")}  # type: ignore[operator]  # of peft


def _fits(module: torch.nn.Module) -> bool:
    """A plain linear layer in float32 on the processor, which nothing else has changed; GPT-2's Conv1D is one too,
    whose weight is float32[in, out]."""
    if not (type(module) is torch.nn.Linear or _is_conv1d(module)) or "forward" in vars(module):
        return False
    weight: Any = module.weight
    return bool(weight.dtype == torch.float32 and weight.device.type == "cpu")


def _is_unfused_gelu(module: torch.nn.Module) -> bool:
    return type(module).__name__ == "NewGELUActivation" and "forward" not in vars(module)


def _is_conv1d(module: torch.nn.Module) -> bool:
    kind = type(module)  # by name: this file loads no transformers
    return kind.__name__ == "Conv1D" and kind.__module__ == "transformers.pytorch_utils"
