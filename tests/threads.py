"""Threads that wait for each other are slow on a machine that does something else."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import torch

from limpide.models import llamacpp


@contextmanager
def one_thread() -> Iterator[None]:
    """torch and llama.cpp on one thread, meanwhile."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(llamacpp, "_cores", lambda: 1)
        yield
    torch.set_num_threads(before)
