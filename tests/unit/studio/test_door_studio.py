"""The door: who is let in, from where, with what; and what a websocket may send."""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route, WebSocketRoute
from starlette.testclient import TestClient
from starlette.websockets import WebSocket, WebSocketDisconnect

from limpide.studio import door as module
from limpide.studio.door import FORM_HEADER, WEBSOCKET, Bucket, Door, Meter, counted
from limpide.studio.session import LocalSessions

HOST = "127.0.0.1:8090"
PAGE = f"http://{HOST}"


async def echo(request: Request) -> Response:
    return PlainTextResponse(request.url.path)


async def socket(websocket: WebSocket) -> None:
    await websocket.accept()
    try:
        while True:
            await websocket.send_text(await websocket.receive_text())
    except WebSocketDisconnect:
        pass


def make(tmp_path: Path, **options: Any) -> tuple[LocalSessions, Door]:
    sessions = LocalSessions(tmp_path)
    paths = ("/data", "/enter", "/upload", "/_nicegui/client/x/upload/3", WEBSOCKET, "/_nicegui/3.18.0/static/x.js")
    routes = [Route(path, echo, methods=["GET", "POST"]) for path in paths]
    app = Starlette(routes=[*routes, WebSocketRoute(WEBSOCKET, socket)])
    away = PlainTextResponse("closed", status_code=401)
    return sessions, Door(app, sessions, turned_away=away, **options)


@pytest.fixture
def inside(tmp_path: Path) -> Iterator[tuple[TestClient, str]]:
    """A browser with a session, and the token of its forms."""
    sessions, door = make(tmp_path)
    secret = sessions.open()
    session = sessions.of(secret)
    assert session is not None
    with TestClient(door, base_url=PAGE, cookies={sessions.cookie: secret}) as client:
        yield client, session.form


def test_without_a_session_only_the_way_in_is_answered(tmp_path: Path) -> None:
    sessions, door = make(tmp_path)
    with TestClient(door, base_url=PAGE) as client:
        assert client.get("/data").status_code == 401
        assert client.get(WEBSOCKET).status_code == 401
        assert client.get("/enter").text == "/enter"
        assert client.get("/_nicegui/3.18.0/static/x.js").status_code == 200
        for cookie in ("x", "", "a=b; c", "é"):
            assert client.get("/data", headers={"cookie": f"{sessions.cookie}={cookie}".encode()}).status_code == 401


def test_every_answer_has_the_headers(inside: tuple[TestClient, str]) -> None:
    client, _ = inside
    first, second = client.get("/data"), client.get("/data", headers={"host": "evil.example"})
    assert (first.status_code, second.status_code) == (200, 403)
    for answer in (first, second):
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["referrer-policy"] == "same-origin"
        assert answer.headers["cache-control"] == "no-store"
        policy = answer.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "unsafe-inline" not in policy.partition("script-src")[2].partition(";")[0]
    assert first.headers["content-security-policy"] != second.headers["content-security-policy"], "a nonce is used once"


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example", "", "evil.example:8090", "10.0.0.1"])
def test_a_name_that_is_not_ours(inside: tuple[TestClient, str], host: str) -> None:
    answer = inside[0].get("/data", headers={"host": host})
    assert answer.status_code == 403
    assert "--hosts" in answer.text


@pytest.mark.parametrize("host", ["localhost:8090", "[::1]:8090", "127.0.0.1"])
def test_names_of_this_machine(inside: tuple[TestClient, str], host: str) -> None:
    assert inside[0].get("/data", headers={"host": host}).status_code == 200


def test_names_elsewhere(tmp_path: Path) -> None:
    sessions, door = make(tmp_path, names=("Studio.example",), loopback=False)
    with TestClient(door, base_url="http://studio.example", cookies={sessions.cookie: sessions.open()}) as client:
        assert client.get("/data").status_code == 200
        assert client.get("/data", headers={"host": "192.0.2.7:8090"}).status_code == 200
        assert client.get("/data", headers={"host": "localhost:8090"}).status_code == 403
        assert client.get("/data", headers={"host": "rebound.example"}).status_code == 403


def test_a_form_needs_our_origin_and_our_token(inside: tuple[TestClient, str]) -> None:
    client, form = inside
    ours = {"origin": PAGE, FORM_HEADER: form}
    assert client.post("/upload", headers=ours).status_code == 200
    for wrong in (
        {},
        {FORM_HEADER: form},
        {"origin": PAGE},
        {**ours, FORM_HEADER: form[:-1]},
        {**ours, "origin": "http://evil.example"},
        {**ours, "origin": "http://127.0.0.1:9999"},
        {**ours, "origin": "null"},
        {**ours, "origin": f"file://{HOST}"},
    ):
        assert client.post("/upload", headers=wrong).status_code == 403, wrong


def test_nothing_may_be_embedded_elsewhere_but_a_link_may_lead_here(inside: tuple[TestClient, str]) -> None:
    client, _ = inside
    fetched = {"sec-fetch-site": "cross-site"}
    assert client.get("/data", headers={**fetched, "sec-fetch-dest": "document"}).status_code == 200
    for dest in ("image", "script", "iframe", "empty"):
        assert client.get("/data", headers={**fetched, "sec-fetch-dest": dest}).status_code == 403


