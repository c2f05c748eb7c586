"""`limpide access new|list|revoke|usage`: the keys that callers of a service send."""

from collections import Counter
from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import App, Parameter

from limpide.cli.output import Json, print_json, print_rows, visible
from limpide.cli.state import STATE, Database, State, opened
from limpide.core.errors import UsageError

if TYPE_CHECKING:
    from limpide.serve.access import AccessKey

HELP = """Make, list and revoke the keys that callers of `limpide serve` send, and count what each used.

Example: limpide access new --name "HR tool" --expires 90d --tokens-per-day 100000
"""
MAKE = 'limpide access new --name "HR tool"'
ONCE = "The secret is shown this once and is kept nowhere: put it where its caller reads it."


def new(
    *,
    name: Annotated[str, Parameter(help="who will use it, 1 to 64 characters")],
    models: Annotated[
        tuple[str, ...], Parameter(help="models it may use; default: all", negative="", consume_multiple=True)
    ] = (),
    expires: Annotated[
        str | None, Parameter(help="90d, 12h, or 2027-01-31 (the end of that day, UTC); default: never")
    ] = None,
    requests_per_minute: Annotated[int | None, Parameter(help="default: no limit")] = None,
    tokens_per_day: Annotated[int | None, Parameter(help="prompts and answers, by UTC day; default: no limit")] = None,
    state: State = STATE,
    database: Database = None,
    as_json: Json = False,
) -> None:
    """Make a key. Its secret is printed once, and only a hash of it is kept.

    From the first key on, a service asks every caller for one, also on this machine.

    Example: limpide access new --name "HR tool" --models press-assistant --requests-per-minute 60
    """
    from limpide.serve.access import create, expiry

    until = None if expires is None else expiry(expires, datetime.now(UTC))
    with opened(state, database) as store:
        key, secret = create(
            store,
            name,
            expires=until,
            models=models,
            requests_per_minute=requests_per_minute,
            tokens_per_day=tokens_per_day,
        )
    if as_json:
        print_json({**record(key), "secret": secret, "note": ONCE})
        return
    print_rows([("key", f"{key.name} ({key.id})"), ("allows", in_words(key)), ("secret", secret)])
    print(ONCE)


def list_(*, state: State = STATE, database: Database = None, as_json: Json = False) -> None:
    """List every key, newest first, with what it allows and used today. Secrets are not known to anyone here.

    Example: limpide access list
    """
    from limpide.serve.access import listed
    from limpide.serve.access import usage as used

    today = f"{datetime.now(UTC):%Y-%m-%d}"
    with opened(state, database, make=MAKE) as store:
        keys, spent = listed(store), Counter[str]()
        for row in used(store, since=today):
            spent[row.key_id] += row.prompt_tokens + row.answer_tokens
    if as_json:
        print_json([{**record(key), "tokens_today": spent[key.id]} for key in keys])
        return
    print_rows([(f"{key.id}  {key.name}", f"{in_words(key)}; {spent[key.id]:,} tokens today") for key in keys])
    if not keys:
        print(f"There are no keys. Make one: {MAKE}")


def revoke(
    key: Annotated[str, Parameter(help="the key's id or name")],
    *,
    state: State = STATE,
    database: Database = None,
    as_json: Json = False,
) -> None:
    """Close a key for good. Every running service refuses it within a second.

    Example: limpide access revoke "HR tool"
    """
    from limpide.serve.access import revoke as close
    from limpide.serve.access import written

    with opened(state, database, make=MAKE) as store:
        closed = close(store, key)
    if as_json:
        print_json(record(closed))
        return
    assert closed.revoked is not None
    print(visible(f"{closed.name} ({closed.id}) is revoked since {written(closed.revoked)}."))


def usage(
    key: Annotated[str | None, Parameter(help="a key's id or name; default: all")] = None,
    *,
    since: Annotated[str | None, Parameter(help="first day, for example 2026-11-01; default: all")] = None,
    state: State = STATE,
    database: Database = None,
    as_json: Json = False,
) -> None:
    """Say how many requests and tokens each key used, by day (UTC) and model. Texts are never kept.

    Callers with the key of LIMPIDE_API_KEY are listed as "environment", those without any as "anyone".

    Example: limpide access usage "HR tool" --since 2026-11-01
    """
    from limpide.serve.access import usage as used

    with opened(state, database, make=MAKE) as store:
        rows = used(store, key, None if since is None else _day(since))
    if as_json:
        print_json([asdict(row) for row in rows])
        return
    print_rows(
        [
            (
                f"{row.day}  {row.name}  {row.model}",
                f"{row.requests:,} requests, {row.prompt_tokens:,} tokens asked, {row.answer_tokens:,} answered",
            )
            for row in rows
        ]
    )
    if not rows:
        print("Nothing was used.")


def record(key: "AccessKey") -> dict[str, Any]:
    """A key as a program reads it; times in ISO 8601, UTC."""
    facts = asdict(key)
    for name in ("created", "expires", "revoked"):
        facts[name] = facts[name] and facts[name].isoformat(timespec="seconds")
    return {**facts, "open": key.opens(datetime.now(UTC))}


def in_words(key: "AccessKey") -> str:
    """'open until …; all models; 60 requests a minute; 100,000 tokens a day'."""
    from limpide.serve.access import written

    if key.revoked is not None:
        standing = f"revoked on {written(key.revoked)}"
    elif key.expires is None:
        standing = "open, never expires"
    else:
        standing = f"{'open until' if key.opens(datetime.now(UTC)) else 'expired on'} {written(key.expires)}"
    rate = f"{key.requests_per_minute:,} requests a minute" if key.requests_per_minute else "any number of requests"
    tokens = f"{key.tokens_per_day:,} tokens a day" if key.tokens_per_day else "any number of tokens"
    return "; ".join([standing, ", ".join(key.models) or "all models", rate, tokens])


def _day(text: str) -> str:
    try:
        return f"{datetime.strptime(text.strip(), '%Y-%m-%d'):%Y-%m-%d}"
    except ValueError:
        raise UsageError("This is not a day.", received=visible(text), expected="for example 2026-11-01") from None


def make_app() -> App:
    made = App(name="access", help=HELP, help_format="plaintext")
    for command, name in ((new, "new"), (list_, "list"), (revoke, "revoke"), (usage, "usage")):
        made.command(command, name=name)
    return made


app = make_app()
