"""What leaves the log: whole days, once they are old enough, and the keys of texts, at any time.

The AI Act asks for six months at least (articles 19 and 26(6) of Regulation (EU) 2024/1689); the law on personal data
may ask for less, which is why a shorter time needs a reason, and the reason is logged.
"""

from dataclasses import dataclass
from datetime import date, timedelta
from json import loads
from pathlib import Path
from typing import Literal

from limpide.core.errors import IntegrityError, UsageError
from limpide.core.progress import Progress, Quiet
from limpide.release.keys import load_public
from limpide.serve.request_log import texts
from limpide.serve.request_log.heads import Purged, add_line
from limpide.serve.request_log.merkle import Tree, cover, leaf
from limpide.serve.request_log.places import day_path, days, forwards, sync_folder
from limpide.serve.request_log.purged import purged_days, purged_path
from limpide.serve.request_log.read import find
from limpide.serve.request_log.verify import verify
from limpide.serve.request_log.writer import RequestLog

KEEP_DAYS = 183  # six months


@dataclass(frozen=True)
class Matched:
    """labels: the texts of the entry that this text is. state: `erased` when it can't be told any more."""

    seq: int
    at: str
    state: Literal["matches", "differs", "erased", "no text"]
    labels: tuple[str, ...] = ()


def due(folder: Path, today: str, keep_days: int = KEEP_DAYS) -> list[str]:
    """The days that may be purged: all their hours are more than `keep_days` days ago. Never the last day of the log,
    which the next entry follows."""
    oldest = (date.fromisoformat(today) - timedelta(days=keep_days)).isoformat()
    return [day for day in days(folder)[:-1] if day < oldest]


def purge(
    log: RequestLog, today: str, *, keep_days: int = KEEP_DAYS, why: str | None = None, progress: Progress | None = None
) -> list[str]:
    """Remove the days that are due, and the keys of their texts; log `retention.purge`. Returns the days.

    What is left of a day is a signed record of its subtrees, with which the rest still adds up to every later head.
    Raises UsageError for less than KEEP_DAYS without a reason; IntegrityError for a log that does not verify, as a
    purge would hide it.
    """
    require_reason(keep_days, why)
    places = log.places
    verdict = verify(places.folder, places.public, places.heads, progress=progress or Quiet())
    if verdict.damage is not None:
        raise IntegrityError(
            "The log does not verify, and a purge would hide it: nothing was removed.",
            received=verdict.damage,
            remedy="limpide log export keeps a copy as it is; then see what happened",
        )
    for record in purged_days(places.folder, load_public(places.public)):
        _remove(places.folder, record.day)  # it may still be there, where a purge was stopped
    gone = due(places.folder, today, keep_days)
    if gone:
        log.append("retention.purge", first=gone[0], last=gone[-1], days=len(gone), keep_days=keep_days, why=why)
    for day in gone:
        record = _left_of(log, day, today)  # which takes long, and meanwhile others append
        with log.alone():
            if day_path(places.folder, day).exists():  # no other purge was quicker
                add_line(purged_path(places.folder), log.sign(record).record())
                _remove(places.folder, day)
    return gone


def require_reason(keep_days: int, why: str | None) -> None:
    """Raises UsageError for a time that is too short, or shorter than the law's without a reason."""
    if keep_days < 1:
        raise UsageError("A day of the log is kept until it is over.", received=keep_days, expected="1 day or more")
    if keep_days < KEEP_DAYS and not (why or "").strip():
        raise UsageError(
            f"Less than {KEEP_DAYS} days is less than the six months that the AI Act asks for.",
            received=f"{keep_days} days",
            expected="a reason, which is logged: data-protection law may ask for less",
            remedy='limpide log purge --keep-days DAYS --why "the reason"',
        )


def erase(log: RequestLog, *, seq: int | None = None, day: str | None = None, why: str | None = None) -> int:
    """Erase the keys of one entry's texts, or of all of a day; log `text.erase`. Returns how many keys were erased.

    The chain stays valid; nobody, with the text in hand, can tell any more whether it is the entry's.
    """
    if seq is not None:
        day, _ = find(log.places.folder, seq)
    if day is None or day not in days(log.places.folder):
        raise UsageError("The log has no such day.", received=day, expected="a day that is there, as 2026-11-23")
    count = texts.erase(log.places.folder, day, seq)
    log.append("text.erase", day=day, entry=seq, keys=count, why=why)
    return count


def match(folder: Path, seq: int, text: str) -> Matched:
    """Is `text` the text of entry `seq`? To the byte: a space more is another text."""
    day, entry = find(folder, seq)
    if not entry.texts:
        return Matched(seq, entry.at, "no text")
    key = texts.key_of(folder, day, seq)
    if key is None:
        return Matched(seq, entry.at, "erased")
    labels = texts.matching(entry.texts, text, key)
    return Matched(seq, entry.at, "matches" if labels else "differs", tuple(labels))


def _left_of(log: RequestLog, day: str, today: str) -> Purged:
    """What stands for a day: unsigned."""
    path = day_path(log.places.folder, day)
    records = [loads(line) for _, line in forwards(path, path.stat().st_size)]
    first, end = records[0]["seq"], records[-1]["seq"] + 1
    tree = Tree(first, [leaf(record["hash"]) for record in records])
    nodes = tuple(tree.digest(start, stop).hex() for start, stop in cover(first, end))
    name, key_id = log.names
    return Purged(day, first, end, records[-1]["hash"], nodes, today, name, key_id)


def _remove(folder: Path, day: str) -> None:
    """The keys first: without them the entries tell no text, whatever stops this halfway."""
    texts.keys_path(folder, day).unlink(missing_ok=True)
    day_path(folder, day).unlink(missing_ok=True)
    sync_folder(folder)
