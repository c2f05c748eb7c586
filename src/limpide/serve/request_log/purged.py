"""What is left of the days that were purged, and which log this is."""

from pathlib import Path

from limpide.core.errors import IntegrityError
from limpide.release.keys import PublicKey
from limpide.serve.request_log.entry import NotAnEntry, parsed
from limpide.serve.request_log.heads import NotSigned, Purged, parse_purged, signed_lines
from limpide.serve.request_log.places import day_path, days, forwards


def purged_path(folder: Path) -> Path:
    return folder / "purged.jsonl"


def purged_days(folder: Path, public: PublicKey) -> list[Purged]:
    """The purged days, the oldest first: each begins where the one before ends. Raises IntegrityError."""
    found: list[Purged] = []
    for number, record in signed_lines(purged_path(folder), parse_purged, public):
        why = str(record) if isinstance(record, NotSigned) else None
        if isinstance(record, Purged) and record.first != (found[-1].end if found else 0):
            why = "it does not begin where the purged day before it ends"
        if isinstance(record, NotSigned) or why:
            raise IntegrityError(
                f"The record of purged days is damaged: {purged_path(folder)}, line {number}.", received=why
            )
        found.append(record)
    return found


def log_id(folder: Path) -> str | None:
    """The id of the log, which its first entry tells; None where no log was begun.

    It only tells logs apart: that the entry itself holds is for `verify` to say.
    """
    from json import loads

    if purged_path(folder).exists():
        for _, line in forwards(purged_path(folder), purged_path(folder).stat().st_size):
            return str(loads(line)["log"])
    for day in days(folder):
        path = day_path(folder, day)
        for _, line in forwards(path, path.stat().st_size):
            try:
                return str(parsed(line).facts.get("log", ""))
            except NotAnEntry:
                return ""
    return None
