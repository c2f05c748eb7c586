"""`limpide stop`: the stop switch of the service."""

from pathlib import Path
from shlex import quote
from typing import Any

from limpide.cli.output import Json, print_json, progress
from limpide.cli.state import STATE, State


def stop(
    *,
    who: str,
    why: str = "",
    resume: bool = False,
    state: State = STATE,
    heads: Path | None = None,
    as_json: Json = False,
) -> None:
    """Stop answering: running answers end at once, new requests get 503 with the reason, the log says who.

    It works from any process, on every gateway of the state folder, and lasts until it is taken back.

    Example: limpide stop --who "A. Martin" --why "wrong doses"

    Parameters
    ----------
    who
        Name of the person who stops or resumes.
    why
        The reason, which clients are told; with --resume only the log is.
    resume
        Take the order back: the service answers again.
    heads
        Folder of the log's signed heads, where `limpide serve` was given one.
    """
    from dataclasses import asdict

    from limpide.core.errors import LimpideError
    from limpide.serve.request_log.places import places
    from limpide.serve.request_log.writer import RequestLog
    from limpide.serve.stop_switch import resume as take_back
    from limpide.serve.stop_switch import stop as order
    from limpide.serve.stop_switch import stopped

    before = stopped(state)
    made = take_back(state, who) if resume else order(state, who, why)
    said: dict[str, Any] = {"why": why} if why else {}
    try:  # after the deed: a log that cannot be written must not keep anybody from stopping
        with RequestLog(places(state, heads)) as log:
            log.append("operator.resume" if resume else "operator.stop", who=who, **said)
    except LimpideError as error:
        progress(as_json).warn(f"the order is given, and could not be written in the request log: {error.what}")
    if as_json:
        print_json({"stopped": not resume, "order": None if made is None else asdict(made)})
    elif resume:
        print("The service answers again." if made is not None else "The service was not stopped.")
    else:
        if before is not None:
            print(f"It was stopped already, by {before.who}: {before.why}. This order replaces that one.")
        print(f"Stopped. To answer again: limpide stop --resume --who {quote(who)}")
