"""Accounts of the studio: who may do what, and how a person signs in and stays signed in."""

import hashlib
import secrets
import time
import unicodedata
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Literal, cast, get_args

from sqlalchemy import Connection, Row, delete, func, select, update

from limpide.core.errors import UsageError, nearest
from limpide.core.visible import visible
from limpide.serve.hashing import PASSWORDS, HashingThreads
from limpide.serve.names import checked_name, compared
from limpide.serve.refused import AccessRefused
from limpide.serve.store import Store, accounts, sessions
from limpide.serve.throttle import Throttle, network

Role = Literal["reader", "operator", "approver", "administrator"]
Action = Literal["look", "ask", "change", "serve", "stop", "approve", "sign", "administer"]
ROLES: tuple[Role, ...] = get_args(Role)

# change: data, recipe, run. serve: start and end the service, its keys, and go on after a stop. stop: the stop switch,
# for all who answer for the model. Who makes a release does not approve it: operator and approver are apart.
ALLOWED: dict[Role, frozenset[Action]] = {
    "reader": frozenset({"look", "ask"}),
    "operator": frozenset({"look", "ask", "stop", "change", "serve"}),
    "approver": frozenset({"look", "ask", "stop", "approve", "sign"}),
    "administrator": frozenset(get_args(Action)),
}

SHORTEST, LONGEST = 12, 1000  # characters of a password
FROM_ADDRESS, FOR_NAME, FAILURES_IN = 10, 100, 300.0  # wrong passwords in so many seconds
SESSION_LASTS = 12 * 3600.0  # seconds from the last use
RENEWED = 60.0  # seconds: a session in use is written at most so often
# A hash with the settings of PASSWORDS, of random bits that were thrown away: unknown names take as long as known ones.
NOBODY = "$argon2id$v=19$m=65536,t=3,p=4$Jqu+Y1Gai7A6cYm19f2oyw$aqO0obScDmIa6Miv3iSrCtX3yBrg5Gd1PewFQHSw02U"


@dataclass(frozen=True)
class Account:
    """What is known of an account; the password is not. created: UTC."""

    name: str
    role: Role
    created: datetime


def may(role: Role, action: Action) -> bool:
    """Whether a role allows an action."""
    return action in ALLOWED[role]


def add(store: Store, name: str, password: str, role: Role) -> Account:
    """A new account. Takes 0.2 s. Raises UsageError for a name in use, an unknown role, a short password."""
    account = Account(checked_name(name), _checked_role(role), datetime.now(UTC))
    row = {
        "name_key": compared(account.name),
        "name": account.name,
        "role": account.role,
        "hash": _hashed(password),
        "created": account.created.timestamp(),
    }
    with store.writing() as connection:
        if _row(connection, account.name) is not None:
            raise UsageError(
                "There is an account of this name.",
                received=account.name,
                remedy=f"choose another name, or change it: limpide accounts password {account.name!r}",
            )
        connection.execute(accounts.insert(), row)
    return account


def listed(store: Store) -> list[Account]:
    """Every account, by name."""
    with store.reading() as connection:
        return [_account(row) for row in connection.execute(select(accounts).order_by(accounts.c.name_key))]


def remove(store: Store, name: str) -> Account:
    """Remove an account and end its sessions. Raises UsageError for an unknown one and the last administrator."""
    with store.writing() as connection:
        account = _known(connection, name)
        _keep_an_administrator(connection, account)
        connection.execute(delete(accounts).where(accounts.c.name_key == compared(account.name)))
    return account


def set_password(store: Store, name: str, password: str) -> Account:
    """Change a password and end the account's sessions. Takes 0.2 s. Raises UsageError."""
    hashed = _hashed(password)
    with store.writing() as connection:
        account = _known(connection, name)
        key = compared(account.name)
        connection.execute(update(accounts).where(accounts.c.name_key == key).values(hash=hashed))
        connection.execute(delete(sessions).where(sessions.c.account == key))
    return account


def set_role(store: Store, name: str, role: Role) -> Account:
    """Change what an account may do, from its next click on. Raises UsageError, also for the last administrator."""
    _checked_role(role)
    with store.writing() as connection:
        account = _known(connection, name)
        if role != "administrator":
            _keep_an_administrator(connection, account)
        key = compared(account.name)
        connection.execute(update(accounts).where(accounts.c.name_key == key).values(role=role))
    return replace(account, role=role)


