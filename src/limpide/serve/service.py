"""What every request of a gateway shares, and one accepted request: its quota, its counts, its entries in the log."""

import asyncio
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from limpide.core.errors import LimpideError
from limpide.serve.access import Caller, Doorkeeper
from limpide.serve.lengths import Length, Templates
from limpide.serve.metrics import Metrics
from limpide.serve.openai_types import ApiError
from limpide.serve.quotas import Hold
from limpide.serve.refused import AccessRefused
from limpide.serve.request_log.writer import RequestLog
from limpide.serve.running import ClientLeft, Running
from limpide.serve.shelf import Offered, Shelf
from limpide.serve.stop_switch import Stopped, stopped
from limpide.serve.structured_logs import Lines

REFUSALS_A_MINUTE = 60  # entries; a flood of refused requests must not fill the disk, so the rest are only counted
PARAMS = ("temperature", "top_p", "seed", "max_tokens", "stream", "logprobs", "top_logprobs")


@dataclass
class Refusals:
    """How many refusals were written in the minute that began at `since`, and how many were only counted."""

    since: float = 0.0
    written: int = 0
    counted: int = 0


@dataclass(frozen=True)
class Service:
    """state: the folder of the stop switch."""

    shelf: Shelf
    doorkeeper: Doorkeeper
    log: RequestLog
    state: Path
    lines: Lines = field(default_factory=Lines)
    metrics: Metrics = field(default_factory=Metrics)
    running: Running = field(default_factory=Running)
    templates: Templates = field(default_factory=Templates)
    refusals: Refusals = field(default_factory=Refusals)
    exchanges: "set[Exchange]" = field(default_factory=set)

    def order(self) -> Stopped | None:
        """The stop order in force; what runs is ended when one came, one `stat` when none did."""
        order = stopped(self.state)
        if order is not None and self.running.order is None:
            self.running.halt(order)
        elif order is None and self.running.order is not None:
            self.running.resume()
        return order

    def write(self, event: str, *, texts: Mapping[str, str] | None = None, **facts: Any) -> None:
        """Append to the request log. Raises ApiError (503) when it cannot be written."""
        try:
            self.log.append(event, texts=texts, **facts)
        except (LimpideError, OSError):
            raise ApiError(
                503, "The request log cannot be written, so nothing is answered.", code="log_unwritable", retry_after=5
            ) from None
        self.metrics.entries.inc()

    def refuse(self, error: ApiError, *, route: str, caller: Caller | None) -> None:
        """Write that a request was refused; in a flood of them, count."""
        now, seen = time.monotonic(), self.refusals
        if now - seen.since > 60:
            seen.since, seen.written = now, 0
        if seen.written >= REFUSALS_A_MINUTE or error.code == "log_unwritable":
            seen.counted += 1
            return
        facts: dict[str, Any] = {"unwritten_before": seen.counted} if seen.counted else {}
        key = None if caller is None else caller.id
        try:
            self.write("refuse", route=route, key=key, status=error.status, code=error.code, **facts)
        except ApiError:
            return  # the refusal itself still reaches the client
        seen.written, seen.counted = seen.written + 1, 0

    def look_at_seals(self) -> None:
        """Find releases whose files changed since they were verified; they are refused from then on."""
        for offered in self.shelf:
            if offered.seal is not None and offered.seal.look():
                facts: dict[str, Any] = {"model": offered.id, "release": offered.release, "file": offered.seal.broken}
                self.lines.write("release_changed", **facts)
                with suppress(ApiError):
                    self.write("config.change", what="release_changed", **facts)

    async def reserve(self, caller: Caller, offered: Offered, tokens: int) -> Hold:
        """Raises ApiError (403, 429, 503)."""
        try:
            return await self.doorkeeper.reserve(caller, offered.id, tokens)
        except AccessRefused as error:
            raise of_access(error) from None

    async def settled(self, seconds: float) -> None:
        """Wait until every accepted request has its last entry, at most so long; write one for those left then."""
        until = time.monotonic() + seconds
        while self.exchanges and time.monotonic() < until:
            await asyncio.sleep(0.01)
        for exchange in list(self.exchanges):
            exchange.failed("shutdown")


def of_access(error: AccessRefused) -> ApiError:
    return ApiError(error.status, error.message, code=error.code, retry_after=error.retry_after)


