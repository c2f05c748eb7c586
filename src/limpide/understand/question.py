"""What is asked of an explanation: a prompt, an answer, perhaps another answer, and the token where they part."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import torch

from limpide.core.errors import ModelError, UsageError
from limpide.data.examples import Message
from limpide.models.families.registry import logits_from_hidden, plain
from limpide.models.linear import wide_products
from limpide.models.prompt import encode, option_request, refuse_special_tokens
from limpide.models.row import Row, embed, final_hidden, row_of, target_log_likelihoods
from limpide.understand.reading import Read, Token, Word, is_raw, read_chat, read_raw, tokens_of, words_of

if TYPE_CHECKING:
    from limpide.models.model import Model

LONGEST = 64  # tokens of an answer that the model is asked to write itself


@dataclass(frozen=True)
class Decision:
    """The one place where inner methods look: why `token` rather than `rival`. row: read there alone.

    rival: a token id. from_model: the rival is the model's likeliest other token, not one that a person named.
    """

    row: Row
    token: int
    rival: int
    from_model: bool

    def difference(self, model: "Model", hidden: torch.Tensor) -> torch.Tensor:
        """logit(token) − logit(rival). hidden: float[batch, 1, width], final states where the row is read.
        Returns float[batch]; differentiable."""
        logits = logits_from_hidden(model.network, model.family, hidden[:, 0]).float()  # [batch, vocabulary]
        return logits[:, self.token] - logits[:, self.rival]


@dataclass(frozen=True)
class Question:
    """prompt, answer, against: texts as a person reads them. tokens: of the row that is explained. at: which token of
    the answer the inner methods explain, and `chosen`, why that one. row, against_row: what the network reads.
    given: did a person give the answer, or did the model write it. cut: the model would have written on. raw: was the
    prompt read as a text to go on with, or as a message.
    """

    prompt: str
    answer: str
    against: str | None
    given: bool
    tokens: tuple[Token, ...]
    words: tuple[Word, ...]
    answer_tokens: tuple[Token, ...]
    row: Row
    against_row: Row | None
    decision: Decision
    at: int
    chosen: str
    cut: bool = False
    raw: bool = False

    def record(self, model: "Model") -> dict[str, Any]:
        """Plain JSON: everything a page needs, with the likelihoods in nats. Tokens of the answer count from 0."""
        nats = likelihoods(model, self.row)
        rival = likelihoods(model, self.against_row) if self.against_row else None
        decode = model.tokenizer.decode
        return {
            "prompt": self.prompt,
            "answer": self.answer,
            "against": self.against,
            "answer_from": "given" if self.given else "model",
            "answer_cut": self.cut,
            "raw": self.raw,
            "tokens": [asdict(token) for token in self.tokens],
            "words": [asdict(word) for word in self.words],
            "answer_tokens": [asdict(t) | {"nats": _short(n)} for t, n in zip(self.answer_tokens, nats, strict=True)],
            "log_likelihood": _short(sum(nats)),
            "log_odds": None if rival is None else _short(sum(nats) - sum(rival)),
            "decision": {
                "at": self.at,
                "chosen": self.chosen,
                "token": decode([self.decision.token]),
                "rival": decode([self.decision.rival]),
                "rival_from": "model" if self.decision.from_model else "given",
            },
        }


def ask(
    model: "Model",
    prompt: str | Sequence[Message],
    *,
    answer: str | Sequence[int] | None = None,
    against: str | None = None,
    at: int | None = None,
    rival: int | None = None,
    raw: bool | None = None,
) -> Question:
    """The question 'why this answer?', or with `against`, 'why this answer rather than that one?'.

    answer: what the model said, as text or as token ids; None: it is asked. raw: the prompt is a text to go on with,
    not a message (always so for an encoder, an encoder–decoder and a model without a chat template of its own). at: the
    token of the answer that the inner methods explain, from 0; None: the first that differs from `against`, else the
    one that owes the prompt most. rival: id of the token it is held against there; None: that of `against` where the
    two part, else the model's likeliest other. Raises UsageError, ModelError, DataError.
    """
    messages = _messages(prompt)
    plain = len(messages) == 1 and (is_raw(model) if raw is None else raw)
    read = read_raw(model, messages[0].content) if plain else read_chat(model, messages)
    _check_read(model, read)
    if answer is None:
        ids, cut = _write(model, read)
    else:
        ids = _encode_answer(model, messages, read, answer, plain) if isinstance(answer, str) else tuple(answer)
        cut = False
    other = _encode_answer(model, messages, read, against, plain) if against is not None else None
    if other == ids:
        raise UsageError(
            "The answer and what it is held against are the same.",
            received=against if answer is not None else f"{against!r}, which is what the model says itself",
            remedy="give another text to --against",
        )
    row = row_of(model, read.ids, ids)
    against_row = None if other is None else row_of(model, read.ids, other)
    place, chosen = _place(model, read, ids, other, at)
    decode = model.tokenizer.decode
    tokens = tokens_of(model, read)
    return Question(
        prompt="\n".join(message.content for message in messages),
        answer=answer if isinstance(answer, str) else decode(list(ids)).strip(),
        against=against,
        given=answer is not None,
        tokens=tokens,
        words=words_of(read, tokens),
        answer_tokens=tuple(Token(i, decode([i]), "assistant") for i in ids),
        row=row,
        against_row=against_row,
        decision=_decision(model, read, ids, place, rival if rival is not None else _parted(model, ids, other, place)),
        at=place,
        chosen=chosen,
        cut=cut,
        raw=plain,
    )


def likelihoods(model: "Model", row: Row) -> list[float]:
    """Nats of each target of a row."""
    with torch.inference_mode(), wide_products(model.network):
        hidden = final_hidden(model, row, embed(model, row.ids)[None])
        found: list[float] = target_log_likelihoods(model, row, hidden)[0].tolist()
        return found


def _short(value: float) -> float:
    return float(f"{value:.6g}")


# ------------------------------------------------------------------------------------------------ what the model reads


def _messages(prompt: str | Sequence[Message]) -> list[Message]:
    messages = [Message(role="user", content=prompt)] if isinstance(prompt, str) else list(prompt)
    if not messages or not any(message.content.strip() for message in messages):
        raise UsageError("The prompt is empty.", remedy="give the text whose answer is to be explained")
    return messages


def _check_read(model: "Model", read: Read) -> None:
    """Raise ModelError for a prompt that fills the context, UsageError for an encoder that is asked to write."""
    if len(read.ids) + (model.kind == "decoder") > model.context:
        raise ModelError(
            "The prompt leaves no room for an answer in the model's context.",
            received=f"{len(read.ids)} tokens",
            expected=f"at most {model.context}, the answer included",
            remedy="explain a shorter prompt: nothing is cut in silence",
        )
    if model.kind == "encoder" and model.tokenizer.mask_token_id not in read.ids:
        mask = model.tokenizer.mask_token
        raise UsageError(
            f"{model.family.title} does not write answers: it predicts words that are masked in a text.",
            received=read.text[:120],
            expected=f"a text with {mask} where the answer stands",
            remedy=f'for example: limpide explain MODEL "The nurse said {mask} was tired." --answer she --against he',
        )


# ---------------------------------------------------------------------------------------------------------- the answer


def _encode_answer(model: "Model", messages: Sequence[Message], read: Read, answer: str, raw: bool) -> tuple[int, ...]:
    """Token ids of an answer where it will stand. A space is put before one that goes on with a text."""
    if not answer.strip():
        raise UsageError("The answer is empty.", remedy="give at least one word, or none to let the model answer")
    tokenizer = model.tokenizer
    if model.kind == "decoder" and not raw:
        kept = [int(str(i)) for i in option_request(model, "answer", messages, answer).continuation]
        while kept and kept[-1] in model.stop_ids:
            kept.pop()
    else:
        refuse_special_tokens(tokenizer, [Message(role="assistant", content=answer)])
        kept = _continuation(model, read, answer) if model.kind == "decoder" else encode(tokenizer, answer)
    if tokenizer.unk_token_id is not None and tokenizer.unk_token_id in kept:
        raise UsageError(
            "The model has no token for part of this answer.", received=answer, remedy="write it in other characters"
        )
    return tuple(kept)


def _continuation(model: "Model", read: Read, answer: str) -> list[int]:
    """Ids of an answer that goes on with a text: as both are split together, where the split falls between them."""
    glued = answer if answer[0].isspace() or read.text[-1:].isspace() else f" {answer}"
    joint = list(model.tokenizer(read.text + glued)["input_ids"])
    before = list(model.tokenizer(read.text)["input_ids"])
    if joint[: len(before)] == before and len(joint) > len(before):
        return joint[len(before) :]
    return encode(model.tokenizer, glued)


def _write(model: "Model", read: Read) -> tuple[tuple[int, ...], bool]:
    """(what the model answers itself, the likeliest token each time, its end token left out; was it cut short)."""
    if model.kind == "encoder":
        masks = tuple(k for k, token in enumerate(read.ids) if token == model.tokenizer.mask_token_id)
        return tuple(_logits(model, Row(read.ids, masks, masks)).argmax(-1).tolist()), False
    from transformers import GenerationConfig

    room = model.context - (len(read.ids) if model.kind == "decoder" else 1)
    network = plain(model.network)
    config = GenerationConfig(
        do_sample=False,
        max_new_tokens=max(1, min(LONGEST, room)),
        eos_token_id=list(model.stop_ids) or None,
        pad_token_id=model.tokenizer.pad_token_id or 0,
        bos_token_id=model.tokenizer.bos_token_id,
        decoder_start_token_id=getattr(network.config, "decoder_start_token_id", None),
    )
    prompt = torch.tensor([read.ids])
    own, network.generation_config = network.generation_config, GenerationConfig()  # its defaults would fill gaps
    try:
        with torch.inference_mode(), wide_products(model.network):
            found = network.generate(
                input_ids=prompt, attention_mask=torch.ones_like(prompt), generation_config=config
            )[0].tolist()
    finally:
        network.generation_config = own
    new = found[len(read.ids) :] if model.kind == "decoder" else found[1:]
    end = next((k for k, token in enumerate(new) if token in model.stop_ids), None)
    return tuple(new if end is None else new[: max(end, 1)]), end is None


# -------------------------------------------------------------------------------------------------------- the decision


def _place(
    model: "Model", read: Read, ids: tuple[int, ...], other: tuple[int, ...] | None, at: int | None
) -> tuple[int, str]:
    """(which token of the answer the inner methods explain, why that one)."""
    if at is not None:
        if not 0 <= at < len(ids):
            raise UsageError(
                "The answer has no such token.",
                received=at,
                expected=f"0 to {len(ids) - 1}: its tokens are {[model.tokenizer.decode([i]) for i in ids]}",
            )
        return at, "given"
    parting = _parting(ids, other) if other is not None else len(ids)
    if parting < len(ids):
        return parting, "first difference"
    if model.kind == "encoder":
        return 0, "first mask"
    return _owes_most(model, read, ids), "owes the prompt most"


def _parting(ids: Sequence[int], other: Sequence[int]) -> int:
    return next((k for k, (a, b) in enumerate(zip(ids, other, strict=False)) if a != b), min(len(ids), len(other)))


def _parted(model: "Model", ids: Sequence[int], other: Sequence[int] | None, place: int) -> int | None:
    """The token of the other answer where the two part, its end where it is the shorter; None at another place."""
    if other is None or place != _parting(ids, other):
        return None
    return other[place] if place < len(other) else next(iter(model.stop_ids), None)


def _decision(model: "Model", read: Read, ids: tuple[int, ...], place: int, rival: int | None) -> Decision:
    """rival: None: the model's likeliest token but that of the answer."""
    whole = row_of(model, read.ids, ids if model.kind == "encoder" else ids[: place + 1])
    k = place if model.kind == "encoder" else -1
    row = Row(whole.ids, (whole.read[k],), (whole.targets[k],), whole.written)
    if rival is not None and rival != ids[place]:
        return Decision(row, ids[place], rival, False)
    logits = _logits(model, row)[0].clone()
    logits[ids[place]] = float("-inf")
    return Decision(row, ids[place], int(logits.argmax()), True)


def _logits(model: "Model", row: Row) -> torch.Tensor:
    """Where the row is read, float[read, vocabulary]."""
    with torch.inference_mode(), wide_products(model.network):
        hidden = final_hidden(model, row, embed(model, row.ids)[None])[0]
        return logits_from_hidden(model.network, model.family, hidden)


def _owes_most(model: "Model", read: Read, ids: tuple[int, ...]) -> int:
    """The token of the answer whose likelihood falls most when the prompt is reduced to its first token."""
    if len(ids) == 1:
        return 0
    full = likelihoods(model, row_of(model, read.ids, ids))
    bare = likelihoods(model, row_of(model, read.ids[:1], ids))
    return max(range(len(ids)), key=lambda k: full[k] - bare[k])
