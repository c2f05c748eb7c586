"""Opening a model: whole weights or none, every end token, and an adapter that fits."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from limpide.core.errors import ModelError
from limpide.models.model import DTYPES, faster_precision, open_model, open_tokenizer
from tiny import CONTEXT, FAMILY_NAMES


@pytest.fixture
def folder(tiny_path: Callable[[str], Path], tmp_path: Path) -> Path:
    return shutil.copytree(tiny_path("llama"), tmp_path / "model")


@pytest.mark.parametrize("name", FAMILY_NAMES)
def test_a_model_is_opened_to_be_asked(tiny_model: Callable[[str], Any], name: str) -> None:
    model = tiny_model(name)
    assert model.family.name == name
    assert not model.network.training
    assert not any(p.requires_grad for p in model.network.parameters())
    assert model.network.dtype == torch.float32
    assert model.context == (512 if name == "t5" else CONTEXT)
    assert model.tokenizer.eos_token_id is None or model.tokenizer.eos_token_id in model.stop_ids


@pytest.mark.parametrize("precision", sorted(DTYPES))
def test_the_precision_asked_for(folder: Path, precision: Any) -> None:
    model = open_model(folder, precision=precision)
    assert {p.dtype for p in model.network.parameters()} == {DTYPES[precision]}
    assert model.precision == precision


def test_a_missing_weight_is_never_filled_with_random_numbers(folder: Path) -> None:
    path = folder / "model.safetensors"
    weights = load_file(path)
    gone = "model.layers.1.mlp.up_proj.weight"
    del weights[gone]
    save_file(weights, path, metadata={"format": "pt"})
    with pytest.raises(ModelError) as error:
        open_model(folder)
    assert f"received: 1 missing, the first {gone}" in str(error.value)
    assert "download the model again" in str(error.value)


def test_weights_of_another_shape_are_refused(folder: Path) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "intermediate_size": 64}))
    with pytest.raises(ModelError, match=r"(?s)cannot be loaded.*limpide open"):
        open_model(folder)


def test_the_tokenizer_alone_knows_the_same_end_tokens(folder: Path) -> None:
    """Llama 3 and others name some of them in generation_config.json only."""
    path = folder / "generation_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "eos_token_id": [7, 5, 9]}))
    tokenizer, stop_ids = open_tokenizer(folder)
    model = open_model(folder)
    assert stop_ids == model.stop_ids == (7, 5, 9)
    assert tokenizer.chat_template == model.tokenizer.chat_template
    path.unlink()
    assert open_tokenizer(folder)[1] == (5,)


def test_the_faster_precision_must_win_by_a_quarter(monkeypatch: pytest.MonkeyPatch) -> None:
    from limpide.models import model

    def machine(bfloat16_seconds: float) -> str:
        ticks = iter([0.0, 1.0, 1.0, 1.0 + bfloat16_seconds])
        monkeypatch.setattr(model.time, "perf_counter", lambda: next(ticks))
        return faster_precision(rounds=1)

    assert [machine(seconds) for seconds in (2.0, 0.9, 0.79, 0.5)] == ["float32", "float32", "bfloat16", "bfloat16"]
