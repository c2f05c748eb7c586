"""The gateway in front of an engine that is written here: every answer is known."""

import asyncio
import json
import logging
import tempfile
from collections.abc import Awaitable, Callable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import pytest

from limpide.core.errors import IntegrityError
from limpide.serve.access import create, usage
from limpide.serve.engines.protocol import Engine
from limpide.serve.gateway import create_app
from limpide.serve.guard import LARGEST_BODY
from limpide.serve.openai_types import ApiError
from limpide.serve.request_log.writer import CannotLog
from limpide.serve.seal import Seal, stamps
from limpide.serve.service import REFUSALS_A_MINUTE, Service
from limpide.serve.shelf import Offered
from limpide.serve.stop_switch import resume, stop
from limpide.serve.store import DATABASE, open_store
from serving import a_service, logged
from serving_engine import WordEngine

KEY = "a-key-of-some-length"
HELLO = {"messages": [{"role": "user", "content": "hello"}]}
CHAT = "/v1/chat/completions"


def client_of(service: Service, *, loopback: bool = True, hosts: Sequence[str] = ()) -> httpx.AsyncClient:
    app = create_app(service, loopback=loopback, hosts=hosts)
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    return httpx.AsyncClient(transport=transport, base_url="http://localhost:8080")


def call(
    engine: Engine,
    path: str = CHAT,
    *,
    method: str = "POST",
    key: str | None = None,
    loopback: bool = True,
    hosts: Sequence[str] = (),
    **request: Any,
) -> httpx.Response:
    """One request to a fresh gateway."""

    async def run() -> httpx.Response:
        with tempfile.TemporaryDirectory() as folder, a_service(Path(folder), ("served", engine), key=key) as service:
            async with client_of(service, loopback=loopback, hosts=hosts) as client:
                return await client.request(method, path, **request)

    return asyncio.run(run())


def visit(
    state: Path, work: Callable[[httpx.AsyncClient, Service], Awaitable[None]], *engines: tuple[str, Engine] | Offered
) -> None:
    """Several requests to one gateway, whose state stays in `state`."""

    async def run() -> None:
        with a_service(state, *engines) as service:
            async with client_of(service) as client:
                await work(client, service)

    asyncio.run(run())


def error_of(response: httpx.Response) -> dict[str, Any]:
    record: dict[str, Any] = response.json()
    assert set(record) == {"error"}
    assert {"message", "type", "param", "code"} <= set(record["error"])
    return dict(record["error"])


def test_an_answer() -> None:
    engine = WordEngine()
    response = call(engine, json={**HELLO, "model": "served"})
    assert response.status_code == 200
    made = response.json()
    assert made["choices"][0]["message"]["content"] == "one two"
    assert made["model"] == "served"
    assert made["system_fingerprint"] == "gguf-1"
    assert made["limpide"] == {"release": "served-1.0.0", "ai_generated": True}
    assert response.headers["x-limpide-release"] == "served-1.0.0"
    assert response.headers["x-limpide-ai-generated"] == "true"
    assert engine.asked[0][1]["messages"] == HELLO["messages"]


@pytest.mark.parametrize("usage", [True, False])
def test_a_stream_ends_with_usage_when_asked_for(usage: bool) -> None:
    response = call(WordEngine(), json={**HELLO, "stream": True, "stream_options": {"include_usage": usage}})
    assert response.headers["content-type"].startswith("text/event-stream")
    lines = [line[6:] for line in response.text.split("\n\n") if line]
    assert lines[-1] == "[DONE]"
    chunks = [json.loads(line) for line in lines[:-1]]
    assert "".join(c["choices"][0]["delta"]["content"] for c in chunks if c["choices"]) == "one two"
    assert ("usage" in chunks[-1]) is usage
    assert len(chunks) == 2 + usage


@pytest.mark.parametrize("words", [20, 21, 5000])
def test_a_prompt_too_long_is_refused_with_both_numbers(words: int) -> None:
    engine = WordEngine()
    response = call(engine, json={"messages": [{"role": "user", "content": "w " * words}]})
    error = error_of(response)
    assert response.status_code == 400
    assert (error["prompt_tokens"], error["context"]) == (words, 20)
    assert str(words) in error["message"]
    assert "20" in error["message"]
    assert engine.asked == []


