"""Work under way: it ends when it is done, when its client leaves, or when the operator says stop."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, MutableMapping
from typing import Any, TypeVar

from limpide.serve.openai_types import ApiError
from limpide.serve.stop_switch import Stopped

T = TypeVar("T")
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]


class ClientLeft(Exception):
    """The client closed its connection before the answer was whole. finish: as the request log tells it."""

    finish = "client_left"


class ClientStalled(ClientLeft):
    """The client stopped reading."""

    finish = "client_stalled"


def stopped_error(order: Stopped) -> ApiError:
    return ApiError(
        503, f"The service was stopped by {order.who}: {order.why}.", code="stopped", who=order.who, why=order.why
    )


class Running:
    """Runs work for clients. `order` is the stop order in force, None while the service answers."""

    def __init__(self) -> None:
        self.order: Stopped | None = None
        self._halt: asyncio.Future[None] | None = None

    def halt(self, order: Stopped) -> None:
        """End all that runs: each raises ApiError (503, `stopped`)."""
        self.order = order
        if self._halt is not None and not self._halt.done():
            self._halt.set_result(None)

    def resume(self) -> None:
        self.order = self._halt = None

    async def run(self, receive: Receive, work: Coroutine[Any, Any, T]) -> T:
        """The result of `work`, which is cancelled, and awaited, when it ends otherwise.

        Raises ClientLeft, ApiError (stopped), and what `work` raises.
        """
        if self._halt is None:
            self._halt = asyncio.get_running_loop().create_future()
            if self.order is not None:  # it came while this request was being read, and nothing ran yet
                self._halt.set_result(None)
        task, left = asyncio.create_task(work), asyncio.create_task(_left(receive))
        ends: tuple[asyncio.Future[Any], ...] = (task, left, self._halt)
        try:
            await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
            if task.done():
                return task.result()
            if self.order is not None:
                raise stopped_error(self.order)
            raise ClientLeft
        finally:
            for pending in (task, left):
                pending.cancel()
            await asyncio.gather(task, left, return_exceptions=True)


async def _left(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
