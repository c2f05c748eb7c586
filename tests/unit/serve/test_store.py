"""The database: who may read it, how it is opened and brought up to date, and what its errors say and never say."""

import sqlite3
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from sqlalchemy import Connection, insert, select, text, update

import postgres
from limpide.core.errors import MissingError, UsageError
from limpide.serve import store as module
from limpide.serve.store import DATABASE, STEPS, Store, access_keys, open_store, rates, version

SECRET = "planted-secret-3"


def test_only_its_owner_reads_it(tmp_path: Path) -> None:
    path = tmp_path / "state" / "serve" / DATABASE
    store = open_store(path)
    with store.writing() as connection:
        connection.execute(insert(rates).values(key_id="a", full=1.0))
    assert {file.stat().st_mode & 0o777 for file in path.parent.iterdir()} == {0o600}
    assert sorted(file.name for file in path.parent.iterdir()) == [DATABASE, f"{DATABASE}-shm", f"{DATABASE}-wal"]
    assert path.parent.stat().st_mode & 0o777 == 0o700
    store.close()
    path.chmod(0o644)
    open_store(path).close()
    assert path.stat().st_mode & 0o777 == 0o600


def test_what_is_written_is_there_again(place: Path | str) -> None:
    first = open_store(place)
    with first.writing() as connection:
        connection.execute(insert(rates).values(key_id="a", full=1.5))
    first.close()
    again = open_store(place)
    with again.reading() as connection:
        assert connection.execute(select(rates.c.full)).scalar_one() == 1.5
        assert connection.execute(select(version.c.number)).scalars().all() == [len(STEPS)]
    again.close()


def test_what_fails_midway_leaves_nothing(store: Store) -> None:
    with pytest.raises(RuntimeError), store.writing() as connection:  # noqa: PT012
        connection.execute(insert(rates).values(key_id="a", full=1.5))
        raise RuntimeError
    with store.reading() as connection:
        assert connection.execute(select(rates)).all() == []


def test_an_older_database_is_brought_up_to_date_with_its_rows(
    place: Path | str, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = open_store(place)
    with old.writing() as connection:
        connection.execute(insert(rates).values(key_id="a", full=1.5))
    old.close()

    def second(connection: Connection) -> None:
        connection.execute(text("ALTER TABLE rates ADD COLUMN colour TEXT DEFAULT 'blue'"))

    monkeypatch.setattr(module, "STEPS", (*STEPS, second))
    for _ in range(2):  # the second time there is nothing left to do
        store = open_store(place)
        with store.reading() as connection:
            assert connection.execute(text("SELECT key_id, colour FROM rates")).all() == [("a", "blue")]
            assert connection.execute(select(version.c.number)).scalars().all() == [len(STEPS) + 1]
        store.close()


def test_a_newer_database_is_left_alone(place: Path | str) -> None:
    store = open_store(place)
    with store.writing() as connection:
        connection.execute(update(version).values(number=len(STEPS) + 4))
    store.close()
    with pytest.raises(UsageError, match="was made by a newer Limpide") as raised:
        open_store(place)
    assert raised.value.received == f"version {len(STEPS) + 4}"
    assert postgres.PASSWORD not in str(raised.value)


def test_several_programs_may_make_it_at_once(tmp_path: Path) -> None:
    path = str(tmp_path / "a.db")
    code = f"from pathlib import Path; from limpide.serve.store import open_store; open_store(Path({path!r})).close()"
    running = [subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.PIPE) for _ in range(4)]
    assert [one.communicate()[1] for one in running] == [b""] * 4
    assert [one.returncode for one in running] == [0] * 4


def test_writers_take_turns(store: Store) -> None:
    with store.writing() as connection:
        connection.execute(insert(rates).values(key_id="a", full=0.0))

    def add() -> None:
        for _ in range(25):
            with store.writing(durable=False) as connection:
                before = connection.execute(select(rates.c.full)).scalar_one()
                connection.execute(update(rates).values(full=before + 1))

    threads = [threading.Thread(target=add) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with store.reading() as connection:
        assert connection.execute(select(rates.c.full)).scalar_one() == 100


def test_readers_do_not_wait_for_a_writer(store: Store) -> None:
    with store.writing() as writer:
        writer.execute(insert(rates).values(key_id="a", full=0.0))
        with store.reading() as reader:
            assert reader.execute(select(rates)).all() == []


@pytest.mark.parametrize(
    ("url", "what"),
    [
        (f"mysql://me:{SECRET}@host/x", "does not know this kind of database"),
        (f"me:{SECRET}@host", "not the URL of a database"),
        (f"postgresql://me:{SECRET}@host:port/x", "not the URL of a database"),
        ("sqlite://", "names no file"),
        ("sqlite:///:memory:", "names no file"),
        (f"postgresql://me:{SECRET}@127.0.0.1:1/x", "cannot be used"),
        (f"postgres://me@127.0.0.1:1/x?password={SECRET}", "cannot be used"),
    ],
)
def test_a_url_that_leads_nowhere(url: str, what: str) -> None:
    with pytest.raises(UsageError, match=what) as raised:
        open_store(url)
    assert raised.value.expected or raised.value.remedy
    assert SECRET not in f"{raised.value} {raised.value.record()} {raised.value.__cause__}"


def test_a_url_of_sqlite(tmp_path: Path) -> None:
    open_store(f"sqlite:///{tmp_path}/x.db").close()
    assert (tmp_path / "x.db").stat().st_mode & 0o777 == 0o600


def test_a_wrong_password_is_not_repeated(postgres_url: str) -> None:
    with pytest.raises(UsageError, match="cannot be used") as raised:
        open_store(postgres_url.replace(postgres.PASSWORD, SECRET))
    assert "password authentication failed" in str(raised.value)
    assert SECRET not in str(raised.value)


def test_psycopg_is_asked_for_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "find_spec", lambda name: None)
    with pytest.raises(MissingError, match="needs psycopg") as raised:
        open_store(f"postgresql://me:{SECRET}@host/x")
    assert raised.value.remedy == "pip install 'limpide[postgresql]'"
    assert SECRET not in str(raised.value)


def test_a_file_that_is_none(tmp_path: Path) -> None:
    (tmp_path / "x.db").write_bytes(b"not a database, " * 100)
    with pytest.raises(UsageError, match="cannot be used") as raised:
        open_store(tmp_path / "x.db")
    assert "put a copy of it back" in str(raised.value)
    (tmp_path / "folder").mkdir()
    with pytest.raises(UsageError, match="Nothing can be written at"):
        open_store(tmp_path / "folder")


def test_one_that_is_kept_locked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PATIENCE", 0.01)
    store, other = open_store(tmp_path / "x.db"), sqlite3.connect(tmp_path / "x.db")
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(UsageError, match="kept locked by another program"), store.writing():
        pass
    other.close()
    store.close()


def test_an_error_quotes_no_row(store: Store) -> None:
    row = {"id": "a", "name": "n", "hash": SECRET, "fingerprint": SECRET, "created": 1.0, "models": None}
    with pytest.raises(UsageError, match="cannot be used") as raised, store.writing() as connection:
        connection.execute(insert(access_keys), row)
    assert "models" in str(raised.value)
    assert SECRET not in f"{raised.value} {raised.value.__cause__}"
