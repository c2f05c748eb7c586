"""Quotas: what is held back, what is counted, and that nothing is lost on the way or counted twice."""

import asyncio
import logging
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import select

from limpide.core.errors import UsageError
from limpide.serve import quotas
from limpide.serve.quotas import HOLD_LASTS, Hold, Ledger, Limits, in_words, over_tokens
from limpide.serve.refused import AccessRefused
from limpide.serve.store import Store, holds, open_store, usage

NOON = 1_700_049_600.0  # 2023-11-15 12:00 UTC
FREE = Limits()


class Clock:
    now = NOON

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def ledger(store: Store, clock: Clock) -> Iterator[Ledger]:
    made = Ledger(store, clock)
    yield made
    made.close()


def take(ledger: Ledger, tokens: int, limits: Limits, key: str = "k", model: str = "m") -> Hold:
    return asyncio.run(ledger.hold(key, model, tokens, limits))


def refusal(ledger: Ledger, tokens: int, limits: Limits, key: str = "k") -> AccessRefused:
    with pytest.raises(AccessRefused) as raised:
        take(ledger, tokens, limits, key)
    return raised.value


def counted(store: Store) -> list[tuple[str, str, str, int, int, int]]:
    with store.reading() as connection:
        return [tuple(row) for row in connection.execute(select(usage).order_by(*usage.primary_key))]


def held(store: Store) -> list[int]:
    with store.reading() as connection:
        return list(connection.execute(select(holds.c.tokens)).scalars())


def test_counts_are_exact_by_key_day_and_model(store: Store, ledger: Ledger, clock: Clock) -> None:
    for model, spent in (("m", (3, 4)), ("m", (1, 0)), ("n", (5, 6))):
        ledger.settle(take(ledger, 100, FREE, model=model), *spent)
    clock.now += 86400
    ledger.settle(take(ledger, 100, FREE), 1, 1)
    ledger.settle(take(ledger, 100, FREE, key="other"), 0, 0)
    ledger.close()
    day, next_day = "2023-11-15", "2023-11-16"
    assert counted(store) == [
        ("k", day, "m", 2, 4, 4),
        ("k", day, "n", 1, 5, 6),
        ("k", next_day, "m", 1, 1, 1),
        ("other", next_day, "m", 1, 0, 0),
    ]


