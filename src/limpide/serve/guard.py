"""The layers in front of the routes: what no request may be, what every answer carries, who asks.

`Guard` refuses what comes under a foreign name or in a form that any web page could send, and gives every answer its
security headers; `Entrance` asks the stop switch and the doorkeeper. Each request is counted, whatever became of it.
"""

import asyncio
import time
from collections.abc import Mapping

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from limpide.serve.access import Caller
from limpide.serve.address import host_name, is_loopback
from limpide.serve.openai_types import ApiError
from limpide.serve.refused import AccessRefused
from limpide.serve.replies import error_reply
from limpide.serve.running import shutting_down, stopped_error
from limpide.serve.service import Service, of_access

LARGEST_BODY = 8 * 2**20  # bytes: far more than any context holds
OPEN_PATHS = ("/health",)  # answered without a key, for supervisors
METRICS = "/metrics"
ONE_MODEL = "/v1/models/{name}"
SECURITY: list[tuple[bytes, bytes]] = [
    (b"cache-control", b"no-store"),
    (b"x-content-type-options", b"nosniff"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
    (b"referrer-policy", b"no-referrer"),
]


class Guard:
    """names: the host names allowed beside loopback ones; None: any. routes: paths counted under their own name."""

    def __init__(self, app: ASGIApp, service: Service, names: frozenset[str] | None, routes: frozenset[str]) -> None:
        self.app, self.service, self.names, self.routes = app, service, names, routes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        began, status = time.perf_counter(), 0
        route = scope.setdefault("state", {})["route"] = self._route(scope["path"])

        async def guarded(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message.get("headers", ()), *SECURITY]
            await send(message)

        error = self._fault(scope)
        try:
            if error is None:
                await self.app(scope, receive, guarded)
            else:
                await error_reply(error)(scope, receive, guarded)
        except asyncio.CancelledError:
            if not status:
                await error_reply(shutting_down())(scope, receive, guarded)
            raise
        finally:
            seconds = time.perf_counter() - began
            self.service.metrics.request(route, status, seconds)
            self.service.lines.write("request", route=route, status=status, milliseconds=round(seconds * 1000, 1))

    def _route(self, path: str) -> str:
        """The name of a route in counts and logs: what a caller makes up is not repeated there."""
        if path in self.routes:
            return path
        return ONE_MODEL if path.startswith(ONE_MODEL.partition("{")[0]) else "other"

    def _fault(self, scope: Scope) -> ApiError | None:
        headers = _headers(scope)
        name = host_name(headers.get("host", ""))
        if self.names is not None and not is_loopback(name) and name not in self.names:
            return ApiError(403, "This server does not answer under that host name.", code="wrong_host")
        if scope["method"] == "POST":
            kind = headers.get("content-type", "").partition(";")[0].strip().lower()
            if kind != "application/json":
                # Only this type makes a browser ask first whether a foreign page may send it; the answer is no.
                return ApiError(415, "Send the header 'Content-Type: application/json'.", code="wrong_content_type")
            length = headers.get("content-length", "")
            if length.isdecimal() and int(length) > LARGEST_BODY:
                return body_too_large()
        return None


class Entrance:
    """Lets in who may ask, while the service is not stopped. The caller is found in `scope["state"]["caller"]`."""

    def __init__(self, app: ASGIApp, service: Service) -> None:
        self.app, self.service = app, service

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"] not in OPEN_PATHS:
            try:
                scope["state"]["caller"] = await self._enter(scope)
            except ApiError as error:
                self.service.refuse(error, route=scope["state"]["route"], caller=None)
                await error_reply(error)(scope, receive, send)
                return
        await self.app(scope, receive, send)

    async def _enter(self, scope: Scope) -> Caller | None:
        address = scope["client"][0] if scope.get("client") else ""
        headers = _headers(scope)
        if scope["path"] == METRICS and is_loopback(address) and is_loopback(host_name(headers.get("host", ""))):
            return None
        order = self.service.order() if scope["path"].startswith("/v1/") else None
        if order is not None:
            raise stopped_error(order)
        try:
            return await self.service.doorkeeper.admit(_secret(headers), address)
        except AccessRefused as error:
            raise of_access(error) from None


def _headers(scope: Scope) -> dict[str, str]:
    """By name, in small letters; of one sent twice, the first."""
    return {name.decode("latin-1"): value.decode("latin-1") for name, value in reversed(scope["headers"])}


def _secret(headers: Mapping[str, str]) -> str | None:
    """What follows `Bearer ` in the header Authorization."""
    scheme, _, secret = headers.get("authorization", "").partition(" ")
    return secret.strip() if scheme.lower() == "bearer" and secret.strip() else None


def body_too_large() -> ApiError:
    return ApiError(413, f"The body is larger than {LARGEST_BODY} bytes.", code="body_too_large")
