"""`limpide studio`."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from limpide.cli.output import Json, print_json, progress
from limpide.studio.settings import DEFAULT_HOST, DEFAULT_PORT, StudioSettings

Open = Annotated[bool, Parameter(name="--open", negative="--no-open", help="open it in the browser")]
Token = Annotated[bool, Parameter(negative="", help="print a fresh one-time address of the studio that runs, and end")]


def studio(
    folder: Path = Path(),
    *,
    host: str = DEFAULT_HOST,
    port: int = DEFAULT_PORT,
    show: Open = True,
    token: Token = False,
    settings: Annotated[StudioSettings, Parameter(name="*")] = StudioSettings(),  # noqa: B008  # immutable
    as_json: Json = False,
) -> None:
    """Open the web application of a project: from a model to a service, without code.

    On this machine it opens with an address that works once. On another address people sign in with an account.
    Closing the browser or the studio changes nothing: what runs goes on.

    Example: limpide studio my-assistant

    Parameters
    ----------
    folder
        The project: its recipe.yaml, data/, keys/ and releases/; made when absent.
    host
        Address to listen on; another than this machine's own needs accounts.
    port
        Port to listen on; 0 picks a free one.
    """
    from limpide.studio.launch import new_address, run_studio

    if token:
        address = new_address(folder)
        if as_json:
            print_json({"address": address})
        else:
            print(address)
        return
    run_studio(folder, host=host, port=port, show=show, settings=settings, progress=progress(as_json))
