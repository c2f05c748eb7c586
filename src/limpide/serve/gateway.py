"""The gateway: the OpenAI API in front of the engines. It checks what is asked; an engine answers.

A request passes: `connections` (how slow, how large) → `guard` (host, form, stop switch, key) → the routes here (read,
measure, reserve, write `accept`, ask the engine) → `exchange` (write `answer`, settle, send). No page is served, no
other site may call it from a browser (no CORS).
"""

import asyncio
import logging
import time
import traceback
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp

from limpide.core.errors import LimpideError
from limpide.serve import answers, openapi
from limpide.serve.engines.protocol import Engine, Gives
from limpide.serve.engines.whole import whole
from limpide.serve.guard import LARGEST_BODY, METRICS, ONE_MODEL, Entrance, Guard, body_too_large
from limpide.serve.lengths import Length, Prompt, bound_of, check_length
from limpide.serve.marks import mark_headers
from limpide.serve.metrics import CONTENT_TYPE
from limpide.serve.openai_types import (
    CHAT_ROUTE,
    COMPLETION_ROUTE,
    EMBEDDING_ROUTE,
    ApiError,
    ChatMessage,
    ChatRequest,
    CompletionRequest,
    EmbeddingRequest,
    VerifyRequest,
    parse,
)
from limpide.serve.replies import encode, error_reply, json_reply
from limpide.serve.running import ClientLeft
from limpide.serve.service import Exchange, Service, accept
from limpide.serve.shelf import Offered
from limpide.serve.streams import EventStream

BODY_SECONDS = 30.0  # a request's body must have arrived within this time
STOP_EVERY, SEAL_EVERY = 0.2, 60.0  # seconds between two looks at the stop switch, and at the served files
SETTLE_SECONDS = 2.0  # at shutdown, for requests that were cut off to write their last entry
VERIFY_ROUTE, MODELS_ROUTE, OPENAPI_ROUTE, HEALTH_ROUTE = (
    "/v1/limpide/verify",
    "/v1/models",
    "/openapi.json",
    "/health",
)


def create_app(service: Service, *, loopback: bool = True, hosts: Sequence[str] = ()) -> ASGIApp:
    """The ASGI application. loopback: bound to this machine alone, so only its own names and `hosts` may stand in the
    Host header (a web page could otherwise reach the server through a name it controls)."""
    routes = Routes(service)
    table = (
        (CHAT_ROUTE, routes.chat, "POST"),  # first, as they are tried in this order
        (HEALTH_ROUTE, routes.health, "GET"),
        (METRICS, routes.metrics, "GET"),
        (OPENAPI_ROUTE, routes.document, "GET"),
        (MODELS_ROUTE, routes.list_models, "GET"),
        (ONE_MODEL.replace("}", ":path}"), routes.show_model, "GET"),
        (COMPLETION_ROUTE, routes.complete, "POST"),
        (EMBEDDING_ROUTE, routes.embed, "POST"),
        (VERIFY_ROUTE, routes.verify, "POST"),
    )
    app = Starlette(
        routes=[Route(path, endpoint, methods=[method]) for path, endpoint, method in table],
        exception_handlers={
            ApiError: routes.refused,
            HTTPException: _http_error,
            ClientLeft: _nobody,
            ClientDisconnect: _nobody,
            Exception: _fault_of_ours,
        },
        lifespan=partial(_lifespan, service),
    )
    app.router.redirect_slashes = False
    # Outside Starlette, so that its last resort, the answer 500, has the headers of every other.
    inner = Entrance(app, service)
    return Guard(inner, service, frozenset(hosts) if loopback else None, frozenset(path for path, _, _ in table))


@asynccontextmanager
async def _lifespan(service: Service, _: Starlette) -> AsyncIterator[None]:
    watches = [asyncio.create_task(watch(service)) for watch in (_watch_switch, _watch_seals)]
    yield
    for watch in watches:
        watch.cancel()
    await asyncio.gather(*watches, return_exceptions=True)
    await service.settled(SETTLE_SECONDS)
    for engine in service.shelf.engines:
        await engine.close()


async def _watch_switch(service: Service) -> None:
    """Obey the stop switch for what runs."""
    while True:
        await asyncio.sleep(STOP_EVERY)
        service.order()


async def _watch_seals(service: Service) -> None:
    """Look at the served files now and then. Apart, since it waits while a release is being verified again."""
    while True:
        await asyncio.sleep(SEAL_EVERY)
        await asyncio.to_thread(service.look_at_seals)