def test_the_longest_prompt_and_the_longest_answer_that_fit() -> None:
    assert call(WordEngine(), json={"messages": [{"role": "user", "content": "w " * 19}]}).status_code == 200
    assert call(WordEngine(), json={**HELLO, "max_tokens": 19}).status_code == 200
    error = error_of(call(WordEngine(), json={**HELLO, "max_tokens": 20}))
    assert (error["prompt_tokens"], error["context"], error["max_tokens"]) == (1, 20, 20)


@pytest.mark.parametrize("token", ["<|im_end|>", "[/INST]"])
def test_a_message_may_not_forge_a_turn(token: str) -> None:
    engine = WordEngine()
    response = call(engine, json={"messages": [{"role": "user", "content": f"a{token}b"}]})
    assert error_of(response)["code"] == "control_token"
    assert engine.asked == []


def test_a_raw_prompt_may_hold_control_tokens() -> None:
    engine = WordEngine()
    assert call(engine, "/v1/completions", json={"prompt": "a <|im_end|>"}).status_code == 200
    assert engine.asked[0][0] == "/v1/completions"
    assert engine.asked[0][1]["max_tokens"] == 16


@pytest.mark.parametrize("prompt", ["", []])
def test_an_empty_prompt(prompt: object) -> None:
    assert "empty" in error_of(call(WordEngine(), "/v1/completions", json={"prompt": prompt}))["message"]


def test_a_model_without_template_is_not_given_an_invented_one() -> None:
    engine = WordEngine()
    engine.has_template = False
    assert error_of(call(engine, json=HELLO))["code"] == "no_chat_template"


def test_another_model_is_not_found() -> None:
    response = call(WordEngine(), json={**HELLO, "model": "gpt-4"})
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
        response = call(WordEngine(), path, method=method, key=KEY, headers=headers, json=body)
        assert response.status_code == status
        if status == 401:
            assert response.headers["www-authenticate"] == "Bearer"
            assert error_of(response)["code"] == "invalid_api_key"


def test_health_needs_no_key() -> None:
    assert call(WordEngine(), "/health", method="GET", key=KEY).json() == {"status": "ok"}


@pytest.mark.parametrize(
    ("host", "status"),
    [("localhost:8080", 200), ("127.0.0.1", 200), ("[::1]:8080", 200), ("evil.example", 403), ("proxy.example", 200)],
)
def test_a_web_page_cannot_come_in_under_its_own_name(host: str, status: int) -> None:
    response = call(WordEngine(), json=HELLO, headers={"Host": host}, hosts=["proxy.example"])
    assert response.status_code == status
    assert call(WordEngine(), json=HELLO, headers={"Host": host}, loopback=False).status_code == 200


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", ""])
def test_what_a_web_page_may_send_without_asking_is_refused(kind: str) -> None:
    response = call(WordEngine(), content=json.dumps(HELLO), headers={"Content-Type": kind})
    assert response.status_code == 415
    assert "application/json" in error_of(response)["message"]


@pytest.mark.parametrize("path", ["/health", "/v1/models", "/none", CHAT])
def test_every_answer_has_the_security_headers(path: str) -> None:
    engine = WordEngine()
    engine.fault = ValueError()  # also the answer 500
    headers = call(engine, path, method="POST" if path == CHAT else "GET", json=HELLO).headers
    assert headers["cache-control"] == "no-store"
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["content-security-policy"] == "default-src 'none'; frame-ancestors 'none'"
    assert headers["referrer-policy"] == "no-referrer"


def test_no_other_site_is_allowed() -> None:
    asks = {"Origin": "http://evil.example", "Access-Control-Request-Method": "POST"}
    response = call(WordEngine(), method="OPTIONS", headers=asks)
    assert response.status_code == 405
    assert not [name for name in response.headers if name.startswith("access-control")]


@pytest.mark.parametrize("path", ["/docs", "/redoc", "/", "/v1", "/slots"])
def test_nothing_else_is_served(path: str) -> None:
    response = call(WordEngine(), path, method="GET")
    assert response.status_code == 404
    error_of(response)


