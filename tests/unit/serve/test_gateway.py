"""The gateway in front of an engine that is written here: every answer is known."""

import asyncio
import json
import logging
from collections.abc import AsyncGenerator, Mapping, Sequence
from typing import Any

import httpx
import pytest

from limpide.serve.gateway import LARGEST_BODY, create_app
from limpide.serve.openai_types import ApiError

KEY = "a-key-of-some-length"
HELLO = {"messages": [{"role": "user", "content": "hello"}]}


class FakeEngine:
    """Counts words, and answers 'one two'."""

    context = 20
    control_tokens: Sequence[str] = ("<|im_end|>", "[/INST]")
    has_template = True
    fault: Exception | None = None

    def __init__(self) -> None:
        self.asked: list[tuple[str, dict[str, Any]]] = []

    async def count_chat(self, messages: Sequence[Mapping[str, str]]) -> int:
        return sum(len(message["content"].split()) for message in messages)

    async def count_text(self, text: str) -> int:
        return len(text.split())

    async def answer(self, route: str, body: Mapping[str, Any]) -> dict[str, Any]:
        self.asked.append((route, dict(body)))
        if self.fault:
            raise self.fault
        choice = {"index": 0, "message": {"role": "assistant", "content": "one two"}, "finish_reason": "stop"}
        return {"id": "1", "object": "chat.completion", "created": 1, "choices": [choice], "usage": {"total_tokens": 3}}

    async def events(self, route: str, body: Mapping[str, Any]) -> AsyncGenerator[dict[str, Any], None]:
        self.asked.append((route, dict(body)))
        for index, word in enumerate(("one", " two")):
            if self.fault and index:
                raise self.fault
            yield {"object": "chat.completion.chunk", "choices": [{"index": 0, "delta": {"content": word}}]}
        yield {"object": "chat.completion.chunk", "choices": [], "usage": {"total_tokens": 3}}

    async def close(self) -> None:
        pass


def call(
    engine: FakeEngine,
    path: str = "/v1/chat/completions",
    *,
    method: str = "POST",
    key: str | None = None,
    loopback: bool = True,
    hosts: Sequence[str] = (),
    **request: Any,
) -> httpx.Response:
    """One request to a fresh gateway."""

    async def run() -> httpx.Response:
        app = create_app(engine, "served", key, loopback=loopback, hosts=hosts, fingerprint="gguf-1")
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost:8080") as client:
            return await client.request(method, path, **request)

    return asyncio.run(run())


def error_of(response: httpx.Response) -> dict[str, Any]:
    record: dict[str, Any] = response.json()
    assert set(record) == {"error"}
    assert {"message", "type", "param", "code"} <= set(record["error"])
    return dict(record["error"])


def test_an_answer() -> None:
    engine = FakeEngine()
    response = call(engine, json={**HELLO, "model": "served"})
    assert response.status_code == 200
    made = response.json()
    assert made["choices"][0]["message"]["content"] == "one two"
    assert made["model"] == "served"
    assert made["system_fingerprint"] == "gguf-1"
    assert engine.asked[0][1]["messages"] == HELLO["messages"]


@pytest.mark.parametrize("usage", [True, False])
def test_a_stream_ends_with_usage_when_asked_for(usage: bool) -> None:
    response = call(FakeEngine(), json={**HELLO, "stream": True, "stream_options": {"include_usage": usage}})
    assert response.headers["content-type"].startswith("text/event-stream")
    lines = [line[6:] for line in response.text.split("\n\n") if line]
    assert lines[-1] == "[DONE]"
    chunks = [json.loads(line) for line in lines[:-1]]
    assert "".join(c["choices"][0]["delta"]["content"] for c in chunks if c["choices"]) == "one two"
    assert ("usage" in chunks[-1]) is usage
    assert len(chunks) == 2 + usage


@pytest.mark.parametrize("words", [20, 21, 5000])
def test_a_prompt_too_long_is_refused_with_both_numbers(words: int) -> None:
    engine = FakeEngine()
    response = call(engine, json={"messages": [{"role": "user", "content": "w " * words}]})
    error = error_of(response)
    assert response.status_code == 400
    assert (error["prompt_tokens"], error["context"]) == (words, 20)
    assert str(words) in error["message"]
    assert "20" in error["message"]
    assert engine.asked == []


def test_the_longest_prompt_and_the_longest_answer_that_fit() -> None:
    assert call(FakeEngine(), json={"messages": [{"role": "user", "content": "w " * 19}]}).status_code == 200
    assert call(FakeEngine(), json={**HELLO, "max_tokens": 19}).status_code == 200
    error = error_of(call(FakeEngine(), json={**HELLO, "max_tokens": 20}))
    assert (error["prompt_tokens"], error["context"], error["max_tokens"]) == (1, 20, 20)


@pytest.mark.parametrize("token", ["<|im_end|>", "[/INST]"])
def test_a_message_may_not_forge_a_turn(token: str) -> None:
    engine = FakeEngine()
    response = call(engine, json={"messages": [{"role": "user", "content": f"a{token}b"}]})
    assert error_of(response)["code"] == "control_token"
    assert engine.asked == []


