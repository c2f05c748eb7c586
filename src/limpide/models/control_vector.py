"""Directions of the residual stream as a file that llama.cpp adds to a model's activations: a control vector.

`llama-server --control-vector-scaled FILE:STRENGTH` adds STRENGTH times the tensor `direction.k` to what block k
gives, blocks counted from 0, at every place of every text. Block 0 cannot be steered: llama.cpp refuses
`direction.0`. Source: llama.cpp, common_control_vector_load.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from limpide.core import files
from limpide.core.errors import ModelError

if TYPE_CHECKING:
    from torch import Tensor

FILE = "control_vector.gguf"
KIND = "controlvector"  # general.architecture of such files


def write_control_vector(path: Path, directions: Mapping[int, "Tensor"], architecture: str) -> Path:
    """Write the file, whole or not at all.

    directions: {layer: float[width]}, what a strength of 1 adds to the output of the block of that number, from 0.
    architecture: the name of the model's, told to the reader as a hint. Raises ModelError for no direction, for one
    at layer 0, or for directions that llama.cpp would refuse.
    """
    import gguf

    _check(directions)
    beside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    writer = gguf.GGUFWriter(str(beside), KIND)
    try:
        with files.clear_write_errors(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            writer.add_string(f"{KIND}.model_hint", architecture)
            writer.add_uint32(f"{KIND}.layer_count", len(directions))
            for layer, vector in sorted(directions.items()):
                writer.add_tensor(f"direction.{layer}", vector.detach().float().cpu().numpy().copy())
            writer.write_header_to_file()
            writer.write_kv_data_to_file()
            writer.write_tensors_to_file()
            writer.close()
            beside.replace(path)
    finally:
        writer.close()
        beside.unlink(missing_ok=True)
    return path


def _check(directions: Mapping[int, "Tensor"]) -> None:
    if not directions:
        raise ModelError("A control vector needs a direction at one layer at least.")
    if min(directions) < 1:
        raise ModelError(
            "llama.cpp cannot steer the first block, or one before it.",
            received=f"layer {min(directions)}",
            expected="layers from 1 on",
            remedy="steer a later layer, or fold the correction into the weights and export these",
        )
    shapes = {tuple(vector.shape) for vector in directions.values()}
    if len(shapes) > 1 or len(next(iter(shapes))) != 1:
        raise ModelError(
            "The directions of a control vector must be vectors of one width.",
            received=", ".join(str(list(shape)) for shape in sorted(shapes)),
        )
    odd = [layer for layer, vector in directions.items() if not bool(vector.isfinite().all())]
    if odd:
        raise ModelError("A direction holds numbers that are not finite.", received=f"layer {odd[0]}")