def test_a_body_too_large() -> None:
    content = b'{"messages": "' + b"a" * LARGEST_BODY + b'"}'
    response = call(WordEngine(), content=content, headers={"Content-Type": "application/json"})
    assert response.status_code == 413
    error_of(response)


def test_models() -> None:
    listed = call(WordEngine(), "/v1/models", method="GET").json()
    assert [row["id"] for row in listed["data"]] == ["served"]
    assert listed["data"][0]["max_model_len"] == 20
    assert call(WordEngine(), "/v1/models/served", method="GET").json()["id"] == "served"
    assert call(WordEngine(), "/v1/models/other", method="GET").status_code == 404


def test_a_stream_that_breaks_says_so() -> None:
    engine = WordEngine()
    engine.fault = ApiError(502, "broken", code="engine_error")
    lines = call(engine, json={**HELLO, "stream": True}).text.strip().split("\n\n")
    assert json.loads(lines[-1][6:])["error"]["code"] == "engine_error"
    assert "[DONE]" not in lines[-1]


def test_a_fault_is_logged_without_what_was_asked(caplog: pytest.LogCaptureFixture) -> None:
    engine = WordEngine()
    engine.fault = ValueError("secret-word")
    with caplog.at_level(logging.DEBUG):
        response = call(engine, json={"messages": [{"role": "user", "content": "secret-word"}]})
    assert response.status_code == 500
    assert error_of(response)["code"] == "internal_error"
    assert "ValueError" in caplog.text
    assert "secret-word" not in caplog.text + response.text


def test_counting_is_left_out_where_it_would_decide_nothing() -> None:
    engine = WordEngine(context=1000)
    assert call(engine, json={**HELLO, "max_tokens": 5}).status_code == 200
    assert engine.counted == 1  # the template, once an engine
    close = {"messages": [{"role": "user", "content": "w " * 400}], "max_tokens": 5}
    assert call(engine, json=close).status_code == 200  # 400 tokens fit, though 800 bytes might not
    assert engine.counted == 3


def test_what_is_asked_beyond_sampling_reaches_the_engine() -> None:
    engine = WordEngine()
    form = {"type": "json_schema", "json_schema": {"name": "a", "schema": {"type": "object"}}}
    assert call(engine, json={**HELLO, "response_format": form, "logprobs": True}).status_code == 200
    assert engine.asked[0][1]["response_format"] == form
    assert (engine.asked[0][1]["logprobs"], engine.asked[0][1]["top_logprobs"]) == (True, 0)


@pytest.mark.parametrize(("given", "count"), [("a b", 1), (["a", "b c"], 2), ([1, 2], 1), ([[1], [2, 3]], 2)])
def test_embeddings(given: Any, count: int) -> None:
    made = call(WordEngine(), "/v1/embeddings", json={"input": given}).json()
    assert [row["embedding"] for row in made["data"]] == [[1.0, 0.0]] * count
    assert made["usage"]["total_tokens"] in (2, 3)
    assert made["limpide"]["ai_generated"] is True


def test_embeddings_in_base64_as_the_openai_client_asks() -> None:
    made = call(WordEngine(), "/v1/embeddings", json={"input": "a", "encoding_format": "base64"}).json()
    assert made["data"][0]["embedding"] == "AACAPwAAAAA="  # 1.0, 0.0 in little-endian float32


@pytest.mark.parametrize("given", ["", [], ["a", ""], [[]], [1, "a"], {"a": 1}, None])
def test_embeddings_of_nothing(given: Any) -> None:
    response = call(WordEngine(), "/v1/embeddings", json={"input": given})
    assert response.status_code == 400
    assert error_of(response)["param"] == "input"


def test_a_model_is_asked_only_for_what_it_gives() -> None:
    engine = WordEngine()
    engine.gives = frozenset({"completion"})
    assert error_of(call(engine, json=HELLO))["code"] == "unsupported_by_model"
    assert error_of(call(engine, "/v1/embeddings", json={"input": "a"}))["code"] == "unsupported_by_model"