def test_a_raw_prompt_may_hold_control_tokens() -> None:
    engine = FakeEngine()
    assert call(engine, "/v1/completions", json={"prompt": "a <|im_end|>"}).status_code == 200
    assert engine.asked[0][0] == "/v1/completions"
    assert engine.asked[0][1]["max_tokens"] == 16


@pytest.mark.parametrize("prompt", ["", []])
def test_an_empty_prompt(prompt: object) -> None:
    assert "empty" in error_of(call(FakeEngine(), "/v1/completions", json={"prompt": prompt}))["message"]


def test_a_model_without_template_is_not_given_an_invented_one() -> None:
    engine = FakeEngine()
    engine.has_template = False
    assert error_of(call(engine, json=HELLO))["code"] == "no_chat_template"


def test_another_model_is_not_found() -> None:
    response = call(FakeEngine(), json={**HELLO, "model": "gpt-4"})
    assert response.status_code == 404
    assert error_of(response)["code"] == "model_not_found"


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 401),
        ({"Authorization": "Bearer wrong"}, 401),
        ({"Authorization": KEY}, 401),
        ({"Authorization": f"Bearer {KEY}x"}, 401),
        ({"Authorization": "Bearer \xe9".encode("latin-1")}, 401),
        ({"Authorization": f"Bearer {KEY}"}, 200),
    ],
)
def test_the_key(headers: dict[str, Any], status: int) -> None:
    for path, method, body in (("/v1/models", "GET", None), ("/v1/chat/completions", "POST", HELLO)):
        response = call(FakeEngine(), path, method=method, key=KEY, headers=headers, json=body)
        assert response.status_code == status
        if status == 401:
            assert response.headers["www-authenticate"] == "Bearer"
            assert error_of(response)["code"] == "invalid_api_key"


def test_health_needs_no_key() -> None:
    assert call(FakeEngine(), "/health", method="GET", key=KEY).json() == {"status": "ok"}


@pytest.mark.parametrize(
    ("host", "status"),
    [("localhost:8080", 200), ("127.0.0.1", 200), ("[::1]:8080", 200), ("evil.example", 403), ("proxy.example", 200)],
)
def test_a_web_page_cannot_come_in_under_its_own_name(host: str, status: int) -> None:
    response = call(FakeEngine(), json=HELLO, headers={"Host": host}, hosts=["proxy.example"])
    assert response.status_code == status
    assert call(FakeEngine(), json=HELLO, headers={"Host": host}, loopback=False).status_code == 200


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", ""])
def test_what_a_web_page_may_send_without_asking_is_refused(kind: str) -> None:
    response = call(FakeEngine(), content=json.dumps(HELLO), headers={"Content-Type": kind})
    assert response.status_code == 415
    assert "application/json" in error_of(response)["message"]


def test_no_other_site_is_allowed() -> None:
    asks = {"Origin": "http://evil.example", "Access-Control-Request-Method": "POST"}
    response = call(FakeEngine(), method="OPTIONS", headers=asks)
    assert response.status_code == 405
    assert not [name for name in response.headers if name.startswith("access-control")]


@pytest.mark.parametrize("path", ["/docs", "/redoc", "/openapi.json", "/", "/v1/embeddings", "/slots"])
def test_nothing_else_is_served(path: str) -> None:
    response = call(FakeEngine(), path, method="GET")
    assert response.status_code == 404
    error_of(response)


def test_a_body_too_large() -> None:
    content = b'{"messages": "' + b"a" * LARGEST_BODY + b'"}'
    response = call(FakeEngine(), content=content, headers={"Content-Type": "application/json"})
    assert response.status_code == 413
    error_of(response)


def test_models() -> None:
    listed = call(FakeEngine(), "/v1/models", method="GET").json()
    assert [row["id"] for row in listed["data"]] == ["served"]
    assert listed["data"][0]["max_model_len"] == 20
    assert call(FakeEngine(), "/v1/models/served", method="GET").json()["id"] == "served"
    assert call(FakeEngine(), "/v1/models/other", method="GET").status_code == 404


def test_a_stream_that_breaks_says_so() -> None:
    engine = FakeEngine()
    engine.fault = ApiError(502, "broken", code="engine_error")
    lines = call(engine, json={**HELLO, "stream": True}).text.strip().split("\n\n")
    assert json.loads(lines[-1][6:])["error"]["code"] == "engine_error"
    assert "[DONE]" not in lines[-1]


def test_a_fault_is_logged_without_what_was_asked(caplog: pytest.LogCaptureFixture) -> None:
    engine = FakeEngine()
    engine.fault = ValueError("secret-word")
    with caplog.at_level(logging.DEBUG):
        response = call(engine, json={"messages": [{"role": "user", "content": "secret-word"}]})
    assert response.status_code == 500
    assert error_of(response)["code"] == "internal_error"
    assert "ValueError" in caplog.text
    assert "secret-word" not in caplog.text + response.text
