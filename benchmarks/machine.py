"""What the machine is, and how fast it multiplies matrices: the limit that no loop over a model passes."""

import os
import platform
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

SHAPES = ((512, 576, 576), (512, 576, 1536), (512, 1536, 576), (2048, 2048, 2048))  # rows, inner, columns
SECONDS = 0.2  # measured for each shape and way


def cores() -> int:
    """Logical processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def cpu() -> str:
    """Name of the processor, as the system gives it, and the cores this process may use."""
    name = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.is_file():
        lines = info.read_text(encoding="utf-8", errors="replace").splitlines()
        name = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), name)
    return f"{name}, {cores()} cores"


def keep_to(cores: int) -> None:
    """Keep this process and its children on so many cores, where the system can; say when they are not free."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:cores])
    if hasattr(os, "getloadavg") and os.getloadavg()[0] > 0.5:
        load = os.getloadavg()[0]
        print(f"Something else runs on this machine (load {load:.1f}): the times will be off.", file=sys.stderr)


def matmul_rate(precision: str) -> float:
    """Floating-point operations a second of the fastest of `SHAPES`: the model's own, and a large square.

    Every way torch has on a CPU is tried: in float32, oneDNN can be faster than the product torch takes by itself.
    """
    import torch

    dtype: torch.dtype = getattr(torch, precision)
    best = 0.0
    for rows, inner, columns in SHAPES:
        a, b = torch.randn(rows, inner).to(dtype), torch.randn(columns, inner).to(dtype)
        for product in _products(a, b):
            best = max(best, 2.0 * rows * inner * columns * _times_a_second(product))
    return best


def _products(a: "torch.Tensor", b: "torch.Tensor") -> list[Callable[[], object]]:
    """Ways to a·bᵀ. a: [rows, inner]; b: [columns, inner]."""
    import torch

    transposed = b.T.contiguous()
    ways: list[Callable[[], object]] = [lambda: a @ transposed, lambda: torch.nn.functional.linear(a, b)]
    if torch.backends.mkldnn.is_available():
        ways.append(lambda: torch.ops.mkldnn._linear_pointwise(a, b, None, "none", [], ""))
    return [way for way in ways if _works(way)]


def _works(way: Callable[[], object]) -> bool:
    """Does this build of torch have it? The first call also warms up."""
    try:
        way()
    except (RuntimeError, AttributeError):
        return False
    return True


def _times_a_second(product: Callable[[], object]) -> float:
    count, started = 0, time.perf_counter()
    while time.perf_counter() - started < SECONDS:
        product()
        count += 1
    return count / (time.perf_counter() - started)
