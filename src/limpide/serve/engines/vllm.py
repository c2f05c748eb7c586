"""A server elsewhere that speaks OpenAI's API as vLLM does: Limpide asks it, and answers for it in plain words.

Only what was asked for is sent, with the samplers named that would change an answer in silence: vLLM takes those that
a request leaves out from the model's own generation_config.json. Source: vLLM's OpenAI-compatible server, `/v1/…`,
`/tokenize` and `/tokenizer_info`.
"""

import json
from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import httpx
import numpy as np

from limpide.core.errors import MissingError, ModelError, UsageError, nearest
from limpide.serve.engines.protocol import Embedded, Engine, Gives
from limpide.serve.openai_types import CHAT_ROUTE, COMPLETION_ROUTE, EMBEDDING_ROUTE, ApiError

KEY_VARIABLE = "LIMPIDE_ENGINE_KEY"
CONNECT_SECONDS = 10.0
OPENING_SECONDS = 30.0
ROUTES: dict[str, Gives] = {CHAT_ROUTE: "chat", COMPLETION_ROUTE: "completion", EMBEDDING_ROUTE: "embedding"}
EVERY_TOKEN = -1  # vLLM's word for no top_k, in every version; newer ones take 0 as well
LIMPIDES_OWN = frozenset({"adapter", "model"})


@dataclass(frozen=True)
class Facts:
    """What the server says of itself. model: the name its base answers to. adapters: names of its LoRA modules."""

    model: str
    adapters: tuple[str, ...]
    context: int
    gives: frozenset[Gives]
    has_template: bool
    control_tokens: tuple[str, ...]


def open_vllm(url: str, key: str | None) -> Engine:
    """The server at `url` (without /v1), asked what it serves. key: sent as its bearer token.

    Raises UsageError for an address that is none, MissingError when nothing answers there, ModelError when what answers
    is no server of this kind, or refuses the key.
    """
    base = _base(url)
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    with httpx.Client(base_url=base, headers=headers, timeout=OPENING_SECONDS, trust_env=False) as client:
        try:
            facts = _facts(client)
        except httpx.HTTPError as error:
            raise MissingError(
                "No model server answers at this address.",
                received=f"{base} ({type(error).__name__})",
                remedy="start it first, for example: vllm serve MODEL --port 8000",
            ) from error
    return VllmEngine(base, headers, facts)


class VllmEngine:
    """An `Engine`. Adapters are the server's own LoRA modules; vectors are those it was set up to give, normalised.

    control_tokens are known where the server tells them (--enable-tokenizer-info-endpoint), else there are none here,
    and a message that spells one is not refused.
    """

    at_once = False

    def __init__(self, url: str, headers: Mapping[str, str], facts: Facts) -> None:
        self.gives, self.context = facts.gives, facts.context
        self.control_tokens: Sequence[str] = facts.control_tokens
        self.has_template = facts.has_template
        self._facts = facts
        timeout = httpx.Timeout(None, connect=CONNECT_SECONDS)
        self._client = httpx.AsyncClient(base_url=url, headers=dict(headers), timeout=timeout, trust_env=False)

    async def close(self) -> None:
        await self._client.aclose()

    async def count_chat(self, messages: Sequence[Mapping[str, str]]) -> int:
        return await self._count({"messages": list(messages)})

    async def count_text(self, text: str) -> int:
        return await self._count({"prompt": text})

    async def events(self, route: str, body: Mapping[str, Any]) -> AsyncGenerator[dict[str, Any], None]:
        # counts in every event, for a client that leaves before the last one
        counts = {"include_usage": True, "continuous_usage_stats": True}
        asked = {**self._asked(body), "stream": True, "stream_options": counts}
        told = False
        try:
            async with self._client.stream("POST", route, json=asked) as response:
                if response.is_error:
                    await response.aread()
                    raise _refused(response)
                async for line in response.aiter_lines():
                    if not line.startswith("data:") or (text := line.removeprefix("data:").strip()) == "[DONE]":
                        continue
                    event = _event(text)
                    told = told or bool(event.get("usage") and not event.get("choices"))
                    yield _counted(event)
        except httpx.HTTPError as error:
            raise _unreachable() from error
        if not told:  # the connection ended without the last event
            raise ApiError(502, "The model server stopped in the middle of the answer.", code="engine_error")

    async def embed(self, texts: Sequence[str | Sequence[int]]) -> Embedded:
        """Texts go in one request, or one each where some are texts and some token ids, which the API cannot mix."""
        mixed = len({isinstance(text, str) for text in texts}) > 1
        inputs = [[text] for text in texts] if mixed else [list(texts)]
        vectors, tokens = [], 0
        for some in inputs:
            asked = {"model": self._facts.model, "encoding_format": "float"}
            whole = [text if isinstance(text, str) else list(text) for text in some]
            given = await self._post(EMBEDDING_ROUTE, {**asked, "input": whole})
            try:
                rows = sorted(given["data"], key=lambda row: int(row["index"]))
                vectors += [np.array(row["embedding"], np.float32) for row in rows]
                tokens += int(given["usage"]["prompt_tokens"])
            except (KeyError, TypeError, ValueError) as error:
                raise _nonsense() from error
        found = np.stack(vectors)
        return Embedded(found / np.linalg.norm(found, axis=1, keepdims=True).clip(1e-12), tokens)

    def _asked(self, body: Mapping[str, Any]) -> dict[str, Any]:
        asked = {name: value for name, value in body.items() if name not in LIMPIDES_OWN}
        name = body.get("adapter")
        if name is not None and name not in self._facts.adapters:
            message = f"The model server has no adapter '{name}'.{nearest(name, list(self._facts.adapters))}"
            raise ApiError(404, message, code="adapter_not_found", param="adapter")
        if asked.get("top_k") == 0:
            asked["top_k"] = EVERY_TOKEN
        return {"repetition_penalty": 1.0, **asked, "model": name or self._facts.model}

    async def _count(self, text: Mapping[str, Any]) -> int:
        given = await self._post("/tokenize", {"model": self._facts.model, **text})
        if not isinstance(given.get("count"), int):
            raise _nonsense()
        return int(given["count"])

    async def _post(self, route: str, body: Mapping[str, Any]) -> dict[str, Any]:
        try:
            response = await self._client.post(route, json=dict(body))
        except httpx.HTTPError as error:
            raise _unreachable() from error
        if response.is_error:
            raise _refused(response)
        return _object(response.content)


