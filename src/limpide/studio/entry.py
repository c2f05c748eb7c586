"""The way in: a one-time token on this machine, a name and a password elsewhere. Plain pages, without scripts."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import parse_qsl

from fastapi import Request
from fastapi.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from jinja2 import Environment, FileSystemLoader
from starlette.types import Receive, Scope, Send

from limpide.core.errors import LimpideError
from limpide.serve.accounts import Account
from limpide.serve.refused import AccessRefused
from limpide.studio.boxes import LOGO, look
from limpide.studio.door import LARGEST_FORM, THEME_COOKIE, cookie, session_of
from limpide.studio.session import SESSION_SECONDS, LocalSessions, Sessions, person
from limpide.studio.words import language

FORM_SECONDS = 30.0  # a form must have come within this time: a stranger holds no connection for ever
TEMPLATES = Environment(loader=FileSystemLoader(Path(__file__).parent), autoescape=True)


class Reception(Protocol):
    """Signs people in: serve/accounts.py, made ready by `launch.py`."""

    async def check(self, name: str, password: str, address: str) -> Account: ...

    def open(self, account: Account) -> str:
        """A secret for the cookie of a browser."""


@dataclass(frozen=True)
class Entrance:
    """The routes that people without a session may call. reception: None on this machine alone."""

    sessions: Sessions
    language: Callable[[Request], str]
    project: str
    reception: Reception | None
    secure: bool
    log: Callable[..., None]

    async def turned_away(self, scope: Scope, receive: Receive, send: Send) -> None:
        """A page for whoever has no session; the reason alone for a program."""
        request = Request(scope, receive)
        if "text/html" not in request.headers.get("accept", ""):
            await JSONResponse({"what": "no open session"}, status_code=401)(scope, receive, send)
        elif self.reception is not None:
            await RedirectResponse("/sign-in", status_code=303)(scope, receive, send)
        else:
            await self._page(request, "closed", 401)(scope, receive, send)

    async def enter(self, request: Request, token: str = "") -> Response:
        """Exchange a one-time token, which is then spent, for a cookie.

        The page that follows loads the studio by itself: a redirect after a link in another program would not carry a
        SameSite=Strict cookie.
        """
        if not isinstance(self.sessions, LocalSessions):
            return RedirectResponse("/sign-in", status_code=303)
        if request.method == "POST":
            token = (await _form(request)).get("token", "")
        token = token.rpartition("token=")[2].strip()  # people paste the whole address
        if self.sessions.of(cookie(request.headers, self.sessions.cookie)) is not None:
            return self._page(request, "opened", 200)
        if not token or len(token) > 200 or not self.sessions.spend(token):
            return self._page(request, "spent" if token else "closed", 401)
        self._note("studio.open", who=person())
        answer = self._page(request, "opened", 200)
        self._give(answer, self.sessions.open())
        return answer

    def _note(self, event: str, **facts: Any) -> None:
        """A log that cannot be written shuts nobody out: the pages tell what is wrong with it, and change nothing."""
        with suppress(LimpideError):
            self.log(event, **facts)

    async def sign_in(self, request: Request) -> Response:
        if self.reception is None:
            return RedirectResponse("/", status_code=303)
        if request.method == "GET":
            return self._page(request, "sign_in", 200)
        form = await _form(request)
        try:
            address = request.client.host if request.client else ""
            account = await self.reception.check(form.get("name", ""), form.get("password", ""), address)
        except AccessRefused as refused:
            if refused.retry_after is None:  # those who were told to wait must not fill the disk
                self._note("studio.refuse", why=refused.code, address=address)
            say = language(self.language(request)).say
            wait = refused.retry_after
            fault = say("frame.entry.wrong") if wait is None else say("frame.entry.wait", wait)
            return self._page(request, "sign_in", refused.status, fault=fault)
        self._note("studio.sign_in", who=account.name, role=account.role, address=address)
        answer = self._page(request, "opened", 200)
        self._give(answer, self.reception.open(account))
        return answer

    async def leave(self, request: Request) -> Response:
        secret = cookie(request.headers, self.sessions.cookie)
        if secret is not None:
            self._note("studio.leave", who=session_of(request.scope).name)
            self.sessions.close(secret)
        answer = Response(status_code=204)
        answer.delete_cookie(self.sessions.cookie, path="/")
        return answer

    async def absent(self, request: Request, _: Exception) -> Response:
        """A page that is not there."""
        return self._page(request, "absent", 404)

    def _give(self, answer: Response, secret: str) -> None:
        answer.set_cookie(
            self.sessions.cookie,
            secret,
            max_age=int(SESSION_SECONDS) if self.reception is None else None,
            path="/",
            httponly=True,
            samesite="strict",
            secure=self.secure,
        )

    def _page(self, request: Request, kind: str, status: int, fault: str | None = None) -> HTMLResponse:
        code = self.language(request)
        theme = {"light": "light", "dark": "dark"}.get(cookie(request.headers, THEME_COOKIE) or "", "light dark")
        values = {"kind": kind, "fault": fault, "project": self.project, "code": code, "logo": LOGO, "theme": theme}
        html = TEMPLATES.get_template("entry.html").render(say=language(code).say, look=look("look.css"), **values)
        return HTMLResponse(html, status_code=status, headers={"cache-control": "no-store"})


async def _form(request: Request) -> dict[str, str]:
    """The fields of a small form; none of one that is too large, or comes too slowly."""
    body = b""
    try:
        async with asyncio.timeout(FORM_SECONDS):
            async for piece in request.stream():
                body += piece
                if len(body) > LARGEST_FORM:
                    return {}
    except TimeoutError:
        return {}
    return dict(parse_qsl(body.decode("utf-8", "replace")))
