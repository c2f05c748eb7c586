"""Tokens work once; sessions are files that give no secret away."""

import stat
from pathlib import Path

import pytest

from limpide.studio import session as module
from limpide.studio.session import AccountSessions, LocalSessions, person, same


@pytest.fixture
def sessions(tmp_path: Path) -> LocalSessions:
    return LocalSessions(tmp_path / "studio")


def test_a_token_is_spent_once(sessions: LocalSessions) -> None:
    token = sessions.new_token()
    assert not sessions.spend(token + "x")
    assert sessions.spend(token)
    assert not sessions.spend(token)


def test_a_token_that_is_too_old(sessions: LocalSessions, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "TOKEN_SECONDS", -1.0)
    assert not sessions.spend(sessions.new_token())


def test_another_process_may_leave_a_token(sessions: LocalSessions) -> None:
    assert sessions.spend(LocalSessions(sessions.folder).new_token())


@pytest.mark.parametrize("token", ["", "../sessions/x", "\x00", "é" * 1000, "."])
def test_hostile_tokens(sessions: LocalSessions, token: str) -> None:
    sessions.new_token()
    assert not sessions.spend(token)


def test_a_session_lasts_over_a_restart_and_until_it_is_closed(sessions: LocalSessions) -> None:
    secret = sessions.open()
    found = LocalSessions(sessions.folder).of(secret)
    assert found is not None
    assert (found.name, found.role) == (person(), None)
    assert found == sessions.of(secret)
    other = sessions.of(sessions.open())
    assert other is not None
    assert other.form != found.form
    for wrong in (None, "", secret + "x", found.id, found.form):
        assert sessions.of(wrong) is None
    sessions.close(secret)
    sessions.close(secret)
    assert sessions.of(secret) is None


def test_what_is_over_is_no_session_and_is_removed(sessions: LocalSessions, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SESSION_SECONDS", -1.0)
    assert sessions.of(sessions.open()) is None
    sessions.new_token()
    assert list((sessions.folder / "sessions").iterdir()) == []


def test_files_are_for_their_owner_and_hold_no_secret(sessions: LocalSessions) -> None:
    token, secret = sessions.new_token(), sessions.open()
    made = [path for path in sessions.folder.rglob("*") if path.is_file()]
    assert len(made) == 2
    for path in made:
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
        assert token not in path.name + path.read_text()
        assert secret not in path.name + path.read_text()


def test_broken_files_open_nothing(sessions: LocalSessions) -> None:
    secret = sessions.open()
    for text in ("", "[]", "{", "{}", '{"ends": "never", "name": 1}'):
        next((sessions.folder / "sessions").iterdir()).write_text(text)
        assert sessions.of(secret) is None


def test_an_account_that_is_removed_is_out_within_a_second(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from limpide.serve import accounts
    from limpide.serve.store import open_store

    store = open_store(tmp_path / "limpide.db")
    try:
        accounts.add(store, "Ada", "correct horse battery", "administrator")
        ben = accounts.add(store, "Ben", "correct horse battery", "reader")
        secret, sessions = accounts.open_session(store, ben), AccountSessions(store)
        assert sessions.of(None) is None
        assert sessions.of(secret + "x") is None
        found = sessions.of(secret)
        assert found is not None
        assert (found.name, found.role) == ("Ben", "reader")
        accounts.set_role(store, "Ben", "operator")
        monkeypatch.setattr(module, "REMEMBERED_SECONDS", 0.0)
        changed = sessions.of(secret)
        assert changed is not None
        assert changed.role == "operator"
        accounts.remove(store, "Ben")
        assert sessions.of(secret) is None
    finally:
        store.close()


def test_secrets_are_compared_whatever_they_are() -> None:
    assert same("a", "a")
    assert not same(None, "a")
    assert not same("é\ud800", "a")
