"""Quotas of access keys, and the exact counts behind them.

Requests a minute are a bucket: so many at once, then one every 60/n seconds. Tokens a day, in UTC days, are held back
when a request comes (its prompt and the longest answer it may get) and counted exactly when it has ended. Both live in
the database, so they survive a restart and hold over several processes.

One thread of the `Ledger` writes. What waits for it is written in one transaction, so that many callers share its cost.
`hold` waits for that transaction; `settle` does not, and what it counts is with the operating system some GATHER later.
A process that is killed leaves its holds behind: they lapse after HOLD_LASTS and are then given back.
"""

import asyncio
import logging
import math
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from uuid import uuid4

from sqlalchemy import Connection, bindparam, delete, func, select

from limpide.core.errors import LimpideError
from limpide.serve.refused import AccessRefused
from limpide.serve.store import Store, holds, rates, usage

MINUTE = 60.0
HOLD_LASTS = 900.0  # seconds; an answer that takes longer loses its hold, never its count
BATCH = 256  # entries in one transaction
GATHER = 0.05  # seconds that counts wait for others, and for the answer they are of to be on its way
RETRY = 1.0  # seconds between attempts while the database cannot be written
LAST_ATTEMPTS = 3  # at shutdown


@dataclass(frozen=True)
class Limits:
    """None: no limit."""

    requests_per_minute: int | None = None
    tokens_per_day: int | None = None


@dataclass(frozen=True)
class Hold:
    """What a running request may use at most, held back until it is settled. tokens: prompt and the longest answer."""

    id: str
    key_id: str
    model: str
    tokens: int
    day: str


@dataclass(frozen=True)
class _Asked:
    hold: Hold
    limits: Limits
    now: float
    answer: Future[None]


@dataclass(frozen=True)
class _Settled:
    hold: Hold
    limited: bool  # whether the database holds a row of it
    requests: int
    prompt_tokens: int
    answer_tokens: int


# Tokens of a key and a day: counted, and held by running requests. Holds further ahead than any hold lasts are of a
# clock that was put back since.
SPENT = select(
    select(func.coalesce(func.sum(usage.c.prompt_tokens + usage.c.answer_tokens), 0))
    .where(usage.c.key_id == bindparam("key_id"), usage.c.day == bindparam("day"))
    .scalar_subquery()
    + select(func.coalesce(func.sum(holds.c.tokens), 0))
    .where(holds.c.key_id == bindparam("key_id"), holds.c.day == bindparam("day"))
    .where(holds.c.until > bindparam("now"), holds.c.until <= bindparam("latest"))
    .scalar_subquery()
)
HOLD = holds.insert()
GIVE_BACK = delete(holds).where(holds.c.id == bindparam("hold"))
LAPSED = delete(holds).where(holds.c.until <= bindparam("now"))
FULL = select(rates.c.full).where(rates.c.key_id == bindparam("of_key"))


