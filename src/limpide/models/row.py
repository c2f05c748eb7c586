"""One text as a network reads it, and how likely it makes the tokens asked about: the same for every family.

Explanations start from the embeddings of the text, so that these can be changed, followed and differentiated.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from limpide.core.errors import ModelError
from limpide.models.families.registry import backbone, get, logits_from_hidden, plain

if TYPE_CHECKING:
    from limpide.models.model import Model


@dataclass(frozen=True)
class Row:
    """ids: what is explained: a decoder's whole text without its last token, an encoder's text with its masks, an
    encoder–decoder's source. written: what the decoder of an encoder–decoder has before it, its start token first.
    read: places (in `written` where there is one, else in `ids`) whose logits are read; targets: the token asked
    about at each of them.
    """

    ids: tuple[int, ...]
    read: tuple[int, ...]
    targets: tuple[int, ...]
    written: tuple[int, ...] = ()

    def __len__(self) -> int:
        return len(self.ids)


def row_of(model: "Model", prompt: Sequence[int], answer: Sequence[int]) -> Row:
    """The row in which `answer` follows `prompt`; for an encoder, in which it fills the masks of `prompt`.

    prompt: everything that the network reads before, special tokens included. Raises ModelError when the answer is
    empty, when the two are longer than the context, or when an encoder's masks are not as many as the answer's tokens.
    """
    prompt, answer = tuple(prompt), tuple(answer)
    if not prompt or not answer:
        raise ModelError(f"There is no {'answer' if prompt else 'prompt'} to explain.")
    _check_length(model, len(prompt), len(answer))
    if model.kind == "encoder":
        masks = tuple(place for place, token in enumerate(prompt) if token == model.tokenizer.mask_token_id)
        if len(masks) != len(answer):
            raise ModelError(
                f"The answer does not fill the masks of the text: {model.family.title} predicts masked tokens.",
                received=f"{len(masks)} masks, an answer of {len(answer)} tokens",
                expected=f"one {model.tokenizer.mask_token} for each token of the answer",
                remedy=f"write {model.tokenizer.mask_token} {len(answer)} times where the answer stands",
            )
        return Row(prompt, masks, answer)
    if model.kind == "encoder-decoder":
        start = int(plain(model.network).config.decoder_start_token_id)
        return Row(prompt, tuple(range(len(answer))), answer, (start, *answer[:-1]))
    first = len(prompt) - 1
    return Row(prompt + answer[:-1], tuple(range(first, first + len(answer))), answer)


def _check_length(model: "Model", prompt: int, answer: int) -> None:
    together = {"decoder": prompt + answer, "encoder": prompt, "encoder-decoder": max(prompt, answer)}[model.kind]
    if together > model.context:
        raise ModelError(
            "The prompt and its answer are longer than the model's context.",
            received=f"{prompt} + {answer} tokens",
            expected=f"at most {model.context}",
            remedy="explain a shorter text: nothing is cut in silence",
        )


def embed(model: "Model", ids: Sequence[int]) -> torch.Tensor:
    """Token embeddings as the network makes them, float[tokens, width] (positions are added inside)."""
    found: torch.Tensor = get(model.network, model.family.embedding)(torch.tensor(list(ids)))
    return found


def final_hidden(model: "Model", row: Row, embeddings: torch.Tensor) -> torch.Tensor:
    """Final hidden states where the row is read. embeddings: float[batch, tokens, width] in the place of the row's
    own. Returns float[batch, read, width]; differentiable."""
    body = backbone(model.network, model.family)
    hidden: torch.Tensor
    if model.kind == "encoder-decoder":
        encoded = model.network.get_encoder()(inputs_embeds=embeddings).last_hidden_state
        written = torch.tensor([row.written]).expand(len(embeddings), -1)
        hidden = body(input_ids=written, encoder_hidden_states=encoded, use_cache=False).last_hidden_state
    else:
        hidden = body(inputs_embeds=embeddings, **_options(model)).last_hidden_state
    return hidden[:, list(row.read)]


def _options(model: "Model") -> dict[str, Any]:
    return {"use_cache": False} if model.kind == "decoder" else {}


def target_log_likelihoods(model: "Model", row: Row, hidden: torch.Tensor) -> torch.Tensor:
    """Nats of each target, float[batch, read]. hidden: float[batch, read, width], as `final_hidden` gives it."""
    logits = logits_from_hidden(model.network, model.family, hidden).float()  # [batch, read, vocabulary]
    targets = torch.tensor(row.targets).expand(len(hidden), -1)
    return logits.gather(2, targets[:, :, None])[:, :, 0] - logits.logsumexp(2)
