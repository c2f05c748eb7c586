"""Work under way, and what ends it."""

import asyncio

import pytest

from limpide.serve.openai_types import ApiError
from limpide.serve.running import Running
from limpide.serve.stop_switch import Stopped


def test_an_order_to_stop_also_ends_what_begins_after_it() -> None:
    """A request may have been let in before the order, and still be read when it comes."""

    async def never() -> dict[str, str]:
        await asyncio.Event().wait()
        return {}

    async def work() -> str:
        for _ in range(100):
            await asyncio.sleep(0)
        return "an answer"

    async def run() -> str:
        running = Running()
        running.halt(Stopped("A. Martin", "wrong doses", 0.0))
        return await running.run(never, work())

    with pytest.raises(ApiError, match="wrong doses"):
        asyncio.run(run())
