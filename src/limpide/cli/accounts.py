"""`limpide accounts add|list|remove|password|role`: who may sign in to the studio, and do what there."""

import sys
from getpass import getpass
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import App, Parameter

from limpide.cli.output import Json, print_json, print_rows, visible
from limpide.cli.state import STATE, Database, State, opened
from limpide.core.errors import UsageError

if TYPE_CHECKING:
    from limpide.serve.accounts import Account

HELP = """Say who may sign in to `limpide studio` where others can reach it, and what each may do there.

Example: limpide accounts add "Ada Martin" --role administrator
"""
MAKE = "limpide accounts add NAME --role administrator"
Role = Annotated[
    Literal["reader", "operator", "approver", "administrator"],
    Parameter(
        help="reader: look and ask; operator: change data and recipes, run, serve; approver: approve and sign; "
        "administrator: all of it, and accounts"
    ),
]
Name = Annotated[str, Parameter(help="the name the person signs in with, 1 to 64 characters of any language")]
FromInput = Annotated[
    bool,
    Parameter(name="--password-stdin", negative="", help="read the password from standard input, one line, unasked"),
]


def add(
    name: Name,
    *,
    role: Role = "reader",
    from_input: FromInput = False,
    state: State = STATE,
    database: Database = None,
    as_json: Json = False,
) -> None:
    """Make an account. The password, of 12 characters or more, is asked twice and only a hash of it is kept.

    Example: limpide accounts add "Ada Martin" --role administrator
    """
    from limpide.serve.accounts import add as make
    from limpide.serve.accounts import listed

    password = _password(from_input)
    with opened(state, database) as store:
        account = make(store, name, password, role)
        everyone = listed(store)
    _tell(account, f"{account.name} may sign in as {account.role}.", as_json)
    if not as_json and all(one.role != "administrator" for one in everyone):
        print(f"Nobody can change accounts in the studio yet. To let someone: {MAKE}")


def list_(*, state: State = STATE, database: Database = None, as_json: Json = False) -> None:
    """List every account with its role.

    Example: limpide accounts list
    """
    from limpide.serve.accounts import listed

    with opened(state, database, make=MAKE) as store:
        everyone = listed(store)
    if as_json:
        print_json([_record(account) for account in everyone])
        return
    print_rows([(one.name, f"{one.role}, since {one.created:%Y-%m-%d}") for one in everyone])
    if not everyone:
        print(f"There are no accounts. Make one: {MAKE}")


def remove(name: Name, *, state: State = STATE, database: Database = None, as_json: Json = False) -> None:
    """Remove an account and end its sessions.

    Example: limpide accounts remove "Ada Martin"
    """
    from limpide.serve.accounts import remove as take_away

    with opened(state, database, make=MAKE) as store:
        account = take_away(store, name)
    _tell(account, f"{account.name} may no longer sign in.", as_json)


def password(
    name: Name,
    *,
    from_input: FromInput = False,
    state: State = STATE,
    database: Database = None,
    as_json: Json = False,
) -> None:
    """Give an account another password, and end its sessions.

    Example: limpide accounts password "Ada Martin"
    """
    from limpide.serve.accounts import set_password

    given = _password(from_input)
    with opened(state, database, make=MAKE) as store:
        account = set_password(store, name, given)
    _tell(account, f"The password of {account.name} is changed; who was signed in signs in again.", as_json)


def role(name: Name, role: Role, *, state: State = STATE, database: Database = None, as_json: Json = False) -> None:
    """Change what an account may do, from its next click on.

    Example: limpide accounts role "Ada Martin" approver
    """
    from limpide.serve.accounts import set_role

    with opened(state, database, make=MAKE) as store:
        account = set_role(store, name, role)
    _tell(account, f"{account.name} is now {account.role}.", as_json)


def _password(from_input: bool) -> str:
    """What a person types twice, unseen, or the first line of standard input."""
    if from_input:
        return sys.stdin.readline().rstrip("\r\n")
    if not sys.stdin.isatty():
        raise UsageError("Nobody can be asked for a password here.", remedy="add --password-stdin, and pipe it in")
    try:
        given = getpass("Password (not shown): ")
        again = getpass("The same again: ")
    except EOFError:
        raise KeyboardInterrupt from None
    if given != again:
        raise UsageError("The two passwords differ.", remedy="run it again")
    return given


def _tell(account: "Account", sentence: str, as_json: bool) -> None:
    if as_json:
        print_json(_record(account))
    else:
        print(visible(sentence))


def _record(account: "Account") -> dict[str, Any]:
    created = account.created.isoformat(timespec="seconds")
    return {"name": account.name, "role": account.role, "created": created}


def make_app() -> App:
    made = App(name="accounts", help=HELP, help_format="plaintext")
    commands = ((add, "add"), (list_, "list"), (remove, "remove"), (password, "password"), (role, "role"))
    for command, name in commands:
        made.command(command, name=name)
    return made


app = make_app()
