"""`limpide access`, as a person and as a program runs it."""

import asyncio
import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from commands import Command, calling
from limpide.serve.access import Doorkeeper
from limpide.serve.store import DATABASE, open_store


@pytest.fixture
def limpide(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Command]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("LIMPIDE_DATABASE", raising=False)
    return calling(capsys, "access")


def secret_in(text: str) -> str:
    (found,) = re.findall(r"lmp_[0-9a-f]{12}_[0-9a-f]{64}", text)
    return str(found)


def test_a_key_from_its_making_to_its_end(limpide: Command) -> None:
    made = limpide("new", "--name", "HR tool", "--models", "a", "b", "--expires", "90d", "--tokens-per-day", "100000")
    assert made.code == 0, made.err
    assert "a, b; any number of requests; 100,000 tokens a day" in made.words
    assert "The secret is shown this once and is kept nowhere" in made.out
    secret = secret_in(made.out)

    listed = limpide("list")
    assert f"{secret[4:16]} HR tool open until " in listed.words
    assert "0 tokens today" in listed.out
    assert secret[17:] not in listed.words

    revoked = limpide("revoke", "HR tool")
    assert f"HR tool ({secret[4:16]}) is revoked since " in revoked.out
    assert limpide("revoke", "HR tool").out == revoked.out
    assert "revoked on " in limpide("list").out


def test_the_same_for_programs(limpide: Command) -> None:
    made = limpide(
        "new", "--name", "HR tool", "--expires", "2999-01-31", "--requests-per-minute", "60", "--json"
    ).json()
    assert made["note"].startswith("The secret is shown this once")
    assert secret_in(made["secret"]) == made["secret"]
    assert (made["expires"], made["requests_per_minute"], made["tokens_per_day"]) == (
        "2999-02-01T00:00:00+00:00",
        60,
        None,
    )
    (listed,) = limpide("list", "--json").json()
    assert {**listed, "secret": made["secret"], "note": made["note"]} == {**made, "tokens_today": 0}
    assert "secret" not in listed
    revoked = limpide("revoke", made["id"], "--json").json()
    assert (revoked["id"], revoked["open"]) == (made["id"], False)
    assert limpide("usage", "--json").json() == []


def test_what_was_used(limpide: Command, tmp_path: Path) -> None:
    secret = limpide("new", "--name", "HR tool", "--json").json()["secret"]
    store = open_store(tmp_path / ".limpide" / "serve" / DATABASE)
    door = Doorkeeper(store, None)
    hold = asyncio.run(_reserve(door, secret))
    door.settle(hold, prompt_tokens=1200, answer_tokens=34)
    door.close()
    store.close()
    used = limpide("usage", "hr tool")
    assert "HR tool m 1 requests, 1,200 tokens asked, 34 answered" in used.words
    assert "1,234 tokens today" in limpide("list").out
    (row,) = limpide("usage", "--since", "2020-01-01", "--json").json()
    assert (row["name"], row["model"], row["prompt_tokens"], row["answer_tokens"]) == ("HR tool", "m", 1200, 34)
    assert limpide("usage", "--since", "2999-01-01").out == "Nothing was used.\n"


async def _reserve(door: Doorkeeper, secret: str) -> object:
    return await door.reserve(await door.admit(secret, "192.0.2.1"), "m", 2000)


def test_where_the_database_is(limpide: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    limpide("new", "--name", "one", "--state", tmp_path / "elsewhere")
    assert (tmp_path / "elsewhere" / DATABASE).exists()
    assert not (tmp_path / ".limpide").exists()
    limpide("new", "--name", "two", "--database", f"sqlite:///{tmp_path}/x.db")
    monkeypatch.setenv("LIMPIDE_DATABASE", f"sqlite:///{tmp_path}/x.db")
    assert [row["name"] for row in limpide("list", "--json").json()] == ["two"]


def test_a_state_folder_without_keys(limpide: Command, tmp_path: Path) -> None:
    for command in (["list"], ["revoke", "x"], ["usage"]):
        told = limpide(*command)
        assert (told.code, "There is no database of a service in .limpide/serve." in told.err) == (2, True)
        assert 'begin with: limpide access new --name "HR tool"' in told.err
    assert not (tmp_path / ".limpide").exists()
    open_store(tmp_path / ".limpide" / "serve" / DATABASE).close()
    assert limpide("list").out == 'There are no keys. Make one: limpide access new --name "HR tool"\n'


@pytest.mark.parametrize(
    ("arguments", "what"),
    [
        (["new"], "--name"),
        (["new", "--name", ""], "This name is empty or too long."),
        (["new", "--name", "x", "--expires", "soon"], "This is not a time at which a key can expire."),
        (["new", "--name", "x", "--requests-per-minute", "0"], "This is not a limit of requests a minute."),
        (["new", "--name", "x", "--tokens-per-day", "many"], "--tokens-per-day"),
        (["new", "--name", "x", "--database", "mysql://a:planted-secret@b/c"], "does not know this kind of database"),
        (["usage", "--since", "yesterday"], "There is no database"),
    ],
)
def test_bad_input(limpide: Command, arguments: list[str], what: str) -> None:
    told = limpide(*arguments)
    assert (told.code, what in told.err) == (2, True), told.err
    assert "planted-secret" not in told.err
    assert "lmp_" not in told.words


def test_a_day_that_is_none_and_a_key_that_is_unknown(limpide: Command) -> None:
    secret = limpide("new", "--name", "HR tool", "--json").json()["secret"]
    assert "This is not a day." in limpide("usage", "--since", "yesterday").err
    told = limpide("revoke", "HR tol", "--json")
    assert (told.code, told.error()["what"]) == (2, "No key has this id or name. Did you mean 'HR tool'?")
    assert secret not in json.dumps(limpide("revoke", secret, "--json").error())


@pytest.mark.parametrize("command", ["new", "list", "revoke", "usage"])
def test_every_command_has_an_example(limpide: Command, command: str) -> None:
    assert f"Example: limpide access {command}" in limpide(command, "--help").words
