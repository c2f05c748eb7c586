"""Access keys of the gateway, and the doorkeeper who asks for them.

A secret reads `lmp_<id>_<256 random bits>`: the id is public, the secret is shown once and kept as an argon2id hash.
Beside the hash stand 16 bits of the secret's SHA-256, so that nearly every wrong secret is told apart at no cost:
whoever guesses is told to wait, and cannot make callers with a right one wait behind argon2.
"""

import asyncio
import hashlib
import hmac
import json
import os
import re
import secrets
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

from sqlalchemy import Row, func, select, update

from limpide.core.errors import LimpideError, UsageError, nearest
from limpide.core.visible import visible
from limpide.serve.hashing import KEYS, HashingThreads
from limpide.serve.names import checked_name, compared
from limpide.serve.quotas import Hold, Ledger, Limits, unavailable
from limpide.serve.refused import AccessRefused
from limpide.serve.store import Store, access_keys
from limpide.serve.store import usage as usage_table
from limpide.serve.throttle import Throttle, network

SECRET = re.compile(r"lmp_([0-9a-f]{12})_[0-9a-f]{64}")
FAILURES, FAILURES_IN = 20, 60.0  # wrong keys from one address, or for one id, in so many seconds
ROWS_LAST = 1.0  # seconds: a revoked key is refused after at most so long
UNKNOWN_LASTS = 0.05  # seconds: how soon after an unknown id the database is asked again
LARGEST_LIMIT = 10**12
ENVIRONMENT, ANYONE = "environment", "anyone"  # ids of callers without a key of ours


@dataclass(frozen=True)
class AccessKey:
    """What is known of a key; the secret is not. Times are in UTC. models: empty for all."""

    id: str
    name: str
    created: datetime
    expires: datetime | None
    revoked: datetime | None
    models: tuple[str, ...]
    requests_per_minute: int | None
    tokens_per_day: int | None

    def opens(self, now: datetime) -> bool:
        """Whether the key is neither revoked nor expired."""
        return self.revoked is None and (self.expires is None or now < self.expires)


@dataclass(frozen=True)
class Caller:
    """Who asks. id: of the key; "environment" for the key of LIMPIDE_API_KEY; "anyone" where no key is asked."""

    id: str
    name: str
    key: AccessKey | None = None

    def may_use(self, model: str) -> bool:
        return self.key is None or not self.key.models or model in self.key.models

    @property
    def limits(self) -> Limits:
        return Limits(self.key.requests_per_minute, self.key.tokens_per_day) if self.key else Limits()


@dataclass(frozen=True)
class Usage:
    """Counts of one key on one model in one day (UTC, YYYY-MM-DD)."""

    key_id: str
    name: str
    day: str
    model: str
    requests: int
    prompt_tokens: int
    answer_tokens: int


def create(
    store: Store,
    name: str,
    *,
    expires: datetime | None = None,
    models: tuple[str, ...] = (),
    requests_per_minute: int | None = None,
    tokens_per_day: int | None = None,
) -> tuple[AccessKey, str]:
    """A new key, and its secret, which is kept nowhere. Raises UsageError for a name in use or a limit that is none."""
    now = datetime.now(UTC)
    _check_models(models)
    _check_limit("requests a minute", requests_per_minute)
    _check_limit("tokens a day", tokens_per_day)
    if expires is not None and expires <= now:
        raise UsageError("The key would have expired already.", received=written(expires), expected="a later time")
    key_id = secrets.token_hex(6)
    key = AccessKey(key_id, checked_name(name), now, expires, None, tuple(models), requests_per_minute, tokens_per_day)
    secret = f"lmp_{key_id}_{secrets.token_hex(32)}"
    row = {
        "id": key.id,
        "name": key.name,
        "hash": KEYS.hash(secret),
        "fingerprint": _fingerprint(secret),
        "created": now.timestamp(),
        "expires": expires and expires.timestamp(),
        "models": json.dumps(key.models),
        "requests_per_minute": requests_per_minute,
        "tokens_per_day": tokens_per_day,
    }
    with store.writing() as connection:
        for other in map(_key, connection.execute(select(access_keys))):
            if other.opens(now) and compared(other.name) == compared(key.name):
                raise UsageError(
                    "Another key has this name.",
                    received=key.name,
                    expected="a name of its own, so that the list and the log are clear",
                    remedy=f"choose another name, or first: limpide access revoke {other.id}",
                )
        connection.execute(access_keys.insert(), row)
    return key, secret