class Ledger:
    """Writes holds and counts. One a process; its thread starts with the first entry.

    Raises UsageError when the database cannot be written.
    """

    def __init__(self, store: Store, clock: Callable[[], float] = time.time) -> None:
        self.store, self.clock = store, clock
        self.thread = ThreadPoolExecutor(1, thread_name_prefix="limpide-ledger")
        self.closing = threading.Event()
        self.urgent = threading.Event()  # somebody waits for the next transaction
        self.lock = threading.Lock()  # guards the three below
        self.waiting: deque[_Asked | _Settled] = deque()
        self.at_work = False
        self.open: dict[str, bool] = {}  # ids of holds that are not settled → whether the database holds a row of it
        row = store.insert(rates)
        self.put_off = row.on_conflict_do_update(index_elements=[rates.c.key_id], set_={"full": row.excluded.full})
        row = store.insert(usage)
        counts = {name: usage.c[name] + row.excluded[name] for name in ("requests", "prompt_tokens", "answer_tokens")}
        self.add = row.on_conflict_do_update(index_elements=list(usage.primary_key), set_=counts)
        with store.writing(
            durable=False
        ) as connection:  # also shows, before anything is served, that it can be written
            connection.execute(LAPSED, {"now": clock()})

    async def hold(self, key_id: str, model: str, tokens: int, limits: Limits) -> Hold:
        """Hold back `tokens`. Raises AccessRefused 429 when a limit is reached, 503 when the database fails."""
        now = self.clock()
        hold = Hold(uuid4().hex, key_id, model, tokens, day_of(now))
        if limits != Limits():
            answer: Future[None] = Future()
            self._enter(_Asked(hold, limits, now, answer))
            try:
                await asyncio.wrap_future(answer)
            except asyncio.CancelledError:  # the caller left while it waited; the hold may have been written
                self._enter(_Settled(hold, True, 0, 0, 0))
                raise
        with self.lock:
            self.open[hold.id] = limits.tokens_per_day is not None
        return hold

    def settle(self, hold: Hold, prompt_tokens: int, answer_tokens: int) -> None:
        """Count exactly, and give the rest of the hold back. Never waits; a second call does nothing."""
        with self.lock:
            limited = self.open.pop(hold.id, None)
        if limited is not None:
            self._enter(_Settled(hold, limited, 1, prompt_tokens, answer_tokens))

    def close(self) -> None:
        """Write what waits. What cannot be written is logged: key, day, model and tokens."""
        self.closing.set()
        self.urgent.set()
        self.thread.shutdown(wait=True)

    def _enter(self, entry: _Asked | _Settled) -> None:
        with self.lock:
            self.waiting.append(entry)
            if isinstance(entry, _Asked):
                self.urgent.set()
            if self.at_work:
                return
            self.at_work = True
        try:
            self.thread.submit(self._work)
        except RuntimeError:  # closed: a request that outlived it is counted all the same
            self._work()

    def _work(self) -> None:
        failures = 0
        while True:
            if self.urgent.wait(GATHER) and not self.closing.is_set():
                self.urgent.clear()
            batch = self._next(1 if failures else BATCH)  # after a failure one by one: no entry stops the others
            if not batch:
                return
            try:
                answers = self._write(batch)
            except Exception as error:
                failures += 1
                self._put_back(batch, error, self._ends() and failures >= LAST_ATTEMPTS)
                self.closing.wait(RETRY)
                continue
            failures = 0
            for asked, refusal in answers:
                _tell(asked.answer, refusal)

    def _ends(self) -> bool:
        return self.closing.is_set() or not threading.main_thread().is_alive()

    def _next(self, most: int) -> list[_Asked | _Settled]:
        with self.lock:
            batch = [self.waiting.popleft() for _ in range(min(most, len(self.waiting)))]
            self.at_work = bool(batch)
        return batch

    def _put_back(self, batch: Sequence[_Asked | _Settled], error: Exception, for_good: bool) -> None:
        """After a failure: requests are refused, counts wait for the next attempt, or are logged after the last."""
        log = logging.getLogger("limpide.serve")
        why = f"{error.what} {error.received}" if isinstance(error, LimpideError) else type(error).__name__
        log.error("the counts of access keys cannot be written: %s", why)
        settled = [entry for entry in batch if isinstance(entry, _Settled)]
        for entry in batch:
            if isinstance(entry, _Asked):
                _tell(entry.answer, unavailable())
        if not for_good:
            with self.lock:
                self.waiting.extend(settled)
            return
        for lost in settled:
            at = (lost.hold.key_id, lost.hold.day, lost.hold.model)
            log.error("lost: key %s, %s, %s: %d + %d tokens", *at, lost.prompt_tokens, lost.answer_tokens)

    def _write(self, batch: Sequence[_Asked | _Settled]) -> list[tuple[_Asked, AccessRefused | None]]:
        """Counts first, since they give tokens back; no other writer is beside, so reading before writing is right."""
        with self.store.writing(durable=False) as connection:
            self._count(connection, [entry for entry in batch if isinstance(entry, _Settled)])
            asked = [entry for entry in batch if isinstance(entry, _Asked) and not entry.answer.cancelled()]
            return [(entry, self._take(connection, entry)) for entry in asked]

    def _take(self, connection: Connection, asked: _Asked) -> AccessRefused | None:
        """The refusal, or None when the hold is taken."""
        hold, limits, now = asked.hold, asked.limits, asked.now
        if limits.tokens_per_day is not None:
            # Read now: while this one waited for its turn, another gateway may have taken a hold that ends later.
            latest = max(now, self.clock()) + HOLD_LASTS
            at = {"key_id": hold.key_id, "day": hold.day, "now": now, "latest": latest}
            spent = int(connection.execute(SPENT, at).scalar_one())
            if spent + hold.tokens > limits.tokens_per_day:
                return over_tokens(limits.tokens_per_day, spent, hold.tokens, now)
        if limits.requests_per_minute is not None:
            wait = self._wait(connection, hold.key_id, limits.requests_per_minute, now)
            if wait > 0:
                return over_rate(limits.requests_per_minute, wait)
        if limits.tokens_per_day is not None:
            row = {"id": hold.id, "key_id": hold.key_id, "day": hold.day, "tokens": hold.tokens}
            connection.execute(HOLD, {**row, "until": now + HOLD_LASTS})
        return None

    def _wait(self, connection: Connection, key_id: str, per_minute: int, now: float) -> float:
        """Seconds until the next request, or 0 and the request is counted.

        A bucket kept as one number, the time at which it is full again (the "theoretical arrival time" of the generic
        cell rate algorithm, ITU-T I.371): each request puts it off by 60/n seconds, at most to a minute from now.
        """
        step = MINUTE / per_minute
        full = connection.execute(FULL, {"of_key": key_id}).scalar()
        if full is None or not now < full <= now + MINUTE + step:  # further ahead only when the clock was put back
            full = now
        wait = full + step - now - MINUTE
        if wait > step / 2:  # half a step: sums of steps are rounded
            return float(wait)
        connection.execute(self.put_off, {"key_id": key_id, "full": full + step})
        return 0.0

    def _count(self, connection: Connection, settled: Sequence[_Settled]) -> None:
        held = [{"hold": entry.hold.id} for entry in settled if entry.limited]
        if held:
            connection.execute(GIVE_BACK, held)
        rows = [
            {
                "key_id": entry.hold.key_id,
                "day": entry.hold.day,
                "model": entry.hold.model,
                "requests": entry.requests,
                "prompt_tokens": entry.prompt_tokens,
                "answer_tokens": entry.answer_tokens,
            }
            for entry in settled
            if entry.requests
        ]
        if rows:
            connection.execute(self.add, rows)


