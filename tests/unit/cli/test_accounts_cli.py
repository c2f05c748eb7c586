"""`limpide accounts`, as a person and as a program runs it."""

import io
from pathlib import Path

import pytest
from argon2 import PasswordHasher

from commands import Command, calling
from limpide.cli import accounts as module
from limpide.serve import accounts, hashing
from limpide.serve.store import DATABASE, open_store

WORDS = "correct horse battery"


@pytest.fixture
def limpide(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Command:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("LIMPIDE_DATABASE", raising=False)
    monkeypatch.setattr(accounts, "PASSWORDS", PasswordHasher(time_cost=1, memory_cost=8, parallelism=1))
    return calling(capsys, "accounts")


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def typed(monkeypatch: pytest.MonkeyPatch, *lines: str) -> None:
    """A person at a terminal, who types these passwords and then ends the input."""
    left = list(lines)

    def getpass(prompt: str) -> str:
        if not left:
            raise EOFError
        return left.pop(0)

    monkeypatch.setattr("sys.stdin", Terminal())
    monkeypatch.setattr(module, "getpass", getpass)


def piped(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO(text))


def opens(folder: Path, name: str, password: str) -> bool:
    store = open_store(folder / ".limpide" / "serve" / DATABASE)
    with store.reading() as connection:
        row = accounts._row(connection, name)
    store.close()
    return row is not None and hashing.matches(accounts.PASSWORDS, row.hash, password)


def test_an_account_from_its_making_to_its_end(
    limpide: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    typed(monkeypatch, WORDS, WORDS)
    made = limpide("add", "Ada Martin")
    assert made.code == 0, made.err
    assert made.out.startswith("Ada Martin may sign in as reader.\nNobody can change accounts in the studio yet.")
    assert opens(tmp_path, "ada martin", WORDS)
    piped(monkeypatch, f"{WORDS} two\r\n")
    assert limpide("add", "Bo", "--role", "administrator", "--password-stdin").out == (
        "Bo may sign in as administrator.\n"
    )
    assert opens(tmp_path, "Bo", f"{WORDS} two")
    assert "Ada Martin reader, since 20" in limpide("list").words
    assert limpide("role", "Ada Martin", "approver").out == "Ada Martin is now approver.\n"
    typed(monkeypatch, "another long one", "another long one")
    assert limpide("password", "Ada Martin").out.startswith("The password of Ada Martin is changed;")
    assert opens(tmp_path, "Ada Martin", "another long one")
    assert not opens(tmp_path, "Ada Martin", WORDS)
    assert limpide("remove", "Ada Martin").out == "Ada Martin may no longer sign in.\n"
    told = limpide("remove", "Bo")
    assert (told.code, "This is the last administrator" in told.err) == (2, True)


def test_the_same_for_programs(limpide: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    piped(monkeypatch, WORDS)
    made = limpide("add", "Ada", "--password-stdin", "--json")
    assert (made.json()["name"], made.json()["role"]) == ("Ada", "reader")
    assert limpide("list", "--json").json() == [made.json()]
    assert limpide("role", "Ada", "operator", "--json").json()["role"] == "operator"
    assert WORDS not in made.words
    assert "argon2" not in made.words


def test_two_that_differ_none_and_nobody_to_ask(limpide: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    typed(monkeypatch, WORDS, WORDS[:-1])
    told = limpide("add", "Ada")
    assert (told.code, "The two passwords differ." in told.err, WORDS[:-1] in told.words) == (2, True, False)
    typed(monkeypatch, WORDS)
    assert limpide("add", "Ada").code == 130  # Ctrl-D
    piped(monkeypatch, WORDS)
    told = limpide("add", "Ada")
    assert (told.code, "Nobody can be asked for a password here." in told.err) == (2, True)
    assert "add --password-stdin" in told.err


@pytest.mark.parametrize(
    ("arguments", "password", "what"),
    [
        (["add", "Ada"], "planted-one", "The password is too short."),
        (["add", "Ada"], "", "The password is too short."),
        (["add", "a\nb"], "planted-password", "This name holds a character that cannot be seen."),
        (["add", "Ada", "--role", "king"], "planted-password", "king"),
        (["password", "Ada"], "planted-password", "There is no database of a service in"),
    ],
)
def test_bad_input(
    limpide: Command, monkeypatch: pytest.MonkeyPatch, arguments: list[str], password: str, what: str
) -> None:
    piped(monkeypatch, password)
    told = limpide(*arguments, "--password-stdin")
    assert (told.code, what in told.err) == (2, True), told.err
    assert "planted" not in told.words


def test_before_there_are_accounts(limpide: Command, tmp_path: Path) -> None:
    told = limpide("list")
    assert (told.code, "begin with: limpide accounts add NAME --role administrator" in told.err) == (2, True)
    open_store(tmp_path / ".limpide" / "serve" / DATABASE).close()
    assert limpide("list").out == "There are no accounts. Make one: limpide accounts add NAME --role administrator\n"
    assert "There is no account of this name." in limpide("remove", "Ada").err


@pytest.mark.parametrize("command", ["add", "list", "remove", "password", "role"])
def test_every_command_has_an_example(limpide: Command, command: str) -> None:
    assert f"Example: limpide accounts {command}" in limpide(command, "--help").words
