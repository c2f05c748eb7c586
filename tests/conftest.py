"""What every test may use: tiny models opened once, and a cache that is not the user's."""

import os
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest

# Before anything imports torch: tiny matrices are slower on two threads, and their sums differ with the number.
os.environ.setdefault("OMP_NUM_THREADS", "1")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--write-capabilities",
        action="store_true",
        help="write src/limpide/models/families/capabilities.json instead of comparing with it",
    )
    parser.addoption(
        "--write-silent-faults", action="store_true", help="write docs/silent-faults.md instead of comparing with it"
    )


@pytest.fixture(scope="session")
def tiny_path(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """family name → folder of its tiny model, written once; no test may change it."""
    from tiny import tiny_folder

    return cache(lambda name: tiny_folder(name, tmp_path_factory.mktemp("tiny")))


@pytest.fixture(scope="session")
def tiny_model(tiny_path: Callable[[str], Path]) -> Callable[[str], Any]:
    """family name → its tiny model, opened once; no test may change it."""
    from limpide.models.model import open_model

    return cache(lambda name: open_model(tiny_path(name)))


@pytest.fixture(autouse=True)
def own_results(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Results kept by one test are not another's."""
    from limpide.models import journal, score_cache

    folder = cache(lambda: tmp_path_factory.mktemp("results"))
    for module in (journal, score_cache):
        monkeypatch.setattr(module, "cache_folder", folder)
