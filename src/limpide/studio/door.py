"""The door: every request and the websocket pass here before anything else sees them.

In order: the Host header must be one of ours, a request that changes something and every websocket must come from our
own pages (Origin), the cookie must be of an open session, and a form must carry the session's token. The websocket is
counted: one that floods is closed, and others do not notice. Every answer gets the security headers.
"""

import re
import secrets
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from ipaddress import ip_address

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import cookie_parser
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from limpide.serve.address import host_name, is_loopback
from limpide.studio.session import Session, Sessions, same

LANGUAGE_COOKIE, THEME_COOKIE = "limpide_language", "limpide_theme"  # what a browser prefers: no secret
FORM_HEADER = "x-limpide-form"
WEBSOCKET = "/_nicegui_ws/socket.io/"
# Answered to anybody who comes under our name: nothing in them is about the project.
OPEN = re.compile(
    r"/(enter|sign-in|health|favicon\.ico|look/[\w.-]+|_nicegui/[\w.]+/(static|libraries|components|esm)/.*)"
)
CHANGING = ("POST", "PUT", "PATCH", "DELETE")
MESSAGES_A_SECOND = 40.0
MESSAGES_AT_ONCE = 400.0  # a page that is filled by a browser's autofill, or a drag, sends many
LARGEST_MESSAGE = 1_000_000  # bytes of one websocket message; NiceGUI's pages refuse to send more
BYTES_A_SECOND = 500_000.0
BYTES_AT_ONCE = 4_000_000.0
SOCKETS_OF_ONE = 32  # websockets open at once for one session: pages in tabs
LARGEST_FORM = 64 * 1024  # bytes of any body but an upload's
TOO_MANY = 1008  # websocket close code: policy

HEADERS = {
    "x-content-type-options": "nosniff",
    "x-frame-options": "SAMEORIGIN",
    "referrer-policy": "same-origin",  # with "no-referrer", browsers send forms with the origin "null"
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), microphone=(), geolocation=(), payment=(), usb=(), interest-cohort=()",
}


def page_policy(nonce: str) -> str:
    """Content-Security-Policy of the pages. NiceGUI compiles templates in the browser ('unsafe-eval') and sets style
    attributes; scripts in the page are only those that carry the nonce, so text of a user never runs."""
    return (
        f"default-src 'none'; script-src 'self' 'nonce-{nonce}' 'unsafe-eval'; style-src 'self' 'unsafe-inline'; "
        "img-src 'self' data: blob:; font-src 'self' data:; connect-src 'self'; frame-src 'self'; "
        "base-uri 'none'; form-action 'self'; frame-ancestors 'self'; object-src 'none'"
    )


@dataclass
class Bucket:
    """What may pass: `rate` a second, `most` at once. Only moves forward in time."""

    rate: float
    most: float
    clock: Callable[[], float] = time.monotonic
    level: float = field(init=False)
    seen: float = field(init=False)

    def __post_init__(self) -> None:
        self.level, self.seen = self.most, self.clock()

    def take(self, amount: float) -> bool:
        """Whether `amount` may pass now."""
        now = self.clock()
        self.level = min(self.most, self.level + (now - self.seen) * self.rate)
        self.seen = now
        if amount > self.level:
            return False
        self.level -= amount
        return True


class Meter:
    """What one session may send through websockets: many times what a person's browsers do."""

    def __init__(self) -> None:
        self.messages = Bucket(MESSAGES_A_SECOND, MESSAGES_AT_ONCE)
        self.size = Bucket(BYTES_A_SECOND, BYTES_AT_ONCE)

    def may_pass(self, length: int) -> bool:
        return self.messages.take(1) and self.size.take(length)

    def is_rested(self) -> bool:
        """Whether it is as a new one would be."""
        return all(bucket.take(0) and bucket.level == bucket.most for bucket in (self.messages, self.size))


