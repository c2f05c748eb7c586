"""What the commands share: how results are printed, and the one place where an error becomes a message and a code."""

import json
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Annotated, Any

from cyclopts import Parameter

from limpide.core.errors import LimpideError
from limpide.core.progress import Progress, progress_for
from limpide.core.visible import visible as visible

READER_LEFT = 141  # what shells give for a closed pipe
INTERRUPTED = 130  # what shells give for Ctrl-C
Json = Annotated[bool, Parameter(name="--json", negative="", help="print results, progress and errors as JSON")]


def progress(as_json: bool) -> Progress:
    return progress_for("json" if as_json else "auto")


def print_json(value: Any) -> None:
    print(json.dumps(value, indent=2, ensure_ascii=False, default=str))


def print_rows(rows: Sequence[tuple[str, str]]) -> None:
    """Label and value: in two columns on a terminal, one line each elsewhere."""
    if not sys.stdout.isatty():
        width = max((len(label) for label, _ in rows), default=0)
        for label, value in rows:
            print(visible(f"{label:{width}}  {value}"))
        return
    from rich.console import Console
    from rich.table import Table

    table = Table(show_header=False, box=None, pad_edge=False)
    table.add_column(style="bold", overflow="fold", max_width=60)
    table.add_column(overflow="fold", ratio=1)
    for label, value in rows:
        table.add_row(escape(visible(label)), escape(visible(value)))
    Console(highlight=False).print(table)


def escape(text: str) -> str:
    """Text of a user or a model, which must not be read as rich's markup."""
    from rich.markup import escape as rich_escape

    return rich_escape(text)


def ask(question: str) -> str:
    """The answer a person types. The end of input (Ctrl-D) stops the program, as Ctrl-C does."""
    try:
        return input(question).strip()
    except EOFError:
        raise KeyboardInterrupt from None


@contextmanager
def exit_codes(as_json: bool) -> Iterator[None]:
    """Turn what is raised inside into a message on standard error and the exit code scripts rely on."""
    try:
        yield
    except LimpideError as error:
        _print_error(error, as_json)
        raise SystemExit(error.exit_code) from None
    except KeyboardInterrupt:
        stopped = LimpideError("Stopped. What was finished is kept: the same command goes on from there.")
        _print_error(stopped, as_json, {"error": "Interrupted", "exit_code": INTERRUPTED})
        raise SystemExit(INTERRUPTED) from None
    except BrokenPipeError:
        for stream in (sys.stdout, sys.stderr):  # the reader left: nobody is there to tell
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
        raise SystemExit(READER_LEFT) from None
    except Exception as error:
        if os.environ.get("LIMPIDE_DEBUG"):
            raise
        fault = LimpideError(
            f"A fault in Limpide: {type(error).__name__}: {error}",
            remedy="run it again with LIMPIDE_DEBUG=1 and report what it prints",
        )
        _print_error(fault, as_json)
        raise SystemExit(fault.exit_code) from None


def _print_error(error: LimpideError, as_json: bool, instead: Mapping[str, object] | None = None) -> None:
    if as_json:
        print(json.dumps({**error.record(), **(instead or {})}, ensure_ascii=False), file=sys.stderr)
    else:
        print(visible("\n".join(error.lines())), file=sys.stderr)