def test_models_side_by_side(tmp_path: Path) -> None:
    first, second = WordEngine(), WordEngine(words=("three",))

    async def work(client: httpx.AsyncClient, _: Service) -> None:
        for model, said in ((None, "one two"), ("first", "one two"), ("second", "three")):
            made = (await client.post(CHAT, json={**HELLO, "model": model})).json()
            assert made["choices"][0]["message"]["content"] == said
        assert [row["id"] for row in (await client.get("/v1/models")).json()["data"]] == ["first", "second"]
        wrong = error_of(await client.post(CHAT, json={**HELLO, "model": "secnd"}))
        assert "Did you mean 'second'?" in wrong["message"]

    visit(tmp_path, work, ("first", first), ("second", second))


def test_an_adapter_is_named_to_the_engine(tmp_path: Path) -> None:
    engine = WordEngine()
    base, tuned = (
        Offered(name, engine, adapter, name, None, "f", False) for name, adapter in (("b", None), ("t", "t"))
    )

    async def work(client: httpx.AsyncClient, _: Service) -> None:
        await client.post(CHAT, json={**HELLO, "model": "b"})
        await client.post(CHAT, json={**HELLO, "model": "t"})

    visit(tmp_path, work, base, tuned)
    assert [body.get("adapter") for _, body in engine.asked] == [None, "t"]


def test_an_adapter_gives_no_vectors_under_its_name(tmp_path: Path) -> None:
    engine = WordEngine()
    base, tuned = (
        Offered(name, engine, adapter, name, None, "f", False) for name, adapter in (("b", None), ("t", "t"))
    )

    async def work(client: httpx.AsyncClient, _: Service) -> None:
        assert (await client.post("/v1/embeddings", json={"input": "a", "model": "b"})).status_code == 200
        refused = await client.post("/v1/embeddings", json={"input": "a", "model": "t"})
        assert (refused.status_code, error_of(refused)["code"]) == (400, "unsupported")
        assert "Ask its base, 'b'." in error_of(refused)["message"]
        rows = (await client.get("/v1/models")).json()["data"]
        assert ["embedding" in row["limpide"]["gives"] for row in rows] == [True, False]

    visit(tmp_path, work, base, tuned)


@pytest.mark.parametrize("at_once", [False, True])
def test_a_whole_answer_nobody_waits_for_counts_what_was_made_of_it(tmp_path: Path, at_once: bool) -> None:
    """Leaving makes no answer free: of an engine that tells nothing before the end, the most it could make counts."""
    engine = WordEngine(words=["one", " two", " three", " four"], hold=0.05)
    engine.at_once = at_once

    async def run() -> None:
        with a_service(tmp_path, ("served", engine)) as service:
            body = json.dumps({**HELLO, "max_tokens": 7}).encode()
            sent = [{"type": "http.request", "body": body}]
            headers = {"host": "localhost", "content-type": "application/json"}
            scope = {
                "type": "http",
                "method": "POST",
                "path": CHAT,
                "query_string": b"",
                "client": ("127.0.0.1", 1),
                "headers": [(name.encode(), value.encode()) for name, value in headers.items()],
            }

            async def receive() -> Any:
                if sent:
                    return sent.pop(0)
                while engine.told < 2:
                    await asyncio.sleep(0.001)
                return {"type": "http.disconnect"}

            async def send(_: Any) -> None:
                pass

            await create_app(service)(scope, receive, send)

    asyncio.run(run())
    (entry,) = logged(tmp_path, "answer")
    assert (entry["finish"], entry["n_in"]) == ("client_left", 1)
    if at_once:
        assert entry["n_out"] == 7
        assert entry["n_out_exact"] is False
    else:
        assert entry["n_out"] == 2
        assert "n_out_exact" not in entry
    assert engine.ended == 1
    with closing(open_store(tmp_path / DATABASE)) as store:
        (row,) = usage(store)
    assert row.answer_tokens == entry["n_out"]


