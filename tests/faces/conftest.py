import os
from pathlib import Path

import pytest

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
