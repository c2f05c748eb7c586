"""Requests to llama.cpp in this process."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing
from functools import partial
from typing import Any

import numpy as np

from limpide.core.errors import LimpideError
from limpide.models.llamacpp import MOST_EMBEDDED, LlamaEngine
from limpide.serve.engines.carried import Way, carried, closed
from limpide.serve.engines.forms import Token, alternatives, completion_logprobs
from limpide.serve.engines.protocol import Embedded, Gives
from limpide.serve.engines.schemas import check_schema
from limpide.serve.engines.wire import Wire
from limpide.serve.lengths import bound_of
from limpide.serve.openai_types import CHAT_ROUTE, COMPLETION_ROUTE, ApiError

WRITES: frozenset[Gives] = frozenset({"chat", "completion"})
EMBEDS: frozenset[Gives] = frozenset({"embedding"})
Event = dict[str, Any]
SHORT, SHORT_PROMPT = 32, 1024  # tokens, characters: an answer that is over before it would be worth ending
COUNTING = 8  # requests at once that count tokens; each holds one of the SPARE_HTTP_THREADS of llama.cpp's server
TOGETHER = 8  # texts embedded in one call: between two calls, a client that left is noticed
# Counts in every event, for a client that leaves before the last one. Events while the prompt is read too: one that
# leaves then is noticed at the next of them, not at the first token.
STREAMED = {
    "stream": True,
    "stream_options": {"include_usage": True},
    "timings_per_token": True,
    "return_progress": True,
}


class LlamaClient:
    """Requests to a running `LlamaEngine`. Waiting for a free slot has no time limit: the client may leave.

    Streams and short answers are asked of llama.cpp directly, without HTTP. A long whole answer is not: asked directly
    it cannot be ended before its time, and as a stream it would wake every thread at each token, for nobody.
    """

    at_once = True

    def __init__(self, engine: LlamaEngine) -> None:
        self.gives: frozenset[Gives] = WRITES | EMBEDS if engine.embeds else WRITES
        self.context = engine.context
        self.control_tokens: Sequence[str] = engine.control_tokens
        self.has_template = engine.has_template
        self._engine, self._closing = engine, False
        self._room = asyncio.Semaphore(engine.slots)
        self._counting = asyncio.Semaphore(COUNTING)
        self._threads = ThreadPoolExecutor(engine.slots, "limpide-llamacpp")
        self._wire = Wire(engine.url, engine.headers)

    async def close(self) -> None:
        """End the answers under way, at their next token."""
        self._closing = True
        await asyncio.to_thread(self._threads.shutdown, cancel_futures=True)
        await self._wire.close()

    async def count_chat(self, messages: Sequence[Mapping[str, str]]) -> int:
        counted = await self._count("/v1/chat/completions/input_tokens", {"messages": list(messages)})
        return int(counted["input_tokens"])

    async def count_text(self, text: str) -> int:
        counted = await self._count("/tokenize", {"content": text, "add_special": True, "parse_special": True})
        return len(counted["tokens"])

    async def events(self, route: str, body: Mapping[str, Any]) -> AsyncGenerator[Event, None]:
        asked = _asked(route, body)
        if body.get("stream"):
            made = self._made(partial(self._ask, route, {**asked, **STREAMED}))
        elif _is_short(asked):
            made = self._made(partial(self._ask, route, asked))
        else:
            made = self._posted(route, asked)
        sent = 0  # characters of a raw prompt's answer
        async with aclosing(made) as events:
            async for event in events:
                usage = event.pop("usage", None)
                if event.get("choices"):
                    yield _given(event, body, sent)
                if usage is not None:  # of a raw prompt, llama.cpp tells it together with the end of the answer
                    yield {**event, "choices": [], "usage": usage}
                sent += sum(len(choice.get("text") or "") for choice in event.get("choices", []))

    def _ask(self, route: str, asked: Mapping[str, Any], way: Way[Event]) -> None:
        """In a thread."""

        def take(event: Event) -> bool:
            if "prompt_progress" not in event:
                way.put(event)
            return way.left or self._closing

        self._engine.ask(route, asked, take)

    async def embed(self, texts: Sequence[str | Sequence[int]]) -> Embedded:
        """The mean of the last hidden states of each text. A text may be `MOST_EMBEDDED` tokens long."""
        if "embedding" not in self.gives:
            raise ApiError(400, "This engine was opened without embeddings.", code="unsupported")
        for text in texts:  # before any is computed, as nobody is charged for a request that is refused
            await self._check_length(text)
        inputs = [text if isinstance(text, str) else list(text) for text in texts]

        def work(way: Way[Event]) -> None:
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

    async def _check_length(self, text: str | Sequence[int]) -> None:
        most = min(MOST_EMBEDDED, self.context)
        bound = bound_of(text) if isinstance(text, str) else len(text)
        if bound is not None and bound > most:
            tokens = await self.count_text(text) if isinstance(text, str) else bound
            if tokens > most:
                message = f"A text has {tokens} tokens, and this engine reads {most} at once for an embedding."
                raise ApiError(400, message, code="context_length_exceeded", param="input")

    async def _made(self, work: Callable[[Way[Event]], None]) -> AsyncGenerator[Event, None]:
        """What llama.cpp tells in a thread. A slot is taken until that ends, which may be after this was closed."""
        await self._room.acquire()
        try:
            async with aclosing(carried(self._threads, work, freed=self._room.release)) as told:
                async for events in told:
                    for event in events:
                        yield _checked(event)
        except (LimpideError, RuntimeError) as error:
            raise closed() from error
        if self._closing:
            raise closed()

    async def _posted(self, route: str, asked: Mapping[str, Any]) -> AsyncGenerator[Event, None]:
        async with self._room:
            yield await self._post(route, asked)

    async def _count(self, route: str, body: Mapping[str, Any]) -> Event:
        async with self._counting:
            return await self._post(route, body)

    async def _post(self, route: str, body: Mapping[str, Any]) -> Event:
        if self._closing:
            raise closed()
        return _checked(await self._wire.post(route, body))


def _checked(event: Event) -> Event:
    """Raises ApiError for a refusal."""
    if "error" in event:
        raise _refused(event["error"])
    return event


def _refused(fault: Mapping[str, Any]) -> ApiError:
    """The engine's refusal. Its message speaks of the request's form, or of the template; it does not quote it."""
    said = str(fault.get("message"))
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
    check_schema((body.get("response_format") or {}).get("json_schema", {}).get("schema", {}))
    count = alternatives(body)
    if count is not None:  # with 0 alternatives llama.cpp would leave out the log-probabilities altogether
        asked["top_logprobs" if route == CHAT_ROUTE else "logprobs"] = max(1, count)
    return asked


def _is_short(asked: Mapping[str, Any]) -> bool:
    prompt = asked.get("messages", asked.get("prompt"))
    return 0 < asked.get("max_tokens", 0) <= SHORT and len(str(prompt)) <= SHORT_PROMPT


def _given(event: Event, body: Mapping[str, Any], sent: int) -> Event:
    """An event, which may be a whole answer, as a chunk in OpenAI's form. sent: characters of the events before it."""
    count = alternatives(body)
    for choice in event.get("choices", []):
        if "message" in choice:
            choice["delta"] = choice.pop("message")
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
