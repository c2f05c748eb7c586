"""Requests to llama.cpp in this process, without HTTP: a thread each, which ends when the client leaves."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing
from typing import Any

import httpx
import numpy as np

from limpide.core.errors import DataError, LimpideError
from limpide.models.llamacpp import MOST_EMBEDDED, LlamaEngine
from limpide.serve.engines.carried import Way, carried
from limpide.serve.engines.forms import Token, alternatives, completion_logprobs
from limpide.serve.engines.patterns import check_patterns
from limpide.serve.engines.protocol import Embedded, Gives
from limpide.serve.openai_types import CHAT_ROUTE, COMPLETION_ROUTE, ApiError

WRITES: frozenset[Gives] = frozenset({"chat", "completion"})
EMBEDS: frozenset[Gives] = frozenset({"embedding"})
COUNTING = 8  # requests at once that count tokens
TOGETHER = 32  # texts embedded in one call: between two calls, a client that left is noticed
# Counts in every event, for a client that leaves before the last one. Events while the prompt is read too: one that
# leaves then is noticed at the next of them, not at the first token.
STREAMED = {
    "stream": True,
    "stream_options": {"include_usage": True},
    "timings_per_token": True,
    "return_progress": True,
}


class LlamaClient:
    """Requests to a running `LlamaEngine`. Waiting for a free slot has no time limit: the client may leave."""

    def __init__(self, engine: LlamaEngine) -> None:
        self.gives: frozenset[Gives] = WRITES | EMBEDS if engine.embeds else WRITES
        self.context = engine.context
        self.control_tokens: Sequence[str] = engine.control_tokens
        self.has_template = engine.has_template
        self._engine, self._closing = engine, False
        self._room = asyncio.Semaphore(engine.slots)
        self._threads = ThreadPoolExecutor(engine.slots, "limpide-llamacpp")
        self._counters = ThreadPoolExecutor(COUNTING, "limpide-counting")

    async def close(self) -> None:
        """End the answers under way, at their next token."""
        self._closing = True
        for threads in (self._threads, self._counters):
            await asyncio.to_thread(threads.shutdown, cancel_futures=True)

    async def count_chat(self, messages: Sequence[Mapping[str, str]]) -> int:
        return await self._count(lambda: self._engine.count_chat(messages))

    async def count_text(self, text: str) -> int:
        return await self._count(lambda: len(self._engine.tokenize(text, add_special=True)))

    async def events(self, route: str, body: Mapping[str, Any]) -> AsyncGenerator[dict[str, Any], None]:
        asked = {**_asked(route, body), **STREAMED}

        def work(way: Way[dict[str, Any]]) -> None:
            def take(event: dict[str, Any]) -> bool:
                if "prompt_progress" not in event:
                    way.put(event)
                return way.left or self._closing

            self._engine.ask(route, asked, take)

        sent = 0  # characters of a raw prompt's answer
        async with aclosing(self._made(work, at_once=bool(body.get("stream")))) as events:
            async for event in events:
                usage = event.pop("usage", None)
                if event.get("choices"):
                    yield _given(event, body, sent)
                if usage is not None:  # of a raw prompt, llama.cpp tells it together with the end of the answer
                    yield {**event, "choices": [], "usage": usage}
                sent += sum(len(choice.get("text") or "") for choice in event.get("choices", []))

    async def embed(self, texts: Sequence[str | Sequence[int]]) -> Embedded:
        """The mean of the last hidden states of each text. A text may be `MOST_EMBEDDED` tokens long."""
        if "embedding" not in self.gives:
            raise ApiError(400, "This engine was opened without embeddings.", code="unsupported")
        inputs = [text if isinstance(text, str) else list(text) for text in texts]

        def work(way: Way[dict[str, Any]]) -> None:
            for start in range(0, len(inputs), TOGETHER):
                if way.left or self._closing:
                    return
                some = inputs[start : start + TOGETHER]
                way.put(self._engine.embed({"input": some, "encoding_format": "float"}))

        vectors, tokens = list[Any](), 0
        async with aclosing(self._made(work)) as parts:
            async for part in parts:
                rows = sorted(part["data"], key=lambda row: int(row["index"]))
                vectors += [row["embedding"] for row in rows]
                tokens += int(part["usage"]["prompt_tokens"])
        return Embedded(np.array(vectors, np.float32), tokens)

    async def _made(
        self, work: Callable[[Way[dict[str, Any]]], None], *, at_once: bool = False
    ) -> AsyncGenerator[dict[str, Any], None]:
        """What llama.cpp tells in a thread. A slot is taken until that ends, which may be after this was closed."""
        await self._room.acquire()
        try:
            told = carried(self._threads, work, at_once=at_once, freed=self._room.release)
            async with aclosing(told):
                async for events in told:
                    for event in events:
                        if "error" in event:
                            raise _refused(event["error"])
                        yield event
        except (LimpideError, RuntimeError) as error:
            raise _closed() from error
        if self._closing:
            raise _closed()

    async def _count(self, count: Callable[[], int]) -> int:
        try:
            return await asyncio.get_running_loop().run_in_executor(self._counters, count)
        except DataError as error:
            raise ApiError(400, f"The engine refused the request: {error.received}", code="engine_refused") from error
        except (LimpideError, httpx.HTTPError, RuntimeError) as error:
            raise _closed() from error


def _closed() -> ApiError:
    return ApiError(503, "The engine is closed.", code="engine_closed")


def _refused(fault: Mapping[str, Any]) -> ApiError:
    """The engine's refusal. Its message speaks of the request's form, or of the template; it does not quote it."""
    said = str(fault.get("message"))
    if "too large to process" in said:
        message = f"A text is longer than what this engine reads at once for an embedding: {MOST_EMBEDDED} tokens, or "
        message += "the context where that is shorter."
        return ApiError(400, message, code="context_length_exceeded", param="input")
    if int(fault.get("code") or 500) < 500:
        return ApiError(400, f"The engine refused the request: {said}", code="engine_refused")
    return ApiError(502, f"The engine failed: {said}", code="engine_error")


def _asked(route: str, body: Mapping[str, Any]) -> dict[str, Any]:
    """The body as llama.cpp obeys it. What it would drop without a word is refused, or asked for in another way."""
    asked = {name: value for name, value in body.items() if name != "adapter"}
    if body.get("adapter") is not None:
        message = f"There is no adapter '{body['adapter']}' here: this engine has none."
        raise ApiError(404, message, code="adapter_not_found", param="adapter")
    if route == COMPLETION_ROUTE and body.get("response_format") not in (None, {"type": "text"}):
        message = f"llama.cpp gives an answer a form only in a conversation, at {CHAT_ROUTE}."
        raise ApiError(400, message, code="unsupported", param="response_format")
    check_patterns((body.get("response_format") or {}).get("json_schema", {}).get("schema", {}))
    count = alternatives(body)
    if count is not None:  # with 0 alternatives llama.cpp would leave out the log-probabilities altogether
        asked["top_logprobs" if route == CHAT_ROUTE else "logprobs"] = max(1, count)
    return asked


def _given(event: dict[str, Any], body: Mapping[str, Any], sent: int) -> dict[str, Any]:
    """An event with its log-probabilities in OpenAI's form. sent: characters of the events before it."""
    count = alternatives(body)
    for choice in event.get("choices", []):
        if not choice.get("logprobs"):
            continue
        tokens = [{**token, "top_logprobs": token["top_logprobs"][:count]} for token in choice["logprobs"]["content"]]
        choice["logprobs"] = {"content": tokens} if "text" not in choice else _of_a_prompt(tokens, sent)
    return event


def _of_a_prompt(tokens: Sequence[Mapping[str, Any]], start: int) -> dict[str, Any]:
    made = []
    for token in tokens:
        others = tuple((other["token"], other["logprob"]) for other in token["top_logprobs"])
        made.append(Token(token["token"], start, token["logprob"], others))
        start += len(token["token"])
    return completion_logprobs(made)
