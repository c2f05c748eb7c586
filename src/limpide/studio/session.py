"""Who may come in: one-time tokens and sessions, one small file each under `.limpide/studio/`.

A file's name is the SHA-256 of the secret, so that reading the folder gives no secret away. Whoever may write in the
project's folder may open its studio: `limpide studio --token`, another process, leaves a token there. Spending a token
is removing its file, which succeeds once.
"""

import getpass
import hashlib
import hmac
import json
import math
import os
import secrets
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from limpide.core import files

if TYPE_CHECKING:
    from limpide.serve.accounts import Role
    from limpide.serve.store import Store

TOKEN_SECONDS = 15 * 60.0  # a one-time address is good this long
SESSION_SECONDS = 30 * 86400.0  # a browser stays known this long on this machine
REMEMBERED_SECONDS = 1.0  # an account's session is looked up again after this long
SECRET_BYTES = 32


@dataclass(frozen=True)
class Session:
    """A browser that was let in. id: digest of its secret. role: None where there are no accounts. form: the token
    that every form and upload must carry."""

    id: str
    name: str
    role: "Role | None"
    form: str


class Sessions(Protocol):
    """Whom a cookie belongs to."""

    @property
    def cookie(self) -> str:
        """The cookie's name: browsers send cookies to every port of a host, so each project has its own."""

    def of(self, secret: str | None) -> Session | None:
        """The session of a cookie, or None when there is none, or it is over."""

    def close(self, secret: str) -> None:
        """It is over."""


@dataclass(frozen=True)
class LocalSessions:
    """Of one project whose studio only this machine reaches: tokens and sessions in `folder`, `.limpide/studio`."""

    folder: Path

    @property
    def cookie(self) -> str:
        return cookie_of(str(self.folder.resolve()))

    def new_token(self) -> str:
        """A token that lets one browser in, once, within `TOKEN_SECONDS`."""
        self._prune()
        token = secrets.token_urlsafe(SECRET_BYTES)
        _write(self._tokens / _digest(token), {"ends": time.time() + TOKEN_SECONDS})
        return token

    def spend(self, token: str) -> bool:
        """Whether the token was good; it no longer is."""
        place = self._tokens / _digest(token)
        record = _read(place)
        try:
            place.unlink()
        except OSError:
            return False
        return record is not None and record.ends > time.time()

    def open(self) -> str:
        """The secret of a new session of this machine's user, for a cookie."""
        secret = secrets.token_urlsafe(SECRET_BYTES)
        _write(self._opened / _digest(secret), {"name": person(), "ends": time.time() + SESSION_SECONDS})
        return secret

    def of(self, secret: str | None) -> Session | None:
        record = _read(self._opened / _digest(secret)) if secret else None
        if secret is None or record is None or record.ends < time.time():
            return None
        return Session(_digest(secret), record.name, None, form_token(secret))

    def close(self, secret: str) -> None:
        (self._opened / _digest(secret)).unlink(missing_ok=True)

    @property
    def _tokens(self) -> Path:
        return self.folder / "tokens"

    @property
    def _opened(self) -> Path:
        return self.folder / "sessions"

    def _prune(self) -> None:
        """Remove what is over."""
        for place in self._every():
            record = _read(place)
            if record is None or record.ends < time.time():
                place.unlink(missing_ok=True)

    def _every(self) -> Iterator[Path]:
        for folder in (self._tokens, self._opened):
            if folder.is_dir():
                yield from (path for path in folder.iterdir() if not path.name.startswith("."))


class AccountSessions:
    """Of people who signed in with an account. A role that was changed or an account that was removed counts within
    `REMEMBERED_SECONDS`."""

    def __init__(self, store: "Store") -> None:
        self.store, self.cookie = store, cookie_of(store.place)
        self._known: dict[str, tuple[float, Session | None]] = {}

    def of(self, secret: str | None) -> Session | None:
        if not secret:
            return None
        id, now = _digest(secret), time.monotonic()
        seen, session = self._known.get(id, (-math.inf, None))
        if now - seen < REMEMBERED_SECONDS:
            return session
        from limpide.serve.accounts import session_of

        account = session_of(self.store, secret)
        session = None if account is None else Session(id, account.name, account.role, form_token(secret))
        self._known = {k: v for k, v in self._known.items() if now - v[0] < REMEMBERED_SECONDS}
        self._known[id] = (now, session)
        return session

    def close(self, secret: str) -> None:
        from limpide.serve.accounts import close_session

        close_session(self.store, secret)
        self._known.pop(_digest(secret), None)


def cookie_of(place: str) -> str:
    return f"limpide_studio_{_digest(place)[:8]}"


def form_token(secret: str) -> str:
    """What forms of a session carry: a page of another site can neither read nor guess it."""
    return _digest(f"form {secret}")


def same(given: str | None, expected: str) -> bool:
    """Whether two secrets are equal, in a time that tells nothing."""
    return given is not None and hmac.compare_digest(given.encode("utf-8", "replace"), expected.encode())


def person() -> str:
    """The name of this machine's user, for the log."""
    try:
        return getpass.getuser()
    except (OSError, KeyError):
        return "local"


def private_folder(folder: Path) -> None:
    """Make a folder that only this user may read."""
    with files.clear_write_errors(folder / "x"):
        folder.mkdir(parents=True, exist_ok=True)
        folder.chmod(0o700)


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode("utf-8", "replace")).hexdigest()


def _write(place: Path, record: dict[str, object]) -> None:
    private_folder(place.parent)
    beside = place.with_name(f".{place.name}.{os.getpid()}.tmp")
    with files.clear_write_errors(place):
        with os.fdopen(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as stream:
            json.dump(record, stream)
        beside.replace(place)


@dataclass(frozen=True)
class _Record:
    """What a token's or a session's file holds. ends: seconds since 1970."""

    ends: float
    name: str


def _read(place: Path) -> _Record | None:
    with suppress(OSError, ValueError, KeyError, TypeError):
        record = files.read_json(place)
        return _Record(float(record["ends"]), str(record.get("name", "")))
    return None
