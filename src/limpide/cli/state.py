"""The state folder of a service, as the commands that look after it name it."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from limpide.core.errors import MissingError

if TYPE_CHECKING:
    from limpide.serve.store import Store

STATE = Path(".limpide/serve")
State = Annotated[Path, Parameter(help="folder in which the service keeps its database and its log")]
Database = Annotated[
    str | None,
    Parameter(
        env_var="LIMPIDE_DATABASE",
        help="URL of another database, for example postgresql://limpide@db.example.org/limpide; one with a password "
        "belongs in LIMPIDE_DATABASE, which no list of processes shows",
    ),
]


@contextmanager
def opened(state: Path, database: str | None, *, make: str | None = None) -> "Iterator[Store]":
    """The database of a service, closed at the end.

    make: the command that makes what is looked for, told when there is no database; None: one is made.
    """
    from limpide.serve.store import DATABASE, open_store

    path = state / DATABASE
    if make is not None and database is None and not path.exists():
        raise MissingError(
            f"There is no database of a service in {state}.",
            remedy=f"name the service's folder with --state, or begin with: {make}",
        )
    store = open_store(database or path)
    try:
        yield store
    finally:
        store.close()
