"""From a thread that makes an answer piece by piece to the event loop that sends it."""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Callable
from concurrent.futures import Executor
from contextlib import suppress
from typing import Generic, TypeVar

from limpide.serve.openai_types import ApiError

P = TypeVar("P")


def closed() -> ApiError:
    """What an engine answers whose threads were shut down."""
    return ApiError(503, "The engine is closed.", code="engine_closed")


class Way(Generic[P]):
    """What the thread sees. left: nobody wants what is still to come."""

    def __init__(self) -> None:
        self.left = False
        self.pieces: deque[P] = deque()
        self._loop, self._news, self._told = asyncio.get_running_loop(), asyncio.Event(), False

    def put(self, piece: P) -> None:
        self.pieces.append(piece)
        if not self._told:  # pieces that come close together wake the loop once
            self._told = True
            self.in_loop(self.wake)

    def taken(self) -> list[P]:
        """All there are now; called in the loop."""
        return [self.pieces.popleft() for _ in range(len(self.pieces))]

    def in_loop(self, call: Callable[[], None]) -> None:
        with suppress(RuntimeError):  # the loop is closed: nobody listens any more
            self._loop.call_soon_threadsafe(call)

    def wake(self) -> None:
        self._told = False
        self._news.set()

    async def news(self) -> None:
        await self._news.wait()
        self._news.clear()


async def carried(
    threads: Executor,
    work: Callable[[Way[P]], None],
    freed: Callable[[], None] = lambda: None,
) -> AsyncGenerator[list[P], None]:
    """What `work` puts on its way, those together that came together; then what it raised.

    Closed, it does not wait: `work` ends when it sees `left`, and is dropped where it has not begun. freed: called in
    the loop when the thread is free again. Raises RuntimeError when `threads` is shut down.
    """
    way: Way[P] = Way()
    try:
        job = threads.submit(work, way)
    except RuntimeError:
        freed()
        raise

    def ended() -> None:
        way.wake()
        freed()

    job.add_done_callback(lambda _: way.in_loop(ended))
    try:
        done = False
        while not done:
            done = job.done()  # asked first: what it put before its end is taken after
            if way.pieces:
                yield way.taken()
            if not done:
                await way.news()
        if not job.cancelled():
            job.result()
    finally:
        way.left = True
        job.cancel()