def test_texts_for_vectors_are_counted_where_the_bound_does_not_fit_a_quota(tmp_path: Path) -> None:
    with closing(open_store(tmp_path / DATABASE)) as store:
        _, secret = create(store, "ward", tokens_per_day=5)
    headers = {"authorization": f"Bearer {secret}"}

    async def work(client: httpx.AsyncClient, _: Service) -> None:
        first = await client.post("/v1/embeddings", json={"input": ["a b", "c d"]}, headers=headers)
        assert (first.status_code, first.json()["usage"]["prompt_tokens"]) == (200, 4)
        assert (await client.post("/v1/embeddings", json={"input": "e f"}, headers=headers)).status_code == 429

    visit(tmp_path, work, ("served", WordEngine()))


def test_the_request_log_has_both_ends_and_no_text(tmp_path: Path) -> None:
    async def work(client: httpx.AsyncClient, _: Service) -> None:
        secret = {"messages": [{"role": "user", "content": "secret-word"}], "temperature": 1, "stop": ["secret-stop"]}
        whole = await client.post(CHAT, json=secret)
        streamed = await client.post(CHAT, json={**secret, "stream": True})
        assert whole.headers["x-request-id"] != streamed.headers["x-request-id"]
        await client.post(CHAT, json={**secret, "model": "other"})

    visit(tmp_path, work, ("served", WordEngine()))
    accepted, answered, refused = (logged(tmp_path, event) for event in ("accept", "answer", "refuse"))
    assert len(accepted) == len(answered) == 2
    assert [one["request"] for one in accepted] == [one["request"] for one in answered]
    assert {key: accepted[0][key] for key in ("key", "model", "release", "route")} == {
        "key": "anyone",
        "model": "served",
        "release": "served-1.0.0",
        "route": CHAT,
    }
    assert accepted[0]["params"] == {"temperature": 1, "top_p": 1, "stops": 1}
    assert [(one["n_in"], one["n_out"]) for one in answered] == [(1, 2)] * 2
    assert answered[0]["finish"] == "stop"
    assert set(accepted[0]["texts"]) == {"prompt"}
    assert set(answered[0]["texts"]) == {"output"}
    assert [(one["status"], one["code"]) for one in refused] == [(404, "model_not_found")]
    assert b"secret" not in b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())


@pytest.mark.parametrize("stream", [False, True])
def test_a_fault_of_the_engine_is_the_requests_last_entry(tmp_path: Path, stream: bool) -> None:
    engine = WordEngine()
    engine.fault = ApiError(502, "broken", code="engine_error")

    async def work(client: httpx.AsyncClient, _: Service) -> None:
        await client.post(CHAT, json={**HELLO, "stream": stream})

    visit(tmp_path, work, ("served", engine))
    assert len(logged(tmp_path, "accept")) == 1
    (error,) = logged(tmp_path, "error")
    assert (error["code"], error["n_out"]) == ("engine_error", 1)
    assert not logged(tmp_path, "answer") + logged(tmp_path, "refuse")


@pytest.mark.parametrize("stream", [False, True])
def test_without_a_log_nothing_is_answered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stream: bool) -> None:
    engine = WordEngine()

    async def work(client: httpx.AsyncClient, service: Service) -> None:
        append, entries = service.log.append, []

        def broken(event: str, **facts: Any) -> Any:
            entries.append(event)
            if event == failing:
                raise CannotLog("no space")
            return append(event, **facts)

        monkeypatch.setattr(service.log, "append", broken)
        failing = "accept"
        response = await client.post(CHAT, json={**HELLO, "stream": stream})
        assert (response.status_code, error_of(response)["code"]) == (503, "log_unwritable")
        assert not engine.asked
        failing = "answer"
        response = await client.post(CHAT, json={**HELLO, "stream": stream})
        assert "log_unwritable" in response.text
        assert "[DONE]" not in response.text
        assert not service.exchanges

    visit(tmp_path, work, ("served", engine))


def test_a_flood_of_refusals_is_counted(tmp_path: Path) -> None:
    async def work(client: httpx.AsyncClient, service: Service) -> None:
        for _ in range(REFUSALS_A_MINUTE + 9):
            assert (await client.post(CHAT, json={"model": "other", **HELLO})).status_code == 404
        service.refusals.since -= 61
        await client.post(CHAT, json={"model": "other", **HELLO})

    visit(tmp_path, work, ("served", WordEngine()))
    refused = logged(tmp_path, "refuse")
    assert len(refused) == REFUSALS_A_MINUTE + 1
    assert refused[-1]["unwritten_before"] == 9


