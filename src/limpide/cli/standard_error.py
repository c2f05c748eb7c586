"""Standard error for Limpide's own words alone, while libraries in other languages would write there too."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr

STANDARD_ERROR = 2


@contextmanager
def for_python_alone() -> Iterator[None]:
    """llama.cpp writes the grammars and patterns that it cannot read, which are callers' words, to file descriptor 2
    whatever its verbosity. Inside, that leads nowhere, and `sys.stderr` to where it did.

    Nothing changes where `sys.stderr` is not that descriptor: whoever replaced it keeps it.
    """
    try:
        number = sys.stderr.fileno()
    except (OSError, ValueError, AttributeError):
        number = -1
    if number != STANDARD_ERROR:
        yield
        return
    sys.stderr.flush()
    kept = os.dup(STANDARD_ERROR)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, STANDARD_ERROR)
    os.close(nowhere)
    try:
        with (
            open(kept, "w", encoding=sys.stderr.encoding, errors="backslashreplace", buffering=1, closefd=False) as own,
            redirect_stderr(own),
        ):
            yield
    finally:
        os.dup2(kept, STANDARD_ERROR)
        os.close(kept)
