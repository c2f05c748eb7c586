"""What the gateway is given of llama.cpp: OpenAI's forms, nothing dropped without a word, vectors beside answers."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from limpide.models.llamacpp import LlamaEngine
from limpide.serve.engines.llamacpp import LlamaClient
from limpide.serve.engines.whole import whole
from limpide.serve.openai_types import CHAT_ROUTE, COMPLETION_ROUTE, ApiError
from tiny_gguf import write_gguf

TURNS = [{"role": "user", "content": "hello"}]
BODIES: dict[str, dict[str, Any]] = {
    CHAT_ROUTE: {"messages": TURNS, "temperature": 0.0, "max_tokens": 6},
    COMPLETION_ROUTE: {"prompt": "hello", "temperature": 0.0, "max_tokens": 6},
}


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LlamaEngine]:
    gguf = write_gguf(tmp_path_factory.mktemp("gguf") / "tiny.gguf")
    with LlamaEngine(gguf, context=256, threads=1, embeds=True) as engine:
        yield engine


@asynccontextmanager
async def client_of(opened: LlamaEngine) -> AsyncIterator[LlamaClient]:
    client = LlamaClient(opened)
    try:
        yield client
    finally:
        await client.close()


def ask(opened: LlamaEngine, route: str = CHAT_ROUTE, **body: Any) -> dict[str, Any]:
    async def run() -> dict[str, Any]:
        async with client_of(opened) as client:
            return await whole(client.events(route, {**BODIES[route], **body}))

    return asyncio.run(run())


def stream(opened: LlamaEngine, route: str = CHAT_ROUTE, **body: Any) -> list[dict[str, Any]]:
    async def run() -> list[dict[str, Any]]:
        async with client_of(opened) as client:
            return [event async for event in client.events(route, {**BODIES[route], **body})]

    return asyncio.run(run())


def embed(opened: LlamaEngine, texts: Any) -> Any:
    async def run() -> Any:
        async with client_of(opened) as client:
            return await client.embed(texts)

    return asyncio.run(run())


@pytest.mark.parametrize("route", [CHAT_ROUTE, COMPLETION_ROUTE])
def test_the_last_event_tells_the_usage_asked_or_not(opened: LlamaEngine, route: str) -> None:
    events = stream(opened, route)
    usage = {name: events[-1]["usage"][name] for name in ("prompt_tokens", "completion_tokens")}
    assert events[-1]["choices"] == []
    made = ask(opened, route)
    assert usage == {name: made["usage"][name] for name in usage}
    assert usage["completion_tokens"] == 6


@pytest.mark.parametrize("count", [0, 2])
def test_log_probabilities_of_a_conversation(opened: LlamaEngine, count: int) -> None:
    content = ask(opened, logprobs=True, top_logprobs=count)["choices"][0]["logprobs"]["content"]
    assert [len(token["top_logprobs"]) for token in content] == [count] * 6
    events = stream(opened, logprobs=True, top_logprobs=count)
    streamed = [t for e in events for c in e["choices"] if c.get("logprobs") for t in c["logprobs"]["content"]]
    assert [token["token"] for token in streamed] == [token["token"] for token in content]
    assert ask(opened, logprobs=False)["choices"][0]["logprobs"] is None


@pytest.mark.parametrize("count", [0, 2])
def test_log_probabilities_of_a_raw_prompt(opened: LlamaEngine, count: int) -> None:
    choice = ask(opened, COMPLETION_ROUTE, logprobs=count)["choices"][0]
    given = choice["logprobs"]
    assert "".join(given["tokens"]) == choice["text"]
    assert given["text_offset"] == [0, 1, 2, 3, 4, 5]  # one letter a token
    assert [len(others) for others in given["top_logprobs"]] == [count] * 6
    events = stream(opened, COMPLETION_ROUTE, logprobs=count)
    parts = [c["logprobs"] for event in events for c in event["choices"] if c.get("logprobs")]
    assert [start for part in parts for start in part["text_offset"]] == given["text_offset"]
    assert [token for part in parts for token in part["tokens"]] == given["tokens"]


def test_an_answer_keeps_to_a_schema(opened: LlamaEngine) -> None:
    schema = {"type": "object", "properties": {"ok": {"const": "abc"}}, "required": ["ok"]}
    form = {"type": "json_schema", "json_schema": {"name": "a", "schema": schema}}
    text = ask(opened, response_format=form, max_tokens=60, temperature=1.0, seed=1)["choices"][0]["message"]["content"]
    assert text.lstrip().startswith("{")
    assert text.split()[0].startswith('{"ok"'[: len(text.split()[0])])


@pytest.mark.parametrize(
    ("route", "body", "status", "code"),
    [
        (COMPLETION_ROUTE, {"response_format": {"type": "json_object"}}, 400, "unsupported"),
        (CHAT_ROUTE, {"adapter": "tone"}, 404, "adapter_not_found"),
        (COMPLETION_ROUTE, {"prompt": [5, 99999]}, 400, "engine_refused"),
    ],
)
def test_refusals(opened: LlamaEngine, route: str, body: dict[str, Any], status: int, code: str) -> None:
    for call in (ask, stream):
        with pytest.raises(ApiError) as caught:
            call(opened, route, **body)
        assert (caught.value.status, caught.value.code) == (status, code)


def test_vectors_have_length_one_in_the_order_given(opened: LlamaEngine) -> None:
    found = embed(opened, ["hello", [7, 8], "a longer text"])
    assert found.vectors.shape == (3, 64)
    assert (found.vectors**2).sum(1) == pytest.approx([1, 1, 1])
    assert found.tokens == 5 + 2 + 13
    assert embed(opened, [[7, 8]]).vectors[0] == pytest.approx(found.vectors[1], abs=1e-5)


@pytest.mark.parametrize(
    ("texts", "code"),
    [
        (["word " * 80], "context_length_exceeded"),
        ([[5] * 257], "context_length_exceeded"),
        (["short", "word " * 80], "context_length_exceeded"),
        ([""], "engine_refused"),
    ],
)
def test_texts_that_have_no_vector(
    opened: LlamaEngine, texts: list[str], code: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    computed, whole_one = [], opened.embed
    monkeypatch.setattr(opened, "embed", lambda body: computed.append(body) or whole_one(body))
    with pytest.raises(ApiError) as caught:
        embed(opened, texts)
    assert (caught.value.status, caught.value.code) == (400, code)
    assert bool(computed) is (code == "engine_refused")


def test_giving_vectors_changes_no_answer(opened: LlamaEngine) -> None:
    embed(opened, ["hello"])
    with LlamaEngine(opened.gguf, context=256, threads=1) as without:
        assert LlamaClient(without).gives == {"chat", "completion"}
        assert LlamaClient(opened).gives == {"chat", "completion", "embedding"}
        probabilities = [e.complete("hello", n_probs=3)["completion_probabilities"] for e in (without, opened)]
        assert probabilities[0] == probabilities[1]
        with pytest.raises(ApiError, match="without embeddings"):
            embed(without, ["hello"])


def test_a_pattern_that_would_be_dropped_is_refused(opened: LlamaEngine) -> None:
    def form(pattern: str) -> dict[str, Any]:
        schema = {"type": "string", "pattern": pattern}
        return {"type": "json_schema", "json_schema": {"name": "code", "schema": schema}}

    kept = ask(opened, response_format=form("^X[12]$"), max_tokens=20, temperature=1.0)
    assert kept["choices"][0]["message"]["content"] in ('"X1"', '"X2"')
    with pytest.raises(ApiError, match="would not be kept") as caught:
        ask(opened, response_format=form("X1"))
    assert (caught.value.status, caught.value.code) == (400, "unsupported_pattern")


SCHEMA = {"type": "json_schema", "json_schema": {"name": "a", "schema": {"type": "object"}}}


@pytest.mark.parametrize(
    ("route", "body"),
    [
        (CHAT_ROUTE, {}),
        (CHAT_ROUTE, {"temperature": 1.0, "seed": 5, "max_tokens": 40}),
        (CHAT_ROUTE, {"temperature": 1.0, "seed": 5, "max_tokens": 40, "stream": True}),
        (CHAT_ROUTE, {"logprobs": True, "top_logprobs": 2}),
        (CHAT_ROUTE, {"temperature": 1.0, "seed": 6, "max_tokens": 60, "stop": ["a", "e"]}),
        (CHAT_ROUTE, {"temperature": 1.0, "seed": 7, "max_tokens": 30, "response_format": SCHEMA}),
        (COMPLETION_ROUTE, {"temperature": 1.0, "seed": 8, "max_tokens": 40}),
        (COMPLETION_ROUTE, {"temperature": 1.0, "seed": 8, "max_tokens": 40, "stream": True}),
        (COMPLETION_ROUTE, {"logprobs": 2}),
    ],
)
def test_an_answer_put_together_is_the_one_llama_cpp_gives_at_once(
    opened: LlamaEngine, route: str, body: dict[str, Any]
) -> None:
    own: list[dict[str, Any]] = []
    asked = {**BODIES[route], **body, "stream": False}
    opened.ask(route, asked, lambda event: bool(own.append(event)))
    (theirs,), made = own, ask(opened, route, **body)
    assert made["object"] == theirs["object"]
    counts = ("prompt_tokens", "completion_tokens", "total_tokens")  # what the cache held differs
    assert [made["usage"][name] for name in counts] == [theirs["usage"][name] for name in counts]
    ours, choice = made["choices"][0], theirs["choices"][0]
    assert ours["finish_reason"] == choice["finish_reason"]
    assert ours.get("message") == choice.get("message")
    assert ours.get("text") == choice.get("text")
    if route == CHAT_ROUTE and body.get("logprobs"):
        tokens = zip(ours["logprobs"]["content"], choice["logprobs"]["content"], strict=True)
        for one, other in tokens:  # where in the cache a prompt lies moves the last bits of its numbers
            assert one["token"] == other["token"]
            assert one["logprob"] == pytest.approx(other["logprob"], abs=1e-3)
            alternatives = zip(one["top_logprobs"], other["top_logprobs"], strict=True)
            assert all(a["logprob"] == pytest.approx(b["logprob"], abs=1e-3) for a, b in alternatives)


def test_a_schema_that_nothing_meets_does_not_reach_the_engine(opened: LlamaEngine) -> None:
    """llama.cpp would make a grammar of it until the memory is full."""
    schema = {"type": "object", "properties": {"a": {"type": "array", "minItems": 5, "maxItems": 2}}}
    form = {"type": "json_schema", "json_schema": {"name": "a", "schema": schema}}
    with pytest.raises(ApiError) as caught:
        ask(opened, response_format=form)
    assert (caught.value.status, caught.value.code) == (400, "unsupported_schema")


def test_leaving_a_long_whole_answer_frees_its_slot(opened: LlamaEngine) -> None:
    async def run() -> dict[str, Any]:
        async with client_of(opened) as client:
            body = {**BODIES[CHAT_ROUTE], "max_tokens": 200, "temperature": 1.0, "seed": 1}
            left = asyncio.create_task(whole(client.events(CHAT_ROUTE, body)))
            await asyncio.sleep(0.005)
            left.cancel()
            with pytest.raises(asyncio.CancelledError):
                await left
            return await whole(client.events(CHAT_ROUTE, {**BODIES[CHAT_ROUTE], "max_tokens": 60}))

    answer = asyncio.run(asyncio.wait_for(run(), 60))
    assert answer["usage"]["completion_tokens"] > 0


def test_leaving_frees_the_slot(opened: LlamaEngine) -> None:
    async def run() -> tuple[int, dict[str, Any]]:
        seen = 0
        async with client_of(opened) as client:
            events = client.events(CHAT_ROUTE, {**BODIES[CHAT_ROUTE], "max_tokens": 200, "seed": 1, "stream": True})
            async for _ in events:
                seen += 1
                break
            await events.aclose()
            return seen, await whole(client.events(CHAT_ROUTE, BODIES[CHAT_ROUTE]))

    seen, answer = asyncio.run(asyncio.wait_for(run(), 60))
    assert seen == 1
    assert answer["usage"]["completion_tokens"] == 6


def test_closing_ends_what_runs_and_what_waits(opened: LlamaEngine) -> None:
    async def run() -> list[Any]:
        client = LlamaClient(opened)
        body = {**BODIES[CHAT_ROUTE], "max_tokens": 200, "temperature": 1.0, "seed": 1, "stream": True}
        begun = client.events(CHAT_ROUTE, body)
        await anext(begun)

        async def rest() -> None:
            async for _ in begun:
                pass

        running = asyncio.create_task(rest())
        waiting = asyncio.create_task(whole(client.events(CHAT_ROUTE, body)))
        await asyncio.sleep(0)
        await client.close()
        late = [client.count_text("a"), whole(client.events(CHAT_ROUTE, body))]
        return await asyncio.gather(running, waiting, *late, return_exceptions=True)

    found = asyncio.run(asyncio.wait_for(run(), 60))
    assert [getattr(error, "code", error) for error in found] == ["engine_closed"] * 4
