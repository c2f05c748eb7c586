"""The gateway: the OpenAI API in front of the engine. It checks who asks and what; the engine answers.

Two layers: `Guard` (host name, key, what a browser may send) and the routes. Nothing of what people ask or are
answered is logged. No page is served, no other site may call it from a browser (no CORS), FastAPI's own
instrumentation is off.
"""

import asyncio
import hmac
import json
import logging
import re
import time
import traceback
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, Response, StreamingResponse
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Receive, Scope, Send

from limpide.serve.address import host_name, is_loopback
from limpide.serve.engine import Engine
from limpide.serve.openai_types import (
    CHAT_ROUTE,
    COMPLETION_ROUTE,
    ApiError,
    ChatMessage,
    ChatRequest,
    CompletionRequest,
    answer,
    models,
    parse,
    too_long,
)

LARGEST_BODY = 8 * 2**20  # bytes: far more than any context holds
OPEN_PATHS = ("/health",)  # answered without a key, for supervisors
NO_INSTRUMENTS: Any = {
    "tracing": False,
    "metrics": False,
    "logs": False,
    "operation_spans": False,
    "auto_configure": False,
}
SSE_HEADERS = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
T = TypeVar("T")


def create_app(
    engine: Engine,
    model_name: str,
    key: str | None,
    *,
    loopback: bool = True,
    hosts: Sequence[str] = (),
    fingerprint: str | None = None,
) -> FastAPI:
    """The ASGI application.

    key: asked of every request as `Authorization: Bearer`, when not None. loopback: bound to this machine alone, so
    only its own names and `hosts` may stand in the Host header (a web page could otherwise reach the server through a
    name it controls). fingerprint: given back as `system_fingerprint`, to tell which file answered.
    """

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        await engine.close()

    app = FastAPI(
        title="Limpide",
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        lifespan=lifespan,
        telemetry=NO_INSTRUMENTS,
        redirect_slashes=False,
    )
    served = Served(engine, model_name, fingerprint, int(time.time()), _control_pattern(engine.control_tokens))
    app.add_api_route("/health", served.health, methods=["GET"], response_model=None)
    app.add_api_route("/v1/models", served.list_models, methods=["GET"], response_model=None)
    app.add_api_route("/v1/models/{name:path}", served.show_model, methods=["GET"], response_model=None)
    app.add_api_route(CHAT_ROUTE, served.chat, methods=["POST"], response_model=None)
    app.add_api_route(COMPLETION_ROUTE, served.complete, methods=["POST"], response_model=None)
    app.add_exception_handler(ApiError, _api_error)
    app.add_exception_handler(HTTPException, _http_error)
    app.add_exception_handler(Exception, _fault_of_ours)
    app.add_middleware(Guard, key=key, names=frozenset(hosts) if loopback else None)
    return app


@dataclass(frozen=True)
class Served:
    """The routes, and what they share."""

    engine: Engine
    name: str
    fingerprint: str | None
    started: int
    control: re.Pattern[str] | None

    async def health(self) -> Response:
        return JSONResponse({"status": "ok"})

    async def list_models(self) -> Response:
        return JSONResponse(models([self.name], self.started, self.engine.context))

    async def show_model(self, name: str) -> Response:
        self._check_model(name)
        return JSONResponse(models([self.name], self.started, self.engine.context)["data"][0])

    async def chat(self, request: Request) -> Response:
        asked = parse(await _body(request), ChatRequest)
        self._check_model(asked.model)
        if not self.engine.has_template:
            message = f"This model has no chat template. Send its prompt to {COMPLETION_ROUTE}."
            raise ApiError(400, message, code="no_chat_template")
        self._refuse_control_tokens(asked.messages)
        messages = [message.record() for message in asked.messages]
        self._check_length(await self.engine.count_chat(messages), asked.limit, "messages")
        return await self._run(request, CHAT_ROUTE, asked, {"messages": messages})

    async def complete(self, request: Request) -> Response:
        """A raw prompt: control tokens in it are meant, and are read as such."""
        asked = parse(await _body(request), CompletionRequest)
        self._check_model(asked.model)
        prompt = asked.single
        tokens = await self.engine.count_text(prompt) if isinstance(prompt, str) else len(prompt)
        if tokens == 0:
            raise ApiError(400, "The prompt is empty.", code="invalid_value", param="prompt")
        self._check_length(tokens, asked.limit, "prompt")
        return await self._run(request, COMPLETION_ROUTE, asked, {"prompt": prompt})

    async def _run(
        self, request: Request, route: str, asked: ChatRequest | CompletionRequest, content: Mapping[str, Any]
    ) -> Response:
        body = {**content, **asked.sampling()}
        if not asked.streams:
            raw = await _unless_left(request, self.engine.answer(route, body))
            return Response(status_code=499) if raw is None else JSONResponse(answer(raw, self.name, self.fingerprint))
        events = self.engine.events(route, body)
        # The first event is awaited here, so that a refusal is still an ordinary HTTP error.
        first = await _unless_left(request, _first(events))
        if first is None:
            return Response(status_code=499)
        lines = self._lines(first, events, asked.wants_usage)
        return StreamingResponse(lines, media_type="text/event-stream", headers=SSE_HEADERS)

    async def _lines(
        self, first: Mapping[str, Any], events: AsyncGenerator[dict[str, Any], None], usage: bool
    ) -> AsyncIterator[str]:
        """Server-sent events. The engine always reports usage; it is passed on when asked for."""
        async with aclosing(events):
            yield _line(answer(first, self.name, self.fingerprint))
            try:
                async for event in events:
                    if event.get("choices") or usage:
                        yield _line(answer(event, self.name, self.fingerprint))
            except ApiError as error:
                yield _line(error.record())
                return
        yield "data: [DONE]\n\n"

    def _check_model(self, name: str | None) -> None:
        if name is not None and name != self.name:
            raise ApiError(
                404,
                f"The model '{name[:200]}' is not served here; '{self.name}' is.",
                code="model_not_found",
                param="model",
            )

    def _check_length(self, tokens: int, limit: int | None, param: str) -> None:
        if tokens + (limit or 1) > self.engine.context:
            raise too_long(tokens, self.engine.context, limit, param)

    def _refuse_control_tokens(self, messages: Sequence[ChatMessage]) -> None:
        """A message that spells a control token could forge a turn: refuse it, as when the model was taught."""
        for index, message in enumerate(messages):
            found = self.control.search(message.text) if self.control else None
            if found:
                raise ApiError(
                    400,
                    f"messages[{index}] contains {found.group()!r}, which the model would read as the end or the start "
                    "of a turn. Remove it from the text.",
                    code="control_token",
                    param=f"messages[{index}].content",
                )


