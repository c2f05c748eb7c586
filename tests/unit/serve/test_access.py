"""Access keys: what is made, what is kept, who is let in, and what each refusal says."""

import asyncio
import re
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import select

from limpide.core.errors import UsageError
from limpide.serve import access
from limpide.serve.access import AccessKey, Caller, Doorkeeper, create, expiry, found, listed, revoke, usage, written
from limpide.serve.hashing import KEYS
from limpide.serve.refused import AccessRefused
from limpide.serve.store import Store, access_keys, metadata

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
HERE, FAR = "192.0.2.1", "203.0.113.9"


@pytest.fixture
def door(store: Store, monkeypatch: pytest.MonkeyPatch) -> Iterator[Doorkeeper]:
    """One that reads its rows at every request."""
    monkeypatch.setattr(access, "ROWS_LAST", 0.0)
    monkeypatch.setattr(access, "UNKNOWN_LASTS", 0.0)
    made = Doorkeeper(store, None)
    yield made
    made.close()


def admit(door: Doorkeeper, secret: str | None, address: str = HERE) -> Caller:
    return asyncio.run(door.admit(secret, address))


def refused(work: Awaitable[Any]) -> AccessRefused:
    async def wait() -> None:
        await work

    with pytest.raises(AccessRefused) as raised:
        asyncio.run(wait())
    return raised.value


def wrong(secret: str) -> str:
    """Another secret of the same key."""
    return secret[:-4] + ("0000" if secret[-4:] != "0000" else "1111")


def test_a_key_is_made_shown_once_and_kept_as_a_hash(store: Store) -> None:
    key, secret = create(store, " HR tool ", models=("a", "b"), requests_per_minute=60, tokens_per_day=1000)
    assert re.fullmatch(rf"lmp_{key.id}_[0-9a-f]{{64}}", secret)
    assert (key.name, key.models, key.expires, key.revoked) == ("HR tool", ("a", "b"), None, None)
    assert abs(key.created - datetime.now(UTC)) < timedelta(minutes=1)
    assert listed(store) == [key]
    with store.reading() as connection:
        rows = [str(row) for table in metadata.tables.values() for row in connection.execute(select(table))]
        kept = connection.execute(select(access_keys.c.hash)).scalar_one()
    random = secret.rpartition("_")[2]
    assert all(random[at : at + 8] not in "".join(rows) for at in range(56))
    assert kept.startswith("$argon2id$")
    assert KEYS.verify(kept, secret)
    assert random not in repr(key) + str(asdict(key))


def test_keys_are_listed_newest_first_and_all_differ(store: Store) -> None:
    made = [create(store, f"key {number}") for number in range(4)]
    assert [key.name for key in listed(store)] == ["key 3", "key 2", "key 1", "key 0"]
    assert len({secret[17:] for _, secret in made}) == len({key.id for key, _ in made}) == 4


@pytest.mark.parametrize(
    ("given", "what"),
    [
        ({"name": ""}, "empty or too long"),
        ({"name": " "}, "empty or too long"),
        ({"name": "x" * 65}, "empty or too long"),
        ({"name": "a\x1b[31m"}, "cannot be seen"),
        ({"name": "a\nb"}, "cannot be seen"),
        ({"name": "a\u202eb"}, "cannot be seen"),
        ({"requests_per_minute": 0}, "not a limit of requests a minute"),
        ({"tokens_per_day": 10**13}, "not a limit of tokens a day"),
        ({"models": (" ",)}, "not the name of a model"),
        ({"models": ("a\x00",)}, "not the name of a model"),
        ({"expires": NOW - timedelta(days=3650)}, "would have expired already"),
    ],
)
def test_what_a_key_cannot_be(store: Store, given: dict[str, Any], what: str) -> None:
    with pytest.raises(UsageError, match=what) as raised:
        create(store, **{"name": "HR tool", **given})
    assert raised.value.expected
    assert listed(store) == []


def test_open_keys_have_names_of_their_own(store: Store) -> None:
    key, _ = create(store, "Éditeur")
    with pytest.raises(UsageError, match="Another key has this name") as raised:
        create(store, "e\u0301DITEUR")
    assert f"limpide access revoke {key.id}" in str(raised.value)
    revoke(store, key.id)
    again, _ = create(store, "Éditeur")
    assert revoke(store, "éditeur").id == again.id


def test_a_key_is_revoked_once(store: Store) -> None:
    key, _ = create(store, "HR tool")
    first = revoke(store, "HR tool")
    assert first.revoked is not None
    assert revoke(store, key.id) == first == listed(store)[0]