def listed(store: Store) -> list[AccessKey]:
    """Every key ever made, newest first."""
    with store.reading() as connection:
        return [_key(row) for row in connection.execute(select(access_keys).order_by(access_keys.c.created.desc()))]


def revoke(store: Store, id_or_name: str) -> AccessKey:
    """Close a key for good: every gateway refuses it within a second. One that was revoked before stays as it is.

    Raises UsageError for an unknown one.
    """
    key = found(listed(store), id_or_name)
    if key.revoked is not None:
        return key
    now = datetime.now(UTC)
    with store.writing() as connection:
        open_one = (access_keys.c.id == key.id) & access_keys.c.revoked.is_(None)
        connection.execute(update(access_keys).where(open_one).values(revoked=now.timestamp()))
    return replace(key, revoked=now)


def found(keys: list[AccessKey], id_or_name: str) -> AccessKey:
    """The key of this id, or else of this name, an open one first. Raises UsageError with the nearest name."""
    given, now = id_or_name.strip(), datetime.now(UTC)
    for key in keys:
        if key.id == given:
            return key
    named = [key for key in keys if compared(key.name) == compared(given)]
    if named:
        return next((key for key in named if key.opens(now)), named[0])
    shown = "(a secret; it is not repeated)" if given.startswith("lmp_") else visible(given)
    raise UsageError(
        f"No key has this id or name.{nearest(given, [key.name for key in keys])}",
        received=shown,
        remedy="limpide access list",
    )


def usage(store: Store, key: str | None = None, since: str | None = None) -> list[Usage]:
    """Counts, newest day first. key: an id or a name. since: a day, YYYY-MM-DD.

    Raises UsageError for an unknown key.
    """
    keys = listed(store)
    names = {one.id: one.name for one in keys}
    asked = select(usage_table).order_by(usage_table.c.day.desc(), usage_table.c.key_id, usage_table.c.model)
    if key is not None:
        only = key if key in (ENVIRONMENT, ANYONE) else found(keys, key).id
        asked = asked.where(usage_table.c.key_id == only)
    if since is not None:
        asked = asked.where(usage_table.c.day >= since)
    with store.reading() as connection:
        return [Usage(name=names.get(row.key_id, row.key_id), **row._mapping) for row in connection.execute(asked)]


def expiry(text: str, now: datetime) -> datetime:
    """When a key expires: '90d' and '12h' from now, '2027-01-31' at the end of that day in UTC.

    Raises UsageError for another form and for a time that has passed.
    """
    expected = "for example 90d, 12h or 2027-01-31"
    if parts := re.fullmatch(r"(\d{1,5})([dh])", text.strip()):
        number = int(parts[1])
        at = now + (timedelta(days=number) if parts[2] == "d" else timedelta(hours=number))
    else:
        try:
            at = datetime.strptime(text.strip(), "%Y-%m-%d").replace(tzinfo=UTC) + timedelta(days=1)
        except (ValueError, OverflowError):
            what = "This is not a time at which a key can expire."
            raise UsageError(what, received=visible(text), expected=expected) from None
    if at <= now:
        raise UsageError("This time has passed.", received=text, expected=expected)
    return at


def written(moment: datetime) -> str:
    """'2027-01-31 14:05 UTC'."""
    return f"{moment.astimezone(UTC):%Y-%m-%d %H:%M} UTC"