class Guard:
    """Refuses requests that come under a foreign name, without the key, or in a form any web page could send.

    names: the names allowed beside loopback ones; None: any name.
    """

    def __init__(self, app: ASGIApp, key: str | None, names: frozenset[str] | None) -> None:
        self.app, self.names = app, names
        self.key = None if key is None else f"Bearer {key}".encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            error = self._fault(scope)
            if error is not None:
                await _response(error)(scope, receive, send)
                return
        await self.app(scope, receive, send)

    def _fault(self, scope: Scope) -> ApiError | None:
        headers = Headers(scope=scope)
        name = host_name(headers.get("host", ""))
        if self.names is not None and not is_loopback(name) and name not in self.names:
            return ApiError(403, "This server does not answer under that host name.", code="wrong_host")
        if self.key is not None and scope["path"] not in OPEN_PATHS:
            given = headers.get("authorization", "").encode("utf-8", "surrogateescape")
            if not hmac.compare_digest(given, self.key):
                return ApiError(
                    401, "The key is missing or wrong: send 'Authorization: Bearer KEY'.", code="invalid_api_key"
                )
        kind = headers.get("content-type", "").partition(";")[0].strip().lower()
        if scope["method"] == "POST" and kind != "application/json":
            # Only this type makes a browser ask first whether a foreign page may send it; the answer is no.
            return ApiError(415, "Send the header 'Content-Type: application/json'.", code="wrong_content_type")
        return None


async def _body(request: Request) -> bytes:
    pieces, size = [], 0
    async for piece in request.stream():
        size += len(piece)
        if size > LARGEST_BODY:
            raise ApiError(413, f"The body is larger than {LARGEST_BODY} bytes.", code="body_too_large")
        pieces.append(piece)
    return b"".join(pieces)


async def _unless_left(request: Request, work: Awaitable[T]) -> T | None:
    """The result of `work`, or None when the client leaves first; `work` is cancelled then."""
    task = asyncio.ensure_future(work)
    left = asyncio.ensure_future(_left(request))
    try:
        await asyncio.wait({task, left}, return_when=asyncio.FIRST_COMPLETED)
        return task.result() if task.done() else None
    finally:
        for pending in (task, left):
            pending.cancel()
        await asyncio.gather(task, left, return_exceptions=True)


async def _first(events: AsyncIterator[dict[str, Any]]) -> dict[str, Any]:
    async for event in events:
        return event
    raise ApiError(502, "The engine gave no answer.", code="engine_error")


async def _left(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


def _control_pattern(tokens: Sequence[str]) -> re.Pattern[str] | None:
    return re.compile("|".join(map(re.escape, tokens))) if tokens else None


def _line(record: Mapping[str, Any]) -> str:
    return f"data: {json.dumps(record, ensure_ascii=False, separators=(',', ':'))}\n\n"


def _response(error: ApiError) -> JSONResponse:
    headers = {"WWW-Authenticate": "Bearer"} if error.status == 401 else None
    return JSONResponse(error.record(), status_code=error.status, headers=headers)


async def _api_error(_: Request, error: Exception) -> Response:
    assert isinstance(error, ApiError)
    return _response(error)


async def _fault_of_ours(_: Request, error: Exception) -> Response:
    """A fault in Limpide. Its class and place are logged, not its message, which could quote a prompt."""
    frames = traceback.extract_tb(error.__traceback__)
    place = f"{frames[-1].filename}:{frames[-1].lineno}" if frames else "unknown place"
    logging.getLogger("limpide.serve").error("fault in the gateway: %s at %s", type(error).__name__, place)
    return _response(ApiError(500, "A fault in the server; the request was not answered.", code="internal_error"))


async def _http_error(_: Request, error: Exception) -> Response:
    """An unknown path or method."""
    assert isinstance(error, HTTPException)
    return _response(ApiError(error.status_code, f"{error.detail}: this server answers {CHAT_ROUTE} and /v1/models."))
