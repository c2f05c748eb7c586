"""A text as one vector: the mean of the model's last hidden states."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray

from limpide.models.families.registry import backbone, plain
from limpide.models.generation import padding
from limpide.models.linear import wide_products

if TYPE_CHECKING:
    from limpide.models.model import Model

BATCH = 16  # texts


def text_vectors(
    model: "Model", texts: Sequence[Sequence[int]], goes_on: Callable[[], bool] = lambda: True
) -> NDArray[np.float32]:
    """float32[text, width], each of length 1, in the order given. texts: token ids, special tokens included.

    Of a decoder or an encoder, the mean of its last hidden states; of an encoder–decoder, that of its encoder's. Every
    token of a text counts the same, padding not at all. No model here was trained so that near meanings give near
    vectors: compare texts of one model with each other, and check on your own pairs. goes_on: asked before each batch;
    where it says False the work stops, and the vectors that are left stay 0.
    """
    network = plain(model.network)
    body = network.get_encoder() if model.kind == "encoder-decoder" else backbone(network, model.family)
    found = np.zeros((len(texts), int(network.config.hidden_size)), np.float32)
    order = sorted(range(len(texts)), key=lambda k: len(texts[k]))
    with torch.inference_mode(), wide_products(model.network):
        for first in range(0, len(order), BATCH):
            if not goes_on():
                break
            chosen = order[first : first + BATCH]
            ids, mask = _padded([texts[k] for k in chosen], padding(model))
            hidden = body(input_ids=ids, attention_mask=mask).last_hidden_state.float()  # [batch, token, width]
            means = (hidden * mask[:, :, None]).sum(1) / mask.sum(1, keepdim=True)
            found[chosen] = torch.nn.functional.normalize(means, dim=1).numpy()
    return found


def _padded(texts: Sequence[Sequence[int]], pad: int) -> tuple[torch.Tensor, torch.Tensor]:
    """ids and mask, long[text, token], padded on the right."""
    width = max(map(len, texts))
    ids = torch.tensor([[*text, *[pad] * (width - len(text))] for text in texts])
    mask = torch.tensor([[1] * len(text) + [0] * (width - len(text)) for text in texts])
    return ids, mask
