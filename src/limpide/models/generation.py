"""Answers to many conversations at once: the most likely ones, or drawn."""

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any

import torch

from limpide.core.errors import ModelError
from limpide.core.progress import Progress, Quiet
from limpide.data.examples import Message
from limpide.models.families.registry import plain
from limpide.models.linear import wide_products
from limpide.models.prompt import prompt_ids, refuse_special_tokens, source_of
from limpide.models.requests import Answer, Request, Sampling
from limpide.models.score_cache import ScoreCache, pack_ids, unpack_ids
from limpide.models.scoring import Options, score_with

if TYPE_CHECKING:
    from limpide.models.model import Model

BATCH = 16


@dataclass(frozen=True)
class Continuation:
    """Token ids of a text as the model read it, and of what it wrote after it, end token included."""

    context: tuple[int, ...]
    ids: tuple[int, ...]
    text: str


def generate(
    model: "Model",
    prompts: Sequence[Sequence[Message]],
    *,
    max_new_tokens: int = 64,
    progress: Progress | None = None,
    cache: ScoreCache | None = None,
) -> list[str]:
    """The most likely answer to each conversation, decoded without control tokens, in the order given.

    cache: where finished batches are kept, if anywhere; give one only for a model as it is on disk.

    Raises ModelError for an encoder, or a prompt that leaves no room for an answer in the context.
    """
    sampling = Sampling(max_new_tokens=max_new_tokens)
    written = _write(model, _encode(model, prompts, max_new_tokens), sampling, progress or Quiet(), cache)
    return [_decode(model, ids) for ids in written]


def sample(
    model: "Model",
    prompts: Sequence[Sequence[Message]],
    sampling: Sampling,
    progress: Progress | None = None,
    cache: ScoreCache | None = None,
) -> list[list[Answer]]:
    """`sampling.count` answers to each conversation, drawn with its temperature and seed, in the order given.

    The log-likelihoods are the model's own, at temperature 1, end token included where one was written.
    Equal seeds give equal answers on the CPU. Raises ModelError as `generate` does.
    """
    progress = progress or Quiet()
    encoded = [ids for ids in _encode(model, prompts, sampling.max_new_tokens) for _ in range(sampling.count)]
    written = _write(model, encoded, sampling, progress, cache)
    known = [k for k, ids in enumerate(written) if ids]
    requests = [Request(str(k), tuple(encoded[k]), tuple(written[k])) for k in known]
    scored = score_with(model, requests, Options(cache=cache), progress)
    scores = dict(zip(known, scored.scores, strict=True))
    answers = [
        Answer(_decode(model, ids), scores[k].log_likelihood if k in scores else 0.0, len(ids))
        for k, ids in enumerate(written)
    ]
    return [answers[first : first + sampling.count] for first in range(0, len(answers), sampling.count)]


def continuations(
    model: "Model",
    texts: Sequence[str],
    sampling: Sampling,
    progress: Progress | None = None,
    cache: ScoreCache | None = None,
) -> list[list[Continuation]]:
    """`sampling.count` continuations of each text as it is, without a conversation around it, in the order given.

    An encoder–decoder reads the text as its source. Raises ModelError as `generate` does.
    """
    _check_writes(model)
    contexts = [tuple(model.tokenizer(text)["input_ids"]) for text in texts]
    _check_room(model, contexts, sampling.max_new_tokens)
    encoded = [list(context) for context in contexts for _ in range(sampling.count)]
    written = iter(_write(model, encoded, sampling, progress or Quiet(), cache))
    return [
        [Continuation(context, tuple(ids), _decode(model, ids)) for ids in islice(written, sampling.count)]
        for context in contexts
    ]


def _encode(model: "Model", prompts: Sequence[Sequence[Message]], max_new_tokens: int) -> list[list[int]]:
    _check_writes(model)
    encoded = [question_ids(model, messages) for messages in prompts]
    _check_room(model, encoded, max_new_tokens)
    return encoded


def _check_writes(model: "Model") -> None:
    if model.kind == "encoder":
        raise ModelError(
            f"A {model.family.title} model fills in words and does not write answers.",
            remedy="score answers instead, or use a model that generates (see: limpide families)",
        )


def _check_room(model: "Model", encoded: Sequence[Sequence[int]], max_new_tokens: int) -> None:
    longest = max((len(ids) for ids in encoded), default=0)
    if longest + max_new_tokens > model.context:
        raise ModelError(
            "A prompt leaves no room for its answer in the model's context.",
            received=f"{longest} prompt tokens and {max_new_tokens} to write",
            expected=f"at most {model.context} together",
            remedy="shorten the prompt or ask for fewer tokens",
        )