class Reception:
    """Signs people in. One a process, used from its event loop."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self._hashing = HashingThreads()
        self._addresses = Throttle(FROM_ADDRESS, FAILURES_IN)
        self._names = Throttle(FOR_NAME, FAILURES_IN)

    async def check(self, name: str, password: str, address: str) -> Account:
        """The account, when the password is right. A name that is unknown takes as long as one that is known.

        Raises AccessRefused: 401 wrong_password, 429 rate_limit_exceeded after too many wrong ones. A name is closed
        only by many more failures than an address, so that a stranger does not shut its owner out.
        """
        who, key = network(address), compared(name)[:LONGEST]
        wait = max(self._addresses.wait(who), self._names.wait(key))
        if wait > 0:
            message = f"Too many wrong passwords. Try again in {wait} s."
            raise AccessRefused(429, "rate_limit_exceeded", message, wait)
        self._addresses.failed(who)  # before the answer is known, so that many at once count as well
        self._names.failed(key)
        with self.store.reading() as connection:
            row = _row(connection, name)
        right = await self._hashing.matches(PASSWORDS, NOBODY if row is None else row.hash, _composed(password))
        if row is None or not right:
            raise AccessRefused(401, "wrong_password", "The name or the password is wrong.")
        self._addresses.forgive(who)
        self._names.forgive(key)
        return _account(row)

    def close(self) -> None:
        self._hashing.close()


def open_session(store: Store, account: Account) -> str:
    """A token for the cookie of one browser, good until SESSION_LASTS after its last use; kept as its SHA-256."""
    token, now = secrets.token_urlsafe(32), time.time()
    row = {"token_hash": _token_hash(token), "account": compared(account.name), "until": now + SESSION_LASTS}
    with store.writing() as connection:
        _known(connection, account.name)  # it may have been removed meanwhile
        connection.execute(delete(sessions).where(sessions.c.until <= now))
        connection.execute(sessions.insert(), row)
    return token


def session_of(store: Store, token: str) -> Account | None:
    """Who is signed in with a token, as the account is now; None when nobody is."""
    now, mine = time.time(), sessions.c.token_hash == _token_hash(token)
    asked = select(accounts, sessions.c.until).join(sessions, sessions.c.account == accounts.c.name_key)
    with store.reading() as connection:
        row = connection.execute(asked.where(mine, sessions.c.until > now)).one_or_none()
    if row is None:
        return None
    if row.until < now + SESSION_LASTS - RENEWED:
        with store.writing(durable=False) as connection:
            connection.execute(update(sessions).where(mine).values(until=now + SESSION_LASTS))
    return _account(row)


def close_session(store: Store, token: str) -> None:
    """Sign out. A token that is none is no error."""
    with store.writing() as connection:
        connection.execute(delete(sessions).where(sessions.c.token_hash == _token_hash(token)))


def _row(connection: Connection, name: str) -> Row[tuple[object, ...]] | None:
    found = connection.execute(select(accounts).where(accounts.c.name_key == compared(name).replace("\0", "")))
    return found.one_or_none()


def _known(connection: Connection, name: str) -> Account:
    row = _row(connection, name)
    if row is None:
        names = [one.name for one in connection.execute(select(accounts.c.name))]
        raise UsageError(
            f"There is no account of this name.{nearest(name, names)}",
            received=visible(name),
            remedy="limpide accounts list",
        )
    return _account(row)


def _account(row: Row[tuple[object, ...]]) -> Account:
    return Account(row.name, cast(Role, row.role), datetime.fromtimestamp(row.created, UTC))


def _keep_an_administrator(connection: Connection, account: Account) -> None:
    """Raise UsageError when `account` is the last one that may change accounts."""
    counted = select(func.count()).where(accounts.c.role == "administrator")
    if account.role == "administrator" and connection.execute(counted).scalar_one() == 1:
        raise UsageError(
            "This is the last administrator; without one, nobody could change accounts in the studio.",
            received=account.name,
            remedy="make another one first: limpide accounts role NAME administrator",
        )


def _checked_role(role: Role) -> Role:
    """A role, also where a form or a script gave it as any text."""
    if role not in ROLES:
        expected = ", ".join(ROLES)
        raise UsageError(f"This is not a role.{nearest(role, ROLES)}", received=visible(role), expected=expected)
    return role


def _hashed(password: str) -> str:
    composed = _composed(password)
    if not SHORTEST <= len(composed) <= LONGEST:
        raise UsageError(
            "The password is too short." if len(composed) < SHORTEST else "The password is too long.",
            received=f"{len(composed)} characters",
            expected=f"{SHORTEST} to {LONGEST} characters; a few words in a row are easy to remember",
        )
    return PASSWORDS.hash(composed.encode("utf-8", "surrogatepass"))


def _composed(password: str) -> str:
    """The same letters typed on another keyboard are the same password."""
    return unicodedata.normalize("NFC", password)


def _token_hash(token: str) -> str:
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).hexdigest()
