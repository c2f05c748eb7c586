"""What earlier steps corrected is in every file that is exported, and parity says that it acts."""

import shutil
from pathlib import Path

import pytest
import torch

from adapted import Steps, make_steps
from limpide.core.errors import ModelError
from limpide.core.operation import Subject
from limpide.core.progress import Quiet
from limpide.models.changed import KEPT, of_steps
from limpide.models.gguf_folder import dequantise
from limpide.models.model import Model, open_model
from limpide.models.safety import MAPS, check_folder
from limpide.models.update import Affine, Update, load_maps, save_maps
from limpide.optimise import export, parity

IDS = torch.tensor([[5, 17, 90, 31, 200, 8]])
Q = "model.layers.0.self_attn.q_proj.weight"


def logits(model: Model) -> torch.Tensor:
    with torch.inference_mode():
        return model.network(input_ids=IDS).logits


@pytest.fixture(scope="module")
def steps(tmp_path_factory: pytest.TempPathFactory) -> Steps:
    return make_steps(tmp_path_factory.mktemp("steps") / "corrected")


def with_correction(steps: Steps, folder: Path, *, mapped: bool = False) -> Path:
    """The folder of a correction step; mapped: one that no weight can hold."""
    model = open_model(steps.subject("export").the_model())
    rows, columns = model.network.get_parameter(Q).shape
    random = torch.Generator().manual_seed(0)
    left, right = (torch.randn(shape, generator=random) for shape in ((rows, 2), (2, columns)))
    shift = Affine(torch.zeros(rows, 0), torch.zeros(0, rows), torch.ones(rows))
    update = Update(maps={"model.layers.1": shift}) if mapped else Update({Q: (0.3 * left, right)})
    update.save(folder / KEPT)
    return folder


def subject(steps: Steps, name: str, correction: Path, *, adapt: bool, out: Path) -> Subject:
    found = steps.subject(name, adapt=adapt)
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    return Subject(out, {**found.inputs, "correct": correction}, found.model, found.label, found.seed)


@pytest.mark.parametrize("adapt", [False, True])
def test_the_correction_is_in_the_merged_folder_and_in_the_gguf_file(steps: Steps, tmp_path: Path, adapt: bool) -> None:
    correction = with_correction(steps, tmp_path / "correct")
    asked = subject(steps, "export", correction, adapt=adapt, out=tmp_path / "export")
    settings = export.ExportSettings(formats=("safetensors", "gguf:f16"), precision="float32")
    export.run(asked, settings, Quiet()).save(asked.out)
    merged = open_model(tmp_path / "export" / "merged")
    torch.testing.assert_close(logits(merged), logits(of_steps(asked)), atol=1e-4, rtol=1e-4)
    certified = subject(steps, "parity", correction, adapt=adapt, out=tmp_path / "parity")
    inputs = {**certified.inputs, "export": tmp_path / "export"}
    found = parity.run(
        Subject(certified.out, inputs, certified.model, certified.label, certified.seed),
        parity.ParitySettings(conversations=4, answer_tokens=8),
        Quiet(),
    )
    assert found.facts["passed"], found.warnings
    what = "adapter" if adapt else "correction"
    assert f"{what} acts" in {check["name"] for check in found.facts["checks"]}


def test_what_no_weight_can_hold_is_beside_them_and_in_no_gguf_file(steps: Steps, tmp_path: Path) -> None:
    correction = with_correction(steps, tmp_path / "correct", mapped=True)
    asked = subject(steps, "export", correction, adapt=False, out=tmp_path / "export")
    with pytest.raises(ModelError, match="no GGUF file can"):
        export.run(asked, export.ExportSettings(formats=("safetensors", "gguf:f16")), Quiet())
    asked = subject(steps, "export", correction, adapt=False, out=tmp_path / "export")
    export.run(asked, export.ExportSettings(formats=("safetensors",), precision="float32"), Quiet())
    merged = tmp_path / "export" / "merged"
    assert (merged / MAPS).is_file()
    torch.testing.assert_close(logits(open_model(merged)), logits(of_steps(asked)), atol=1e-4, rtol=1e-4)


def test_biases_that_a_correction_opened_are_read_back_from_the_gguf_file(steps: Steps, tmp_path: Path) -> None:
    """transformers takes them for absent, since a GGUF file's header does not tell of them."""
    bias = "model.layers.0.mlp.down_proj.bias"
    Update(vectors={bias: torch.ones(32)}).save(tmp_path / "correct" / KEPT)
    asked = subject(steps, "export", tmp_path / "correct", adapt=False, out=tmp_path / "export")
    settings = export.ExportSettings(formats=("safetensors", "gguf:f16"), precision="float32")
    export.run(asked, settings, Quiet())
    read = tmp_path / "read"
    read.mkdir()
    dequantise(tmp_path / "export" / "gguf" / "model-f16.gguf", read)
    assert open_model(read).network.get_parameter(bias).tolist() == [1.0] * 32
    merged = open_model(tmp_path / "export" / "merged")
    torch.testing.assert_close(logits(open_model(read)), logits(merged), atol=1e-2, rtol=1e-2)


def test_the_maps_of_a_base_are_not_lost(steps: Steps, tmp_path: Path) -> None:
    width = 32
    base = tmp_path / "base"
    shutil.copytree(steps.base, base)
    one, other = (Affine(torch.zeros(width, 0), torch.zeros(0, width), torch.ones(width)) for _ in range(2))
    save_maps(base, Update(maps={"model.layers.0": one}))
    Update(maps={"model.layers.1": other}).save(tmp_path / "correct" / KEPT)
    out = tmp_path / "export"
    out.mkdir()
    asked = Subject(out, {"correct": tmp_path / "correct"}, base)
    with pytest.raises(ModelError, match="no GGUF file can"):
        export.run(asked, export.ExportSettings(formats=("safetensors", "gguf:f16")), Quiet())
    export.run(asked, export.ExportSettings(formats=("safetensors",), precision="float32"), Quiet())
    assert set(load_maps(out / "merged").maps) == {"model.layers.0", "model.layers.1"}
    torch.testing.assert_close(logits(open_model(out / "merged")), logits(of_steps(asked)), atol=1e-4, rtol=1e-4)
    assert any(MAPS in oddity for oddity in check_folder(out / "merged"))
