"""Streams whose client takes nothing any more."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from limpide.serve import streams
from limpide.serve.connections import ABORT
from limpide.serve.gateway import create_app
from limpide.serve.stop_switch import stop
from serving import a_service, logged
from serving_engine import WordEngine

BODY = json.dumps({"messages": [{"role": "user", "content": "hello"}], "stream": True}).encode()


def test_a_stopped_stream_whose_client_reads_nothing_is_dropped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its last event can't be sent, and nobody may wait for that for ever."""
    monkeypatch.setattr(streams, "STALL_SECONDS", 0.05)
    dropped: list[bool] = []

    async def run() -> None:
        with a_service(tmp_path, ("served", WordEngine())) as service:
            engine: Any = next(iter(service.shelf)).engine
            received = [{"type": "http.request", "body": BODY, "more_body": False}]

            async def receive() -> Any:
                if not received:
                    await asyncio.Event().wait()
                return received.pop()

            async def send(message: Any) -> None:
                if message.get("more_body"):  # the first word: the client takes it, and the service is stopped
                    engine.hold = 3600.0
                    stop(tmp_path, "A. Martin", "wrong doses")
                    service.order()
                elif message["type"] == "http.response.body":
                    await asyncio.Event().wait()

            headers = [(b"host", b"localhost"), (b"content-type", b"application/json")]
            scope = {"type": "http", "method": "POST", "path": "/v1/chat/completions", "query_string": b""}
            extensions = {ABORT: {"call": lambda: dropped.append(True)}}
            async with asyncio.timeout(20):
                await create_app(service)({**scope, "headers": headers, "extensions": extensions}, receive, send)

    asyncio.run(run())
    assert dropped == [True]
    assert [entry["code"] for entry in logged(tmp_path, "error")] == ["stopped"]