def _base(url: str) -> str:
    """The address without a path that the routes repeat. Raises UsageError."""
    try:
        parsed = httpx.URL(url)
    except httpx.InvalidURL:
        parsed = httpx.URL("")
    if parsed.scheme not in ("http", "https") or not parsed.host or parsed.userinfo or parsed.query:
        raise UsageError(
            "This is not the address of a model server.",
            received=url,
            expected=f"http://HOST:PORT or https://HOST:PORT, its key in {KEY_VARIABLE}",
        )
    return url.rstrip("/").removesuffix("/v1")


def _facts(client: httpx.Client) -> Facts:
    """Raises httpx.HTTPError, ModelError."""
    listed = client.get("/v1/models")
    if listed.status_code in (401, 403):
        raise ModelError(
            "The model server refuses the key.",
            received=f"HTTP {listed.status_code}",
            remedy=f"put its key in the environment variable {KEY_VARIABLE}",
        )
    try:
        rows = listed.raise_for_status().json()["data"]
        base = next(row for row in rows if not row.get("parent"))
        name, adapters = str(base["id"]), tuple(str(row["id"]) for row in rows if row.get("parent"))
        counted = client.post("/tokenize", json={"model": name, "prompt": "a"}).raise_for_status().json()
        context = int(base.get("max_model_len") or counted["max_model_len"])
    except (httpx.HTTPStatusError, ValueError, KeyError, TypeError, StopIteration, AttributeError) as error:
        raise ModelError(
            "What answers at this address is no model server that Limpide can use.",
            received=f"{client.base_url} ({error or type(error).__name__})".splitlines()[0][:200],
            expected="vLLM, or a server with /v1/models and /tokenize as vLLM has them",
            remedy="check --engine-url",
        ) from error
    turns = [{"role": "user", "content": "a"}]
    template = client.post("/tokenize", json={"model": name, "messages": turns}).is_success
    return Facts(name, adapters, context, _gives(client), template, _control_tokens(client))


def _gives(client: httpx.Client) -> frozenset[Gives]:
    """From the routes the server lists; one that hides its list is taken to write and nothing else."""
    answer = client.get("/openapi.json")
    try:
        paths = answer.raise_for_status().json()["paths"]
        return frozenset(gives for route, gives in ROUTES.items() if route in paths)
    except (httpx.HTTPStatusError, ValueError, KeyError, TypeError):
        return frozenset({"chat", "completion"})


def _control_tokens(client: httpx.Client) -> tuple[str, ...]:
    answer = client.get("/tokenizer_info")
    try:
        added = answer.raise_for_status().json()["added_tokens_decoder"].values()
        found = {str(token["content"]) for token in added if token.get("special") and len(token["content"]) > 1}
    except (httpx.HTTPStatusError, ValueError, KeyError, TypeError, AttributeError):
        return ()
    return tuple(sorted(found, key=lambda token: (-len(token), token)))


def _object(content: bytes | str) -> dict[str, Any]:
    try:
        given = json.loads(content)
    except ValueError as error:
        raise _nonsense() from error
    if not isinstance(given, dict):
        raise _nonsense()
    return given


def _event(text: str) -> dict[str, Any]:
    event = _object(text)
    if "error" in event:
        raise ApiError(502, "The model server stopped in the middle of the answer.", code="engine_error")
    return event


def _counted(event: dict[str, Any]) -> dict[str, Any]:
    """An event whose counts so far are where llama.cpp has them: `usage` is for the last one."""
    usage = event.get("usage")
    if not usage or not event.get("choices"):
        return event
    so_far = {"prompt_n": usage["prompt_tokens"], "cache_n": 0, "predicted_n": usage.get("completion_tokens", 0)}
    return {**event, "usage": None, "timings": so_far}


def _unreachable() -> ApiError:
    return ApiError(503, "The model server does not answer. Start it again.", code="engine_unreachable")


def _nonsense() -> ApiError:
    return ApiError(502, "The model server's answer is not in the form of OpenAI's API.", code="engine_error")


def _refused(response: httpx.Response) -> ApiError:
    """Its refusal of a request is passed on in its words, which speak of the request's form; its own faults are not."""
    status = response.status_code
    if status in (401, 403):
        return ApiError(502, f"The model server refuses Limpide's key (see {KEY_VARIABLE}).", code="engine_key")
    if status in (429, 503):
        return ApiError(503, "The model server is busy. Ask again later.", code="engine_busy")
    if status == 404 or status >= 500:
        return ApiError(502, f"The model server failed (HTTP {status}).", code="engine_error")
    return ApiError(400, f"The model server refused the request: {_reason(response)}", code="engine_refused")


def _reason(response: httpx.Response) -> str:
    """The message of its error object, wherever its version puts it."""
    try:
        given = response.json()
        fault = given.get("error", given)
        return str(fault["message"])[:500]
    except (ValueError, KeyError, TypeError, AttributeError):
        return f"HTTP {response.status_code}"
