"""The command line as a test calls it: in this process, with what it printed and the code with which it left."""

import json
from collections.abc import Callable
from typing import Any, NamedTuple

import pytest

from limpide.cli.main import main


class Said(NamedTuple):
    """code: the exit code. out, err: what was printed."""

    code: int
    out: str
    err: str

    @property
    def words(self) -> str:
        """All that was printed, every kind of space and line end alike."""
        return " ".join(f"{self.out} {self.err}".split())

    def json(self) -> Any:
        return json.loads(self.out)

    def error(self) -> dict[str, Any]:
        """The one JSON object that is an error; progress events have an 'event'."""
        rows = [json.loads(line) for line in self.err.splitlines()]
        (found,) = [row for row in rows if "event" not in row]
        return dict(found)


Command = Callable[..., Said]


def calling(capsys: pytest.CaptureFixture[str], *start: str) -> Command:
    """`limpide START … ARGUMENTS …`, to be called with the arguments."""

    def run(*arguments: object) -> Said:
        capsys.readouterr()  # what making a tiny model wrote
        code: object = 0
        try:
            main([*start, *map(str, arguments)])
        except SystemExit as end:
            code = end.code or 0
        return Said(code if isinstance(code, int) else 1, *capsys.readouterr())

    return run
