"""A prompt as a model reads it: its tokens, who wrote each of them, and the words they make up."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from limpide.data.examples import Message
from limpide.models.prompt import PLAIN_TEMPLATE, prompt_ids, prompt_text, source_of

if TYPE_CHECKING:
    from limpide.models.model import Model

WORD = re.compile(r"\w+(?:['’\-]\w+)*|[^\w\s]")


@dataclass(frozen=True)
class Token:
    """part: 'system', 'user' or 'assistant' for what a person wrote, 'frame' for what the template adds."""

    id: int
    text: str
    part: str


@dataclass(frozen=True)
class Word:
    """tokens: places in the row, ascending."""

    text: str
    tokens: tuple[int, ...]
    part: str


@dataclass(frozen=True)
class Read:
    """A prompt as ids, with the text they stand for and the place of each token in it. spans: what a person wrote,
    as (start, end, role), in characters of the text."""

    text: str
    ids: tuple[int, ...]
    offsets: tuple[tuple[int, int], ...]
    spans: tuple[tuple[int, int, str], ...]


def is_raw(model: "Model") -> bool:
    return model.kind != "decoder" or model.tokenizer.chat_template == PLAIN_TEMPLATE


def read_raw(model: "Model", text: str) -> Read:
    encoded = model.tokenizer(text, return_offsets_mapping=True)
    ids, offsets = list(encoded["input_ids"]), [(int(a), int(b)) for a, b in encoded["offset_mapping"]]
    start = model.tokenizer.bos_token_id if model.tokenizer.bos_token_id is not None else model.tokenizer.eos_token_id
    if model.kind == "decoder" and len(ids) == 1 and ids[0] != start and start is not None:
        ids, offsets = [start, *ids], [(0, 0), *offsets]  # a text of one token would have nothing before it
    return Read(text, tuple(ids), tuple(offsets), ((0, len(text), "user"),))


def read_chat(model: "Model", messages: Sequence[Message]) -> Read:
    if model.kind != "decoder":
        return read_raw(model, source_of(messages))
    text = prompt_text(model.tokenizer, messages)
    ids = prompt_ids(model.tokenizer, messages)
    encoded = model.tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
    offsets = tuple((int(a), int(b)) for a, b in encoded["offset_mapping"])
    return Read(text, tuple(ids), offsets, _spans(model, messages, text))


def _spans(model: "Model", messages: Sequence[Message], text: str) -> tuple[tuple[int, int, str], ...]:
    """Where the template has put what each message says: found by rendering marks in their place.

    A search for the words themselves would find a short prompt in the template's own text.
    """
    marks = [f"\ue000{k}\ue001" for k in range(len(messages))]
    marked = [m.model_copy(update={"content": mark}) for m, mark in zip(messages, marks, strict=True)]
    frame = re.split("\ue000(\\d+)\ue001", prompt_text(model.tokenizer, marked))  # text, number, text, number … text
    pattern = "(.*)".join(map(re.escape, frame[::2]))
    found = re.fullmatch(pattern, text, re.S)
    if found is None:  # a template that writes other things around other words
        return ((0, len(text), messages[-1].role),)
    return tuple((*found.span(n), messages[int(k)].role) for n, k in enumerate(frame[1::2], start=1))


def tokens_of(model: "Model", read: Read) -> tuple[Token, ...]:
    """The prompt's tokens with who wrote them. One that stands for no text of the prompt is named as the tokenizer
    does."""
    tokens = []
    for id, (start, end) in zip(read.ids, read.offsets, strict=True):
        part = next((role for a, b, role in read.spans if start < b and end > a), "frame")
        tokens.append(Token(id, read.text[start:end] or model.tokenizer.decode([id]), part))
    return tuple(tokens)


def words_of(read: Read, tokens: Sequence[Token]) -> tuple[Word, ...]:
    """Tokens gathered into words; each token of the frame is a word of its own. White space goes with what follows."""
    spans = [match.span() for match in WORD.finditer(read.text)]
    words: list[Word] = []
    before: int | None = None
    begun = 0
    for k, (token, (start, end)) in enumerate(zip(tokens, read.offsets, strict=True)):
        first = min(end, start + len(token.text) - len(token.text.lstrip()))
        number = next((n for n, (_, b) in enumerate(spans) if b > first), None)
        if words and number is not None and number == before and token.part == words[-1].part != "frame":
            last = words[-1]
            words[-1] = Word(read.text[begun:end].strip(), (*last.tokens, k), last.part)
        else:
            words.append(Word(token.text.strip() or token.text, (k,), token.part))
            begun = start
        before = number
    return tuple(words)