class Doorkeeper:
    """Who may ask, and how much. One a process, used from its event loop.

    `admit` and `reserve` are coroutines: what is slow in them happens in threads. A key that was seen before is
    admitted in microseconds, from rows in memory that are at most ROWS_LAST old.
    """

    def __init__(self, store: Store, sole_key: str | None, clock: Callable[[], float] = time.time) -> None:
        self.store, self.clock = store, clock
        self.ledger = Ledger(store, clock)
        self._sole = None if sole_key is None else _bytes(sole_key)
        self._salt = os.urandom(32)
        self._known: dict[bytes, str] = {}  # keyed hash of a secret that was right → id
        self._checks: dict[bytes, asyncio.Task[bool]] = {}  # the same → its check that runs
        self._rows: dict[str, tuple[AccessKey, str, str]] = {}  # id → key, hash, fingerprint
        self._stamp, self._read_at = (0, 0), 0.0
        self._turn = asyncio.Lock()
        self._reader = ThreadPoolExecutor(1, thread_name_prefix="limpide-keys")
        self._hashing = HashingThreads()
        self._throttle = Throttle(FAILURES, FAILURES_IN)
        self._read()

    @property
    def asked(self) -> bool:
        """Whether a key is asked of callers: there is a sole key, or a key was ever made, even one revoked since."""
        return self._sole is not None or bool(self._rows)

    async def admit(self, secret: str | None, address: str) -> Caller:
        """Who asks. secret: what stands after `Bearer `; None: nothing was sent. address: of the client.

        Raises AccessRefused: 401 invalid_api_key, key_expired or key_revoked; 429 rate_limit_exceeded after too many
        wrong keys; 503 keys_unavailable.
        """
        if secret is not None and self._sole is not None and hmac.compare_digest(_bytes(secret), self._sole):
            return Caller(ENVIRONMENT, ENVIRONMENT)
        if secret is None or not self.asked:
            ours = secret is not None and SECRET.fullmatch(secret)  # perhaps the first key, made a moment ago
            await self._refresh(UNKNOWN_LASTS if ours else ROWS_LAST)
        if not self.asked:
            return Caller(ANYONE, ANYONE)
        if secret is None:
            message = "No key was sent. Send it as 'Authorization: Bearer KEY'. Who runs this server gives keys."
            raise AccessRefused(401, "invalid_api_key", message)
        mark = hashlib.blake2b(_bytes(secret), key=self._salt).digest()
        key_id = self._known.get(mark)
        if key_id is None:
            key_id = self._known[mark] = await self._recognise(secret, mark, address)
        await self._refresh(ROWS_LAST)
        return self._open(self._rows[key_id][0])

    async def reserve(self, caller: Caller, model: str, tokens: int) -> Hold:
        """Hold back `tokens`: of the prompt and of the longest answer. Settle the hold in any case.

        Raises AccessRefused: 403 model_not_allowed; 429 rate_limit_exceeded or insufficient_quota; 503
        keys_unavailable.
        """
        if not caller.may_use(model):
            assert caller.key is not None
            allowed = ", ".join(f"'{one}'" for one in caller.key.models)
            message = f"This key may not use the model '{visible(model)[:200]}'. It may use {allowed}."
            raise AccessRefused(403, "model_not_allowed", message)
        return await self.ledger.hold(caller.id, model, tokens, caller.limits)

    def settle(self, hold: Hold, *, prompt_tokens: int, answer_tokens: int) -> None:
        """Count exactly and give the rest of the hold back: 0 and 0 for a request that failed.

        Never waits and never raises; for one hold, the first call counts.
        """
        self.ledger.settle(hold, prompt_tokens, answer_tokens)

    def close(self) -> None:
        """Write the counts that wait. Call it last: after the last request has settled."""
        self.ledger.close()
        self._reader.shutdown()
        self._hashing.close()

    async def _recognise(self, secret: str, mark: bytes, address: str) -> str:
        """The id of the key that a secret opens. A wrong one is counted against its address and the id it names."""
        names = [network(address)]
        if parts := SECRET.fullmatch(secret):
            key_id = parts[1]
            await self._refresh(ROWS_LAST if key_id in self._rows else UNKNOWN_LASTS)
            if key_id in self._rows:
                names.append(key_id)
                _, kept, fingerprint = self._rows[key_id]
                if hmac.compare_digest(_fingerprint(secret), fingerprint) and await self._check(mark, kept, secret):
                    return key_id
        wait = self._throttle.wait(*names)
        if wait > 0:
            message = f"Too many wrong keys were sent. A wrong one is looked at again in {wait} s; a right one at once."
            raise AccessRefused(429, "rate_limit_exceeded", message, wait)
        self._throttle.failed(*names)
        message = "This key is not known here. Compare it with the one you were given; keys begin with 'lmp_'."
        raise AccessRefused(401, "invalid_api_key", message)

    async def _check(self, mark: bytes, kept: str, secret: str) -> bool:
        """argon2, once for all who send the same secret meanwhile."""
        if mark not in self._checks:
            self._checks[mark] = asyncio.create_task(self._hashing.matches(KEYS, kept, secret))
            self._checks[mark].add_done_callback(lambda _: self._checks.pop(mark))
        return await asyncio.shield(self._checks[mark])  # it goes on when the one who came first leaves

    def _open(self, key: AccessKey) -> Caller:
        if key.revoked is not None:
            message = f"The key '{key.name}' was revoked on {written(key.revoked)}. Ask who gave it to you for another."
            raise AccessRefused(401, "key_revoked", message)
        if key.expires is not None and self.clock() >= key.expires.timestamp():
            message = f"The key '{key.name}' expired on {written(key.expires)}. Ask who gave it to you for another."
            raise AccessRefused(401, "key_expired", message)
        return Caller(key.id, key.name, key)

    async def _refresh(self, oldest: float) -> None:
        """Have rows that are at most `oldest` seconds old. Many who wait share one reading."""
        if time.monotonic() - self._read_at < oldest:
            return
        async with self._turn:
            if time.monotonic() - self._read_at < oldest:
                return
            try:
                await asyncio.get_running_loop().run_in_executor(self._reader, self._read)
            except LimpideError:
                raise unavailable() from None

    def _read(self) -> None:
        """Rows are only ever added or revoked, so two counts say whether anything changed."""
        began = time.monotonic()
        with self.store.reading() as connection:
            counts = connection.execute(select(func.count(), func.count(access_keys.c.revoked))).one()
            if (stamp := (int(counts[0]), int(counts[1]))) != self._stamp:
                rows = connection.execute(select(access_keys)).all()
                self._rows = {row.id: (_key(row), row.hash, row.fingerprint) for row in rows}
                self._stamp = stamp
        self._read_at = began


def _key(row: Row[tuple[object, ...]]) -> AccessKey:
    return AccessKey(
        row.id,
        row.name,
        datetime.fromtimestamp(row.created, UTC),
        None if row.expires is None else datetime.fromtimestamp(row.expires, UTC),
        None if row.revoked is None else datetime.fromtimestamp(row.revoked, UTC),
        tuple(json.loads(row.models)),
        row.requests_per_minute,
        row.tokens_per_day,
    )


def _bytes(secret: str) -> bytes:
    return secret.encode("utf-8", "surrogatepass")


def _fingerprint(secret: str) -> str:
    return hashlib.sha256(_bytes(secret)).hexdigest()[:4]


def _check_limit(what: str, limit: int | None) -> None:
    if limit is not None and not 1 <= limit <= LARGEST_LIMIT:
        raise UsageError(f"This is not a limit of {what}.", received=limit, expected=f"1 to {LARGEST_LIMIT:,}")


def _check_models(models: tuple[str, ...]) -> None:
    for model in models:
        if not model.strip() or visible(model) != model or len(model) > 200:
            raise UsageError(
                "This is not the name of a model.", received=repr(model), expected="an id that /v1/models lists"
            )
