"""The studio as one ASGI application: the door, a few routes of our own, and NiceGUI's pages behind them."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from functools import partial
from urllib.parse import unquote

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, RedirectResponse, Response
from nicegui import core, ui
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from limpide.core.errors import LimpideError
from limpide.studio import documents, entry, frame, parts, traffic
from limpide.studio.boxes import ASSETS, HERE, look
from limpide.studio.door import LANGUAGE_COOKIE, THEME_COOKIE, Door, cookie, session_of
from limpide.studio.jobs import Jobs
from limpide.studio.pages import release_pack
from limpide.studio.pages_list import HIDDEN_PAGES, PAGES
from limpide.studio.project import Project
from limpide.studio.session import Sessions
from limpide.studio.settings import StudioSettings
from limpide.studio.uploads import MEGABYTE, receive
from limpide.studio.visit import Visit
from limpide.studio.words import LANGUAGES, preferred

YEAR = 31_536_000
RECONNECT_SECONDS = 30.0  # a laptop that slept, a network that changed: the page goes on where it was
BUILD_SECONDS = 30.0  # longest time to draw a page
LONGEST_NUMBER = 20  # digits of a length that is believed
KINDS = {".css": "text/css", ".js": "text/javascript"}


@dataclass(frozen=True)
class Studio:
    """What the routes share. reception: where there are accounts, since others can
    reach the address."""

    project: Project
    settings: StudioSettings
    sessions: Sessions
    jobs: Jobs
    reception: entry.Reception | None = None

    @property
    def largest(self) -> int:
        return self.settings.largest_upload * MEGABYTE

    def visit(self, request: Request) -> Visit:
        theme = cookie(request.headers, THEME_COOKIE)
        theme = theme if theme in frame.THEMES else "system"
        current = partial(self.sessions.of, cookie(request.headers, self.sessions.cookie))
        return Visit(self.project, self.jobs, session_of(request.scope), self.language(request), theme, current)

    def language(self, request: Request) -> str:
        """The one that was chosen, else the browser's."""
        chosen = cookie(request.headers, LANGUAGE_COOKIE)
        if chosen in LANGUAGES:
            return chosen
        return preferred(request.headers.get("accept-language", ""), self.settings.language or "en")


def create_app(studio: Studio, *, loopback: bool = True, names: tuple[str, ...] = (), secure: bool = False) -> ASGIApp:
    """The application. NiceGUI keeps one set of pages in a process, so there is one studio in a process."""
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None, redirect_slashes=False)
    routes = Routes(studio)
    log = partial(traffic.record, studio.project)
    entrance = entry.Entrance(studio.sessions, studio.language, studio.project.name, studio.reception, secure, log)
    app.add_api_route("/", routes.start, methods=["GET"], response_model=None)
    app.add_api_route("/health", routes.health, methods=["GET"], response_model=None)
    app.add_api_route("/look/{name}", routes.look, methods=["GET"], response_model=None)
    app.add_api_route("/language/{code}", routes.language, methods=["GET"], response_model=None)
    app.add_api_route("/upload", routes.upload, methods=["POST"], response_model=None)
    app.add_api_route("/files/{path:path}", routes.file, methods=["GET"], response_model=None)
    app.add_api_route("/pack/{name}", routes.pack, methods=["GET"], response_model=None)
    app.add_api_route("/enter", entrance.enter, methods=["GET", "POST"], response_model=None)
    app.add_api_route("/sign-in", entrance.sign_in, methods=["GET", "POST"], response_model=None)
    app.add_api_route("/leave", entrance.leave, methods=["POST"], response_model=None)
    for page in (*PAGES, *HIDDEN_PAGES):
        _add_page(page, studio)
    core.app.on_exception(parts.tell_fault)
    core.app.add_exception_handler(404, entrance.absent)
    core.app.config.socket_io_js_transports = ["websocket"]
    core.sio.eio.transports = ["websocket"]
    core.sio.eio.cors_allowed_origins = []  # the door has compared Origin with the address already
    core.app.config.quasar_config["loadingBar"] = {"skipHijack": True}
    ui.run_with(
        app,
        title="Limpide",
        favicon=HERE / "favicon.svg",
        dark=None,
        language="en-GB",
        reconnect_timeout=RECONNECT_SECONDS,
        tailwind=False,
        prod_js=True,
        show_welcome_message=False,
        gzip_middleware_factory=None,
    )
    return Door(Nonced(app), studio.sessions, names=names, loopback=loopback, turned_away=entrance.turned_away)


