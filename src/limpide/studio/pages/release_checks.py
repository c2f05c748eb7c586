"""What verifying a release showed, check by check, for somebody who never read a signature."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from limpide.core.measure import Frozen

Tone = Literal["good", "bad", "doubt"]
SHOWN = 12  # hexadecimal digits of a fingerprint in a sentence
Why = Literal["unsigned", "other key", "altered signature", "damaged signature", "files", "approval", "other"]


@dataclass(frozen=True)
class Check:
    """One line: `release.check.KEY` with `values`. facts: what it rests on, in full."""

    key: str
    tone: Tone
    values: Mapping[str, Any]
    count: int | None = None


class Difference(Frozen):
    """A file that is not as signed. how: 'changed', 'added', 'removed', 'renamed' or 'unreadable'."""

    file: str
    how: str


@dataclass(frozen=True)
class Verification:
    """trusted: may the release be used. differences: files that are not as signed."""

    trusted: bool
    checks: tuple[Check, ...]
    differences: tuple[Difference, ...] = ()


def argv(folder: Path, key: Path, others: Sequence[Path]) -> list[str]:
    """The command that checks a release. others: public keys of people who approve."""
    more = [word for path in others for word in ("--approver-key", str(path))]
    return ["verify", str(folder), "--key", str(key), *more]


def of_result(result: Mapping[str, Any], fingerprint: str, *, approval: bool) -> Verification:
    """What `limpide verify --json` printed for a release that is as it was signed."""
    named = result["approvals"]
    checks = [
        Check("signature", "good", {"key": fingerprint[:SHOWN]}),
        Check("files", "good", {}, len(result["files"])),
        Check("nothing_else", "good", {}),
    ]
    for one in named:
        checks.append(Check("approved", "good", {"name": one["name"], "on": one["on"]}))
    if not named:
        checks.append(Check("waits" if approval else "no_approval", "doubt", {}))
    return Verification(True, tuple(checks))


def of_error(error: Mapping[str, Any]) -> Verification | None:
    """What an integrity error means; None for an error that says nothing about the release itself."""
    if error.get("exit_code") != 6:
        return None
    differ = tuple(difference(fault) for fault in error.get("faults") or ())
    why = reason(str(error.get("what", "")), bool(differ))
    if why == "files":
        lines = (Check("signature.holds", "good", {}), Check("files.differ", "bad", {}, len(differ)))
        return Verification(False, lines, differ)
    return Verification(False, (Check(f"refused.{why}", "bad", {"what": str(error.get("what", ""))}),), differ)


def reason(what: str, differ: bool) -> Why:
    """Which of the few ways in which a release can fail its check; the sentences are those of release/."""
    if "is not signed" in what:
        return "unsigned"
    if "attestations/" in what:
        return "approval"
    if "does not match this key" in what:
        return "other key"
    if "does not hold" in what:
        return "altered signature"
    if "damaged" in what:
        return "damaged signature"
    return "files" if differ else "other"


def difference(fault: Mapping[str, Any]) -> Difference:
    """One fault of `limpide verify`, as a word."""
    said = str(fault.get("what", ""))
    word = re.match(r"changed|added|removed", said)
    how = word[0] if word else "unreadable" if "cannot be" in said else "unfit"
    return Difference(file=str(fault.get("file", "")), how="renamed" if "renamed?" in said else how)
