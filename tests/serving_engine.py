"""An engine whose every answer is known: it counts words, and answers 'one two'."""

import asyncio
from collections.abc import AsyncGenerator, Mapping, Sequence
from typing import Any

import numpy as np

from limpide.serve.engines.protocol import Embedded, Gives

CHUNK = {"id": "1", "object": "chat.completion.chunk", "created": 1}


class WordEngine:
    """fault: raised after the first word. hold: seconds before each word. told: words that were taken. ended: streams
    that are."""

    gives: frozenset[Gives] = frozenset({"chat", "completion", "embedding"})
    control_tokens: Sequence[str] = ("<|im_end|>", "[/INST]")
    has_template = True
    at_once = False

    def __init__(self, *, context: int = 20, words: Sequence[str] = ("one", " two"), hold: float = 0.0) -> None:
        self.context, self.words, self.hold = context, words, hold
        self.fault: Exception | None = None
        self.asked: list[tuple[str, dict[str, Any]]] = []
        self.counted = self.told = self.ended = 0

    async def count_chat(self, messages: Sequence[Mapping[str, str]]) -> int:
        self.counted += 1
        return sum(len(message["content"].split()) for message in messages)

    async def count_text(self, text: str) -> int:
        self.counted += 1
        return len(text.split())

    async def events(self, route: str, body: Mapping[str, Any]) -> AsyncGenerator[dict[str, Any], None]:
        self.asked.append((route, dict(body)))
        try:
            for index, word in enumerate(self.words):
                await asyncio.sleep(self.hold)
                if self.fault and index:
                    raise self.fault
                said = {"delta": {"content": word}} if "chat" in route else {"text": word}
                finish = "stop" if index == len(self.words) - 1 else None
                yield {**CHUNK, "choices": [{"index": 0, **said, "finish_reason": finish}]}
                self.told += 1
            yield {**CHUNK, "choices": [], "usage": await self._usage(body)}
        finally:
            self.ended += 1

    async def embed(self, texts: Sequence[str | Sequence[int]]) -> Embedded:
        vectors = np.array([[1.0, 0.0] for _ in texts], np.float32)
        return Embedded(vectors, sum(len(text.split()) if isinstance(text, str) else len(text) for text in texts))

    async def close(self) -> None:
        pass

    async def _usage(self, body: Mapping[str, Any]) -> dict[str, int]:
        prompt = body.get("prompt", "")
        before = self.counted
        counted = (
            await self.count_chat(body["messages"])
            if "messages" in body
            else len(prompt.split())
            if isinstance(prompt, str)
            else len(prompt)
        )
        self.counted = before
        made = len(self.words)
        return {"prompt_tokens": counted, "completion_tokens": made, "total_tokens": counted + made}