class Door:
    """ASGI middleware around the whole studio.

    names: further host names that it answers to. loopback: bound to this machine alone, so that its own names are
    right; elsewhere any address is. turned_away: answers a page request without a session.
    """

    def __init__(
        self,
        app: ASGIApp,
        sessions: Sessions,
        *,
        names: Iterable[str] = (),
        loopback: bool = True,
        turned_away: ASGIApp,
    ) -> None:
        self.app, self.sessions, self.turned_away = app, sessions, turned_away
        self.names, self.loopback = frozenset(name.lower() for name in names), loopback
        self.sockets: dict[str, int] = {}
        self.meters: dict[str, Meter] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            await self._page(scope, receive, send)
        elif scope["type"] == "websocket":
            await self._websocket(scope, receive, send)
        else:
            await self.app(scope, receive, send)

    async def _page(self, scope: Scope, receive: Receive, send: Send) -> None:
        nonce = secrets.token_urlsafe(16)
        send = _with_headers(send, nonce)
        headers, path = Headers(scope=scope), scope["path"]
        fault = self._foreign(headers, changing=scope["method"] in CHANGING)
        if fault is not None:
            await _refusal(403, fault)(scope, receive, send)
            return
        scope["limpide.nonce"] = nonce
        if OPEN.fullmatch(path):
            await self.app(scope, receive, send)
            return
        session = scope["limpide.session"] = self.sessions.of(cookie(headers, self.sessions.cookie))
        if session is None:
            await self.turned_away(scope, receive, send)
        elif path.startswith(("/_nicegui/client/", WEBSOCKET)):
            await _refusal(404, "not found")(scope, receive, send)  # files come by /upload; no long polling
        elif scope["method"] in CHANGING and not same(headers.get(FORM_HEADER), session.form):
            await _refusal(403, "this form is not from an open page of the studio: load the page again")(
                scope, receive, send
            )
        else:
            await self.app(scope, receive, send)

    async def _websocket(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = Headers(scope=scope)
        session = self.sessions.of(cookie(headers, self.sessions.cookie))
        known = session is not None and self._foreign(headers, changing=True) is None and scope["path"] == WEBSOCKET
        if session is None or not known or self.sockets.get(session.id, 0) >= SOCKETS_OF_ONE:
            await receive()
            await send({"type": "websocket.close", "code": TOO_MANY})
            return
        scope["limpide.session"] = session
        self.sockets[session.id] = self.sockets.get(session.id, 0) + 1
        try:
            meter, secret = self._meter(session), cookie(headers, self.sessions.cookie)

            def may_pass(length: int) -> bool:
                return meter.may_pass(length) and self.sessions.of(secret) is not None  # it may be over by now

            await self.app(scope, counted(receive, send, may_pass), send)
        finally:
            self.sockets[session.id] -= 1
            if not self.sockets[session.id]:
                del self.sockets[session.id]

    def _meter(self, session: Session) -> "Meter":
        """The session's own, over all its websockets: opening another one gives nothing more."""
        self.meters = {id: meter for id, meter in self.meters.items() if id in self.sockets or not meter.is_rested()}
        return self.meters.setdefault(session.id, Meter())

    def _foreign(self, headers: Headers, *, changing: bool) -> str | None:
        """Why a request is not from our own pages, or None. Browsers send Origin with what changes something."""
        host = headers.get("host", "")
        name = host_name(host)
        if name not in self.names and not (is_loopback(name) if self.loopback else is_address(name)):
            return "the studio does not answer under that host name: start it with --hosts NAME"
        origin = headers.get("origin")
        if origin is None:
            # A page that another site links to may be opened; nothing of ours may be embedded there.
            embedded = headers.get("sec-fetch-site") == "cross-site" and headers.get("sec-fetch-dest") != "document"
            return "this request did not come from a page of the studio" if changing or embedded else None
        scheme, _, place = origin.lower().partition("://")
        if scheme not in ("http", "https") or place != host.strip().lower():
            return "this request came from another site"
        return None


def is_address(name: str) -> bool:
    """Whether a host is written as an address: no other site can make a browser believe that one is its own."""
    try:
        ip_address(name)
    except ValueError:
        return False
    return True


def counted(receive: Receive, send: Send, may_pass: Callable[[int], bool]) -> Receive:
    """`receive` of one websocket, which ends with the first message that may not pass. may_pass: of its length."""

    async def next_message() -> Message:
        message = await receive()
        if message["type"] != "websocket.receive":
            return message
        if may_pass(len(message.get("text") or "") + len(message.get("bytes") or b"")):
            return message
        await send({"type": "websocket.close", "code": TOO_MANY})
        return {"type": "websocket.disconnect", "code": TOO_MANY}

    return next_message


def cookie(headers: Headers, name: str) -> str | None:
    # As browsers read them: the standard library's reader gives up at what other programs of this machine set.
    return cookie_parser(headers.get("cookie", "")).get(name)


def session_of(scope: Scope) -> Session:
    """The session the door found; it lets no page be built without one."""
    session = scope["limpide.session"]
    assert isinstance(session, Session)
    return session


def _with_headers(send: Send, nonce: str) -> Send:
    async def headed(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            for name, value in HEADERS.items():
                headers.setdefault(name, value)
            headers.setdefault("content-security-policy", page_policy(nonce))
            if "cache-control" not in headers:
                headers["cache-control"] = "no-store"
        await send(message)

    return headed


def _refusal(status: int, text: str) -> Response:
    return Response(f"{text}\n", status_code=status, media_type="text/plain")
