"""Every error Limpide raises on purpose, and the exit code scripts rely on.

LimpideError                      1  a fault in Limpide itself
├── UsageError                    2  wrong recipe, option or data
│   ├── RecipeError                  every fault of a recipe, with line numbers
│   ├── DataError                    every fault of a data file, with line numbers
│   ├── ModelError                   a model that cannot be opened or used as asked
│   └── MissingError                 something to install, download or create first
├── GateFailed                    3  a gate said hold; the release is not made
├── ApprovalNeeded                4  waiting for a named person
├── UntrustedInput                5  a file that could run code or lies about itself
└── IntegrityError                6  a digest or a signature does not hold

A message says what happened, the value received, what was expected, and the exact next thing to do.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches


@dataclass(frozen=True)
class Fault:
    """One thing wrong in a file the user wrote. `line` counts from 1; None when no line is to blame.

    at: the key to blame, dotted, in a file that has keys.
    """

    file: str
    line: int | None
    what: str
    at: str = field(default="", compare=False)

    def __str__(self) -> str:
        place = self.file if self.line is None else f"{self.file}:{self.line}"
        return f"{place}: {self.what}"


class LimpideError(Exception):
    """Root of the tree. Raised as itself only for a fault in Limpide.

    what: one sentence. received, expected: shown when given. remedy: the next command or edit.
    """

    exit_code = 1

    def __init__(
        self,
        what: str,
        *,
        received: object = None,
        expected: object = None,
        remedy: str | None = None,
        faults: Sequence[Fault] = (),
    ) -> None:
        super().__init__(what)
        self.what = what
        self.received = received
        self.expected = expected
        self.remedy = remedy
        self.faults = tuple(faults)

    def lines(self) -> list[str]:
        """The message as the lines a person reads."""
        lines = [self.what, *(f"  {fault}" for fault in self.faults)]
        if self.received is not None:
            lines.append(f"  received: {self.received}")
        if self.expected is not None:
            lines.append(f"  expected: {self.expected}")
        if self.remedy is not None:
            lines.append(f"  to do:    {self.remedy}")
        return lines

    def __str__(self) -> str:
        return "\n".join(self.lines())

    def record(self) -> dict[str, object]:
        """The same for programs (`--json`)."""
        return {
            "error": type(self).__name__,
            "exit_code": self.exit_code,
            "what": self.what,
            "received": None if self.received is None else str(self.received),
            "expected": None if self.expected is None else str(self.expected),
            "to_do": self.remedy,
            "faults": [{"file": f.file, "line": f.line, "what": f.what} for f in self.faults],
        }


class UsageError(LimpideError):
    exit_code = 2


class RecipeError(UsageError):
    pass


class DataError(UsageError):
    pass


class ModelError(UsageError):
    pass


class MissingError(UsageError):
    pass


class GateFailed(LimpideError):
    exit_code = 3


class ApprovalNeeded(LimpideError):
    exit_code = 4


class UntrustedInput(LimpideError):
    exit_code = 5


class IntegrityError(LimpideError):
    exit_code = 6


def nearest(name: str, known: Sequence[str]) -> str:
    """' Did you mean X?' for the closest known name, or '' when none is close."""
    close = get_close_matches(name, list(known), n=1, cutoff=0.6)
    return f" Did you mean '{close[0]}'?" if close else ""
