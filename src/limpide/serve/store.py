"""The database of the service: its tables, how it is opened, and how an older one is brought up to date.

SQLite in the state folder by default, readable by its owner alone; PostgreSQL by URL. Writers take turns, in one
process or several: `writing` begins by taking the right to write (SQLite's own lock, an advisory lock of PostgreSQL),
so that what is read inside it stays true until it is committed.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from sqlalchemy import (
    URL,
    BigInteger,
    Column,
    Connection,
    Double,
    Engine,
    ForeignKey,
    Integer,
    MetaData,
    Table,
    Text,
    create_engine,
    event,
    insert,
    inspect,
    make_url,
    select,
    text,
    update,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import ArgumentError, DBAPIError

from limpide.core.errors import MissingError, UsageError
from limpide.core.files import clear_write_errors

DATABASE = "limpide.db"  # in the state folder
PATIENCE = 10  # seconds a writer waits for its turn, and a connection for its server
WRITERS_LOCK = 0x6C696D70  # the advisory lock of PostgreSQL; any number, the same for every Limpide
EXPECTED = "a file, or postgresql+psycopg://USER@HOST:5432/DATABASE"

# Times are seconds since 1970, days are YYYY-MM-DD, both in UTC.
metadata = MetaData()
version = Table("version", metadata, Column("number", Integer, nullable=False))
access_keys = Table(
    "access_keys",
    metadata,
    Column("id", Text, primary_key=True),
    Column("name", Text, nullable=False),
    Column("hash", Text, nullable=False),
    Column("fingerprint", Text, nullable=False),
    Column("created", Double, nullable=False),
    Column("expires", Double),
    Column("revoked", Double),
    Column("models", Text, nullable=False),  # a JSON list; empty: all
    Column("requests_per_minute", BigInteger),
    Column("tokens_per_day", BigInteger),
)
usage = Table(
    "usage",
    metadata,
    Column("key_id", Text, primary_key=True),
    Column("day", Text, primary_key=True),
    Column("model", Text, primary_key=True),
    Column("requests", BigInteger, nullable=False),
    Column("prompt_tokens", BigInteger, nullable=False),
    Column("answer_tokens", BigInteger, nullable=False),
)
holds = Table(  # what running requests hold back of a day's tokens
    "holds",
    metadata,
    Column("id", Text, primary_key=True),
    Column("key_id", Text, nullable=False, index=True),
    Column("day", Text, nullable=False),
    Column("tokens", BigInteger, nullable=False),
    Column("until", Double, nullable=False),
)
rates = Table(  # when a key's allowance of requests is whole again
    "rates",
    metadata,
    Column("key_id", Text, primary_key=True),
    Column("full", Double, nullable=False),
)
accounts = Table(
    "accounts",
    metadata,
    Column("name_key", Text, primary_key=True),  # the name as it is compared
    Column("name", Text, nullable=False),
    Column("role", Text, nullable=False),
    Column("hash", Text, nullable=False),
    Column("created", Double, nullable=False),
)
sessions = Table(
    "sessions",
    metadata,
    Column("token_hash", Text, primary_key=True),
    Column("account", Text, ForeignKey("accounts.name_key", ondelete="CASCADE"), nullable=False, index=True),
    Column("until", Double, nullable=False),
)


def _first_tables(connection: Connection) -> None:
    metadata.create_all(connection)


# Each step brings a database from the version before it; the number of steps is the version. A step that changes
# tables is added at the end, and `_first_tables` then makes the tables as they were before it.
STEPS: tuple[Callable[[Connection], None], ...] = (_first_tables,)


class Store:
    """An open database. Safe to use from several threads."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.place = place_of(engine.url)
        dialect = sqlite if engine.dialect.name == "sqlite" else postgresql
        self.insert = dialect.insert  # the INSERT of this database, which knows ON CONFLICT DO UPDATE

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """One moment's view of the database. Raises UsageError when the database cannot be used."""
        with clear_errors(self.engine.url), self.engine.connect() as connection:
            yield connection

    @contextmanager
    def writing(self, *, durable: bool = True) -> Iterator[Connection]:
        """A transaction that no other writer is beside; committed at the end, undone when something is raised.

        durable: on disk when it ends. Otherwise it is with the operating system: it survives the end of this process
        in any way, and a power cut may undo the last seconds. Raises UsageError when the database cannot be used.
        """
        with clear_errors(self.engine.url), self.engine.connect() as plain:
            connection = plain.execution_options(limpide_writes=True, limpide_durable=durable)
            with connection.begin():
                if connection.dialect.name == "postgresql":
                    connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": WRITERS_LOCK})
                    connection.execute(text(f"SET LOCAL synchronous_commit = {'on' if durable else 'off'}"))
                yield connection

    def close(self) -> None:
        self.engine.dispose()


def database_of(state: Path, given: str | None = None) -> str | Path:
    """The database of the service of `state`: the one given, else that of LIMPIDE_DATABASE, else a file of its own."""
    return given or os.environ.get("LIMPIDE_DATABASE") or state / DATABASE


