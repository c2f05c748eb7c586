"""Engines over real HTTP: one that is a server elsewhere, and each kind of model behind the gateway."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import openai
import pytest

from limpide.core.errors import MissingError, ModelError, UsageError
from limpide.serve.engines.protocol import Engine
from limpide.serve.engines.vllm import open_vllm
from limpide.serve.engines.whole import whole
from limpide.serve.openai_types import CHAT_ROUTE, COMPLETION_ROUTE, ApiError, ChatRequest
from limpide.serve.shelf import Offered
from serving import a_service, listening
from shared_adapters import random_adapter
from vllm_stand_in import KEY, StandIn, vllm_stand_in

TURNS = [{"role": "user", "content": "hello there"}]


@pytest.fixture(scope="module")
def running() -> Iterator[StandIn]:
    with vllm_stand_in() as stand_in:
        yield stand_in


@pytest.fixture
def server(running: StandIn) -> StandIn:
    running.asked.clear()
    running.faults.clear()
    running.missing.clear()
    running.has_template = True
    running.breaks = running.halts = None
    running.left.clear()
    return running


def with_engine(server: StandIn, use: Callable[[Engine], Awaitable[Any]]) -> Any:
    async def run() -> Any:
        engine = open_vllm(f"{server.url}/v1/", KEY)
        try:
            return await use(engine)
        finally:
            await engine.close()

    return asyncio.run(run())


def ask(server: StandIn, route: str = CHAT_ROUTE, **body: Any) -> Any:
    content = {"messages": TURNS} if route == CHAT_ROUTE else {"prompt": "hello"}
    return with_engine(server, lambda engine: whole(engine.events(route, {**content, **body})))


def stream(server: StandIn, route: str = CHAT_ROUTE, **body: Any) -> Any:
    content = {"messages": TURNS} if route == CHAT_ROUTE else {"prompt": "hello"}

    async def use(engine: Engine) -> list[dict[str, Any]]:
        return [event async for event in engine.events(route, {**content, **body})]

    return with_engine(server, use)


def test_what_the_server_says_of_itself(server: StandIn) -> None:
    engine = open_vllm(server.url, KEY)
    assert engine.gives == {"chat", "completion", "embedding"}
    assert engine.context == 64
    assert engine.control_tokens == ("<|im_end|>",)
    assert engine.has_template


def test_a_server_that_says_less(server: StandIn) -> None:
    server.missing |= {"/openapi.json", "/tokenizer_info"}
    engine = open_vllm(server.url, KEY)
    assert engine.gives == {"chat", "completion"}
    assert engine.control_tokens == ()


def test_a_model_without_a_template(server: StandIn) -> None:
    server.has_template = False
    engine = open_vllm(server.url, KEY)
    assert not engine.has_template
    assert engine.context == 64


def test_counting(server: StandIn) -> None:
    async def use(engine: Engine) -> tuple[int, int]:
        return await engine.count_chat(TURNS), await engine.count_text("a b c")

    assert with_engine(server, use) == (7, 4)
    assert server.last("/tokenize") == {"model": "base", "prompt": "a b c"}


@pytest.mark.parametrize("route", [CHAT_ROUTE, COMPLETION_ROUTE])
def test_an_answer_and_the_same_one_streamed(server: StandIn, route: str) -> None:
    made, events = ask(server, route), stream(server, route)
    choices = [choice for event in events for choice in event["choices"]]
    said = "".join(choice["text"] if "text" in choice else choice["delta"]["content"] for choice in choices)
    assert said == "one two three"
    assert events[-1]["usage"] == made["usage"]
    assert server.last(route)["stream_options"] == {"include_usage": True, "continuous_usage_stats": True}


def test_only_what_was_asked_is_sent(server: StandIn) -> None:
    asked = ChatRequest.model_validate({"messages": TURNS, "max_tokens": 5, "stop": "END", "seed": 3})
    ask(server, **asked.sampling(), adapter=None)
    assert server.last(CHAT_ROUTE) == {
        "model": "base",
        "messages": TURNS,
        "max_tokens": 5,
        "stop": ["END"],
        "seed": 3,
        "temperature": 0.0,
        "top_p": 1.0,
        "min_p": 0.0,
        "top_k": -1,
        "repetition_penalty": 1.0,
        "stream": True,
        "stream_options": {"include_usage": True, "continuous_usage_stats": True},
    }


def test_an_adapter_is_a_model_of_the_server(server: StandIn) -> None:
    ask(server, adapter="tone")
    body = server.last(CHAT_ROUTE)
    assert body["model"] == "tone"
    assert "adapter" not in body
    with pytest.raises(ApiError, match="Did you mean 'tone'") as caught:
        ask(server, adapter="tones")
    assert caught.value.status == 404


def test_vectors_come_in_order_and_normalised(server: StandIn) -> None:
    found = with_engine(server, lambda engine: engine.embed(["a", "bbb"]))
    assert found.vectors.tolist() == [[1.0, 0.0], [1.0, 0.0]]
    assert found.tokens == 2
    assert server.last("/v1/embeddings") == {"model": "base", "encoding_format": "float", "input": ["a", "bbb"]}
    assert with_engine(server, lambda engine: engine.embed(["a", [5, 6]])).tokens == 2
    assert server.last("/v1/embeddings")["input"] == [[5, 6]]


@pytest.mark.parametrize(
    ("status", "body", "expected", "code"),
    [
        (400, {"error": {"message": "max_tokens is too large"}}, 400, "engine_refused"),
        (422, {"message": "max_tokens is too large"}, 400, "engine_refused"),
        (400, ["odd"], 400, "engine_refused"),
        (401, {"error": "Unauthorized"}, 502, "engine_key"),
        (404, {"error": {"message": "no such model"}}, 502, "engine_error"),
        (429, {}, 503, "engine_busy"),
        (500, {"error": {"message": "CUDA out of memory"}}, 502, "engine_error"),
        (503, {}, 503, "engine_busy"),
        (200, {"choices": []}, 502, "engine_error"),
        (200, ["no object"], 502, "engine_error"),
    ],
)
def test_faults_of_the_server(server: StandIn, status: int, body: Any, expected: int, code: str) -> None:
    server.faults[CHAT_ROUTE] = status, body
    with pytest.raises(ApiError) as caught:
        ask(server)
    assert (caught.value.status, caught.value.code) == (expected, code)
    assert "CUDA" not in caught.value.message
    assert ("max_tokens is too large" in caught.value.message) is (isinstance(body, dict) and "max" in str(body))
    if status != 200:
        with pytest.raises(ApiError) as streamed:
            stream(server)
        assert streamed.value.code == code


@pytest.mark.parametrize("words", [0, 2])
def test_a_stream_that_breaks_off_is_an_error(server: StandIn, words: int) -> None:
    server.breaks = words
    with pytest.raises(ApiError, match="stopped in the middle") as caught:
        stream(server)
    assert caught.value.status == 502


def test_closing_the_iterator_leaves_the_server(server: StandIn) -> None:
    server.halts = 2

    async def use(engine: Engine) -> None:
        events = engine.events(CHAT_ROUTE, {"messages": TURNS})
        await anext(events)
        await events.aclose()

    with_engine(server, use)
    assert server.left.wait(10)


def test_a_server_that_went_away() -> None:
    with vllm_stand_in() as server:
        engine = open_vllm(server.url, KEY)

    async def run() -> list[Any]:
        calls = [engine.count_text("a"), engine.embed(["a"]), anext(engine.events(CHAT_ROUTE, {}))]
        found = await asyncio.gather(*calls, return_exceptions=True)
        await engine.close()
        return list(found)

    assert [(error.status, error.code) for error in asyncio.run(run())] == [(503, "engine_unreachable")] * 3


def test_nothing_there(server: StandIn) -> None:
    with pytest.raises(MissingError, match="No model server answers"):
        open_vllm("http://127.0.0.1:1", None)
    with pytest.raises(ModelError, match="refuses the key"):
        open_vllm(server.url, None)
    for route, fault in {"/v1/models": (200, {"hello": "world"}), "/tokenize": (404, {})}.items():
        server.faults = {route: fault}
        with pytest.raises(ModelError, match="no model server that Limpide can use"):
            open_vllm(server.url, KEY)


@pytest.mark.parametrize("url", ["", "localhost:8000", "ftp://a", "http://user:secret@a", "http://a?key=b"])
def test_what_is_no_address(url: str) -> None:
    with pytest.raises(UsageError, match="not the address"):
        open_vllm(url, None)


@contextmanager
def asked_by_openai(state: Path, *offered: Offered) -> Iterator[openai.OpenAI]:
    """The official client of a gateway that serves what is offered."""
    with a_service(state, *offered) as service, listening(service) as gateway:
        client = openai.OpenAI(base_url=f"{gateway.url}/v1", api_key="none", max_retries=0)
        with client:
            yield client


def offer(name: str, engine: Engine, adapter: str | None = None) -> Offered:
    return Offered(name, engine, adapter, f"{name}-1.0.0", None, "print", False)


def test_every_kind_of_model_side_by_side(server: StandIn, tiny_path: Callable[[str], Path], tmp_path: Path) -> None:
    from limpide.serve.engines.transformers import open_transformers

    tone = random_adapter(tiny_path("llama"), tmp_path / "tone")
    llama = open_transformers(tiny_path("llama"), adapters={"tone": tone}, threads=1)
    bert, t5 = (open_transformers(tiny_path(name), adapters={}, threads=1) for name in ("bert", "t5"))
    shelf = [offer("llama", llama), offer("llama-tone", llama, "tone"), offer("bert", bert), offer("t5", t5)]
    with asked_by_openai(tmp_path / "state", *shelf, offer("far", open_vllm(server.url, KEY))) as client:
        chat: Any
        complete: Any
        chat, complete = client.chat.completions.create, client.completions.create
        answers = {
            name: chat(model=name, messages=TURNS, max_tokens=8) for name in ("llama", "llama-tone", "t5", "far")
        }
        assert answers["far"].choices[0].message.content == "one two three"
        assert answers["llama"].choices[0].message.content != answers["llama-tone"].choices[0].message.content
        assert all(answer.usage and answer.usage.completion_tokens for answer in answers.values())
        for name, answer in answers.items():
            chunks = list(chat(model=name, messages=TURNS, max_tokens=8, stream=True))
            said = "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)
            assert said == answer.choices[0].message.content
        listed = chat(model="llama", messages=TURNS, max_tokens=3, logprobs=True, top_logprobs=2).choices[0].logprobs
        assert [len(token.top_logprobs) for token in listed.content or []] == [2, 2, 2]
        filled = complete(model="bert", prompt="The [MASK] stops.", logprobs=3)
        assert filled.choices[0].text == filled.choices[0].logprobs.tokens[0]
        vectors = client.embeddings.create(model="bert", input=["a", "the river"]).data
        assert [len(row.embedding) for row in vectors] == [32, 32]
        with pytest.raises(openai.BadRequestError):
            chat(model="bert", messages=TURNS)
        with pytest.raises(openai.BadRequestError, match="response_format"):
            chat(model="llama", messages=TURNS, response_format={"type": "json_object"})
