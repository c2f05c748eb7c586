"""Requests to llama.cpp in this process: JSON goes in, JSON or server-sent lines come out.

With aiohttp, as each answer pays for it: the same request takes a fifth of the time it takes with httpx.
"""

import json
from collections.abc import AsyncGenerator, Mapping
from typing import Any

import aiohttp
import httpx

from limpide.models.llamacpp import MOST_EMBEDDED, refusal
from limpide.serve.openai_types import ApiError

CONNECT_SECONDS = 10.0
KEPT_SECONDS = 2.0  # llama.cpp drops an idle connection after 5
LONGEST_LINE = 2**20  # bytes


class Wire:
    """Used from one event loop. url: without the route. Waiting for an answer has no time limit."""

    def __init__(self, url: str, headers: Mapping[str, str]) -> None:
        self._url, self._headers = url, dict(headers)
        self._sessions: dict[bool, aiohttp.ClientSession] = {}

    async def close(self) -> None:
        for session in self._sessions.values():
            await session.close()

    async def post(self, route: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """The whole answer. Raises ApiError."""
        try:
            async with self._session(streams=False).post(route, json=body) as response:
                content = await response.read()
        except (aiohttp.ClientError, TimeoutError) as error:
            raise _unreachable() from error
        if response.status >= 400:
            raise _refused(response.status, content)
        given: dict[str, Any] = json.loads(content)
        return given

    async def lines(self, route: str, body: Mapping[str, Any]) -> AsyncGenerator[str, None]:
        """The answer line by line, as it is made; closing the iterator closes the connection. Raises ApiError."""
        try:
            async with self._session(streams=True).post(route, json=body) as response:
                if response.status >= 400:
                    raise _refused(response.status, await response.read())
                async for line in response.content:
                    yield line.decode().rstrip("\r\n")
        except (aiohttp.ClientError, TimeoutError) as error:
            raise _unreachable() from error

    def _session(self, *, streams: bool) -> aiohttp.ClientSession:
        """Made at first use, in the loop that uses it. llama.cpp closes a connection after it streamed on it without
        saying so: those of streams are never used again."""
        if streams not in self._sessions:
            kept = {"force_close": True} if streams else {"keepalive_timeout": KEPT_SECONDS}
            self._sessions[streams] = aiohttp.ClientSession(
                self._url,
                headers=self._headers,
                connector=aiohttp.TCPConnector(limit=0, **kept),
                timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_SECONDS),
                cookie_jar=aiohttp.DummyCookieJar(),
                read_bufsize=LONGEST_LINE,
            )
        return self._sessions[streams]


def _unreachable() -> ApiError:
    return ApiError(503, "The engine does not answer. Start the server again.", code="engine_unreachable")


def _refused(status: int, content: bytes) -> ApiError:
    """The engine's refusal. Its message speaks of the request's form, or of the template; it does not quote it."""
    fault = refusal(httpx.Response(status, content=content))
    if "too large to process" in str(fault.get("message")):
        message = f"A text is longer than what this engine reads at once for an embedding: {MOST_EMBEDDED} tokens, or "
        message += "the context where that is shorter."
        return ApiError(400, message, code="context_length_exceeded", param="input")
    message = f"The engine refused the request: {fault.get('message', status)}"
    return ApiError(400 if status < 500 else 502, message, code="engine_refused")
