"""What the gateway needs of an engine, and nothing else: whoever gives this can be served."""

from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

Gives = Literal["chat", "completion", "embedding", "fill-mask"]


@dataclass(frozen=True)
class Embedded:
    """vectors: float[text, width], each of length 1. tokens: how many the engine read for all of them."""

    vectors: NDArray[np.float32]
    tokens: int


class Engine(Protocol):
    """gives: what it can be asked for. context: tokens. control_tokens: spelled out, longest first.

    at_once: whether a whole answer (a body without `stream`) comes in one event at its end, so that nobody can tell how
    much was made before.

    Bodies are OpenAI's as llama.cpp's server reads them, with one field more, `adapter`: the name of an adapter of
    this engine, the base where it is absent. Events have the form of OpenAI's chunks. Every call may raise ApiError.
    """

    gives: frozenset[Gives]
    context: int
    control_tokens: Sequence[str]
    has_template: bool
    at_once: bool

    async def count_chat(self, messages: Sequence[Mapping[str, str]]) -> int:
        """Tokens of a conversation as the model will read it."""

    async def count_text(self, text: str) -> int: ...

    def events(self, route: str, body: Mapping[str, Any]) -> AsyncGenerator[dict[str, Any], None]:
        """The answer as it is made, `usage` in the last event. Closing the iterator stops the engine's work."""

    async def embed(self, texts: Sequence[str | Sequence[int]]) -> Embedded:
        """A vector for each text, given as text or as token ids."""

    async def close(self) -> None: ...
