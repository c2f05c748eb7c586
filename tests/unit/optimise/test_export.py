import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from adapted import Steps, make_steps, save_adapter
from limpide.core.errors import ModelError, UsageError
from limpide.core.operation import Subject
from limpide.core.progress import Quiet
from limpide.models.model import open_model
from limpide.optimise import export
from threads import one_thread

IDS = torch.tensor([[4, 90, 91, 7, 200, 399, 12, 5, 66]])


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    with one_thread():
        yield


@pytest.fixture(scope="module")
def steps(tmp_path_factory: pytest.TempPathFactory) -> Steps:
    return make_steps(tmp_path_factory.mktemp("steps"))


def logits(network: Any) -> torch.Tensor:
    with torch.inference_mode():
        found: torch.Tensor = network(IDS).logits.float()
    return found


def adapted(steps: Steps) -> torch.Tensor:
    return logits(open_model(steps.base, adapter=steps.root / "adapt" / "adapter").network)


def exported(steps: Steps, tmp_path: Path, *, adapt: bool = True, **settings: Any) -> Path:
    subject = Subject(out=tmp_path, inputs={"adapt": steps.root / "adapt"} if adapt else {}, model=steps.base)
    found = export.run(subject, export.ExportSettings(**settings), Quiet())
    assert set(found.facts["files"]) == set(found.facts["bytes"])
    return tmp_path


def plain(folder: Path) -> Any:
    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)


def test_float32_merge_is_the_adapted_model(steps: Steps, tmp_path: Path) -> None:
    merged = exported(steps, tmp_path, formats=("safetensors",), precision="float32") / "merged"
    wanted = adapted(steps)
    assert (logits(plain(merged)) - wanted).abs().max() < 1e-4
    assert (logits(plain(steps.base)) - wanted).abs().max() > 0.1


@pytest.mark.parametrize(("precision", "rounding"), [("float16", 2.0**-11), ("bfloat16", 2.0**-8)])
def test_a_rounded_merge_is_near_the_adapted_model(
    steps: Steps, tmp_path: Path, precision: str, rounding: float
) -> None:
    merged = exported(steps, tmp_path, formats=("safetensors",), precision=precision) / "merged"
    wanted = adapted(steps)
    # Each of some 16 matrices on the way is off by at most `rounding`, relative to its size.
    assert (logits(plain(merged)) - wanted).abs().max() < 16 * rounding * wanted.abs().max()
    assert (logits(plain(merged)) - wanted).abs().max() > 0
    assert json.loads((merged / "config.json").read_text())["dtype"] == precision


def test_the_folder_is_whole(steps: Steps, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    capfd.readouterr()
    out = exported(steps, tmp_path)
    assert capfd.readouterr() == ("", "")
    merged = out / "merged"
    base = open_model(steps.base)
    again = open_model(merged)
    assert again.tokenizer.chat_template == base.tokenizer.chat_template
    assert (merged / "chat_template.jinja").read_text() == base.tokenizer.chat_template
    assert (merged / "LICENSE").read_bytes() == (steps.base / "LICENSE").read_bytes()
    assert again.stop_ids == base.stop_ids == (base.tokenizer.convert_tokens_to_ids("<|im_end|>"),)
    assert json.loads((merged / "generation_config.json").read_text())["eos_token_id"] == list(base.stop_ids)
    assert AutoTokenizer.from_pretrained(merged)("été 12").input_ids == base.tokenizer("été 12").input_ids
    assert sorted(p.name for p in (out / "gguf").iterdir()) == ["model-f16.gguf", "model-q8_0.gguf"]
    assert not list(out.rglob("*.tmp"))


def test_every_stop_id_is_kept(steps: Steps, tmp_path: Path) -> None:
    other = steps.copy(tmp_path / "steps")
    path = other.base / "generation_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "eos_token_id": [5, 2]}))
    merged = exported(other, tmp_path / "out", formats=("safetensors",)) / "merged"
    assert open_model(merged).stop_ids == (5, 2)


def test_sampling_settings_without_sampling_do_not_stop_the_export(steps: Steps, tmp_path: Path) -> None:
    other = steps.copy(tmp_path / "steps")
    path = other.base / "generation_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "do_sample": False, "temperature": 0.6, "top_p": 0.9}))
    merged = exported(other, tmp_path / "out", formats=("safetensors",)) / "merged"
    assert "temperature" not in json.loads((merged / "generation_config.json").read_text())


def test_sampling_settings_with_sampling_are_kept(steps: Steps, tmp_path: Path) -> None:
    other = steps.copy(tmp_path / "steps")
    path = other.base / "generation_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "do_sample": True, "temperature": 0.6}))
    merged = exported(other, tmp_path / "out", formats=("safetensors",)) / "merged"
    assert json.loads((merged / "generation_config.json").read_text())["temperature"] == 0.6


def test_without_an_adapter_the_base_is_written_as_it_is(steps: Steps, tmp_path: Path) -> None:
    merged = exported(steps, tmp_path, adapt=False, formats=("safetensors",), precision="float32") / "merged"
    before, after = load_file(steps.base / "model.safetensors"), load_file(merged / "model.safetensors")
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)


