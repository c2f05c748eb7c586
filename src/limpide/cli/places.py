"""The folder that a command leaves its result in: new or empty when it starts, and whole when it has its name."""

import shlex
from pathlib import Path

from limpide.core.errors import UsageError


def check_new(out: Path) -> None:
    """Raise UsageError where there is already something at `out`: nothing is overwritten."""
    if out.is_file():
        raise UsageError(f"{out} is a file; the result is kept in a folder.", remedy="name a folder with --out")
    if out.is_dir() and any(out.iterdir()):
        raise UsageError(
            f"{out} is not empty, and nothing is overwritten.",
            received=", ".join(sorted(path.name for path in out.iterdir())[:5]),
            expected="a folder that does not exist yet",
            remedy="name another folder with --out, or move this one away",
        )


def take_name(made: Path, out: Path) -> None:
    """Give the finished folder `made` the name `out`. Raises UsageError when another run took the name meanwhile."""
    if out.is_dir() and not any(out.iterdir()):
        out.rmdir()
    if out.exists():
        raise UsageError(
            f"{out} was made by another run meanwhile; this one's result is kept beside it.",
            received=made,
            remedy=f"move it: mv {shlex.quote(str(made))} NAME",
        )
    made.rename(out)
