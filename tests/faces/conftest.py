import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from browser import RunningStudio, axe_violations, browser, running_studio, visitor

from tiny_gguf import write_gguf


@pytest.fixture(scope="session")
def tiny_gguf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random model of 0.3 MB that llama.cpp opens in milliseconds."""
    return write_gguf(tmp_path_factory.mktemp("tiny") / "tiny.gguf")


@pytest.fixture(scope="session")
def embedded_gguf() -> Path:
    """The embedded model, where this machine already has it: tests never download."""
    from limpide.core import digests
    from limpide.models import cache
    from limpide.models.embedded import SMOLLM2

    given = os.environ.get("LIMPIDE_TEST_GGUF")
    cached = cache.cache_folder() / "gguf" / SMOLLM2.sha256[: digests.SHORT] / Path(SMOLLM2.member).name
    path = Path(given) if given else cached
    if not path.is_file():
        pytest.skip(f"the embedded model is not on this machine: run `limpide open {SMOLLM2.alias}` once")
    return path


@pytest.fixture(scope="module")
def studio(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningStudio]:
    """A studio of an empty project, as a process: one for the tests of a file."""
    with running_studio(tmp_path_factory.mktemp("studio") / "project") as started:
        yield started


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    """One browser for the tests of a file; `visitor(chromium, studio.way_in(), …)` opens a profile of its own.

    No longer: Playwright's running loop would keep later tests of the process from running theirs.
    """
    with browser() as opened:
        yield opened


@pytest.fixture
def page(chromium: Any, studio: RunningStudio) -> Iterator[Any]:
    """A page that was let in, in English, light, 1440 × 900."""
    with visitor(chromium, studio.way_in()) as opened:
        yield opened


@pytest.fixture
def axe() -> Callable[..., list[str]]:
    """axe(page) → serious and critical faults."""
    return axe_violations
