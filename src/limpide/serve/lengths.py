"""How long a prompt is: bounded by its bytes where that settles the matter, counted by the engine where it does not.

Counting is a request to the engine of its own. Far from the end of the context and of a quota it would decide nothing.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass

from limpide.serve.engines.protocol import Engine
from limpide.serve.openai_types import ApiError, too_long

# A byte is at most one token for tokenizers that fall back on bytes; the factor leaves room for those that spell a
# character out (NFKC) first, the rest for what a tokenizer puts before and after.
TOKENS_A_BYTE = 2
AROUND = 16


@dataclass(frozen=True)
class Prompt:
    """text: what is committed to in the log. bound: tokens it has at most, None when only counting can tell.
    count: asks the engine for the exact number. param: the field of the request it came in."""

    text: str
    bound: int | None
    count: Callable[[], Awaitable[int]]
    param: str


@dataclass(frozen=True)
class Length:
    """In tokens. most: of prompt and answer together. exact: of the prompt, None where it was not counted."""

    most: int
    exact: int | None


def bound_of(text: str) -> int | None:
    """None for an empty text, which some tokenizers make no token of: only counting tells."""
    return TOKENS_A_BYTE * len(text.encode("utf-8", "surrogatepass")) + AROUND if text else None


class Templates:
    """What a chat template adds to a message at most, measured once an engine on a message that says nothing."""

    def __init__(self) -> None:
        self._added: dict[int, int | None] = {}

    async def bound(self, engine: Engine, messages: Sequence[Mapping[str, str]]) -> int | None:
        if id(engine) not in self._added:
            try:
                self._added[id(engine)] = await engine.count_chat([{"role": "user", "content": ""}])
            except ApiError:  # a template that takes no empty message
                self._added[id(engine)] = None
        added = self._added[id(engine)]
        if added is None:
            return None
        said = sum(len(message["content"].encode("utf-8", "surrogatepass")) for message in messages)
        return (added + AROUND) * len(messages) + TOKENS_A_BYTE * said


async def check_length(prompt: Prompt, limit: int | None, context: int, *, exactly: bool = False) -> Length:
    """limit: tokens the answer may have, None: up to the end of the context. exactly: count in any case.

    Raises ApiError (400) when the prompt is empty, or it and the answer asked for do not fit.
    """
    if not exactly and prompt.bound is not None and prompt.bound + (limit or 1) <= context:
        return Length(context if limit is None else prompt.bound + limit, None)
    tokens = await prompt.count()
    if tokens == 0:
        raise ApiError(400, "The prompt is empty.", code="invalid_value", param=prompt.param)
    if tokens + (limit or 1) > context:
        raise too_long(tokens, context, limit, prompt.param)
    return Length(context if limit is None else tokens + limit, tokens)
