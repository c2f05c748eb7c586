"""Attention masks for rows that hold several texts: which place may look at which, in the form each family takes."""

from typing import Any

import torch


def attention_mask(seen: torch.Tensor, positions: torch.Tensor, config: Any, dtype: torch.dtype) -> Any:
    """The additive mask of a batch, or one a layer type where the model mixes full and sliding layers.

    seen: bool[rows, queries, width], True where the first place may look at the second; the queries are the last
    places of the row. positions: long[rows, width], each token's place in its own text; a sliding layer also drops
    what lies a window or more before. Returns float[rows, 1, queries, width], or {layer type: mask}, as
    `transformers` takes them.
    """
    window = getattr(config, "sliding_window", None)
    asking = positions[:, positions.shape[1] - seen.shape[1] :]
    near = seen & (asking[:, :, None] - positions[:, None, :] < window) if window else seen
    layer_types = set(getattr(config, "layer_types", None) or ())
    if len(layer_types) > 1:
        return {"full_attention": additive(seen, dtype), "sliding_attention": additive(near, dtype)}
    slides = layer_types == {"sliding_attention"} or (window and not layer_types)
    return additive(near if slides else seen, dtype)


def additive(seen: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """0 where seen, else the lowest number of the dtype. bool[rows, queries, keys] → float[rows, 1, queries, keys]."""
    mask = torch.zeros(seen.shape, dtype=dtype).masked_fill_(~seen, torch.finfo(dtype).min)
    return mask[:, None]