def open_store(place: str | Path) -> Store:
    """Open a database, make it where there is none, bring it up to date where it is older.

    place: a file of SQLite (a path), or the URL of a database. `database_of` says which.
    Raises UsageError (a MissingError when psycopg is not installed) with the next thing to do.
    """
    url = URL.create("sqlite", database=str(place.absolute())) if isinstance(place, Path) else _read_url(place)
    if url.get_backend_name() == "sqlite":
        _own_file(Path(str(url.database)))
        engine = create_engine(url, hide_parameters=True, connect_args={"timeout": PATIENCE})
        event.listen(engine, "connect", _prepare_sqlite)
        event.listen(engine, "begin", _begin_sqlite)
    else:
        options = {"connect_timeout": PATIENCE, "application_name": "limpide"}
        engine = create_engine(url, hide_parameters=True, pool_pre_ping=True, connect_args=options)
    store = Store(engine)
    try:
        _bring_up_to_date(store)
    except BaseException:
        store.close()
        raise
    return store


def place_of(url: URL) -> str:
    """Where a database is, as it may be shown: without the password, which some put in the query as well."""
    if url.get_backend_name() == "sqlite":
        return str(url.database)
    return url.set(password=None, query={}).render_as_string()


def _read_url(given: str) -> URL:
    try:
        url = make_url(given)
    except (ArgumentError, ValueError):  # neither is shown: both may quote the password
        raise UsageError("This is not the URL of a database.", expected=EXPECTED) from None
    if url.drivername in ("postgres", "postgresql"):
        url = url.set(drivername="postgresql+psycopg")
    if url.drivername == "postgresql+psycopg":
        if find_spec("psycopg") is None:
            raise MissingError(
                "PostgreSQL needs psycopg, which is not installed.", remedy="pip install 'limpide[postgresql]'"
            )
        return url
    if url.drivername != "sqlite":
        raise UsageError("Limpide does not know this kind of database.", received=url.drivername, expected=EXPECTED)
    if url.database in (None, "", ":memory:") or url.query:
        raise UsageError(
            "The URL names no file.", received=str(url.set(query={})), expected="sqlite:///state/limpide.db"
        )
    return url


def _own_file(path: Path) -> None:
    """Make the file, and its folder, for the owner alone; SQLite gives its other files the same rights."""
    with clear_write_errors(path):
        if not path.parent.exists():
            path.parent.parent.mkdir(parents=True, exist_ok=True)
            path.parent.mkdir(mode=0o700, exist_ok=True)
        os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
        if path.stat().st_mode & 0o077:
            path.chmod(0o600)


def _prepare_sqlite(connection: Any, _: object) -> None:
    connection.isolation_level = None  # BEGIN is ours, below; Python's own comes too late to keep other writers out
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA foreign_keys = ON")


def _begin_sqlite(connection: Connection) -> None:
    options = connection.get_execution_options()
    if options.get("limpide_writes"):
        connection.exec_driver_sql(f"PRAGMA synchronous = {'FULL' if options['limpide_durable'] else 'NORMAL'}")
        connection.exec_driver_sql("BEGIN IMMEDIATE")
    else:
        connection.exec_driver_sql("BEGIN")


def _bring_up_to_date(store: Store) -> None:
    with store.reading() as connection:
        if _version(connection) == len(STEPS):
            return
    with store.writing() as connection:
        found = _version(connection)
        if found > len(STEPS):
            raise UsageError(
                f"The database at {store.place} was made by a newer Limpide.",
                received=f"version {found}",
                expected=f"up to version {len(STEPS)}",
                remedy="use the newer Limpide, or name another database",
            )
        for step in STEPS[found:]:
            step(connection)
        connection.execute(update(version).values(number=len(STEPS)))
        if found == 0:
            connection.execute(insert(version).values(number=len(STEPS)))


def _version(connection: Connection) -> int:
    """0 for a database without tables."""
    if not inspect(connection).has_table(version.name):
        return 0
    return int(connection.execute(select(version.c.number)).scalar() or 0)


@contextmanager
def clear_errors(url: URL) -> Iterator[None]:
    """Turn what the database's driver raises into a message that holds no password and no value of a row."""
    try:
        yield
    except DBAPIError as error:
        place = place_of(url)
        said = str(error.orig).partition("DETAIL:")[0].strip()  # PostgreSQL's detail quotes the row
        said = _without_secrets(said, url)
        what, remedy = f"The database at {place} cannot be used.", "see that it runs and that this account may use it"
        if "not a database" in said or "malformed" in said:
            remedy = "put a copy of it back, or name another one; a damaged one can be looked at with sqlite3"
        elif "locked" in said:
            what, remedy = f"The database at {place} is kept locked by another program.", "try again in a moment"
        elif "disk is full" in said or "disk I/O" in said:
            what, remedy = f"The disk that holds {place} is full or broken.", "free some space and try again"
        raise UsageError(what, received=said, remedy=remedy) from None


def _without_secrets(said: str, url: URL) -> str:
    values = [str(value) for value in url.query.values()]
    for secret in filter(None, [url.password, *values]):
        said = said.replace(str(secret), "***")
    return said