class Routes:
    """The routes, over what they share."""

    def __init__(self, service: Service) -> None:
        self.service, self.shelf = service, service.shelf
        self.started = int(time.time())
        self._document = encode(openapi.document())
        self._verifying = asyncio.Lock()

    async def health(self, _: Request) -> Response:
        stopped = self.service.order() is not None
        return json_reply({"status": "stopped" if stopped else "ok"}, status=503 if stopped else 200)

    async def metrics(self, _: Request) -> Response:
        changed = [(one.id, one.seal is not None and one.seal.broken is not None) for one in self.shelf]
        text = self.service.metrics.text(self.service.order() is not None, changed)
        return Response(text, headers={"content-type": CONTENT_TYPE})

    async def document(self, _: Request) -> Response:
        return Response(self._document, media_type="application/json")

    async def list_models(self, request: Request) -> Response:
        may_use = request.state.caller.may_use
        rows = [answers.model_row(offered, self.started) for offered in self.shelf if may_use(offered.id)]
        return json_reply({"object": "list", "data": rows})

    async def show_model(self, request: Request) -> Response:
        return json_reply(answers.model_row(self.shelf.find(request.path_params["name"]), self.started))

    async def verify(self, request: Request) -> Response:
        """Read every byte of a release again and hold it against its signature."""
        asked = parse(await _body(request), VerifyRequest)
        offered = self.shelf.find(asked.model)
        hold = await self.service.reserve(request.state.caller, offered, 0)  # it may take minutes of the disk's time
        self.service.doorkeeper.settle(hold, prompt_tokens=0, answer_tokens=0)
        if offered.seal is not None:
            try:
                async with self._verifying:
                    await asyncio.to_thread(offered.seal.renew)
            except LimpideError:
                self.service.write("verify", model=offered.id, release=offered.release, unchanged=False)
                offered.require_unchanged()
        self.service.write("verify", model=offered.id, release=offered.release, root=offered.root, unchanged=True)
        return json_reply(answers.verification(offered))

    async def chat(self, request: Request) -> Response:
        asked = parse(await _body(request), ChatRequest)
        offered = self._offered(asked.model, "chat")
        if not offered.engine.has_template:
            message = f"This model has no chat template. Send its prompt to {COMPLETION_ROUTE}."
            raise ApiError(400, message, code="no_chat_template")
        _refuse_control_tokens(offered, asked.messages)
        messages = [message.record() for message in asked.messages]
        engine = offered.engine
        bound = await self.service.templates.bound(engine, messages)
        text = encode({"messages": messages}).decode()
        prompt = Prompt(text, bound, partial(engine.count_chat, messages), "messages")
        return await self._generate(request, offered, asked, prompt, {"messages": messages})

    async def complete(self, request: Request) -> Response:
        """A raw prompt: control tokens in it are meant, and are read as such."""
        asked = parse(await _body(request), CompletionRequest)
        offered = self._offered(asked.model, "completion", "fill-mask")
        given = asked.single
        if isinstance(given, str):
            prompt = Prompt(given, bound_of(given), partial(offered.engine.count_text, given), "prompt")
        else:
            prompt = Prompt(
                encode({"tokens": given}).decode(), len(given) or None, partial(_known, len(given)), "prompt"
            )
        return await self._generate(request, offered, asked, prompt, {"prompt": given})

    async def embed(self, request: Request) -> Response:
        asked = parse(await _body(request), EmbeddingRequest)
        offered = self._offered(asked.model, "embedding")
        if offered.adapter is not None:
            base = next(one.id for one in self.shelf if one.engine is offered.engine and one.adapter is None)
            message = f"'{offered.id}' is an adapter, and gives no vectors of its own. Ask its base, '{base}'."
            raise ApiError(400, message, code="unsupported", param="model")
        texts = asked.texts
        most = sum(len(text) if isinstance(text, list) else bound_of(text) or 0 for text in texts)
        prompt = Prompt(encode({"input": texts}).decode(), most, partial(_count, offered.engine, texts), "input")
        try:
            exchange = await self._accept(request, offered, EMBEDDING_ROUTE, {}, prompt, Length(most, None))
        except ApiError as error:
            if error.status != 429:
                raise
            exact = await prompt.count()  # near the end of a quota the bound may be what does not fit
            exchange = await self._accept(request, offered, EMBEDDING_ROUTE, {}, prompt, Length(exact, exact))
        async with exchange.ending(prompt.count):
            made = await self.service.running.run(request.receive, offered.engine.embed(texts))
            exchange.see({"usage": {"prompt_tokens": made.tokens, "completion_tokens": 0}})
            exchange.answered("stop")
        reply = answers.embeddings(made, offered, asked.encoding_format == "base64")
        return json_reply(reply, mark_headers(offered.release, exchange.id))

    async def _generate(
        self,
        request: Request,
        offered: Offered,
        asked: ChatRequest | CompletionRequest,
        prompt: Prompt,
        content: Mapping[str, Any],
    ) -> Response:
        body = {**content, **asked.sampling(), **({"adapter": offered.adapter} if offered.adapter else {})}
        length = await check_length(prompt, asked.limit, offered.engine.context)
        route = request.scope["path"]
        try:
            exchange = await self._accept(request, offered, route, body, prompt, length)
        except ApiError as error:
            if error.status != 429 or length.exact is not None or asked.limit is None:
                raise
            # Near the end of a quota the bound may be what does not fit: count.
            length = await check_length(prompt, asked.limit, offered.engine.context, exactly=True)
            exchange = await self._accept(request, offered, route, body, prompt, length)
        events = offered.engine.events(route, body)
        if asked.streams:
            return EventStream(exchange, events, prompt.count, asked.wants_usage)
        async with exchange.ending(prompt.count, whole=True):
            made = await self.service.running.run(request.receive, whole(events, exchange.see))
            exchange.answered()
        return json_reply(answers.answer(made, offered), mark_headers(offered.release, exchange.id))

    async def _accept(
        self, request: Request, offered: Offered, route: str, body: Mapping[str, Any], prompt: Prompt, length: Length
    ) -> Exchange:
        caller = request.state.caller
        exchange = await accept(self.service, caller, offered, length, route=route, body=body, prompt=prompt.text)
        request.state.exchange = exchange
        return exchange

    def _offered(self, name: str | None, *needs: Gives) -> Offered:
        """The model asked for, when it can do one of what is needed and its files are as they were verified."""
        offered = self.shelf.find(name)
        if not offered.engine.gives.intersection(needs):
            gives = ", ".join(sorted(offered.engine.gives))
            raise ApiError(400, f"'{offered.id}' does not give that; it gives: {gives}.", code="unsupported_by_model")
        offered.require_unchanged()
        return offered

    async def refused(self, request: Request, error: Exception) -> Response:
        """The answer to a refused request; what was accepted first has its own entry already."""
        assert isinstance(error, ApiError)
        if not hasattr(request.state, "exchange"):
            self.service.refuse(error, route=request.state.route, caller=request.state.caller)
        return error_reply(error)