def test_an_unknown_key_suggests_the_nearest_and_repeats_no_secret(store: Store) -> None:
    _, secret = create(store, "HR tool")
    with pytest.raises(UsageError, match="Did you mean 'HR tool'") as raised:
        revoke(store, "HR tol")
    assert (raised.value.received, raised.value.remedy) == ("HR tol", "limpide access list")
    with pytest.raises(UsageError, match="No key has this id or name") as raised:
        revoke(store, secret)
    assert secret not in str(raised.value)
    with pytest.raises(UsageError, match="No key has this id or name"):
        found([], "x")


@pytest.mark.parametrize(
    ("text", "at"),
    [
        ("90d", NOW + timedelta(days=90)),
        (" 12h ", NOW + timedelta(hours=12)),
        ("2027-01-31", datetime(2027, 2, 1, tzinfo=UTC)),
        ("2026-11-23", datetime(2026, 11, 24, tzinfo=UTC)),
    ],
)
def test_when_a_key_expires(text: str, at: datetime) -> None:
    assert expiry(text, NOW) == at


@pytest.mark.parametrize(
    ("text", "what"),
    [
        *((text, "not a time") for text in ("soon", "9999-12-31", "90", "2026-13-01", "-3d", "999999d", "")),
        *((text, "has passed") for text in ("0d", "2026-11-22")),
    ],
)
def test_when_none_can(text: str, what: str) -> None:
    with pytest.raises(UsageError, match=what) as raised:
        expiry(text, NOW)
    assert (raised.value.received, raised.value.expected) == (text, "for example 90d, 12h or 2027-01-31")


@given(st.text(max_size=12))
def test_any_text_is_a_time_or_a_clear_error(text: str) -> None:
    try:
        assert expiry(text, NOW) > NOW
    except UsageError as error:
        assert error.what.startswith("This ")  # noqa: PT017


def test_nobody_is_asked_before_there_is_a_key(store: Store, door: Doorkeeper) -> None:
    assert not door.asked
    assert admit(door, None) == admit(door, "anything") == Caller("anyone", "anyone")
    key, secret = create(store, "first")
    assert admit(door, secret) == Caller(key.id, "first", key)
    assert door.asked
    assert refused(door.admit(None, HERE)).code == "invalid_api_key"
    revoke(store, key.id)
    assert refused(door.admit(None, HERE)).code == "invalid_api_key"
    assert door.asked


def test_without_a_key_and_with_a_wrong_one(store: Store, door: Doorkeeper) -> None:
    _, secret = create(store, "first")
    missing = refused(door.admit(None, HERE))
    assert (missing.status, missing.code) == (401, "invalid_api_key")
    assert missing.message.startswith("No key was sent. Send it as 'Authorization: Bearer KEY'.")
    unknown = f"lmp_{'0' * 12}_{'0' * 64}"
    for bad in ("", "x", "é\udcff", unknown, wrong(secret), secret.upper(), f"{secret} ", secret[:-1], secret + "0"):
        told = refused(door.admit(bad, HERE))
        assert (told.status, told.code, told.retry_after) == (401, "invalid_api_key", None)
        assert told.message.startswith("This key is not known here.")
        assert secret[-20:] not in told.message


@given(st.text(max_size=100))
def test_any_text_is_refused(text: str) -> None:
    assert access.SECRET.fullmatch(text) is None or text.startswith("lmp_")


