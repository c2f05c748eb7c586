"""Asynchronous requests to llama.cpp in this process, which end when the client leaves."""

import asyncio
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from typing import Any

import numpy as np

from limpide.models.llamacpp import LlamaEngine, event_of
from limpide.serve.engines.forms import Token, alternatives, completion_logprobs
from limpide.serve.engines.patterns import check_patterns
from limpide.serve.engines.protocol import Embedded, Gives
from limpide.serve.engines.wire import Wire
from limpide.serve.openai_types import CHAT_ROUTE, COMPLETION_ROUTE, EMBEDDING_ROUTE, ApiError

WRITES: frozenset[Gives] = frozenset({"chat", "completion"})
EMBEDS: frozenset[Gives] = frozenset({"embedding"})
# llama.cpp gives a thread to each request it holds. These leave some of its SPARE_HTTP_THREADS free, so that a crowd
# waiting for an answer never delays a question that will be refused.
WAITING = 8  # generations handed to the engine beyond its slots; others wait here, in order
COUNTING = 8  # requests at once that count tokens


class LlamaClient:
    """Requests to a running `LlamaEngine`. Waiting for a free slot has no time limit: the client may leave."""

    def __init__(self, engine: LlamaEngine) -> None:
        self.gives: frozenset[Gives] = WRITES | EMBEDS if engine.embeds else WRITES
        self.context = engine.context
        self.control_tokens: Sequence[str] = engine.control_tokens
        self.has_template = engine.has_template
        self._room = asyncio.Semaphore(engine.slots + WAITING)
        self._counting = asyncio.Semaphore(COUNTING)
        self._wire = Wire(engine.url, engine.headers)

    async def close(self) -> None:
        await self._wire.close()

    async def count_chat(self, messages: Sequence[Mapping[str, str]]) -> int:
        body = {"messages": list(messages)}
        async with self._counting:
            return int((await self._wire.post("/v1/chat/completions/input_tokens", body))["input_tokens"])

    async def count_text(self, text: str) -> int:
        body = {"content": text, "add_special": True, "parse_special": True}
        async with self._counting:
            return len((await self._wire.post("/tokenize", body))["tokens"])

    async def answer(self, route: str, body: Mapping[str, Any]) -> dict[str, Any]:
        asked = _asked(route, body)
        async with self._room:
            given = await self._wire.post(route, asked)
        return _given(given, body, 0)

    async def events(self, route: str, body: Mapping[str, Any]) -> AsyncGenerator[dict[str, Any], None]:
        # timings_per_token: counts in every event, for a client that leaves before the last one
        asked = {**_asked(route, body), "stream": True, "stream_options": {"include_usage": True}}
        asked["timings_per_token"] = True
        sent = 0  # characters of a raw prompt's answer
        async with self._room, aclosing(self._wire.lines(route, asked)) as lines:
            async for line in lines:
                event = event_of(line)
                if event is None:
                    continue
                if "error" in event:
                    raise ApiError(502, "The engine stopped in the middle of the answer.", code="engine_error")
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
        async with self._room:
            given = await self._wire.post(EMBEDDING_ROUTE, {"input": inputs, "encoding_format": "float"})
        rows = sorted(given["data"], key=lambda row: int(row["index"]))
        return Embedded(np.array([row["embedding"] for row in rows], np.float32), int(given["usage"]["prompt_tokens"]))


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


def _given(answer: dict[str, Any], body: Mapping[str, Any], sent: int) -> dict[str, Any]:
    """An answer or a chunk with its log-probabilities in OpenAI's form. sent: characters of the chunks before it."""
    count = alternatives(body)
    for choice in answer.get("choices", []):
        if not choice.get("logprobs"):
            continue
        tokens = [{**token, "top_logprobs": token["top_logprobs"][:count]} for token in choice["logprobs"]["content"]]
        choice["logprobs"] = {"content": tokens} if "text" not in choice else _of_a_prompt(tokens, sent)
    return answer


def _of_a_prompt(tokens: Sequence[Mapping[str, Any]], start: int) -> dict[str, Any]:
    made = []
    for token in tokens:
        others = tuple((other["token"], other["logprob"]) for other in token["top_logprobs"])
        made.append(Token(token["token"], start, token["logprob"], others))
        start += len(token["token"])
    return completion_logprobs(made)
