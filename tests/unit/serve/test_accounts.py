"""Accounts of the studio: rights, passwords, sessions, and who is told what."""

import asyncio
import time
from collections.abc import Iterator
from typing import Any, get_args

import pytest
from argon2 import PasswordHasher
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import select, update

from limpide.core.errors import UsageError
from limpide.serve import accounts, hashing
from limpide.serve.accounts import (
    ROLES,
    Account,
    Action,
    Reception,
    Role,
    add,
    close_session,
    listed,
    may,
    open_session,
    remove,
    session_of,
    set_password,
    set_role,
)
from limpide.serve.names import checked_name, compared
from limpide.serve.refused import AccessRefused
from limpide.serve.store import Store, sessions

WORDS = "correct horse battery"
OTHER = "another long password"
HERE, FAR = "192.0.2.1", "203.0.113.9"


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(accounts, "PASSWORDS", PasswordHasher(time_cost=1, memory_cost=8, parallelism=1))
    monkeypatch.setattr(accounts, "NOBODY", accounts.PASSWORDS.hash("nobody"))


@pytest.fixture
def reception(store: Store) -> Iterator[Reception]:
    made = Reception(store)
    yield made
    made.close()


def check(reception: Reception, name: str, password: str, address: str = HERE) -> Account:
    return asyncio.run(reception.check(name, password, address))


def refused(reception: Reception, name: str, password: str, address: str = HERE) -> AccessRefused:
    with pytest.raises(AccessRefused) as raised:
        check(reception, name, password, address)
    return raised.value


def test_the_rights_of_each_role() -> None:
    rights = {role: {action for action in get_args(Action) if may(role, action)} for role in ROLES}
    assert rights == {
        "reader": {"look", "ask"},
        "operator": {"look", "ask", "stop", "change", "serve"},
        "approver": {"look", "ask", "stop", "approve", "sign"},
        "administrator": set(get_args(Action)),
    }
    assert get_args(Role) == ROLES


def test_an_account_is_made_and_signs_in(store: Store, reception: Reception) -> None:
    made = add(store, " Ada Martin ", WORDS, "operator")
    assert (made.name, made.role) == ("Ada Martin", "operator")
    assert listed(store) == [made]
    assert check(reception, "Ada Martin", WORDS) == check(reception, "ada martin", WORDS) == made
    for name, password in (("Ada Martin", OTHER), ("Ada", WORDS), ("", ""), ("\0", "\udcff"), ("Ada Martin", "")):
        told = refused(reception, name, password)
        assert (told.status, told.code, told.message) == (401, "wrong_password", "The name or the password is wrong.")


def test_the_same_letters_are_the_same_password(store: Store, reception: Reception) -> None:
    add(store, "Zoé", "clé à molette bleue", "reader")
    assert check(reception, "ZOE\u0301", "cle\u0301 a\u0300 molette bleue").name == "Zoé"


@pytest.mark.parametrize(
    ("name", "password", "role", "what"),
    [
        ("", WORDS, "reader", "empty or too long"),
        ("x" * 65, WORDS, "reader", "empty or too long"),
        ("a\tb", WORDS, "reader", "cannot be seen"),
        ("a\u200bb", WORDS, "reader", "cannot be seen"),
        ("Ada", "x" * 11, "reader", "password is too short"),
        ("Ada", "x" * 1001, "reader", "password is too long"),
        ("Ada", WORDS, "aprover", r"not a role\. Did you mean 'approver'"),
    ],
)
def test_what_an_account_cannot_be(store: Store, name: str, password: str, role: Any, what: str) -> None:
    with pytest.raises(UsageError, match=what) as raised:
        add(store, name, password, role)
    assert raised.value.expected
    assert password not in str(raised.value)
    assert listed(store) == []


def test_one_account_of_a_name(store: Store) -> None:
    add(store, "Ada", WORDS, "reader")
    with pytest.raises(UsageError, match="There is an account of this name") as raised:
        add(store, "ADA", WORDS, "reader")
    assert "limpide accounts password 'ADA'" in str(raised.value)


@pytest.mark.parametrize(
    "change", [remove, lambda s, n: set_role(s, n, "reader"), lambda s, n: set_password(s, n, WORDS)]
)
def test_an_unknown_account_suggests_the_nearest(store: Store, change: Any) -> None:
    add(store, "Ada Martin", WORDS, "reader")
    with pytest.raises(UsageError, match=r"no account of this name\. Did you mean 'Ada Martin'") as raised:
        change(store, "Ada Martn")
    assert (raised.value.received, raised.value.remedy) == ("Ada Martn", "limpide accounts list")


def test_the_last_administrator_stays(store: Store) -> None:
    add(store, "Ada", WORDS, "administrator")
    add(store, "Bo", WORDS, "approver")
    for change in (lambda: remove(store, "Ada"), lambda: set_role(store, "Ada", "operator")):
        with pytest.raises(UsageError, match="the last administrator") as raised:
            change()
        assert raised.value.remedy == "make another one first: limpide accounts role NAME administrator"
    set_role(store, "Ada", "administrator")
    assert set_role(store, "bo", "administrator").role == "administrator"
    assert remove(store, "Ada").name == "Ada"
    assert [one.name for one in listed(store)] == ["Bo"]


