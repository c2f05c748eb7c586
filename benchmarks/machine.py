"""What the machine is, and how fast it multiplies matrices: the limit that no training loop passes."""

import os
import platform
import time
from pathlib import Path

SHAPES = ((512, 576, 576), (512, 576, 1536), (512, 1536, 576), (2048, 2048, 2048))  # rows, inner, columns
SECONDS = 0.3  # measured for each shape


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


def matmul_rate(precision: str) -> float:
    """Floating-point operations a second of the fastest of `SHAPES`: the model's own, and a large square."""
    import torch

    dtype: torch.dtype = getattr(torch, precision)
    best = 0.0
    for rows, inner, columns in SHAPES:
        a, b = torch.randn(rows, inner).to(dtype), torch.randn(inner, columns).to(dtype)
        _ = a @ b
        count, started = 0, time.perf_counter()
        while time.perf_counter() - started < SECONDS:
            _ = a @ b
            count += 1
        best = max(best, 2.0 * rows * inner * columns * count / (time.perf_counter() - started))
    return best
