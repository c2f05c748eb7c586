"""Work under way, and what ends it."""

import asyncio
from typing import Any

import pytest

from limpide.serve.openai_types import ApiError
from limpide.serve.running import ClientLeft, Running
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


async def stays() -> dict[str, str]:
    await asyncio.Event().wait()
    return {}


async def leaves() -> dict[str, str]:
    await asyncio.sleep(0.01)
    return {"type": "http.disconnect"}


def cancellings() -> int:
    """Of the task this runs in, those not taken back."""
    task = asyncio.current_task()
    assert task is not None
    return task.cancelling()


class Work:
    """For ever, until it is cancelled; ended: whether it could tidy up."""

    ended = False

    async def run(self) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            self.ended = True


def test_a_client_that_leaves_ends_its_work_and_nothing_else() -> None:
    async def run() -> bool:
        work = Work()
        with pytest.raises(ClientLeft):
            await Running().run(leaves, work.run())
        assert cancellings() == 0
        await asyncio.sleep(0.02)
        return work.ended

    assert asyncio.run(run())


def test_a_shutdown_is_no_client_that_left() -> None:
    async def run(receive: Any) -> bool:
        work = Work()
        task = asyncio.create_task(Running().run(receive, work.run()))
        await asyncio.sleep(0.005)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        return work.ended

    assert asyncio.run(run(stays))
    assert asyncio.run(run(leaves))


def test_a_client_that_leaves_as_the_order_to_stop_comes_is_told_once() -> None:
    async def run() -> None:
        running = Running()
        asyncio.get_running_loop().call_later(0.01, running.halt, Stopped("A. Martin", "wrong doses", 0.0))
        with pytest.raises((ApiError, ClientLeft)):
            await running.run(leaves, Work().run())
        await asyncio.sleep(0.02)
        assert cancellings() == 0

    asyncio.run(run())


def test_a_shutdown_in_the_moment_of_the_order_to_stop_is_a_shutdown() -> None:
    async def run() -> None:
        running = Running()
        task = asyncio.create_task(running.run(stays, Work().run()))
        await asyncio.sleep(0.005)
        running.halt(Stopped("A. Martin", "wrong doses", 0.0))
        asyncio.get_running_loop().call_soon(task.cancel)
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(run())


def test_an_answer_that_comes_as_its_client_leaves_cancels_nothing_after_it() -> None:
    async def run() -> list[str]:
        async def work() -> str:
            await asyncio.sleep(0)
            return "done"

        async def gone() -> dict[str, str]:
            return {"type": "http.disconnect"}

        found = []
        for _ in range(20):
            try:
                found.append(await Running().run(gone, work()))
            except ClientLeft:
                found.append("left")
            await asyncio.sleep(0)
        return found

    assert set(asyncio.run(run())) <= {"done", "left"}