def test_who_guesses_from_one_address_waits_and_others_do_not(store: Store, reception: Reception) -> None:
    add(store, "Ada", WORDS, "reader")
    check(reception, "Ada", WORDS)

    async def guess() -> int:
        try:
            await reception.check("Ada", OTHER, FAR)
        except AccessRefused as told:
            return told.status
        return 200

    async def all_at_once() -> list[int]:
        return await asyncio.gather(*(guess() for _ in range(30)))

    told = asyncio.run(all_at_once())
    assert (told.count(401), told.count(429)) == (accounts.FROM_ADDRESS, 30 - accounts.FROM_ADDRESS)
    waits = refused(reception, "Ada", WORDS, FAR)
    assert (waits.status, waits.code, waits.retry_after in (299, 300)) == (429, "rate_limit_exceeded", True)
    assert waits.message == f"Too many wrong passwords. Try again in {waits.retry_after} s."
    for _ in range(50):
        assert check(reception, "Ada", WORDS).name == "Ada"  # a right one does not count


def test_a_name_that_many_addresses_guess_is_closed(store: Store, reception: Reception) -> None:
    add(store, "Ada", WORDS, "reader")
    for number in range(accounts.FOR_NAME):
        assert refused(reception, "Ada", OTHER, f"192.0.2.{number}").status == 401
    assert refused(reception, "ada", WORDS, FAR).status == 429
    assert refused(reception, "Bo", WORDS, FAR).status == 401


def test_an_unknown_name_takes_the_same_work(
    store: Store, reception: Reception, monkeypatch: pytest.MonkeyPatch
) -> None:
    add(store, "Ada", WORDS, "reader")
    asked: list[str] = []
    real = hashing.matches
    monkeypatch.setattr(
        hashing, "matches", lambda hasher, kept, secret: asked.append(kept) or real(hasher, kept, secret)
    )
    refused(reception, "Ada", OTHER)
    refused(reception, "Bo", OTHER)
    first, second = asked
    assert first.split("$")[:4] == second.split("$")[:4]
    assert second == accounts.NOBODY


def test_the_hash_of_nobody_is_made_as_the_others_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    assert not hashing.PASSWORDS.check_needs_rehash(accounts.NOBODY)
    assert not hashing.matches(hashing.PASSWORDS, accounts.NOBODY, "")
    assert not hashing.matches(hashing.PASSWORDS, "no hash", "x")
    assert (hashing.PASSWORDS.type.name, hashing.KEYS.type.name) == ("ID", "ID")


def test_a_session_lasts_while_it_is_used(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [time.time()]
    monkeypatch.setattr(accounts.time, "time", lambda: now[0])
    ada = add(store, "Ada", WORDS, "reader")
    token, other = open_session(store, ada), open_session(store, ada)
    assert token != other
    for _ in range(3):
        now[0] += accounts.SESSION_LASTS - 1
        assert session_of(store, token) == ada
    assert session_of(store, other) is None
    now[0] += accounts.SESSION_LASTS
    assert session_of(store, token) is None
    open_session(store, ada)
    with store.reading() as connection:
        kept = connection.execute(select(sessions.c.token_hash)).scalars().all()
    assert len(kept) == 1  # those that ended are gone
    assert token not in str(kept)


def test_a_session_in_use_is_seldom_written(store: Store) -> None:
    token = open_session(store, add(store, "Ada", WORDS, "reader"))

    def until() -> float:
        with store.reading() as connection:
            return float(connection.execute(select(sessions.c.until)).scalar_one())

    before = until()
    session_of(store, token)
    assert until() == before
    with store.writing() as connection:
        connection.execute(update(sessions).values(until=before - 2 * accounts.RENEWED))
    session_of(store, token)
    assert until() >= before


def test_sessions_end_with_a_new_password_and_with_the_account(store: Store, reception: Reception) -> None:
    ada, bo = add(store, "Ada", WORDS, "reader"), add(store, "Bo", WORDS, "reader")
    of_ada, of_bo = [open_session(store, ada) for _ in range(2)], open_session(store, bo)
    close_session(store, of_ada.pop())
    close_session(store, "none")
    assert session_of(store, of_ada[0]) == ada
    set_password(store, "Ada", OTHER)
    assert session_of(store, of_ada[0]) is None
    assert refused(reception, "Ada", WORDS).status == 401
    assert check(reception, "Ada", OTHER) == ada
    assert session_of(store, of_bo) == bo
    assert session_of(store, "") is session_of(store, "\udcff\0") is None
    remove(store, "Bo")
    assert session_of(store, of_bo) is None
    with pytest.raises(UsageError, match="no account of this name"):
        open_session(store, bo)


def test_a_role_counts_from_the_next_look(store: Store) -> None:
    token = open_session(store, add(store, "Ada", WORDS, "reader"))
    set_role(store, "Ada", "approver")
    now = session_of(store, token)
    assert now is not None
    assert now.role == "approver"


@given(st.text(max_size=80))
def test_a_name_is_shown_as_it_is_or_refused(name: str) -> None:
    try:
        made = checked_name(name)
    except UsageError:
        return
    assert made == checked_name(made)
    assert 1 <= len(made) <= 64
    assert compared(made) == compared(compared(made))
    assert "\n" not in made
