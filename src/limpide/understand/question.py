"""What is asked of an explanation: a prompt, an answer, perhaps another answer, and the token where they part."""

import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from limpide.core.errors import UsageError

if TYPE_CHECKING:
    import torch

    from limpide.data.examples import Message
    from limpide.models.model import Model
    from limpide.models.row import Row

WORD = re.compile(r"\w+(?:['’\-]\w+)*|[^\w\s]")
LONGEST = 64  # tokens of an answer that the model is asked to write itself


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
class Decision:
    """The one place where inner methods look: why `token` rather than `rival`. row: read there alone.

    rival: a token id. from_model: the rival is the model's likeliest other token, not one that a person named.
    """

    row: "Row"
    token: int
    rival: int
    from_model: bool

    def difference(self, model: "Model", hidden: "torch.Tensor") -> "torch.Tensor":
        """logit(token) − logit(rival). hidden: float[batch, 1, width], final states where the row is read.
        Returns float[batch]; differentiable."""
        from limpide.models.families.registry import logits_from_hidden

        logits = logits_from_hidden(model.network, model.family, hidden[:, 0]).float()  # [batch, vocabulary]
        return logits[:, self.token] - logits[:, self.rival]


@dataclass(frozen=True)
class Question:
    """prompt, answer, against: texts as a person reads them. tokens: of the row that is explained. at: which token of
    the answer the inner methods explain, and `chosen`, why that one. row, against_row: what the network reads.
    given: did a person give the answer, or did the model write it.
    """

    prompt: str
    answer: str
    against: str | None
    given: bool
    tokens: tuple[Token, ...]
    words: tuple[Word, ...]
    answer_tokens: tuple[Token, ...]
    row: "Row"
    against_row: "Row | None"
    decision: Decision
    at: int
    chosen: str

    def record(self, model: "Model") -> dict[str, Any]:
        """Plain JSON: everything a page needs, with the likelihoods in nats."""
        nats = likelihoods(model, self.row)
        rival = likelihoods(model, self.against_row) if self.against_row else None
        decode = model.tokenizer.decode
        return {
            "prompt": self.prompt,
            "answer": self.answer,
            "against": self.against,
            "answer_from": "given" if self.given else "model",
            "tokens": [asdict(token) for token in self.tokens],
            "words": [asdict(word) for word in self.words],
            "answer_tokens": [asdict(t) | {"nats": n} for t, n in zip(self.answer_tokens, nats, strict=True)],
            "log_likelihood": sum(nats),
            "log_odds": None if rival is None else sum(nats) - sum(rival),
            "decision": {
                "at": self.at,
                "chosen": self.chosen,
                "token": decode([self.decision.token]),
                "rival": decode([self.decision.rival]),
                "rival_from": "model" if self.decision.from_model else "given",
            },
        }


@dataclass(frozen=True)
class _Read:
    """A prompt as ids, with the text they stand for and the place of each token in it."""

    text: str
    ids: tuple[int, ...]
    offsets: tuple[tuple[int, int], ...]


def ask(
    model: "Model",
    prompt: "str | Sequence[Message]",
    *,
    answer: str | None = None,
    against: str | None = None,
    at: int | None = None,
    raw: bool | None = None,
) -> Question:
    """The question 'why this answer?', or with `against`, 'why this answer rather than that one?'.

    answer: what the model said; None: it is asked. raw: the prompt is a text to go on with, not a message (always so
    for an encoder, an encoder–decoder and a model without a chat template of its own). at: the token of the answer
    that the inner methods explain, from 0; None: the first that differs from `against`, else the one that owes the
    prompt most. Raises UsageError, ModelError, DataError.
    """
    from limpide.models.row import row_of

    messages = _messages(prompt)
    if len(messages) == 1 and (_is_raw(model) if raw is None else raw):
        read, plain = _read_raw(model, messages[0].content), True
    else:
        read, plain = _read_chat(model, messages), False
    _check_masks(model, read)
    given = answer is not None
    ids = _encode_answer(model, messages, read, answer, plain) if answer is not None else _written(model, read)
    other = _encode_answer(model, messages, read, against, plain) if against is not None else None
    if other == ids:
        raise UsageError(
            "The answer and what it is held against are the same.",
            received=answer if answer is not None else f"{against!r}, which is what the model says itself",
            remedy="give another text to --against",
        )
    row = row_of(model, read.ids, ids)
    against_row = None if other is None else row_of(model, read.ids, other)
    decision, place, chosen = _decision(model, messages, read, ids, other, at)
    decode = model.tokenizer.decode
    return Question(
        prompt="\n".join(message.content for message in messages),
        answer=answer if answer is not None else decode(list(ids)).strip(),
        against=against,
        given=given,
        tokens=(tokens := _tokens(read, messages, row)),
        words=_words(read, tokens),
        answer_tokens=tuple(Token(i, decode([i]), "assistant") for i in ids),
        row=row,
        against_row=against_row,
        decision=decision,
        at=place,
        chosen=chosen,
    )


