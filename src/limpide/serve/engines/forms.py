"""An answer made here, in the forms of OpenAI's chunks: of a conversation or of a raw prompt."""

import secrets
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from limpide.serve.engines.pieces import HALF
from limpide.serve.openai_types import CHAT_ROUTE


@dataclass(frozen=True)
class Token:
    """start: characters of the answer before it. log_probability: nats. alternatives: (text, nats), likeliest first."""

    text: str
    start: int
    log_probability: float
    alternatives: tuple[tuple[str, float], ...] = ()


@dataclass(frozen=True)
class Piece:
    """The next part of an answer. written: tokens so far. finish: why it is the last one, 'stop' or 'length'."""

    text: str
    written: int
    tokens: tuple[Token, ...] = ()
    finish: str | None = None


@dataclass(frozen=True)
class Form:
    """One answer. prompt: tokens of it. logprobs: are they asked for."""

    route: str
    model: str
    prompt: int
    logprobs: bool = False
    id: str = field(default_factory=lambda: f"limpide-{secrets.token_hex(12)}")
    created: int = field(default_factory=lambda: int(time.time()))

    @property
    def is_chat(self) -> bool:
        return self.route == CHAT_ROUTE

    def opening(self) -> list[dict[str, Any]]:
        """What comes before the first piece: a conversation says who speaks."""
        return [self._chunk({"delta": {"role": "assistant", "content": ""}}, None)] if self.is_chat else []

    def chunks(self, piece: Piece) -> list[dict[str, Any]]:
        """A chunk with the piece's text, where it has some, and one that ends the answer, where it is the last."""
        made = []
        if piece.text or piece.tokens:
            text = {"delta": {"content": piece.text}} if self.is_chat else {"text": piece.text}
            made.append(self._chunk({**text, "logprobs": self._logprobs(piece.tokens)}, None))
        if piece.finish:
            made.append(self._chunk({"delta": {}} if self.is_chat else {"text": ""}, piece.finish))
        # as llama.cpp tells its counts so far: a piece of text may be several tokens, or a part of one
        so_far = {"prompt_n": self.prompt, "cache_n": 0, "predicted_n": piece.written}
        return [{**chunk, "timings": so_far} for chunk in made]

    def closing(self, written: int) -> dict[str, Any]:
        return {**self._record(), "choices": [], "usage": self._usage(written)}

    def _chunk(self, choice: dict[str, Any], finish: str | None) -> dict[str, Any]:
        return {
            **self._record(),
            "choices": [{"index": 0, "logprobs": None, **choice, "finish_reason": finish}],
        }

    def _record(self) -> dict[str, Any]:
        kind = "chat.completion.chunk" if self.is_chat else "text_completion"
        return {"id": self.id, "object": kind, "created": self.created, "model": self.model}

    def _logprobs(self, tokens: Sequence[Token]) -> dict[str, Any] | None:
        if not self.logprobs:
            return None
        if self.is_chat:
            return {"content": [_chat_token(token) for token in tokens]}
        return completion_logprobs(tokens)

    def _usage(self, written: int) -> dict[str, int]:
        return {"prompt_tokens": self.prompt, "completion_tokens": written, "total_tokens": self.prompt + written}


def alternatives(body: Mapping[str, Any]) -> int | None:
    """How many tokens a request wants listed beside each one; None where it wants no log-probabilities.

    A conversation says whether (`logprobs`) and how many (`top_logprobs`), a raw prompt only how many (`logprobs`).
    """
    asked = body.get("logprobs")
    if isinstance(asked, bool):
        return int(body.get("top_logprobs") or 0) if asked else None
    return None if asked is None else int(asked)


def completion_logprobs(tokens: Sequence[Token]) -> dict[str, Any]:
    """The form of raw prompts, which is older than that of conversations."""
    return {
        "tokens": [token.text for token in tokens],
        "token_logprobs": [token.log_probability for token in tokens],
        "top_logprobs": [dict(token.alternatives) for token in tokens],
        "text_offset": [token.start for token in tokens],
    }


def _chat_token(token: Token) -> dict[str, Any]:
    others = [_spelled(text, nats) for text, nats in token.alternatives]
    return {**_spelled(token.text, token.log_probability), "top_logprobs": others}


def _spelled(text: str, nats: float) -> dict[str, Any]:
    """bytes: null for a token that holds a part of a character, which no text spells."""
    return {"token": text, "logprob": nats, "bytes": None if HALF in text else list(text.encode())}
