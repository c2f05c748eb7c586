"""The one place where a conversation becomes token ids.

The same rendering is used to train, to audit, to check parity and to serve: what the model sees when it is
asked is, token for token, what it saw when it was taught.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from limpide.core.errors import DataError, ModelError
from limpide.data.examples import Example, Message
from limpide.models.requests import Request

# For models that come without a chat template (GPT-2, T5 …): the question, a line break, the answer.
PLAIN_TEMPLATE = (
    "{% for message in messages %}{{ message['content'] }}"
    "{% if message['role'] == 'assistant' %}{{ eos_token }}{% else %}{{ '\n' }}{% endif %}{% endfor %}"
)

PROMPT_CHANGED = "The chat template does not keep the prompt unchanged when the answer is added."
OPEN_THOUGHT, CLOSED_THOUGHT = "<think>", "</think>"
NO_THOUGHT = f"\n{CLOSED_THOUGHT}\n\n"  # after a prompt that opens a thought: the thought ends without a word in it


@dataclass(frozen=True)
class Rendered:
    """ids, trained, roles: one entry a token. trained: True where the loss is taken. text: what was encoded.

    answer_start: index of the first token of the last answer.
    """

    text: str
    ids: tuple[int, ...]
    trained: tuple[bool, ...]
    roles: tuple[str, ...]
    answer_start: int


def with_template(tokenizer: Any, kind: str) -> Any:
    """Give a tokenizer that has no chat template the plain one (decoders only)."""
    if kind == "decoder" and not tokenizer.chat_template:
        if not tokenizer.eos_token:
            raise ModelError(
                "The tokenizer has neither a chat template nor an end token, so answers could never end.",
                remedy="add eos_token to tokenizer_config.json",
            )
        tokenizer.chat_template = PLAIN_TEMPLATE
    return tokenizer


def prompt_text(tokenizer: Any, messages: Sequence[Message]) -> str:
    """The conversation, rendered up to where the assistant starts to speak."""
    return _apply(tokenizer, messages, generation=True)


def prompt_ids(tokenizer: Any, messages: Sequence[Message]) -> list[int]:
    """Token ids of `prompt_text`. Raises DataError on a doubled BOS or a special token inside a message."""
    refuse_special_tokens(tokenizer, messages)
    ids = encode(tokenizer, prompt_text(tokenizer, messages))
    _refuse_doubled_bos(tokenizer, ids)
    return ids


def render(tokenizer: Any, messages: Sequence[Message], stop_ids: Sequence[int]) -> Rendered:
    """Render a conversation whose last message is the assistant's, with its loss mask.

    Trained tokens are each assistant turn from its first token through the first stop token.
    The ids up to the last answer are `prompt_ids`, what the model is given when it is asked.
    Raises DataError: no trained token, all trained, missing end token, doubled BOS, special token in a message.
    """
    refuse_special_tokens(tokenizer, messages)
    before = prompt_text(tokenizer, messages[:-1])
    text = _apply(tokenizer, messages, generation=False)
    if not text.startswith(before):
        raise DataError(
            PROMPT_CHANGED,
            received=_first_difference(before, text),
            expected="the rendered answer to continue the rendered prompt",
            remedy="use a template whose generation prompt is a prefix of the full conversation",
        )
    head = encode(tokenizer, before)
    ids, offsets = _encode_after(tokenizer, head, before, text)
    _refuse_doubled_bos(tokenizer, ids)
    turns = _turns(tokenizer, messages, text)
    trained, roles = _mask(ids, offsets, turns, stop_ids, len(head))
    if not any(trained) or all(trained):
        raise DataError(f"The loss mask trains {'every token' if any(trained) else 'nothing'}.", received=text[:120])
    return Rendered(text, tuple(ids), tuple(trained), tuple(roles), len(head))


def encode(tokenizer: Any, text: str) -> list[int]:
    """Token ids of text that already holds its special tokens."""
    return list(tokenizer(text, add_special_tokens=False)["input_ids"])


def render_example(model: Any, example: Example) -> Rendered:
    """An example as this model reads it; for an encoder–decoder, source and target end to end."""
    try:
        if model.kind == "encoder-decoder":
            return _render_pair(model.tokenizer, example)
        return render(model.tokenizer, example.messages, model.stop_ids)
    except DataError as error:
        raise DataError(
            f"Example '{example.id}' ({example.source}): {error.what}",
            received=error.received,
            expected=error.expected,
            remedy=error.remedy,
        ) from error


def answer_request(model: Any, example: Example) -> Request:
    """The likelihood request 'this answer after this prompt', end token included.

    Models that think first (DeepSeek-R1) open a thought in their generation prompt and cut thoughts out of what was
    said, so that a conversation of theirs does not continue its prompt, and training on it is refused. Here the answer
    is read right after the generation prompt, its own thoughts left out and the open thought closed without a word:
    how likely the answer is when nothing is thought before it, not after the thoughts the model would have had.
    `unusual_reading` tells which models are read so. An encoder, which has no conversations and no end token, reads
    the messages and the answer as one text.
    """
    if model.kind == "encoder":
        return Request(example.id, source_of(example.prompt), f" {example.answer}")
    try:
        rendered = render_example(model, example)
    except DataError as error:
        if not (isinstance(error.__cause__, DataError) and error.__cause__.what == PROMPT_CHANGED):
            raise
        return _right_after_prompt(model, example)
    last = max(i for i, t in enumerate(rendered.trained) if t) + 1
    start = rendered.answer_start
    return Request(example.id, rendered.ids[:start], rendered.ids[start:last])


def option_request(model: Any, id: str, messages: Sequence[Message], option: str) -> Request:
    """The likelihood request 'this option as the answer to this conversation', for every kind of model.

    An encoder, which has no conversations, reads the messages and the option as one text, the option masked.
    """
    if model.kind == "encoder":
        return Request(id, source_of(messages), f" {option}")
    answer = Message(role="assistant", content=option)
    return answer_request(model, Example(id=id, messages=(*messages, answer), source=id))


def opens_thought(model: Any) -> bool:
    """Does the generation prompt end inside a thought, so that what the model writes starts in the middle of one?"""
    return model.kind == "decoder" and _ends_in_thought(prompt_text(model.tokenizer, _PROBE[:1]))


def unusual_reading(model: Any) -> dict[str, str]:
    """Facts on likelihoods of answers: empty for a template that keeps its prompt, else how `answer_request` reads."""
    if model.kind != "decoder":
        return {}
    before = prompt_text(model.tokenizer, _PROBE[:1])
    if _apply(model.tokenizer, _PROBE, generation=False).startswith(before):
        return {}
    return {"answers_read": "right after the prompt"} | ({"thoughts": "empty"} if _ends_in_thought(before) else {})


_PROBE = (Message(role="user", content="?"), Message(role="assistant", content="!"))


def _ends_in_thought(before: str) -> bool:
    return before.rstrip().endswith(OPEN_THOUGHT)


def _right_after_prompt(model: Any, example: Example) -> Request:
    """The answer without its thoughts after the prompt alone, whatever the template makes of a whole conversation."""
    tokenizer, before = model.tokenizer, prompt_text(model.tokenizer, example.prompt)
    before += NO_THOUGHT if _ends_in_thought(before) else ""
    head = encode(tokenizer, before)
    _refuse_doubled_bos(tokenizer, head)
    answer = example.answer.rpartition(CLOSED_THOUGHT)[2].lstrip()
    ids, _ = _encode_after(tokenizer, head, before, before + answer)
    return Request(example.id, tuple(head), (*ids[len(head) :], model.stop_ids[0]))


def source_of(messages: Sequence[Message]) -> str:
    """What an encoder–decoder reads: the messages, a line each."""
    return "\n".join(m.content for m in messages)


def _render_pair(tokenizer: Any, example: Example) -> Rendered:
    refuse_special_tokens(tokenizer, example.messages)
    source_text = source_of(example.prompt)
    source = list(tokenizer(source_text)["input_ids"])
    target = [*encode(tokenizer, example.answer), tokenizer.eos_token_id]
    trained = (False,) * len(source) + (True,) * len(target)
    roles = ("user",) * len(source) + ("assistant",) * len(target)
    return Rendered(f"{source_text}\n{example.answer}", tuple(source + target), trained, roles, len(source))


def _apply(tokenizer: Any, messages: Sequence[Message], *, generation: bool) -> str:
    from jinja2 import TemplateError

    turns = [{"role": m.role, "content": m.content} for m in messages]
    try:
        return str(tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=generation))
    except TemplateError as error:
        raise DataError(
            "The model's chat template refuses this conversation.",
            received=str(error),
            expected="roles in the order the template allows",
        ) from error
    except (TypeError, ValueError, AttributeError, ArithmeticError, LookupError) as error:  # what a program can raise
        raise DataError(
            "The model's chat template fails on this conversation.",
            received=f"{type(error).__name__}: {str(error)[:200]}",
            remedy="take the template from the model's publisher again, or use the base's",
        ) from error


def refuse_special_tokens(tokenizer: Any, messages: Sequence[Message]) -> None:
    """A message that spells a control token could forge a turn: refuse it."""
    pattern = _special_pattern(tokenizer)
    for message in messages:
        found = pattern.search(message.content) if pattern else None
        if found:
            article = "An" if message.role == "assistant" else "A"
            raise DataError(
                f"{article} {message.role} message contains the control token {found.group()!r}.",
                received=message.content[max(0, found.start() - 30) : found.end() + 30],
                remedy="remove it from the text: it would be read as the end of the turn",
            )


def _special_pattern(tokenizer: Any) -> re.Pattern[str] | None:
    control = {token.content for token in tokenizer.added_tokens_decoder.values() if token.special}
    tokens = sorted((t for t in control.union(tokenizer.all_special_tokens) if len(t) > 1), key=len, reverse=True)
    return re.compile("|".join(map(re.escape, tokens))) if tokens else None


def _refuse_doubled_bos(tokenizer: Any, ids: Sequence[int]) -> None:
    bos = tokenizer.bos_token_id
    if bos is not None and len(ids) > 1 and ids[0] == ids[1] == bos:
        raise DataError(
            "The rendered conversation starts with two BOS tokens.",
            received=tokenizer.convert_ids_to_tokens(list(ids[:4])),
            expected="one BOS at most",
            remedy="remove the BOS from the chat template or set add_bos_token to false",
        )


def _turns(tokenizer: Any, messages: Sequence[Message], text: str) -> list[tuple[str, int, int]]:
    """(role, start, end) in characters of `text`; a turn that the template rewrites later is left out."""
    turns: list[tuple[str, int, int]] = []
    for k, message in enumerate(messages):
        assistant = message.role == "assistant"
        if k == 0 and not assistant:
            start = 0
        else:
            prefix = _apply(tokenizer, messages[:k], generation=assistant)
            start = len(prefix) if text.startswith(prefix) else -1
        through = _apply(tokenizer, messages[: k + 1], generation=False) if start >= 0 else ""
        if start >= 0 and text.startswith(through):
            turns.append((message.role, start, len(through)))
    return turns


def _mask(
    ids: Sequence[int],
    offsets: Sequence[tuple[int, int]],
    turns: Sequence[tuple[str, int, int]],
    stop_ids: Sequence[int],
    answer_start: int,
) -> tuple[list[bool], list[str]]:
    trained, roles = [False] * len(ids), ["template"] * len(ids)
    for role, start, end in turns:
        # A tokenizer that trims places gives a space the empty place at its end.
        inside = [i for i, (a, b) in enumerate(offsets) if a >= start and b <= end and b > start]
        for i in inside:
            roles[i] = role
        if role != "assistant":
            continue
        stop = next((i for i in inside if ids[i] in stop_ids), None)
        if stop is None and any(i >= answer_start for i in inside):
            raise DataError(
                "The rendered answer has no end token, so the model would never learn to stop.",
                received=[int(ids[i]) for i in inside][-5:],
                expected=f"one of the stop ids {list(stop_ids)}",
                remedy="make the chat template close the assistant turn with the end token",
            )
        for i in inside:
            trained[i] = stop is not None and i <= stop
    return trained, roles


def _encode_after(tokenizer: Any, head: list[int], before: str, text: str) -> tuple[list[int], list[tuple[int, int]]]:
    """Token ids of `text`, of which the first are `head`, the ids of `before`; and their places in `text`.

    Encoded in one go where that keeps the head, since some tokenizers put a space before any text they are given;
    in two pieces where the end of the prompt and the start of the answer would merge into one token.
    """
    ids, offsets = _encode_with_offsets(tokenizer, text)
    if ids[: len(head)] == head and all(b <= len(before) for _, b in offsets[: len(head)]):
        return ids, offsets
    _, head_offsets = _encode_with_offsets(tokenizer, before)
    tail, tail_offsets = _encode_with_offsets(tokenizer, text[len(before) :])
    return head + tail, head_offsets + [(a + len(before), b + len(before)) for a, b in tail_offsets]


def _encode_with_offsets(tokenizer: Any, text: str) -> tuple[list[int], list[tuple[int, int]]]:
    encoded = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
    return list(encoded["input_ids"]), [(int(a), int(b)) for a, b in encoded["offset_mapping"]]


def _first_difference(left: str, right: str) -> str:
    at = next((i for i, (a, b) in enumerate(zip(left, right, strict=False)) if a != b), min(len(left), len(right)))
    return f"at character {at}: {left[at : at + 40]!r} became {right[at : at + 40]!r}"