def test_one_whose_hint_is_right_is_still_refused(
    store: Store, door: Doorkeeper, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One wrong secret in 65,536 gets as far as argon2."""
    _, secret = create(store, "first")
    right = access._fingerprint(secret)
    monkeypatch.setattr(access, "_fingerprint", lambda _: right)
    assert refused(door.admit(wrong(secret), HERE)).code == "invalid_api_key"
    assert admit(door, secret).name == "first"


def test_the_sole_key_works_beside_the_others(store: Store) -> None:
    door = Doorkeeper(store, "planted-sole-key")
    assert door.asked
    assert admit(door, "planted-sole-key") == Caller("environment", "environment")
    assert refused(door.admit("planted-sole-kez", HERE)).status == 401
    assert refused(door.admit(None, HERE)).status == 401
    key, secret = create(store, "first")
    door._read_at = 0.0
    assert admit(door, secret).id == key.id
    assert "planted-sole-key" not in repr(door)
    door.close()


def test_an_expired_key_says_when(store: Store) -> None:
    clock = [time.time()]
    key, secret = create(store, "HR tool", expires=datetime.now(UTC) + timedelta(hours=1))
    door = Doorkeeper(store, None, lambda: clock[0])
    assert admit(door, secret).key == key
    assert key.expires is not None
    clock[0] = key.expires.timestamp()
    told = refused(door.admit(secret, HERE))
    assert (told.status, told.code) == (401, "key_expired")
    assert told.message == f"The key 'HR tool' expired on {written(key.expires)}. Ask who gave it to you for another."
    door.close()


def test_a_revoked_key_is_refused_within_a_second(store: Store) -> None:
    key, secret = create(store, "HR tool")
    door = Doorkeeper(store, None)
    assert admit(door, secret).id == key.id
    gone = revoke(store, key.id)
    door._read_at = time.monotonic() - 0.01
    assert admit(door, secret).id == key.id  # from memory
    door._read_at = time.monotonic() - access.ROWS_LAST
    told = refused(door.admit(secret, HERE))
    assert (access.ROWS_LAST, told.status, told.code) == (1.0, 401, "key_revoked")
    assert gone.revoked is not None
    assert (
        told.message == f"The key 'HR tool' was revoked on {written(gone.revoked)}. Ask who gave it to you for another."
    )
    door.close()


def test_a_key_is_known_as_soon_as_it_is_made(store: Store) -> None:
    create(store, "one")
    door = Doorkeeper(store, None)
    _, secret = create(store, "two")
    door._read_at = time.monotonic() - access.UNKNOWN_LASTS  # long before its rows are old
    assert admit(door, secret).name == "two"
    door.close()


def test_a_key_that_was_seen_costs_no_hash_and_no_reading(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    _, secret = create(store, "HR tool")
    door = Doorkeeper(store, None)
    first = admit(door, secret)
    monkeypatch.setattr(door._hashing, "matches", None)
    monkeypatch.setattr(door, "_read", None)
    door._read_at = time.monotonic()
    assert [admit(door, secret) for _ in range(3)] == [first] * 3
    assert secret.encode() not in b"".join(door._known)
    door.close()


def test_many_who_bring_the_same_key_share_one_hash(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    _, secret = create(store, "HR tool")
    door = Doorkeeper(store, None)
    calls: list[str] = []
    matches: Callable[..., Awaitable[bool]] = door._hashing.matches

    async def counted(*arguments: Any) -> bool:
        calls.append(arguments[1])
        return await matches(*arguments)

    monkeypatch.setattr(door._hashing, "matches", counted)

    async def all_at_once() -> None:
        waiting = [asyncio.create_task(door.admit(secret, HERE)) for _ in range(20)]
        while not calls:
            await asyncio.sleep(0.001)
        waiting[0].cancel()  # the one who came first leaves; the others are let in all the same
        callers = await asyncio.gather(*waiting, return_exceptions=True)
        assert [isinstance(one, Caller) for one in callers] == [False] + [True] * 19

    asyncio.run(all_at_once())
    assert len(calls) == 1
    door.close()


def test_a_thousand_wrong_keys_meet_no_hash_and_keep_nobody_waiting(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    key, secret = create(store, "HR tool")
    _, other = create(store, "other")
    door = Doorkeeper(store, None)
    admit(door, secret)
    hashed: list[str] = []
    matches: Callable[..., Awaitable[bool]] = door._hashing.matches

    async def counted(*arguments: Any) -> bool:
        hashed.append(arguments[2])
        return await matches(*arguments)

    monkeypatch.setattr(door._hashing, "matches", counted)

    async def attempt(number: int) -> tuple[int, str]:
        guess = f"lmp_{key.id}_{number:064x}" if number % 2 else f"lmp_{number:012x}_{0:064x}"
        try:
            await door.admit(guess, FAR)
        except AccessRefused as told:
            return told.status, told.code
        return 200, ""

    async def all_at_once() -> None:
        guesses = [attempt(number) for number in range(1000)]
        good = [door.admit(secret, HERE), door.admit(other, FAR), door.admit(secret, FAR)]
        *told, first, second, third = await asyncio.gather(*guesses, *good)
        assert told.count((401, "invalid_api_key")) == access.FAILURES
        assert told.count((429, "rate_limit_exceeded")) == 1000 - access.FAILURES
        assert [first.name, second.name, third.name] == ["HR tool", "other", "HR tool"]

    asyncio.run(all_at_once())
    assert set(hashed) == {other}
    door.close()


def test_who_guesses_is_told_when_to_come_back(store: Store, door: Doorkeeper) -> None:
    _, secret = create(store, "HR tool")
    for number in range(access.FAILURES):  # from as many addresses: the key's id counts as well
        assert refused(door.admit(wrong(secret), f"192.0.2.{number}")).status == 401
    told = refused(door.admit(wrong(secret), "198.51.100.7"))
    assert (told.status, told.code) == (429, "rate_limit_exceeded")
    assert told.retry_after in (59, 60)
    assert told.message.startswith("Too many wrong keys were sent. A wrong one is looked at again in ")
    assert refused(door.admit("guess", "198.51.100.7")).status == 401
    assert admit(door, secret).name == "HR tool"


def test_a_key_opens_its_models_alone(store: Store, door: Doorkeeper) -> None:
    _, secret = create(store, "HR tool", models=("a", "b"))
    caller = admit(door, secret)
    assert [caller.may_use(model) for model in "abc"] == [True, True, False]
    told = refused(door.reserve(caller, "c\x1b", 10))
    assert (told.status, told.code) == (403, "model_not_allowed")
    assert told.message == "This key may not use the model 'c\\u001b'. It may use 'a', 'b'."
    door.settle(asyncio.run(door.reserve(caller, "a", 10)), prompt_tokens=1, answer_tokens=2)
    assert Caller("anyone", "anyone").may_use("c")


def test_the_limits_of_a_key_hold(store: Store, door: Doorkeeper) -> None:
    _, secret = create(store, "HR tool", requests_per_minute=2, tokens_per_day=100)
    caller = admit(door, secret)
    assert refused(door.reserve(caller, "m", 101)).code == "insufficient_quota"
    hold = asyncio.run(door.reserve(caller, "m", 100))
    assert refused(door.reserve(caller, "m", 1)).code == "insufficient_quota"
    door.settle(hold, prompt_tokens=10, answer_tokens=5)
    asyncio.run(door.reserve(caller, "m", 85))
    assert refused(door.reserve(caller, "m", 0)).code == "rate_limit_exceeded"


def test_usage_names_who_used_what(store: Store) -> None:
    key, secret = create(store, "HR tool")
    door = Doorkeeper(store, "planted-sole-key")
    for who in (secret, secret, "planted-sole-key"):
        hold = asyncio.run(door.reserve(admit(door, who), "m", 50))
        door.settle(hold, prompt_tokens=3, answer_tokens=4)
    door.close()
    rows = usage(store)
    today = f"{datetime.now(UTC):%Y-%m-%d}"
    assert {(row.name, row.requests, row.prompt_tokens, row.answer_tokens) for row in rows} == {
        ("HR tool", 2, 6, 8),
        ("environment", 1, 3, 4),
    }
    assert [row.key_id for row in usage(store, "HR tool")] == [key.id]
    assert [row.key_id for row in usage(store, "environment", since=today)] == ["environment"]
    assert usage(store, since="9999-01-01") == []
    with pytest.raises(UsageError, match="No key has this id or name"):
        usage(store, "unknown")


def test_a_database_that_fails_refuses_for_a_moment(
    store: Store, door: Doorkeeper, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, secret = create(store, "HR tool")

    def fail() -> None:
        raise UsageError("The database at x cannot be used.")

    with monkeypatch.context() as failing:
        failing.setattr(store, "reading", fail)
        told = refused(door.admit(secret, HERE))
    assert (told.status, told.code, told.retry_after) == (503, "keys_unavailable", 5)
    assert admit(door, secret).name == "HR tool"


def test_no_secret_in_any_log_or_file(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(access, "UNKNOWN_LASTS", 0.0)
    from limpide.serve.store import open_store

    store = open_store(tmp_path / "x.db")
    door = Doorkeeper(store, "planted-sole-key")
    with caplog.at_level(0):
        _, secret = create(store, "HR tool", tokens_per_day=1)
        caller = admit(door, secret)
        refused(door.reserve(caller, "m", 10))
        refused(door.admit(wrong(secret), HERE))
    door.close()
    kept = b"".join(path.read_bytes() for path in tmp_path.iterdir())
    for word in (secret[17:], "planted-sole-key"):
        assert word not in caplog.text
        assert word.encode() not in kept
        assert word not in repr(vars(caller))
    store.close()


def test_an_open_key_is_neither_revoked_nor_expired() -> None:
    key = AccessKey("a", "n", NOW, NOW + timedelta(hours=1), None, (), None, None)
    assert key.opens(NOW)
    assert not key.opens(NOW + timedelta(hours=1))
    assert not AccessKey("a", "n", NOW, None, NOW, (), None, None).opens(NOW)