def test_counts_wait_for_others_and_a_hold_waits_for_nobody(
    store: Store, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(quotas, "GATHER", 3600.0)
    ledger = Ledger(store, clock)
    for _ in range(3):
        ledger.settle(take(ledger, 10, FREE), 1, 2)
    assert counted(store) == []
    hold = asyncio.run(asyncio.wait_for(ledger.hold("k", "m", 10, Limits(tokens_per_day=100)), 60))
    assert [row[3:] for row in counted(store)] == [(3, 3, 6)]  # in the transaction of the hold
    ledger.settle(hold, 1, 1)
    ledger.close()  # waits for nobody either
    assert [row[3:] for row in counted(store)] == [(4, 4, 7)]
    assert held(store) == []


def test_the_longest_answer_is_held_and_the_rest_given_back(store: Store, ledger: Ledger) -> None:
    limits = Limits(tokens_per_day=100)
    first = take(ledger, 60, limits)
    refused = refusal(ledger, 41, limits)
    assert (refused.status, refused.code) == (429, "insufficient_quota")
    assert "60 of today's are used or held" in refused.message
    assert "40 are left" in refused.message
    second = take(ledger, 40, limits)
    ledger.settle(first, 5, 5)
    ledger.settle(second, 0, 20)
    last = take(ledger, 70, limits)
    refusal(ledger, 1, limits)
    ledger.settle(last, 70, 0)
    assert "100 of today's" in refusal(ledger, 1, limits).message
    assert held(store) == []


def test_a_hold_is_settled_once(store: Store, ledger: Ledger) -> None:
    hold = take(ledger, 10, Limits(tokens_per_day=100))
    for _ in range(3):
        ledger.settle(hold, 1, 2)
    ledger.close()
    assert counted(store) == [("k", "2023-11-15", "m", 1, 1, 2)]


def test_a_request_that_outlives_the_ledger_is_counted(store: Store, ledger: Ledger) -> None:
    hold = take(ledger, 10, Limits(tokens_per_day=100))
    ledger.close()
    ledger.settle(hold, 1, 2)
    assert (held(store), counted(store)) == ([], [("k", "2023-11-15", "m", 1, 1, 2)])


def test_the_day_of_the_request_is_the_day_that_is_charged(store: Store, ledger: Ledger, clock: Clock) -> None:
    clock.now += 12 * 3600 - 1
    hold = take(ledger, 100, Limits(tokens_per_day=100))
    assert refusal(ledger, 1, Limits(tokens_per_day=100)).retry_after == 1
    clock.now += 1
    fresh = take(ledger, 100, Limits(tokens_per_day=100))
    ledger.settle(hold, 50, 50)
    ledger.settle(fresh, 1, 1)
    ledger.close()
    assert [row[1:5] for row in counted(store)] == [("2023-11-15", "m", 1, 50), ("2023-11-16", "m", 1, 1)]


def test_so_many_at_once_then_one_after_the_other(ledger: Ledger, clock: Clock) -> None:
    limits = Limits(requests_per_minute=7)
    for _ in range(7):
        take(ledger, 1, limits)
    refused = refusal(ledger, 1, limits)
    assert (refused.status, refused.code, refused.retry_after) == (429, "rate_limit_exceeded", 9)
    assert refused.message == "This key allows 7 requests a minute. The next is possible in 9 seconds."
    take(ledger, 1, limits, key="another")
    clock.now += 9
    take(ledger, 1, limits)
    refusal(ledger, 1, limits)
    clock.now += 60
    for _ in range(7):
        take(ledger, 1, limits)
    refusal(ledger, 1, limits)


@settings(max_examples=10, deadline=None)
@given(steps=st.lists(st.floats(0, 20), max_size=12), most=st.integers(1, 5))
def test_no_span_of_time_sees_more_than_its_share(
    steps: list[float], most: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    store, clock, taken = open_store(tmp_path_factory.mktemp("rate") / "x.db"), Clock(), []
    ledger = Ledger(store, clock)

    async def all_of_them() -> None:
        for step in steps:
            clock.now += step
            try:
                await ledger.hold("k", "m", 1, Limits(requests_per_minute=most))
                taken.append(clock.now)
            except AccessRefused as refused:
                clock.now += refused.retry_after or 0  # who waits as told is let in
                await ledger.hold("k", "m", 1, Limits(requests_per_minute=most))
                taken.append(clock.now)

    asyncio.run(all_of_them())
    ledger.close()
    store.close()
    for start in taken:
        for end in (at for at in taken if at >= start):
            inside = [at for at in taken if start <= at <= end]
            assert len(inside) <= most + (end - start) * most / 60 + 0.5 + 1e-6


@pytest.mark.parametrize("jump", [-86400.0 * 400, 86400.0 * 400])
def test_a_clock_that_jumps_shuts_nobody_out(ledger: Ledger, clock: Clock, jump: float) -> None:
    limits = Limits(requests_per_minute=1, tokens_per_day=10)
    take(ledger, 10, limits)
    clock.now += jump
    take(ledger, 10, limits)
    refusal(ledger, 10, limits)


def test_a_clock_put_back_within_the_day_frees_what_no_hold_can_hold(ledger: Ledger, clock: Clock) -> None:
    take(ledger, 10, Limits(tokens_per_day=10))
    clock.now -= 3600
    take(ledger, 10, Limits(tokens_per_day=10))


def test_what_is_more_than_a_day_allows(ledger: Ledger) -> None:
    refused = refusal(ledger, 101, Limits(tokens_per_day=100))
    assert "may take 101 tokens" in refused.message
    assert "max_tokens" in refused.message
    assert refused.retry_after is None


def test_when_a_day_opens_again() -> None:
    refused = over_tokens(100_000, 99_500, 800, NOON - 60)
    assert refused.retry_after == 12 * 3600 + 60
    assert refused.message == (
        "This key allows 100,000 tokens a day; 99,500 of today's are used or held by running requests, and this "
        "request may take 800. 500 are left: a shorter answer (max_tokens) may fit. The count starts again at "
        "2023-11-16 00:00 UTC, in 12 h 1 min."
    )
    assert "left" not in over_tokens(100, 100, 1, NOON).message


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(1, "1 second"), (119, "119 seconds"), (120, "2 min"), (121, "3 min"), (3600, "1 h 0 min"), (3541, "1 h 0 min")],
)
def test_times_in_words(seconds: int, words: str) -> None:
    assert in_words(seconds) == words


def test_a_caller_who_leaves_while_it_waits_leaves_no_hold(store: Store, ledger: Ledger) -> None:
    async def leave() -> None:
        limits = Limits(tokens_per_day=100)
        with store.writing():  # the ledger waits for its turn
            waits = asyncio.create_task(ledger.hold("k", "m", 60, limits))
            await asyncio.sleep(0.02)
            waits.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waits
        await ledger.hold("k", "m", 100, limits)

    asyncio.run(leave())
    assert held(store) == [100]
    assert counted(store) == []


def test_many_at_once_share_what_there_is(store: Store, ledger: Ledger) -> None:
    async def ask() -> bool:
        try:
            hold = await ledger.hold("k", "m", 10, Limits(tokens_per_day=500))
        except AccessRefused:
            return False
        ledger.settle(hold, 4, 6)
        return True

    async def all_at_once() -> list[bool]:
        return await asyncio.gather(*(ask() for _ in range(100)))

    assert asyncio.run(all_at_once()).count(True) == 50
    ledger.close()
    assert counted(store) == [("k", "2023-11-15", "m", 50, 200, 300)]