def likelihoods(model: "Model", row: "Row") -> list[float]:
    """Nats of each target of a row."""
    import torch

    from limpide.models.row import embed, final_hidden, target_log_likelihoods

    with torch.inference_mode():
        hidden = final_hidden(model, row, embed(model, row.ids)[None])
        found: list[float] = target_log_likelihoods(model, row, hidden)[0].tolist()
        return found


def _messages(prompt: "str | Sequence[Message]") -> "list[Message]":
    from limpide.data.examples import Message

    messages = [Message(role="user", content=prompt)] if isinstance(prompt, str) else list(prompt)
    if not messages or not any(message.content.strip() for message in messages):
        raise UsageError("The prompt is empty.", remedy="give the text whose answer is to be explained")
    return messages


def _is_raw(model: "Model") -> bool:
    from limpide.models.prompt import PLAIN_TEMPLATE

    return model.kind != "decoder" or model.tokenizer.chat_template == PLAIN_TEMPLATE


def _read_raw(model: "Model", text: str) -> _Read:
    encoded = model.tokenizer(text, return_offsets_mapping=True)
    ids, offsets = list(encoded["input_ids"]), [(int(a), int(b)) for a, b in encoded["offset_mapping"]]
    start = model.tokenizer.bos_token_id if model.tokenizer.bos_token_id is not None else model.tokenizer.eos_token_id
    if model.kind == "decoder" and len(ids) == 1 and ids[0] != start and start is not None:
        ids, offsets = [start, *ids], [(0, 0), *offsets]  # a text of one token would have nothing before it
    return _Read(text, tuple(ids), tuple(offsets))


def _read_chat(model: "Model", messages: "Sequence[Message]") -> _Read:
    from limpide.models.prompt import prompt_ids, prompt_text, source_of

    if model.kind != "decoder":
        return _read_raw(model, source_of(messages))
    text = prompt_text(model.tokenizer, messages)
    ids = prompt_ids(model.tokenizer, messages)
    encoded = model.tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
    return _Read(text, tuple(ids), tuple((int(a), int(b)) for a, b in encoded["offset_mapping"]))


def _check_masks(model: "Model", read: _Read) -> None:
    if model.kind == "encoder" and model.tokenizer.mask_token_id not in read.ids:
        mask = model.tokenizer.mask_token
        raise UsageError(
            f"{model.family.title} does not write answers: it predicts words that are masked in a text.",
            received=read.text[:120],
            expected=f"a text with {mask} where the answer stands",
            remedy=f'for example: limpide explain MODEL "The nurse said {mask} was tired." --answer she --against he',
        )


def _encode_answer(
    model: "Model", messages: "Sequence[Message]", read: _Read, answer: str, raw: bool
) -> tuple[int, ...]:
    """Token ids of an answer where it will stand. A space is put before one that goes on with a text."""
    if not answer.strip():
        raise UsageError("The answer is empty.", remedy="give at least one word, or none to let the model answer")
    tokenizer = model.tokenizer
    if model.kind == "decoder" and not raw:
        from limpide.models.prompt import option_request

        ids = option_request(model, "answer", messages, answer).continuation
        kept = [int(i) for i in ids]
        while kept and kept[-1] in model.stop_ids:
            kept.pop()
    elif model.kind == "decoder":
        glued = answer if answer[0].isspace() or read.text[-1:].isspace() else f" {answer}"
        kept = list(tokenizer(glued, add_special_tokens=False)["input_ids"])
    else:
        kept = list(tokenizer(answer, add_special_tokens=False)["input_ids"])
    if tokenizer.unk_token_id is not None and tokenizer.unk_token_id in kept and tokenizer.unk_token_id not in read.ids:
        raise UsageError(
            "The model has no token for part of this answer.", received=answer, remedy="write it in other characters"
        )
    return tuple(kept)


