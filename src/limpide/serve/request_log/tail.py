"""The end of the chain, as one process knows it: what the next entry must follow."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from limpide.core.digests import of_bytes
from limpide.core.errors import IntegrityError
from limpide.core.files import read_json, write_json
from limpide.serve.request_log.entry import FIRST_PREV, Entry, NotAnEntry, parsed
from limpide.serve.request_log.heads import Head, Purged
from limpide.serve.request_log.merkle import Peaks, Tree, cover, leaf
from limpide.serve.request_log.places import day_path, days, forwards

REMEDY = "limpide log verify says where; then move the folder of the log aside, and a new log begins"


@dataclass
class Tail:
    """day: of the last file. offset: bytes of it that are entries. prev, at: hash and time of the last entry. peaks: of
    the tree over all entries, whose size is the number of the next one."""

    day: str = ""
    offset: int = 0
    prev: str = FIRST_PREV
    at: str = ""
    peaks: Peaks = field(default_factory=Peaks)

    @property
    def seq(self) -> int:
        """The number of the next entry."""
        return self.peaks.size

    def follow(self, entry: Entry, length: int) -> None:
        """`entry`, a line of `length` bytes, is now the last one."""
        self.offset += length
        self.prev, self.at = entry.hash, entry.at
        self.peaks.append(leaf(entry.hash))

    def enter(self, day: str) -> None:
        """The next entry goes to the file of `day`, which is new."""
        self.day, self.offset = day, 0


def after(purged: Sequence[Purged]) -> Tail:
    """The end of the chain as the days that were purged leave it."""
    if not purged:
        return Tail()
    end = purged[-1].end
    tree = Tree(end, (), [(a, b, digest) for day in purged for (a, b), digest in subtrees(day)])
    return Tail(
        day=purged[-1].day, prev=purged[-1].last_hash, peaks=Peaks(end, [tree.digest(a, b) for a, b in cover(0, end)])
    )


def subtrees(day: Purged) -> list[tuple[tuple[int, int], bytes]]:
    """((start, end), digest) of the whole subtrees a purged day left. Raises ValueError when they are not its own."""
    return list(zip(cover(day.first, day.end), map(bytes.fromhex, day.nodes), strict=True))


def read_on(tail: Tail, folder: Path, gone: Collection[str] = ()) -> bytes | None:
    """Move `tail` over the entries that follow it. Returns the bytes after the last one, when a write did not come to
    its end there, or None. gone: days that were purged, whose files a stopped purge may have left.

    Raises IntegrityError for what no kill and no power cut leaves behind.
    """
    for day in [day for day in days(folder) if day >= tail.day and day not in gone]:
        path = day_path(folder, day)
        if day != tail.day:
            tail.enter(day)
        size = path.stat().st_size
        for offset, line in forwards(path, size, tail.offset):
            try:
                entry = parsed(line)
                if (entry.seq, entry.prev) != (tail.seq, tail.prev):
                    raise NotAnEntry(f"it does not follow entry {tail.seq - 1}")
            except NotAnEntry as error:
                if b"\0" in line:  # blocks that a power cut kept from the disk read as zeros, which no entry holds
                    break
                raise IntegrityError(
                    f"The request log is damaged: {path.name} at byte {offset}.", received=str(error), remedy=REMEDY
                ) from error
            tail.follow(entry, len(line) + 1)
        if tail.offset < size:
            with path.open("rb") as file:
                file.seek(tail.offset)
                return file.read()
    return None


def save(tail: Tail, folder: Path) -> None:
    """Write where a writer may start to read on, so that opening a long log is quick. Nothing relies on it."""
    write_json(
        folder / "tree.json",
        {
            "day": tail.day,
            "offset": tail.offset,
            "prev": tail.prev,
            "at": tail.at,
            "size": tail.seq,
            "peaks": [peak.hex() for peak in tail.peaks.peaks],
        },
    )


def load(folder: Path, head: Head | None) -> Tail | None:
    """What `save` wrote, when a signed head vouches for it and the file it names is still there."""
    try:
        told = read_json(folder / "tree.json")
        peaks = Peaks(int(told["size"]), [bytes.fromhex(peak) for peak in told["peaks"]])
        tail = Tail(str(told["day"]), int(told["offset"]), str(told["prev"]), str(told["at"]), peaks)
        there = day_path(folder, tail.day).stat().st_size >= tail.offset
    except (OSError, ValueError, KeyError, TypeError):
        return None
    vouched = head is not None and (head.tree_size, head.root) == (tail.seq, tail.peaks.root().hex())
    return tail if vouched and there else None


def torn_name(tail: Tail, torn: bytes) -> str:
    """The file in `torn/` that keeps these bytes."""
    return f"{tail.day}-{tail.offset}-{of_bytes(torn)[:12]}.bin"
