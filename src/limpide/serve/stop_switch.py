"""The stop switch: one file in the state folder. While it is there, every gateway on that folder answers 503.

A file, so that any process may set it, that it outlives a restart, and that looking at it costs one `stat`.
"""

import json
import os
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from limpide.core import files
from limpide.core.errors import UsageError

FILE = "stopped.json"
LONGEST = 500  # characters of a name or a reason


@dataclass(frozen=True)
class Stopped:
    """who: the person who stopped the service. since: seconds since 1970."""

    who: str
    why: str
    since: float


def stop(state: Path, who: str, why: str) -> Stopped:
    """Stop every gateway on the state folder `state`. A second order replaces the first. Raises UsageError.

    Whoever calls this writes `operator.stop` in the request log.
    """
    made = Stopped(_said(who, "who"), _said(why, "why"), time.time())
    files.write_json(state / FILE, asdict(made))
    return made


def resume(state: Path, who: str) -> Stopped | None:
    """Take the order back; returns it, None when there was none. Raises UsageError without a name.

    Whoever calls this writes `operator.resume` in the request log.
    """
    _said(who, "who")
    before = stopped(state)
    (state / FILE).unlink(missing_ok=True)
    return before


def stopped(state: Path) -> Stopped | None:
    """The order in force, None when the service may answer. A file that cannot be read stops the service too."""
    path = state / FILE
    try:
        since = os.stat(path).st_mtime
    except FileNotFoundError:
        return None
    except OSError as error:
        return Stopped("unknown", f"{path.name} cannot be looked at: {error.strerror}", time.time())
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        return Stopped(str(record["who"]), str(record["why"]), float(record["since"]))
    except FileNotFoundError:  # resumed between the two looks
        return None
    except (OSError, ValueError, KeyError, TypeError):
        return Stopped("unknown", f"{path.name} is there, and cannot be read", since)


def _said(text: str, option: str) -> str:
    clean = " ".join(text.split())
    if not clean or len(clean) > LONGEST:
        raise UsageError(
            "A stop is put down to a named person, with a reason.",
            received=f"{len(clean)} characters as --{option}",
            expected=f"1 to {LONGEST} characters",
            remedy='limpide stop --who "A. Martin" --why "wrong doses"',
        )
    return clean
