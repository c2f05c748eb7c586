"""The way in, before anybody is known: what a stranger may send, and what it leaves behind."""

import asyncio
from typing import Any

import pytest
from starlette.requests import Request

from limpide.serve.accounts import Account
from limpide.serve.refused import AccessRefused
from limpide.studio import entry
from limpide.studio.entry import Entrance


def posted(body: bytes, *, ends: bool = True) -> Request:
    """A request whose body comes, and then ends or does not."""
    pieces = [{"type": "http.request", "body": body, "more_body": not ends}]

    async def receive() -> Any:
        if not pieces:
            await asyncio.Event().wait()
        return pieces.pop()

    return Request({"type": "http", "method": "POST", "headers": [], "client": ("198.51.100.7", 1)}, receive)


class Desk:
    """Refuses everybody. wait: seconds they are told to."""

    def __init__(self, wait: int | None) -> None:
        self.wait = wait

    async def check(self, name: str, password: str, address: str) -> Account:
        raise AccessRefused(401 if self.wait is None else 429, "wrong_password", "No.", self.wait)

    def open(self, account: Account) -> str:
        raise AssertionError(account)


@pytest.mark.parametrize(("wait", "written"), [(None, 1), (30, 0)])
def test_a_flood_of_wrong_passwords_does_not_fill_the_log(wait: int | None, written: int) -> None:
    told: list[str] = []
    sessions: Any = None
    entrance = Entrance(sessions, lambda _: "en", "trial", Desk(wait), False, lambda event, **_: told.append(event))
    answer = asyncio.run(entrance.sign_in(posted(b"name=ada&password=x")))
    assert answer.status_code == (401 if wait is None else 429)
    assert told == ["studio.refuse"] * written


def test_a_form_that_never_ends_is_let_go(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(entry, "FORM_SECONDS", 0.01)
    assert asyncio.run(entry._form(posted(b"name=ada", ends=False))) == {}
    assert asyncio.run(entry._form(posted(b"name=ada"))) == {"name": "ada"}
    assert asyncio.run(entry._form(posted(b"name=" + b"a" * entry.LARGEST_FORM))) == {}
