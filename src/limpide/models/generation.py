"""Greedy answers to many conversations at once."""

import contextlib
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import torch

from limpide.core.errors import ModelError
from limpide.core.progress import Progress, Quiet
from limpide.data.examples import Message
from limpide.models.families.registry import plain
from limpide.models.prompt import prompt_ids, refuse_special_tokens, source_of

if TYPE_CHECKING:
    from limpide.models.model import Model

BATCH = 16


def generate(
    model: "Model",
    prompts: Sequence[Sequence[Message]],
    *,
    max_new_tokens: int = 64,
    progress: Progress | None = None,
) -> list[str]:
    """The most likely answer to each conversation, decoded without control tokens, in the order given.

    Raises ModelError for an encoder, or a prompt that leaves no room for an answer in the context.
    """
    if model.kind == "encoder":
        raise ModelError(
            f"A {model.family.title} model fills in words and does not write answers.",
            remedy="score answers instead, or use a model that generates (see: limpide families)",
        )
    progress = progress or Quiet()
    encoded = [_prompt(model, messages) for messages in prompts]
    longest = max((len(ids) for ids in encoded), default=0)
    if longest + max_new_tokens > model.context:
        raise ModelError(
            "A prompt leaves no room for its answer in the model's context.",
            received=f"{longest} prompt tokens and {max_new_tokens} to write",
            expected=f"at most {model.context} together",
            remedy="shorten the prompt or ask for fewer tokens",
        )
    answers = [""] * len(prompts)
    order = sorted(range(len(prompts)), key=lambda i: len(encoded[i]))
    with progress.task("answering", total=len(prompts)) as task, torch.inference_mode():
        for first in range(0, len(order), BATCH):
            chosen = order[first : first + BATCH]
            texts = _batch(model, [encoded[i] for i in chosen], max_new_tokens)
            for i, text in zip(chosen, texts, strict=True):
                answers[i] = text
            task.advance(len(chosen))
    return answers


def _prompt(model: "Model", messages: Sequence[Message]) -> list[int]:
    if model.kind == "encoder-decoder":
        refuse_special_tokens(model.tokenizer, messages)
        return list(model.tokenizer(source_of(messages))["input_ids"])
    return prompt_ids(model.tokenizer, messages)


def _batch(model: "Model", prompts: list[list[int]], max_new_tokens: int) -> list[str]:
    """prompts are padded on the left, so that every answer starts in the same column."""
    pad = next(i for i in (model.tokenizer.pad_token_id, *model.stop_ids, 0) if i is not None)
    width = max(map(len, prompts))
    ids = torch.full((len(prompts), width), pad)
    mask = torch.zeros(len(prompts), width, dtype=torch.long)
    for row, prompt in enumerate(prompts):
        ids[row, width - len(prompt) :] = torch.tensor(prompt)
        mask[row, width - len(prompt) :] = 1
    greedy = _greedy(model, pad, max_new_tokens)
    with _no_defaults(plain(model.network)) as network:
        written = network.generate(input_ids=ids, attention_mask=mask, generation_config=greedy)
    start = 0 if model.kind == "encoder-decoder" else width
    return [str(text) for text in model.tokenizer.batch_decode(written[:, start:], skip_special_tokens=True)]


@contextlib.contextmanager
def _no_defaults(network: Any) -> Iterator[Any]:
    """Set the model's own generation defaults aside: transformers fills in what ours leaves open with them."""
    from transformers import GenerationConfig

    own, network.generation_config = network.generation_config, GenerationConfig()
    try:
        yield network
    finally:
        network.generation_config = own


def _greedy(model: "Model", pad: int, max_new_tokens: int) -> Any:
    """The most likely token each time, to the first end token."""
    from transformers import GenerationConfig

    return GenerationConfig(
        do_sample=False,
        num_beams=1,
        max_new_tokens=max_new_tokens,
        eos_token_id=list(model.stop_ids),
        pad_token_id=pad,
        bos_token_id=model.tokenizer.bos_token_id,
        decoder_start_token_id=getattr(model.network.config, "decoder_start_token_id", None),
    )