def _tell(answer: Future[None], refusal: AccessRefused | None) -> None:
    if not answer.set_running_or_notify_cancel():
        return  # who asked has left
    if refusal is None:
        answer.set_result(None)
    else:
        answer.set_exception(refusal)


def day_of(seconds: float) -> str:
    """The UTC day of a time, YYYY-MM-DD."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d")


def over_rate(per_minute: int, wait: float) -> AccessRefused:
    seconds = max(1, math.ceil(wait))
    message = f"This key allows {per_minute:,} requests a minute. The next is possible in {in_words(seconds)}."
    return AccessRefused(429, "rate_limit_exceeded", message, seconds)


def over_tokens(per_day: int, spent: int, asked: int, now: float) -> AccessRefused:
    """spent: counted and held back today. asked: the prompt and the longest answer of the request."""
    moment = datetime.fromtimestamp(now, UTC)
    midnight = datetime(moment.year, moment.month, moment.day, tzinfo=UTC) + timedelta(days=1)
    if asked > per_day:
        message = (
            f"This request may take {asked:,} tokens, prompt and longest answer, and this key allows {per_day:,} a "
            "day. Send a shorter prompt, or ask for a shorter answer with max_tokens."
        )
        return AccessRefused(429, "insufficient_quota", message)
    seconds = math.ceil((midnight - moment).total_seconds())
    left = max(0, per_day - spent)
    shorter = f"{left:,} are left: a shorter answer (max_tokens) may fit. " if left else ""
    message = (
        f"This key allows {per_day:,} tokens a day; {spent:,} of today's are used or held by running requests, and "
        f"this request may take {asked:,}. {shorter}The count starts again at {midnight:%Y-%m-%d %H:%M} UTC, "
        f"in {in_words(seconds)}."
    )
    return AccessRefused(429, "insufficient_quota", message, seconds)


def unavailable() -> AccessRefused:
    message = "The server cannot read or write its access keys at the moment. Try again shortly."
    return AccessRefused(503, "keys_unavailable", message, 5)


def in_words(seconds: int) -> str:
    """'1 second', '40 seconds', '12 min', '15 h 40 min'. Rounded up to whole minutes from two minutes on."""
    if seconds < 120:
        return f"{seconds} second{'s' * (seconds != 1)}"
    hours, minutes = divmod(math.ceil(seconds / 60), 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min"