def _written(model: "Model", read: _Read) -> tuple[int, ...]:
    """What the model answers itself, the likeliest token each time, its end token left out."""
    import torch

    from limpide.models.families.registry import logits_from_hidden
    from limpide.models.row import Row, embed, final_hidden

    if model.kind == "encoder":
        masks = tuple(k for k, token in enumerate(read.ids) if token == model.tokenizer.mask_token_id)
        row = Row(read.ids, masks, masks)
        with torch.inference_mode():
            hidden = final_hidden(model, row, embed(model, row.ids)[None])[0]
            return tuple(logits_from_hidden(model.network, model.family, hidden).argmax(-1).tolist())
    room = model.context - (len(read.ids) if model.kind == "decoder" else 0)
    with torch.inference_mode():
        found = model.network.generate(
            input_ids=torch.tensor([read.ids]),
            attention_mask=torch.ones(1, len(read.ids), dtype=torch.long),
            do_sample=False,
            max_new_tokens=max(1, min(LONGEST, room)),
            eos_token_id=list(model.stop_ids) or None,
            pad_token_id=model.tokenizer.pad_token_id or 0,
        )[0].tolist()
    new = found[len(read.ids) :] if model.kind == "decoder" else found[1:]
    kept = [token for k, token in enumerate(new) if token not in model.stop_ids or k == 0]
    return tuple(kept)


def _decision(
    model: "Model",
    messages: "Sequence[Message]",
    read: _Read,
    ids: tuple[int, ...],
    other: tuple[int, ...] | None,
    at: int | None,
) -> tuple[Decision, int, str]:
    """(the decision, which token of the answer it is about, why that one)."""
    import torch

    from limpide.models.families.registry import logits_from_hidden
    from limpide.models.row import Row, embed, final_hidden, row_of

    if at is not None and not 0 <= at < len(ids):
        raise UsageError("The answer has no such token.", received=at, expected=f"0 to {len(ids) - 1}")
    parting = _parting(ids, other) if other is not None else None
    if at is not None:
        place, chosen = at, "given"
    elif parting is not None:
        place, chosen = parting, "first difference"
    else:
        place, chosen = _owes_most(model, read, ids), "owes the prompt most"
    place = min(place, len(ids) - 1)
    whole = row_of(model, read.ids, ids if model.kind == "encoder" else ids[: place + 1])
    k = place if model.kind == "encoder" else -1
    row = Row(whole.ids, (whole.read[k],), (whole.targets[k],), whole.written)
    if other is not None and place == parting and place < len(other):
        return Decision(row, ids[place], other[place], False), place, chosen
    with torch.inference_mode():
        hidden = final_hidden(model, row, embed(model, row.ids)[None])[0, 0]
        logits = logits_from_hidden(model.network, model.family, hidden).clone()
        logits[ids[place]] = float("-inf")
    return Decision(row, ids[place], int(logits.argmax()), True), place, chosen


def _parting(ids: Sequence[int], other: Sequence[int]) -> int:
    return next((k for k, (a, b) in enumerate(zip(ids, other, strict=False)) if a != b), min(len(ids), len(other)))


def _owes_most(model: "Model", read: _Read, ids: tuple[int, ...]) -> int:
    """The token of the answer whose likelihood falls most when the prompt is reduced to its first token."""
    from limpide.models.row import row_of

    if len(ids) == 1 or model.kind == "encoder":
        return 0
    full = likelihoods(model, row_of(model, read.ids, ids))
    bare = likelihoods(model, row_of(model, read.ids[:1], ids))
    return max(range(len(ids)), key=lambda k: full[k] - bare[k])


def _tokens(read: _Read, messages: "Sequence[Message]", row: "Row") -> tuple[Token, ...]:
    """The prompt's tokens with who wrote them."""
    spans, at = [], 0
    for message in messages:
        content = message.content.strip()
        found = read.text.find(content, at)
        if found >= 0:
            spans.append((found, found + len(content), message.role))
            at = found + len(content)
    tokens = []
    for k, (start, end) in enumerate(read.offsets):
        inside = [role for a, b, role in spans if start < b and end > a]
        tokens.append(Token(read.ids[k], read.text[start:end], inside[0] if inside else "frame"))
    return tuple(tokens)


def _words(read: _Read, tokens: Sequence[Token]) -> tuple[Word, ...]:
    """Tokens gathered into words; each token of the frame is a word of its own."""
    spans = [match.span() for match in WORD.finditer(read.text)]
    words: list[Word] = []
    before: int | None = None
    for k, token in enumerate(tokens):
        start, end = read.offsets[k]
        start += len(token.text) - len(token.text.lstrip())
        number = next((n for n, (a, b) in enumerate(spans) if a < max(end, start + 1) and b > start), None)
        if words and number is not None and number == before and token.part == words[-1].part != "frame":
            last = words[-1]
            words[-1] = Word(last.text + token.text, (*last.tokens, k), last.part)
        else:
            words.append(Word(token.text.strip() or token.text, (k,), token.part))
        before = number
    return tuple(words)