@pytest.mark.parametrize("stream", [False, True])
def test_the_stop_switch_ends_what_runs_and_refuses_what_comes(tmp_path: Path, stream: bool) -> None:
    engine = WordEngine(words=("one", " two") * 500, context=10_000, hold=0.02)

    async def work(client: httpx.AsyncClient, service: Service) -> None:
        running = asyncio.create_task(client.post(CHAT, json={**HELLO, "stream": stream}))
        while not engine.asked:
            await asyncio.sleep(0.01)
        stop(tmp_path, "A. Martin", "wrong doses")
        refused = await client.post(CHAT, json=HELLO)
        assert refused.status_code == 503
        assert error_of(refused)["message"] == "The service was stopped by A. Martin: wrong doses."
        assert (await client.get("/health")).status_code == 503
        ended = await running
        assert '"code":"stopped"' in ended.text
        assert "[DONE]" not in ended.text
        assert b"limpide_stopped 1.0" in (await client.get("/metrics", headers={"Host": "localhost"})).content
        resume(tmp_path, "A. Martin")
        assert (await client.get("/health")).json() == {"status": "ok"}

    visit(tmp_path, work, ("served", engine))
    assert [one["code"] for one in logged(tmp_path, "error")] == ["stopped"]
    assert engine.ended == 1


def test_verifying_again_is_a_request_like_others(tmp_path: Path) -> None:
    with closing(open_store(tmp_path / DATABASE)) as store:
        _, slow = create(store, "slow", requests_per_minute=1)
        _, other = create(store, "other", models=("another",))

    async def work(client: httpx.AsyncClient, _: Service) -> None:
        found = []
        for secret in (slow, slow, other):
            answer = await client.post("/v1/limpide/verify", json={}, headers={"Authorization": f"Bearer {secret}"})
            found.append(answer.status_code)
        assert found == [200, 429, 403]

    visit(tmp_path, work, ("served", WordEngine()))


def test_a_release_changed_while_served_is_refused_until_it_is_verified(tmp_path: Path) -> None:
    file = tmp_path / "model.gguf"
    file.write_bytes(b"weights")

    def verify() -> None:
        if file.read_bytes() != b"weights":
            raise IntegrityError("other bytes")

    offered = Offered("served", WordEngine(), None, "served-1.0.0", "root", "f", True, Seal(verify, stamps([file])))

    async def work(client: httpx.AsyncClient, service: Service) -> None:
        assert (await client.post("/v1/limpide/verify", json={})).json()["unchanged"] is True
        file.write_bytes(b"Weights")
        service.look_at_seals()
        for path, body in ((CHAT, HELLO), ("/v1/limpide/verify", {"model": "served"})):
            response = await client.post(path, json=body)
            assert (response.status_code, error_of(response)["code"]) == (503, "release_changed")
        file.write_bytes(b"weights")
        assert (await client.post(CHAT, json=HELLO)).status_code == 503
        assert (await client.post("/v1/limpide/verify", json={})).status_code == 200
        assert (await client.post(CHAT, json=HELLO)).status_code == 200

    (tmp_path / "state").mkdir()
    visit(tmp_path / "state", work, offered)
    (changed,) = logged(tmp_path / "state", "config.change")
    assert (changed["what"], changed["file"]) == ("release_changed", "model.gguf")


def test_metrics(tmp_path: Path) -> None:
    async def work(client: httpx.AsyncClient, _: Service) -> None:
        await client.post(CHAT, json=HELLO)
        await client.get("/nowhere/secret-path")
        await client.get("/v1/models/secret-name")
        text = (await client.get("/metrics")).text
        assert 'limpide_requests_total{route="/v1/chat/completions",status="200"} 1.0' in text
        assert 'limpide_requests_total{route="other",status="404"} 1.0' in text
        assert 'limpide_requests_total{route="/v1/models/{name}",status="404"} 1.0' in text
        assert 'limpide_tokens_total{model="served",way="out"} 2.0' in text
        assert "limpide_requests_open 0.0" in text
        assert "limpide_queue_length 0.0" in text
        assert "limpide_log_entries_total 3.0" in text
        assert "secret" not in text

    visit(tmp_path, work, ("served", WordEngine()))


