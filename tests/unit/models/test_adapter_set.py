"""Several adapters of one base: each gives what it gives alone, and the base stays what it was."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from limpide.core.errors import ModelError, UntrustedInput
from limpide.models.adapter_set import AdapterSet, open_adapter_set
from limpide.models.classifier import LABELS
from limpide.models.families.registry import plain
from limpide.models.model import open_model
from shared_adapters import random_adapter

IDS = torch.arange(11, 40)[None]
KINDS: dict[str, dict[str, Any]] = {
    "tone-1.0": {},
    "wide": {"r": 8, "target_modules": ["up_proj", "down_proj"]},
    "weights": {"use_dora": True},
}


def logits(network: Any) -> torch.Tensor:
    with torch.inference_mode():
        found: torch.Tensor = plain(network)(IDS).logits
    return found


@pytest.fixture(scope="module")
def folders(tiny_path: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("adapters")
    return {
        name: random_adapter(tiny_path("llama"), folder / name, seed, **kind)
        for seed, (name, kind) in enumerate(KINDS.items())
    }


def test_each_adapter_is_what_it_is_alone(tiny_path: Callable[[str], Path], folders: dict[str, Path]) -> None:
    base = tiny_path("llama")
    opened = open_adapter_set(base, folders)
    for name in [*folders, *folders, None]:
        alone = open_model(base, adapter=folders[name]) if name else open_model(base)
        with opened.active(name) as model:
            assert torch.equal(logits(model.network), logits(alone.network))


def test_without_adapters_there_is_only_the_base(tiny_model: Callable[[str], Any]) -> None:
    with AdapterSet(tiny_model("gpt2"), {}).active(None) as model:
        assert model is tiny_model("gpt2")


def test_an_adapter_with_a_head_is_refused(
    tiny_path: Callable[[str], Path], folders: dict[str, Path], tmp_path: Path
) -> None:
    (tmp_path / LABELS).write_text("{}", encoding="utf-8")
    with pytest.raises(ModelError, match="classification head"):
        open_adapter_set(tiny_path("llama"), {"classes": tmp_path})


def test_an_adapter_that_could_run_code_is_refused(tiny_path: Callable[[str], Path], tmp_path: Path) -> None:
    (tmp_path / "adapter_model.bin").write_bytes(b"\x80\x04.")
    with pytest.raises(UntrustedInput):
        open_adapter_set(tiny_path("llama"), {"pickled": tmp_path})


def test_an_adapter_of_another_family_is_refused(tiny_path: Callable[[str], Path], folders: dict[str, Path]) -> None:
    with pytest.raises(ModelError, match="does not fit this model"):
        open_adapter_set(tiny_path("gpt2"), {"tone": folders["tone-1.0"]})