async def _body(request: Request) -> bytes:
    pieces, size = [], 0
    try:
        async with asyncio.timeout(BODY_SECONDS):
            async for piece in request.stream():
                size += len(piece)
                if size > LARGEST_BODY:
                    raise body_too_large()
                pieces.append(piece)
    except TimeoutError:
        message = f"The body did not arrive within {BODY_SECONDS:g} seconds."
        raise ApiError(408, message, code="body_too_slow") from None
    return b"".join(pieces)


async def _count(engine: Engine, texts: Sequence[str | list[int]]) -> int:
    """Tokens of all texts together."""
    return sum([await engine.count_text(text) if isinstance(text, str) else len(text) for text in texts])


async def _known(number: int) -> int:
    return number


def _refuse_control_tokens(offered: Offered, messages: Sequence[ChatMessage]) -> None:
    """A message that spells a control token could forge a turn: refuse it, as when the model was taught."""
    for index, message in enumerate(messages):
        found = offered.control.search(message.text) if offered.control else None
        if found:
            raise ApiError(
                400,
                f"messages[{index}] contains {found.group()!r}, which the model would read as the end or the start "
                "of a turn. Remove it from the text.",
                code="control_token",
                param=f"messages[{index}].content",
            )


async def _fault_of_ours(_: Request, error: Exception) -> Response:
    """A fault in Limpide. Its class and place are logged, not its message, which could quote a prompt."""
    frames = traceback.extract_tb(error.__traceback__)
    place = f"{frames[-1].filename}:{frames[-1].lineno}" if frames else "unknown place"
    logging.getLogger("limpide.serve").error("fault in the gateway: %s at %s", type(error).__name__, place)
    return error_reply(ApiError(500, "A fault in the server; the request was not answered.", code="internal_error"))


async def _http_error(_: Request, error: Exception) -> Response:
    """An unknown path or method."""
    assert isinstance(error, HTTPException)
    message = f"{error.detail}: this server answers {CHAT_ROUTE} and {MODELS_ROUTE}; all it does is in {OPENAPI_ROUTE}."
    return error_reply(ApiError(error.status_code, message), error.headers)


async def _nobody(_: Request, error: Exception) -> Response:
    """The client left; nobody reads this."""
    return Response(status_code=499)