@pytest.mark.parametrize(("host", "status"), [("localhost", 200), ("proxy.example", 401)])
def test_metrics_are_for_this_machine_or_a_key(host: str, status: int) -> None:
    response = call(WordEngine(), "/metrics", method="GET", key=KEY, hosts=["proxy.example"], headers={"Host": host})
    assert response.status_code == status


def test_keys_with_limits(tmp_path: Path) -> None:
    """Near the end of a quota the prompt is counted, as a bound alone would refuse what fits; then comes 429."""
    engine = WordEngine(context=1000)
    with closing(open_store(tmp_path / DATABASE)) as store:
        _, secret = create(store, "small", tokens_per_day=12, models=("served",))

    async def work(client: httpx.AsyncClient, _: Service) -> None:
        headers = {"Authorization": f"Bearer {secret}"}
        body = {**HELLO, "max_tokens": 5}
        assert (await client.post(CHAT, json=body)).status_code == 401  # keys are asked from the first one on
        for _ in range(3):  # each holds 6 tokens, and uses 3
            assert (await client.post(CHAT, json=body, headers=headers)).status_code == 200
        refused = await client.post(CHAT, json=body, headers=headers)
        assert (refused.status_code, error_of(refused)["code"]) == (429, "insufficient_quota")
        assert error_of(refused)["type"] == "rate_limit_error"
        assert int(refused.headers["retry-after"]) > 0
        assert (await client.post(CHAT, json={**HELLO, "max_tokens": 2}, headers=headers)).status_code == 200
        elsewhere = await client.post(CHAT, json={**body, "model": "other"}, headers=headers)
        assert (elsewhere.status_code, error_of(elsewhere)["code"]) == (403, "model_not_allowed")

    visit(tmp_path, work, ("served", engine), ("other", WordEngine()))
    (key,) = {entry["key"] for entry in logged(tmp_path, "accept")}
    with closing(open_store(tmp_path / DATABASE)) as store:
        (row,) = usage(store)
    assert (row.key_id, row.requests, row.prompt_tokens, row.answer_tokens) == (key, 4, 4, 8)
    assert {entry["code"]: entry["key"] for entry in logged(tmp_path, "refuse")} == {
        "invalid_api_key": None,
        "insufficient_quota": key,
        "model_not_allowed": key,
    }


def test_a_key_sees_the_models_it_may_use(tmp_path: Path) -> None:
    with closing(open_store(tmp_path / DATABASE)) as store:
        _, secret = create(store, "one model", models=("served",))

    async def work(client: httpx.AsyncClient, _: Service) -> None:
        rows = (await client.get("/v1/models", headers={"Authorization": f"Bearer {secret}"})).json()["data"]
        assert [row["id"] for row in rows] == ["served"]

    visit(tmp_path, work, ("served", WordEngine()), ("other", WordEngine()))


def test_a_thousand_wrong_keys_delay_nobody_else(tmp_path: Path) -> None:
    with closing(open_store(tmp_path / DATABASE)) as store:
        _, secret = create(store, "right")

    async def work(client: httpx.AsyncClient, _: Service) -> None:
        right = {"Authorization": f"Bearer {secret}"}
        assert (await client.get("/v1/models", headers=right)).status_code == 200
        last = int(secret[-4:], 16)
        wrong = [f"{secret[:-4]}{(last + number) % 2**16:04x}" for number in range(1, 1001)]
        found = [
            (await client.get("/v1/models", headers={"Authorization": f"Bearer {key}"})).status_code for key in wrong
        ]
        assert set(found) == {401, 429}
        assert (await client.get("/v1/models", headers=right)).status_code == 200

    visit(tmp_path, work, ("served", WordEngine()))
    assert len(logged(tmp_path, "refuse")) == REFUSALS_A_MINUTE