def _write(
    model: "Model",
    encoded: Sequence[list[int]],
    sampling: Sampling,
    progress: Progress,
    cache: ScoreCache | None = None,
) -> list[list[int]]:
    """Ids written after each prompt, through the first end token."""
    written: list[list[int]] = [[] for _ in encoded]
    order = sorted(range(len(encoded)), key=lambda i: len(encoded[i]))
    with progress.task("answering", total=len(encoded)) as task:
        for number, first in enumerate(range(0, len(order), BATCH)):
            chosen = order[first : first + BATCH]
            for i, ids in zip(
                chosen, _kept_batch(model, [encoded[i] for i in chosen], sampling, number, cache), strict=True
            ):
                written[i] = ids
            task.advance(len(chosen))
    return written


def _kept_batch(
    model: "Model", prompts: list[list[int]], sampling: Sampling, number: int, cache: ScoreCache | None
) -> list[list[int]]:
    """`_batch`, or what it gave before. number: of the batch, which draws of its own follow from."""
    if cache is None:
        return _batch(model, prompts, sampling, number)
    drawn = [round(1e6 * sampling.temperature), sampling.seed, number] if sampling.temperature > 0 else []
    key = cache.key("answer", [sampling.max_new_tokens, *drawn], *prompts)
    if key in (known := cache.known([key])):
        return _unpack(unpack_ids(known[key]))
    written = _batch(model, prompts, sampling, number)
    cache.keep({key: pack_ids([n for ids in written for n in (len(ids), *ids)])})
    return written


def _unpack(numbers: list[int]) -> list[list[int]]:
    """Lists of ids, from each one's length and its ids end to end."""
    rows = []
    while numbers:
        count = numbers[0]
        rows.append(numbers[1 : 1 + count])
        numbers = numbers[1 + count :]
    return rows


def _decode(model: "Model", ids: Sequence[int]) -> str:
    return str(model.tokenizer.decode(ids, skip_special_tokens=True))


def question_ids(model: "Model", messages: Sequence[Message]) -> list[int]:
    """What the model reads before it answers: `prompt_ids`, or an encoder–decoder's source. Raises DataError."""
    if model.kind == "encoder-decoder":
        refuse_special_tokens(model.tokenizer, messages)
        return list(model.tokenizer(source_of(messages))["input_ids"])
    return prompt_ids(model.tokenizer, messages)


def _batch(model: "Model", prompts: list[list[int]], sampling: Sampling, number: int = 0) -> list[list[int]]:
    """prompts are padded on the left, so that every answer starts in the same column."""
    pad = padding(model)
    width = max(map(len, prompts))
    ids = torch.full((len(prompts), width), pad)
    mask = torch.zeros(len(prompts), width, dtype=torch.long)
    for row, prompt in enumerate(prompts):
        ids[row, width - len(prompt) :] = torch.tensor(prompt)
        mask[row, width - len(prompt) :] = 1
    with (
        torch.inference_mode(),
        torch.random.fork_rng(devices=[]),
        wide_products(model.network),
        no_defaults(plain(model.network)) as network,
    ):
        torch.manual_seed(sampling.seed + number)
        written = network.generate(
            input_ids=ids, attention_mask=mask, generation_config=generation_config(model, pad, sampling)
        )
    start = 1 if model.kind == "encoder-decoder" else width  # an encoder–decoder's answers begin with its start token
    return [_through_stop(row, model.stop_ids) for row in written[:, start:].tolist()]


def padding(model: "Model") -> int:
    """The token id that fills rows of unequal length; what it says is never read."""
    return int(next(i for i in (model.tokenizer.pad_token_id, *model.stop_ids, 0) if i is not None))


def _through_stop(ids: list[int], stop_ids: Sequence[int]) -> list[int]:
    """What follows the first end token is padding."""
    end = next((at for at, token in enumerate(ids) if token in stop_ids), len(ids))
    return ids[: end + 1]


@contextlib.contextmanager
def no_defaults(network: Any) -> Iterator[Any]:
    """Set the model's own generation defaults aside: transformers fills in what ours leaves open with them."""
    from transformers import GenerationConfig

    own, network.generation_config = network.generation_config, GenerationConfig()
    try:
        yield network
    finally:
        network.generation_config = own


def generation_config(model: "Model", pad: int, sampling: Sampling) -> Any:
    """The most likely token each time, or a draw from the whole distribution, to the first end token."""
    from transformers import GenerationConfig

    drawn = {"do_sample": True, "temperature": sampling.temperature, "top_k": 0, "top_p": 1.0}
    return GenerationConfig(
        **(drawn if sampling.temperature > 0 else {"do_sample": False}),
        num_beams=1,
        max_new_tokens=sampling.max_new_tokens,
        eos_token_id=list(model.stop_ids),
        pad_token_id=pad,
        bos_token_id=model.tokenizer.bos_token_id,
        decoder_start_token_id=getattr(model.network.config, "decoder_start_token_id", None),
    )
