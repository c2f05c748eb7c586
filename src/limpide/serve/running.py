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


def shutting_down() -> ApiError:
    return ApiError(503, "The server is shutting down.", code="shutdown", retry_after=5)


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
        """The result of `work`, which runs in the calling task and is cancelled there when it must end otherwise.

        Raises ClientLeft, ApiError (stopped), and what `work` raises.
        """
        if self._halt is None:
            self._halt = asyncio.get_running_loop().create_future()
            if self.order is not None:  # it came while this request was being read, and nothing ran yet
                self._halt.set_result(None)
        task, left = asyncio.current_task(), asyncio.create_task(_left(receive))
        assert task is not None
        cut = over = False

        def end(_: object) -> None:
            nonlocal cut
            if not cut and not over:  # once: a second cancelling would be one too many to take back
                cut = True
                task.cancel()

        ends: tuple[asyncio.Future[Any], ...] = (left, self._halt)
        for one in ends:
            one.add_done_callback(end)
        try:
            return await work
        except asyncio.CancelledError:
            if not cut or task.uncancel():  # cancelled from elsewhere, or from elsewhere too
                raise
            if self.order is not None:
                raise stopped_error(self.order) from None
            raise ClientLeft from None
        finally:
            over = True  # a call of `end` may be on its way already
            for one in ends:
                one.remove_done_callback(end)
            left.cancel()


async def _left(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
