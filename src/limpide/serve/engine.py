"""The gateway's side of the engine: asynchronous requests to llama.cpp, which end when the client leaves."""

import asyncio
from collections.abc import AsyncGenerator, Mapping, Sequence
from typing import Any, Protocol

import httpx

from limpide.models.llamacpp import LlamaEngine, event_of, refusal
from limpide.serve.openai_types import ApiError

CONNECT_SECONDS = 10.0
# llama.cpp gives a thread to each request it holds. These leave some of its SPARE_HTTP_THREADS free, so that a crowd
# waiting for an answer never delays a question that will be refused.
WAITING = 8  # generations handed to the engine beyond its slots; others wait here, in order
COUNTING = 8  # connections kept for counting tokens
KEPT_SECONDS = 2.0  # llama.cpp drops an idle connection after 5


class Engine(Protocol):
    """What the gateway needs. context: tokens. control_tokens: spelled out. Every call may raise ApiError."""

    context: int
    control_tokens: Sequence[str]
    has_template: bool

    async def count_chat(self, messages: Sequence[Mapping[str, str]]) -> int:
        """Tokens of a conversation as the model will read it."""

    async def count_text(self, text: str) -> int: ...

    async def answer(self, route: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """The whole answer of the engine."""

    def events(self, route: str, body: Mapping[str, Any]) -> AsyncGenerator[dict[str, Any], None]:
        """The answer of the engine, as it is made. Closing the iterator stops the engine's work."""

    async def close(self) -> None: ...


class LlamaClient:
    """Requests to a running `LlamaEngine`. Waiting for a free slot has no time limit: the client may leave."""

    def __init__(self, engine: LlamaEngine) -> None:
        self.context = engine.context
        self.control_tokens: Sequence[str] = engine.control_tokens
        self.has_template = engine.has_template
        self._room = asyncio.Semaphore(engine.slots + WAITING)
        # llama.cpp closes a connection after it streamed on it without saying so: those are never used again.
        self._generating = _client(engine, httpx.Limits(max_connections=None, max_keepalive_connections=0))
        self._counting = _client(engine, httpx.Limits(max_connections=COUNTING, keepalive_expiry=KEPT_SECONDS))

    async def close(self) -> None:
        await self._generating.aclose()
        await self._counting.aclose()

    async def count_chat(self, messages: Sequence[Mapping[str, str]]) -> int:
        body = {"messages": list(messages)}
        counted = await _answer(self._counting, "/v1/chat/completions/input_tokens", body)
        return int(counted["input_tokens"])

    async def count_text(self, text: str) -> int:
        body = {"content": text, "add_special": True, "parse_special": True}
        return len((await _answer(self._counting, "/tokenize", body))["tokens"])

    async def answer(self, route: str, body: Mapping[str, Any]) -> dict[str, Any]:
        async with self._room:
            return await _answer(self._generating, route, body)

    async def events(self, route: str, body: Mapping[str, Any]) -> AsyncGenerator[dict[str, Any], None]:
        try:
            async with self._room, self._generating.stream("POST", route, json=dict(body)) as response:
                if response.is_error:
                    await response.aread()
                    raise _refused(response)
                async for line in response.aiter_lines():
                    event = event_of(line)
                    if event is None:
                        continue
                    if "error" in event:
                        raise ApiError(502, "The engine stopped in the middle of the answer.", code="engine_error")
                    yield event
        except httpx.HTTPError as error:
            raise _unreachable() from error


def _client(engine: LlamaEngine, limits: httpx.Limits) -> httpx.AsyncClient:
    timeout = httpx.Timeout(None, connect=CONNECT_SECONDS)
    return httpx.AsyncClient(
        base_url=engine.url, headers=dict(engine.headers), timeout=timeout, trust_env=False, limits=limits
    )


async def _answer(client: httpx.AsyncClient, route: str, body: Mapping[str, Any]) -> dict[str, Any]:
    try:
        response = await client.post(route, json=dict(body))
    except httpx.HTTPError as error:
        raise _unreachable() from error
    if response.is_error:
        raise _refused(response)
    given: dict[str, Any] = response.json()
    return given


def _unreachable() -> ApiError:
    return ApiError(503, "The engine does not answer. Start the server again.", code="engine_unreachable")


def _refused(response: httpx.Response) -> ApiError:
    """The engine's refusal. Its message speaks of the request's form, or of the template; it does not quote it."""
    fault = refusal(response)
    message = f"The engine refused the request: {fault.get('message', response.status_code)}"
    return ApiError(400 if response.is_client_error else 502, message, code="engine_refused")
