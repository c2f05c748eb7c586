"""A server that speaks vLLM's protocol over real HTTP on loopback, and answers every question with the same words."""

import asyncio
import json
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import uvicorn
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, StreamingResponse

from limpide.serve.address import listen, url_of

KEY = "key-of-the-stand-in"
WORDS = ("one", " two", " three")


@dataclass
class StandIn:
    """asked: (route, body) of each request. faults: {route: (status, body)} to answer with instead. missing: routes it
    lacks. has_template: can it read a conversation. breaks: after so many words the connection of a stream ends; halts:
    after so many, it waits to be left."""

    url: str = ""
    asked: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    faults: dict[str, tuple[int, Any]] = field(default_factory=dict)
    missing: set[str] = field(default_factory=set)
    has_template: bool = True
    breaks: int | None = None
    halts: int | None = None
    left: threading.Event = field(default_factory=threading.Event)

    def last(self, route: str) -> dict[str, Any]:
        return next(body for path, body in reversed(self.asked) if path == route)


@contextmanager
def vllm_stand_in() -> Iterator[StandIn]:
    stand_in, ready = StandIn(), threading.Event()
    listening = listen("127.0.0.1", 0)
    stand_in.url = url_of(listening)
    config = uvicorn.Config(_app(stand_in), log_level="critical", log_config=None, lifespan="off")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=lambda: (ready.set(), server.run(sockets=[listening])))
    thread.start()
    try:
        assert ready.wait(10)
        yield stand_in
    finally:
        server.should_exit = True
        thread.join(10)
        listening.close()
        assert not thread.is_alive()


def _app(stand_in: StandIn) -> FastAPI:
    app = FastAPI()

    @app.middleware("http")
    async def watch(request: Request, go_on: Any) -> Any:
        path = request.url.path
        body = await request.body()
        stand_in.asked.append((path, json.loads(body) if body else {}))
        if request.headers.get("authorization") != f"Bearer {KEY}":
            return JSONResponse({"error": "Unauthorized"}, 401)
        if path in stand_in.missing:
            return JSONResponse({"detail": "Not Found"}, 404)
        if path in stand_in.faults:
            status, fault = stand_in.faults[path]
            return JSONResponse(fault, status)
        return await go_on(request)

    @app.get("/v1/models")
    async def models() -> dict[str, Any]:
        base = {"id": "base", "object": "model", "max_model_len": 64, "parent": None, "root": "base"}
        return {"object": "list", "data": [base, {"id": "tone", "object": "model", "parent": "base"}]}

    @app.post("/tokenize")
    async def tokenize(request: Request) -> Any:
        body = await request.json()
        if "messages" in body and not stand_in.has_template:
            return JSONResponse({"error": {"message": "no chat template"}}, 400)
        words = body["prompt"] if "prompt" in body else " ".join(turn["content"] for turn in body["messages"])
        count = len(words.split()) + (5 if "messages" in body else 1)
        return {"count": count, "max_model_len": 64, "tokens": list(range(count))}

    @app.get("/tokenizer_info")
    async def info() -> dict[str, Any]:
        added = {"0": {"content": "<|im_end|>", "special": True}, "1": {"content": "<plain>", "special": False}}
        return {"tokenizer_class": "PreTrainedTokenizerFast", "added_tokens_decoder": added}

    @app.post("/v1/chat/completions")
    async def chat(request: Request) -> Any:
        return _answer(stand_in, await request.json(), "chat.completion")

    @app.post("/v1/completions")
    async def complete(request: Request) -> Any:
        return _answer(stand_in, await request.json(), "text_completion")

    @app.post("/v1/embeddings")
    async def embed(request: Request) -> dict[str, Any]:
        texts = (await request.json())["input"]
        rows = [{"object": "embedding", "index": k, "embedding": [float(len(t)), 0.0]} for k, t in enumerate(texts)]
        return {
            "object": "list",
            "data": rows[::-1],
            "usage": {"prompt_tokens": len(texts), "total_tokens": len(texts)},
        }

    return app


def _answer(stand_in: StandIn, body: dict[str, Any], kind: str) -> Any:
    chat = kind.startswith("chat")
    record = {"id": "cmpl-1", "object": kind, "created": 1, "model": body["model"]}
    usage = {"prompt_tokens": 7, "completion_tokens": len(WORDS), "total_tokens": 7 + len(WORDS)}
    if not body.get("stream"):
        text = "".join(WORDS)
        said = {"message": {"role": "assistant", "content": text}} if chat else {"text": text}
        return {**record, "choices": [{"index": 0, **said, "logprobs": None, "finish_reason": "stop"}], "usage": usage}

    async def lines() -> AsyncIterator[str]:
        kind_of_chunk = {"object": "chat.completion.chunk"} if chat else {}
        try:
            for number, word in enumerate(WORDS):
                if number == stand_in.breaks:
                    return
                if number == stand_in.halts:
                    while True:
                        await asyncio.sleep(0.005)
                        yield ": waiting\n\n"
                said = {"delta": {"content": word}} if chat else {"text": word}
                yield _line({**record, **kind_of_chunk, "choices": [{"index": 0, **said, "finish_reason": None}]})
            if body.get("stream_options", {}).get("include_usage"):
                yield _line({**record, **kind_of_chunk, "choices": [], "usage": usage})
            yield "data: [DONE]\n\n"
        finally:
            stand_in.left.set()

    return StreamingResponse(lines(), media_type="text/event-stream")


def _line(record: dict[str, Any]) -> str:
    return f"data: {json.dumps(record)}\n\n"