def _add_page(page: frame.Page, studio: Studio) -> None:
    async def build(request: Request) -> None:
        storage = ui.context.client.storage
        storage["visit"], storage["largest_upload"] = studio.visit(request), studio.largest
        await frame.draw(page, storage["visit"], request, PAGES)

    ui.page(page.path, response_timeout=BUILD_SECONDS)(build)


@dataclass(frozen=True)
class Routes:
    """What is not a page."""

    studio: Studio

    async def start(self) -> Response:
        return RedirectResponse(self.studio.project.next_path(), status_code=303)

    async def health(self) -> Response:
        return JSONResponse({"status": "ok"})

    async def look(self, name: str) -> Response:
        asset = name.partition(".")[2]
        if asset not in ASSETS or look(asset) != f"/look/{name}":
            return Response(status_code=404)
        kept = {"cache-control": f"public, max-age={YEAR}, immutable"}
        return Response((HERE / asset).read_bytes(), media_type=KINDS["." + asset.rpartition(".")[2]], headers=kept)

    async def language(self, request: Request, code: str, back: str = "/") -> Response:
        """Remember a language and go back. `back` is one of our pages: no address of another site is followed."""
        known = {page.path for page in (*PAGES, *HIDDEN_PAGES)}
        answer = RedirectResponse(back if back in known else "/", status_code=303)
        if code in LANGUAGES:
            answer.set_cookie(LANGUAGE_COOKIE, code, max_age=YEAR, samesite="strict", path="/")
        return answer

    async def upload(self, request: Request) -> Response:
        """One file, as the plain body. The answer is for the page that sent it."""
        visit, name = self.studio.visit(request), unquote(request.headers.get("x-limpide-name", ""))
        declared = request.headers.get("content-length", "")
        length = int(declared) if declared.isdecimal() and len(declared) < LONGEST_NUMBER else None
        if not visit.may("change"):
            return JSONResponse({"name": name, "what": visit.say("frame.upload.not_yours")}, status_code=403)
        try:
            visit.log("studio.upload", size=length)
            place = await receive(self.studio.project, name, length, _pieces(request), self.studio.largest)
        except ClientDisconnect:
            return Response(status_code=499)  # nobody is there to read it; nothing was kept
        except LimpideError as error:
            return JSONResponse({"name": name, **error.record()}, status_code=400, headers={"connection": "close"})
        size = place.stat().st_size
        wanted = self.studio.project.place_for_upload(name).name  # another file may have it already
        return JSONResponse({"name": place.name, "wanted": wanted, "path": str(place), "size": size})

    async def pack(self, request: Request, name: str) -> Response:
        return release_pack.serve(self.studio.visit(request), name)

    async def file(self, request: Request, path: str) -> Response:
        return documents.serve(self.studio.project, path, download="download" in request.query_params)


async def _pieces(request: Request) -> AsyncIterator[bytes]:
    async for piece in request.stream():
        yield piece


class Nonced:
    """Gives the nonce of the page's policy to the scripts that NiceGUI writes into a page.

    Whatever comes from a user is escaped in there (`<` never appears as itself), so no other script is reached.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        mark = f'<script nonce="{scope["limpide.nonce"]}"'.encode()
        held: list[Message] = []

        async def rewritten(message: Message) -> None:
            if message["type"] == "http.response.start":
                if (b"x-nicegui-content", b"page") in message["headers"]:
                    held.append(message)
                    return
            elif held:
                held.append(message)
                if message.get("more_body"):
                    return
                await _send_page(held, mark, send)
                held.clear()
                return
            await send(message)

        await self.app(scope, receive, rewritten)


async def _send_page(held: list[Message], mark: bytes, send: Send) -> None:
    body = b"".join(message.get("body", b"") for message in held[1:]).replace(b"<script", mark)
    headers = [(name, value) for name, value in held[0]["headers"] if name != b"content-length"]
    headers.append((b"content-length", str(len(body)).encode()))
    await send({**held[0], "headers": headers})
    await send({"type": "http.response.body", "body": body})
