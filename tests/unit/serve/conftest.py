"""The database of a service, as SQLite and, where its server is installed, as PostgreSQL."""

from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

import postgres
from limpide.serve.store import DATABASE, Store, open_store


@pytest.fixture(scope="session")
def postgres_url() -> Iterator[str]:
    folder = postgres.programs()
    if folder is None:
        pytest.skip("PostgreSQL's server is not installed")
    with postgres.server(folder) as url:
        yield url


@pytest.fixture(params=["sqlite", "postgresql"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Path | str:
    """Where an empty database is, or will be."""
    if request.param == "sqlite":
        return tmp_path / DATABASE
    url = str(request.getfixturevalue("postgres_url"))
    with psycopg.connect(url.replace("+psycopg", ""), autocommit=True) as connection:
        connection.execute("DROP SCHEMA public CASCADE")
        connection.execute("CREATE SCHEMA public")
    return url


@pytest.fixture
def store(place: Path | str) -> Iterator[Store]:
    made = open_store(place)
    yield made
    made.close()
