"""Tensors with plain facts beside them, in one file of safetensors: whole or not at all, and never pickle."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import safe_open
from safetensors.torch import save
from torch import Tensor

from limpide.core import files

UNFINISHED = "unfinished.json"  # beside an adapter whose training a person stopped: the stage, and its loss


def save_with(path: Path, tensors: Mapping[str, Tensor], facts: Mapping[str, Any]) -> None:
    """Write tensors and facts (JSON) to `path`."""
    told = {key: json.dumps(value) for key, value in facts.items()}
    files.write_bytes(path, save({name: t.detach().contiguous() for name, t in tensors.items()}, told))


def metadata(path: Path) -> dict[str, Any]:
    """The facts beside the tensors of a file written by `save_with`."""
    with safe_open(path, framework="pt") as opened:
        return {key: json.loads(value) for key, value in opened.metadata().items()}
