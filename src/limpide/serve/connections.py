"""The gateway's side of a connection, beneath HTTP: how many there may be, how long and how large a request's head is.

uvicorn bounds the time between two requests; these bound the rest, so that a client that sends one byte a minute, or
never reads, does not hold a connection for ever.
"""

import asyncio
from typing import Any

from starlette.types import Receive, Scope, Send
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from limpide.serve.openai_types import ApiError
from limpide.serve.replies import encode, error_reply

MOST_CONNECTIONS = 512  # beyond, requests get 503; beyond twice as many, connections are closed at once
LARGEST_HEAD = 64 * 2**10  # bytes of a request's line and headers
HEAD_SECONDS = 30.0  # from the first byte of a request, or from the connection, to the end of its headers
LINGER_SECONDS = 5.0  # a body still being sent after the answer is read no longer than this
ABORT = "limpide.abort"  # ASGI extension: a function that drops the connection with all that waits to be sent


class Connection(HttpToolsProtocol):
    _timer: asyncio.TimerHandle | None = None
    _in_head = True
    _head_bytes = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        if len(self.connections) > 2 * MOST_CONNECTIONS:
            transport.abort()
        elif len(self.connections) > MOST_CONNECTIONS:
            self.app = _crowded
        self._within(HEAD_SECONDS)

    def connection_lost(self, exc: Exception | None) -> None:
        self._in_time()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        self._head_bytes += len(data) if self._in_head else 0
        super().data_received(data)
        if self._in_head and self._head_bytes > LARGEST_HEAD:
            self._refuse(ApiError(431, f"The headers are larger than {LARGEST_HEAD} bytes.", code="headers_too_large"))

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self.scope["extensions"] = {ABORT: {"call": self.transport.abort}}
        if self._timer is None:
            self._within(HEAD_SECONDS)

    def on_headers_complete(self) -> None:
        self._in_time()
        self._in_head = False
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        self._in_time()
        self._in_head, self._head_bytes = True, 0
        super().on_message_complete()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if not self._in_head:  # answered before its body was whole
            self._within(LINGER_SECONDS)

    def timeout_keep_alive_handler(self) -> None:
        self.transport.abort()  # `close` would wait for ever for a client that does not read

    def send_400_response(self, msg: str) -> None:
        self._refuse(ApiError(400, "The request is not HTTP.", code="invalid_http"))

    def _refuse(self, error: ApiError) -> None:
        """Answer what never became a request."""
        body = encode(error.record())
        head = f"HTTP/1.1 {error.status} Refused\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n"
        self.transport.write(head.encode() + b"cache-control: no-store\r\nconnection: close\r\n\r\n" + body)
        self.transport.close()

    def _within(self, seconds: float) -> None:
        self._in_time()
        self._timer = self.loop.call_later(seconds, self.transport.abort)

    def _in_time(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


async def _crowded(scope: Scope, receive: Receive, send: Send) -> None:
    error = ApiError(503, "Too many connections are open.", code="too_many_connections", retry_after=5)
    await error_reply(error, {"connection": "close"})(scope, receive, send)


def abort(scope: Scope) -> None:
    """Drop the connection of a request, where the server lets us."""
    extension: Any = scope.get("extensions", {}).get(ABORT)
    if extension is not None:
        extension["call"]()
