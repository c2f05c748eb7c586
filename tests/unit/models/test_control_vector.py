"""A control vector is what llama.cpp's loader expects; what that would refuse, or misread, is refused here."""

from pathlib import Path

import gguf
import numpy as np
import pytest
import torch

from limpide.core.errors import ModelError
from limpide.models.control_vector import write_control_vector


def test_the_file_holds_what_the_loader_reads(tmp_path: Path) -> None:
    vectors = {2: torch.randn(16), 1: torch.randn(16, dtype=torch.float64)}
    path = write_control_vector(tmp_path / "new" / "control_vector.gguf", vectors, "llama")
    reader = gguf.GGUFReader(path)
    assert reader.fields["general.architecture"].contents() == "controlvector"
    assert reader.fields["controlvector.model_hint"].contents() == "llama"
    assert reader.fields["controlvector.layer_count"].contents() == 2
    assert [t.name for t in reader.tensors] == ["direction.1", "direction.2"]
    for tensor in reader.tensors:
        assert tensor.tensor_type == gguf.GGMLQuantizationType.F32
        assert list(tensor.shape) == [16]
        layer = int(tensor.name.rpartition(".")[2])
        np.testing.assert_array_equal(tensor.data, vectors[layer].float().numpy())
    assert [p.name for p in path.parent.iterdir()] == [path.name]


@pytest.mark.parametrize(
    ("vectors", "says"),
    [
        ({}, "one layer at least"),
        ({0: torch.ones(4), 1: torch.ones(4)}, "layer 0"),
        ({1: torch.ones(4), 2: torch.ones(5)}, "one width"),
        ({1: torch.ones(2, 4)}, "one width"),
        ({1: torch.tensor([1.0, float("nan")])}, "not finite"),
    ],
)
def test_what_llama_cpp_would_refuse_is_refused(tmp_path: Path, vectors: dict[int, torch.Tensor], says: str) -> None:
    with pytest.raises(ModelError, match=says):
        write_control_vector(tmp_path / "control_vector.gguf", vectors, "llama")
    assert not list(tmp_path.iterdir())
