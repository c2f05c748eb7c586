"""Reading entries. What is read here was checked line by line; that nothing is missing is for `verify` to say."""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from limpide.core.errors import IntegrityError, UsageError
from limpide.serve.request_log.entry import Entry, NotAnEntry, parsed
from limpide.serve.request_log.places import backwards, day_path, forwards, require_log, sizes
from limpide.serve.request_log.tail import REMEDY


@dataclass(frozen=True)
class Wanted:
    """Which entries. since, until: times as entries have them, or beginnings of such (`2026-11-23T08`); since is
    included, until is not. event: a name, `studio.*` for all that begin so. key: the id of an access key (the fact
    `key`)."""

    since: str | None = None
    until: str | None = None
    event: str | None = None
    key: str | None = None

    def has(self, entry: Entry) -> bool:
        return (
            (self.since is None or entry.at >= self.since)
            and (self.until is None or entry.at < self.until)
            and (self.event is None or fnmatchcase(entry.event, self.event))
            and (self.key is None or entry.facts.get("key") == self.key)
        )


EVERY = Wanted()


def read(folder: Path, wanted: Wanted = EVERY, last: int | None = None) -> Iterator[Entry]:
    """The wanted entries of the log in `folder`, in order; with `last`, no more than so many from the end, for which
    only the end is read. Raises MissingError, and IntegrityError at a line that does not hold."""
    require_log(folder)
    files = sizes(folder)
    if wanted.since is not None:  # no entry is in the file of a day before its own
        files = {day: size for day, size in files.items() if day >= wanted.since[:10]}
    if last is None:
        yield from (
            entry
            for day, size in files.items()
            for _, line in forwards(day_path(folder, day), size)
            if wanted.has(entry := _entry(line, day))
        )
        return
    found: deque[Entry] = deque()
    for day, size in reversed(files.items()):
        for line in backwards(day_path(folder, day), size):
            if len(found) >= last:
                break
            if wanted.has(entry := _entry(line, day)):
                found.appendleft(entry)
    yield from found


def find(folder: Path, seq: int) -> tuple[str, Entry]:
    """(day of its file, entry) of entry `seq`. Raises UsageError when the log has none, or no longer."""
    require_log(folder)
    for day, size in reversed(sizes(folder).items()):
        path = day_path(folder, day)
        first = next(forwards(path, size), None)
        if first is None or _entry(first[1], day).seq > seq:
            continue
        for _, line in forwards(path, size):
            entry = _entry(line, day)
            if entry.seq == seq:
                return day, entry
        break
    raise UsageError(
        f"The log has no entry {seq}.",
        expected="the number of an entry that is there: its day may have been purged, or it is yet to come",
        remedy="limpide log show --last 20",
    )


def _entry(line: bytes, day: str) -> Entry:
    try:
        return parsed(line)
    except NotAnEntry as error:
        raise IntegrityError(
            f"The request log is damaged: a line of {day}.jsonl does not hold.", received=error, remedy=REMEDY
        ) from error