class Exchange:
    """One accepted request. It ends once, with `answered` or `failed`; a second end does nothing.

    prompt_tokens: None until they were counted. answer_tokens: made so far. exact: False where nobody can tell how many
    were made, and answer_tokens is the most that could have been.
    """

    def __init__(
        self, service: Service, caller: Caller, offered: Offered, hold: Hold, prompt_tokens: int | None
    ) -> None:
        self.service, self.caller, self.offered, self.hold = service, caller, offered, hold
        self.id = uuid.uuid4().hex
        self.prompt_tokens, self.answer_tokens = prompt_tokens, 0
        self.exact = True
        self.limit: int | None = None  # tokens its answer may have, where the request says
        self.finish: str | None = None
        self._texts: list[str] = []
        self._started = time.perf_counter()
        self._waiting = True

    def accept(self, route: str, body: Mapping[str, Any], prompt: str) -> None:
        """Write that the request was accepted. Raises ApiError (503), with the quota given back."""
        self.limit = body.get("max_tokens")
        try:
            self.service.write(
                "accept",
                texts={"prompt": prompt},
                **self._facts(),
                route=route,
                release=self.offered.release,
                root=self.offered.root,
                adapter=self.offered.adapter,
                params=_params(body),
            )
        except ApiError:
            self.service.doorkeeper.settle(self.hold, prompt_tokens=0, answer_tokens=0)
            raise
        self.service.exchanges.add(self)
        self.service.metrics.open.inc()
        self.service.metrics.queue.inc()

    def see(self, answer: Mapping[str, Any]) -> None:
        """Count an event of the engine, by its `usage`; llama.cpp tells its counts so far in `timings`; any other event
        with text is one token."""
        self._left_queue()
        text = ""
        for choice in answer.get("choices", ()):
            said = choice.get("delta") or {}
            text += (said.get("reasoning_content") or "") + (said.get("content") or choice.get("text") or "")
            self.finish = choice.get("finish_reason") or self.finish
        usage, timings = answer.get("usage"), answer.get("timings")
        if usage:
            self.prompt_tokens, self.answer_tokens = usage["prompt_tokens"], usage.get("completion_tokens", 0)
        elif timings:
            self.prompt_tokens, self.answer_tokens = timings["prompt_n"] + timings["cache_n"], timings["predicted_n"]
        elif text:
            self.answer_tokens += 1
        if text:
            self._texts.append(text)

    def answered(self, finish: str | None = None) -> None:
        """Settle, and write the answer's entry. Raises ApiError (503) when the log cannot be written."""
        if self._end():
            self._write("answer", finish=finish or self.finish)

    def failed(self, code: str) -> None:
        """Settle, and write that no whole answer was given. Never raises: the client is told of the first error."""
        if self._end():
            try:
                self._write("error", code=code)
            except ApiError:
                self.service.lines.write("log_unwritable", request=self.id)

    async def left(self, finish: str, count: Callable[[], Awaitable[int]], *, whole: bool = False) -> None:
        """The client left: what was made until then counts as its answer. count: the prompt's tokens. whole: the answer
        was to come in one piece; of an engine that tells it at once, the longest it could be counts. Never raises."""
        if self.prompt_tokens is None:
            try:
                self.prompt_tokens = await count()
            except ApiError:
                pass
            except asyncio.CancelledError:
                self.failed("shutdown")
                raise
        if whole and self.offered.engine.at_once and self.finish is None:
            most = max(0, self.hold.tokens - (self.prompt_tokens or 0))
            self.answer_tokens, self.exact = most if self.limit is None else min(most, self.limit), False
        try:
            self.answered(finish)
        except ApiError:
            self.service.lines.write("log_unwritable", request=self.id)

    @asynccontextmanager
    async def ending(self, count: Callable[[], Awaitable[int]], *, whole: bool = False) -> AsyncIterator[None]:
        """Around the work for it: whatever ends that work, the exchange has ended afterwards. Parameters: of `left`."""
        try:
            yield
        except ClientLeft as error:
            await self.left(error.finish, count, whole=whole)
            raise
        except ApiError as error:
            self.failed(error.code or "error")
            raise
        except asyncio.CancelledError:
            self.failed("shutdown")
            raise
        finally:
            self.failed("internal_error")

    def _end(self) -> bool:
        if self not in self.service.exchanges:
            return False
        self.service.exchanges.discard(self)
        self._left_queue()
        self.service.metrics.open.dec()
        counts = (self.prompt_tokens or 0, self.answer_tokens)
        self.service.metrics.used(self.offered.id, *counts)
        self.service.doorkeeper.settle(self.hold, prompt_tokens=counts[0], answer_tokens=counts[1])
        return True

    def _left_queue(self) -> None:
        if self._waiting:
            self._waiting = False
            self.service.metrics.queue.dec()

    def _facts(self) -> dict[str, Any]:
        return {"request": self.id, "key": self.caller.id, "model": self.offered.id, "n_in": self.prompt_tokens}

    def _write(self, event: str, **facts: Any) -> None:
        """The exchange's last entry."""
        taken = round((time.perf_counter() - self._started) * 1000, 1)
        texts = {"output": "".join(self._texts)}
        counts: dict[str, Any] = {"n_out": self.answer_tokens, "milliseconds": taken}
        if not self.exact:
            counts["n_out_exact"] = False
        self.service.write(event, texts=texts, **self._facts(), **counts, **facts)


def _params(body: Mapping[str, Any]) -> dict[str, Any]:
    """What the request asked of sampling. Stop texts and schemas are the caller's words: their number and kind only."""
    form = body.get("response_format")
    return {
        **{name: body[name] for name in PARAMS if name in body},
        **({"stops": len(body["stop"])} if "stop" in body else {}),
        **({"response_format": form["type"]} if form else {}),
    }


async def accept(
    service: Service,
    caller: Caller,
    offered: Offered,
    length: Length,
    *,
    route: str,
    body: Mapping[str, Any],
    prompt: str,
) -> Exchange:
    """Reserve and write the entry `accept`. Raises ApiError (403, 429, 503)."""
    hold = await service.reserve(caller, offered, length.most)
    exchange = Exchange(service, caller, offered, hold, length.exact)
    exchange.accept(route, body, prompt)
    return exchange