CHILD = """
import asyncio, sys
from pathlib import Path
from limpide.serve.quotas import Ledger, Limits
from limpide.serve.refused import AccessRefused
from limpide.serve.store import open_store

place, what = sys.argv[1:]
ledger = Ledger(open_store(place if "://" in place else Path(place)))

async def ask(limits):
    try:
        hold = await ledger.hold("k", "m", 10, limits)
    except AccessRefused:
        return 0
    ledger.settle(hold, 4, 6)
    return 1

async def main():
    if what == "share":
        limits = Limits(tokens_per_day=500)
        one_by_one = [await ask(limits) for _ in range(40)]
        print(sum(one_by_one + await asyncio.gather(*[ask(limits) for _ in range(40)])))
    if what == "leave":
        await asyncio.gather(*[ask(Limits()) for _ in range(300)])
    if what == "die":
        for _ in range(50):
            await ask(Limits(tokens_per_day=10_000))
        await ledger.hold("k", "m", 77, Limits(tokens_per_day=10_000))
        print("ready", flush=True)
        await asyncio.sleep(600)

asyncio.run(main())
"""


def child(place: Path | str, what: str) -> subprocess.Popen[str]:
    arguments = [sys.executable, "-c", CHILD, str(place), what]
    return subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_two_gateways_on_one_database(place: Path | str, store: Store) -> None:
    both = [child(place, "share") for _ in range(2)]
    said = [one.communicate() for one in both]
    assert [error for _, error in said] == ["", ""]
    assert sum(int(out) for out, _ in said) == 50
    assert [row[3:] for row in counted(store)] == [(50, 200, 300)]
    assert held(store) == []


def test_a_hold_that_another_gateway_took_while_this_one_waited_counts(store: Store) -> None:
    other, late, limits = Clock(), Clock(), Limits(tokens_per_day=500)
    asked = late.now
    other.now = asked + 0.5
    first = Ledger(store, other)
    take(first, 300, limits)
    times = iter((asked, asked))  # as it opens, and as it is asked; then it waits
    second = Ledger(store, lambda: next(times, asked + 1.0))
    refusal(second, 300, limits)
    first.close()
    second.close()


def test_who_ends_without_closing_loses_no_count(place: Path | str, store: Store) -> None:
    assert child(place, "leave").communicate() == ("", "")
    assert [row[3:] for row in counted(store)] == [(300, 1200, 1800)]


def test_who_is_killed_loses_no_count_and_its_hold_lapses(
    place: Path | str, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    running = child(place, "die")
    assert running.stdout is not None
    assert running.stdout.readline() == "ready\n"
    running.send_signal(signal.SIGKILL)
    running.communicate()
    assert [row[3:] for row in counted(store)] == [(50, 200, 300)]
    assert held(store) == [77]
    with store.reading() as connection:
        began = connection.execute(select(holds.c.until)).scalar_one() - HOLD_LASTS
    clock = Clock()
    clock.now = began + HOLD_LASTS - 1
    monkeypatch.setattr(quotas, "day_of", lambda _: counted(store)[0][1])  # also just before midnight
    ledger = Ledger(store, clock)
    refusal(ledger, 500, Limits(tokens_per_day=1000))
    clock.now += 2
    take(ledger, 500, Limits(tokens_per_day=1000))
    ledger.close()
    Ledger(store, clock).close()
    assert held(store) == [500]


class Broken:
    """A database that fails so many times."""

    def __init__(self, store: Store, times: int) -> None:
        self.store, self.times, self.writing_ = store, times, store.writing

    def writing(self, *, durable: bool = True) -> object:
        if self.times:
            self.times -= 1
            raise UsageError("The database at x cannot be used.", received="no route")
        return self.writing_(durable=durable)


def test_a_database_that_comes_back_is_given_the_counts_that_waited(
    store: Store, ledger: Ledger, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(quotas, "RETRY", 0.0)
    kept = [take(ledger, 1, FREE) for _ in range(5)]
    monkeypatch.setattr(store, "writing", Broken(store, 2).writing)
    for hold in kept:
        ledger.settle(hold, 1, 1)
    ledger.settle(take(ledger, 1, FREE), 1, 1)
    ledger.close()
    assert [row[3:] for row in counted(store)] == [(6, 6, 6)]
    assert "cannot be written: The database at x cannot be used. no route" in caplog.text


def test_who_asks_a_database_that_fails_is_told_to_come_back(
    store: Store, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(quotas, "RETRY", 0.0)
    monkeypatch.setattr(store, "writing", Broken(store, 1).writing)
    refused = refusal(ledger, 1, Limits(tokens_per_day=10))
    assert (refused.status, refused.code, refused.retry_after) == (503, "keys_unavailable", 5)
    take(ledger, 1, Limits(tokens_per_day=10))


def test_what_cannot_be_written_at_the_end_is_logged(
    store: Store, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(quotas, "RETRY", 0.0)
    ledger = Ledger(store, Clock())
    hold = take(ledger, 1, FREE)
    monkeypatch.setattr(store, "writing", Broken(store, 99).writing)
    ledger.closing.set()
    ledger.settle(hold, 3, 4)
    with caplog.at_level(logging.ERROR):
        ledger.close()
    assert "lost: key k, 2023-11-15, m: 3 + 4 tokens" in caplog.text


def test_a_database_that_cannot_be_written_is_said_at_the_start(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "writing", Broken(store, 1).writing)
    with pytest.raises(UsageError, match="cannot be used"):
        Ledger(store)