def test_only_our_own_upload_is_open(inside: tuple[TestClient, str]) -> None:
    client, form = inside
    headers = {"origin": PAGE, FORM_HEADER: form}
    assert client.post("/_nicegui/client/x/upload/3", headers=headers).status_code == 404
    assert client.get(WEBSOCKET + "?transport=polling").status_code == 404


def connect(client: TestClient, **headers: str) -> str:
    with client.websocket_connect(WEBSOCKET, headers={"host": HOST, **headers}) as opened:
        opened.send_text("hello")
        return opened.receive_text()


def test_a_websocket_needs_a_session_and_our_origin(inside: tuple[TestClient, str], tmp_path: Path) -> None:
    client, _ = inside
    assert connect(client, origin=PAGE) == "hello"
    for origin in ("http://evil.example", "null", "http://127.0.0.1:1"):
        with pytest.raises(WebSocketDisconnect):
            connect(client, origin=origin)
    with pytest.raises(WebSocketDisconnect):
        connect(client)
    with TestClient(make(tmp_path)[1], base_url=PAGE) as stranger, pytest.raises(WebSocketDisconnect):
        connect(stranger, origin=PAGE)


def test_one_that_floods_is_closed_and_another_is_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MESSAGES_AT_ONCE", 20.0)
    monkeypatch.setattr(module, "MESSAGES_A_SECOND", 0.0)
    sessions, door = make(tmp_path)
    calm, flooding = ({"host": HOST, "origin": PAGE, "cookie": f"{sessions.cookie}={sessions.open()}"} for _ in "12")
    with TestClient(door, base_url=PAGE) as client, client.websocket_connect(WEBSOCKET, headers=calm) as other:
        with client.websocket_connect(WEBSOCKET, headers=flooding) as opened:
            for _ in range(20):
                opened.send_text("x")
                assert opened.receive_text() == "x"
            opened.send_text("one too many")
            with pytest.raises(WebSocketDisconnect) as closed:
                opened.receive_text()
            assert closed.value.code == 1008
        with client.websocket_connect(WEBSOCKET, headers=flooding) as again:  # a new one gives nothing more
            again.send_text("x")
            with pytest.raises(WebSocketDisconnect):
                again.receive_text()
        other.send_text("still here")
        assert other.receive_text() == "still here"


def test_tabs_of_one_session_are_counted(inside: tuple[TestClient, str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SOCKETS_OF_ONE", 1)
    client, _ = inside
    with client.websocket_connect(WEBSOCKET, headers={"host": HOST, "origin": PAGE}) as first:
        with pytest.raises(WebSocketDisconnect):
            connect(client, origin=PAGE)
        first.close()
    assert connect(client, origin=PAGE) == "hello"


async def _counted(size: int) -> list[str]:
    told: list[str] = []

    async def receive() -> dict[str, Any]:
        return {"type": "websocket.receive", "text": "x" * size}

    async def send(message: Any) -> None:
        told.append(message["type"])

    told.append((await counted(receive, send, Meter().may_pass)())["type"])
    return told


def test_large_messages_end_it() -> None:
    assert asyncio.run(_counted(10)) == ["websocket.receive"]
    assert asyncio.run(_counted(5_000_000)) == ["websocket.close", "websocket.disconnect"]


def test_a_session_that_is_closed_ends_its_websockets(tmp_path: Path) -> None:
    sessions, door = make(tmp_path)
    secret = sessions.open()
    headers = {"host": HOST, "origin": PAGE, "cookie": f"{sessions.cookie}={secret}"}
    with TestClient(door, base_url=PAGE) as client, client.websocket_connect(WEBSOCKET, headers=headers) as opened:
        opened.send_text("x")
        assert opened.receive_text() == "x"
        sessions.close(secret)
        opened.send_text("x")
        with pytest.raises(WebSocketDisconnect):
            opened.receive_text()


def test_meters_of_those_who_left_are_forgotten(tmp_path: Path) -> None:
    sessions, door = make(tmp_path)
    with TestClient(door, base_url=PAGE) as client:
        for _ in range(3):
            headers = {"host": HOST, "origin": PAGE, "cookie": f"{sessions.cookie}={sessions.open()}"}
            with client.websocket_connect(WEBSOCKET, headers=headers):
                pass
        assert len(door.meters) == 1


def test_a_bucket_fills_again() -> None:
    now = [0.0]
    bucket = Bucket(2, 4, lambda: now[0])
    assert [bucket.take(1) for _ in range(5)] == [True] * 4 + [False]
    now[0] = 1.0
    assert [bucket.take(1) for _ in range(3)] == [True, True, False]
    now[0] = 100.0
    assert not bucket.take(5)
    assert bucket.take(4)


@pytest.mark.parametrize("other", ['a={"x":1}', "b=c d", "alone", '"q"=1', "u@x=1"])
def test_cookies_of_other_programs_of_this_machine_shut_nobody_out(tmp_path: Path, other: str) -> None:
    sessions, door = make(tmp_path)
    with TestClient(door, base_url=PAGE) as client:
        cookies = f"{other}; {sessions.cookie}={sessions.open()}"
        assert client.get("/data", headers={"cookie": cookies}).text == "/data"


@pytest.mark.parametrize("origin", ["http://[::1", "http://", "null", "é", "http://]"])
def test_an_origin_that_is_none_is_refused(inside: tuple[TestClient, str], origin: str) -> None:
    client, form = inside
    headers = {"origin": origin.encode(), FORM_HEADER.encode(): form.encode()}
    assert client.post("/upload", headers=headers).status_code == 403  # type: ignore[arg-type]
