"""From a thread that makes an answer piece by piece to the event loop that sends it."""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Callable
from concurrent.futures import Executor
from contextlib import suppress
from typing import Generic, TypeVar

P = TypeVar("P")
PATIENCE = 1.0  # seconds between two looks at what was made, where nobody waits for each piece


class Way(Generic[P]):
    """What the thread sees. left: nobody wants what is still to come."""

    def __init__(self, at_once: bool) -> None:
        self.left = False
        self.pieces: deque[P] = deque()
        self._at_once, self._told = at_once, False
        self._loop, self._news = asyncio.get_running_loop(), asyncio.Event()

    def put(self, piece: P) -> None:
        self.pieces.append(piece)
        if self._at_once and not self._told:  # pieces that come close together wake the loop once
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
        with suppress(TimeoutError):
            async with asyncio.timeout(None if self._at_once else PATIENCE):
                await self._news.wait()
        self._news.clear()


async def carried(
    threads: Executor,
    work: Callable[[Way[P]], None],
    *,
    at_once: bool = True,
    freed: Callable[[], None] = lambda: None,
) -> AsyncGenerator[list[P], None]:
    """What `work` puts on its way, those together that came together; then what it raised. at_once: each piece as it
    comes; else many together, which spares the loop a wake a piece.

    Cancelled, it gives what was made until then, and ends. Closed, it does not wait: `work` ends when it sees `left`,
    and is dropped where it has not begun. freed: called in the loop when the thread is free again. Raises RuntimeError
    when `threads` is shut down.
    """
    way: Way[P] = Way(at_once)
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
                try:
                    await way.news()
                except asyncio.CancelledError:
                    yield way.taken()
                    raise
        if not job.cancelled():
            job.result()
    finally:
        way.left = True
        job.cancel()