def damage(base: Path, value: float) -> None:
    weights = load_file(base / "model.safetensors")
    weights["model.layers.0.mlp.up_proj.weight"][0, 0] = value
    save_file(weights, base / "model.safetensors", metadata={"format": "pt"})


def test_a_weight_too_large_for_float16_is_refused(steps: Steps, tmp_path: Path) -> None:
    other = steps.copy(tmp_path / "steps")
    damage(other.base, 70000.0)
    with pytest.raises(ModelError, match="too large for float16") as caught:
        exported(other, tmp_path / "out")
    assert caught.value.exit_code == 2
    assert "7e+04" in str(caught.value.received)
    assert "precision: float32" in str(caught.value.remedy)
    assert not list((tmp_path / "out").rglob("*"))
    (tmp_path / "out32").mkdir()
    merged = exported(other, tmp_path / "out32", formats=("safetensors", "gguf:q8_0"), precision="float32")
    assert (merged / "gguf" / "model-q8_0.gguf").is_file()


def test_a_weight_too_large_for_gguf_f16_is_refused(tmp_path: Path) -> None:
    steps = make_steps(tmp_path / "steps")
    damage(steps.base, 70000.0)
    with pytest.raises(ModelError, match="too large for GGUF F16") as caught:
        exported(steps, tmp_path / "out", precision="float32", formats=("gguf:f16",))
    assert caught.value.exit_code == 2
    assert "gguf:f16" in str(caught.value.remedy)
    assert not list((tmp_path / "out").glob("gguf/*"))


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_no_numbers_are_refused(steps: Steps, tmp_path: Path, value: float) -> None:
    other = steps.copy(tmp_path / "steps")
    damage(other.base, value)
    with pytest.raises(ModelError, match="not a finite number"):
        exported(other, tmp_path / "out", precision="float32")
    assert not list((tmp_path / "out").rglob("*"))


def test_a_broken_adapter_is_refused(steps: Steps, tmp_path: Path) -> None:
    other = steps.copy(tmp_path / "steps")
    save_adapter(other.base, other.root / "adapt" / "adapter", float("nan"))
    with pytest.raises(ModelError, match="not a finite number"):
        exported(other, tmp_path / "out")


def test_an_interrupted_export_leaves_no_half_gguf(
    steps: Steps, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import gguf

    def stop(self: Any, **_: Any) -> None:
        assert list((tmp_path / "gguf").glob(".*.tmp")), "the header is on disk by now"
        raise KeyboardInterrupt

    monkeypatch.setattr(gguf.GGUFWriter, "write_tensors_to_file", stop)
    with pytest.raises(KeyboardInterrupt):
        exported(steps, tmp_path)
    assert not list((tmp_path / "gguf").iterdir())


def test_a_full_disk_is_told(steps: Steps, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import errno

    def full(*_: Any, **__: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("transformers.PreTrainedModel.save_pretrained", full)
    with pytest.raises(UsageError, match="is full"):
        exported(steps, tmp_path)


def test_formats_choose_the_files(steps: Steps, tmp_path: Path) -> None:
    out = exported(steps, tmp_path, formats=("gguf:q8_0",))
    assert (out / "merged" / "model.safetensors").is_file()
    assert [p.name for p in (out / "gguf").iterdir()] == ["model-q8_0.gguf"]


@pytest.mark.parametrize("module", ["export", "parity"])
def test_imports_nothing_heavy(module: str) -> None:
    heavy = ("torch", "transformers", "peft", "gguf", "xllamacpp", "numpy", "safetensors")
    code = f"import sys, limpide.optimise.{module}; print(sorted(set(sys.modules) & set({heavy})))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
