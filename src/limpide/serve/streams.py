"""An answer sent as it is made: server-sent events, with an end on every road.

Whole: `[DONE]` follows the entry in the request log. Broken off (engine, stop switch, shutdown): one event with the
error, no `[DONE]`. Client gone, or reading nothing for a minute: the engine stops, what was made until then is counted.
"""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import aclosing
from typing import Any

from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

from limpide.serve.answers import answer
from limpide.serve.connections import abort
from limpide.serve.marks import mark_headers
from limpide.serve.openai_types import ApiError
from limpide.serve.replies import error_reply, sse_line
from limpide.serve.running import ClientLeft, ClientStalled, shutting_down
from limpide.serve.service import Exchange

STALL_SECONDS = 60.0  # a client that takes nothing for so long has left


class EventStream(Response):
    """events: of the engine. count: asks it for the prompt's tokens. usage: whether the client wants the last event.

    The answer's head is sent with the first event, so that a refusal of the engine is still an ordinary HTTP error.
    """

    def __init__(
        self,
        exchange: Exchange,
        events: AsyncGenerator[dict[str, Any], None],
        count: Callable[[], Awaitable[int]],
        usage: bool,
    ) -> None:
        self.exchange, self.events, self.count, self.usage = exchange, events, count, usage
        self.begun = False
        self.background = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        service = self.exchange.service
        service.metrics.streams.inc()
        try:
            async with self.exchange.ending(self.count):
                await service.running.run(receive, self._send_events(send))
        except ClientLeft:
            abort(scope)  # what waits to be sent is for nobody
        except ApiError as error:
            await self._send_error(error, scope, receive, send)
        except asyncio.CancelledError:
            await self._send_error(shutting_down(), scope, receive, send)
            raise
        finally:
            service.metrics.streams.dec()

    async def _send_events(self, send: Send) -> None:
        """The engine always reports usage in its last event; it is passed on when asked for."""
        async with aclosing(self.events) as events:
            async for event in events:
                self.exchange.see(event)
                if event.get("choices") or self.usage:
                    await self._send(event, send)
        if not self.begun:
            raise ApiError(502, "The engine gave no answer.", code="engine_error")
        self.exchange.answered()
        await _in_time(send, {"type": "http.response.body", "body": b"data: [DONE]\n\n"})

    async def _send(self, event: Mapping[str, Any], send: Send) -> None:
        if not self.begun:
            self.begun = True
            head = mark_headers(self.exchange.offered.release, self.exchange.id)
            headers = {"content-type": "text/event-stream; charset=utf-8", "x-accel-buffering": "no", **head}
            raw = [(name.encode(), value.encode()) for name, value in headers.items()]
            await send({"type": "http.response.start", "status": 200, "headers": raw})
        line = sse_line(answer(event, self.exchange.offered))
        await _in_time(send, {"type": "http.response.body", "body": line, "more_body": True})

    async def _send_error(self, error: ApiError, scope: Scope, receive: Receive, send: Send) -> None:
        if self.begun:
            try:
                await _in_time(send, {"type": "http.response.body", "body": sse_line(error.record())})
            except ClientStalled:
                abort(scope)
        else:
            await error_reply(error)(scope, receive, send)


async def _in_time(send: Send, message: Message) -> None:
    """Raises ClientStalled when the client takes nothing for STALL_SECONDS."""
    try:
        async with asyncio.timeout(STALL_SECONDS):
            await send(message)
    except TimeoutError:
        raise ClientStalled from None
