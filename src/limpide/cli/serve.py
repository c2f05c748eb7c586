"""`limpide serve` and `limpide ask`."""

import os
import sys
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from limpide.cli.output import Json, print_json, progress
from limpide.serve.settings import DEFAULT_HOST, DEFAULT_PORT, ServeSettings

PublicKey = Annotated[Path | None, Parameter(name="--key", help="the publisher's public key (.pub)")]
Unsigned = Annotated[bool, Parameter(negative="", help="accept files that nobody vouches for")]


def serve(
    release: Path,
    *more: Path,
    key: PublicKey = None,
    host: str = DEFAULT_HOST,
    port: int = DEFAULT_PORT,
    unsigned: Unsigned = False,
    settings: Annotated[ServeSettings, Parameter(name="*")] = ServeSettings(),  # noqa: B008  # immutable
    as_json: Json = False,
) -> None:
    """Verify releases and serve them on this machine, with the OpenAI API.

    Clients must send a key once one was made (`limpide access new`), or the one in the environment variable
    LIMPIDE_API_KEY when it is set; without any, only this machine is answered.

    Example: limpide serve releases/press-operator-assistant-1.0.0 --key keys/release.pub

    Parameters
    ----------
    release
        The release folder, or with --unsigned a .gguf file, a model folder, an alias. It answers where no model is
        named.
    more
        Further ones, served side by side under their names.
    host
        Address to listen on; another than this machine's own needs a key.
    port
        Port to listen on; 0 picks a free one.
    """
    from limpide.cli.standard_error import for_python_alone
    from limpide.serve.serving import serve_releases

    with for_python_alone():
        serve_releases(
            (release, *more),
            host=host,
            port=port,
            key=os.environ.get("LIMPIDE_API_KEY"),
            public_key=key,
            unsigned=unsigned,
            settings=settings,
            progress=progress(as_json),
        )


def ask(
    release: Path,
    question: str,
    *,
    key: PublicKey = None,
    system: str | None = None,
    max_tokens: int = 256,
    unsigned: Unsigned = False,
    as_json: Json = False,
) -> None:
    """Verify a release and ask it one question, on this machine.

    Example: limpide ask releases/press-operator-assistant-1.0.0 "What does E-104 mean?" --key keys/release.pub

    Parameters
    ----------
    release
        The release folder, or with --unsigned a .gguf file.
    question
        What to ask.
    system
        A system message, in place of the model's own.
    max_tokens
        Longest answer, in tokens.
    """
    from limpide.serve.ask import ask as put

    def show(text: str) -> None:
        if not as_json:
            sys.stdout.write(text)
            sys.stdout.flush()

    answer = put(
        release,
        question,
        public_key=key,
        unsigned=unsigned,
        system=system,
        max_tokens=max_tokens,
        on_text=show,
        progress=progress(as_json),
    )
    if as_json:
        print_json(vars(answer))
    else:
        print()
