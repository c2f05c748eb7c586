"""Served files as they were when they were verified: a change is found by `stat`, and lifted by a new verification."""

import os
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

from limpide.core.errors import LimpideError

Stamp = tuple[int, int, int, int]  # bytes, nanoseconds of the last change (of the bytes; of anything), inode
ABSENT: Stamp = (0, 0, 0, 0)


def stamps(paths: Iterable[Path]) -> dict[Path, Stamp]:
    """What `stat` says of each file; a file that is not there has no stamp."""
    found = {}
    for path in paths:
        try:
            seen = os.stat(path)
        except OSError:
            continue
        found[path] = (seen.st_size, seen.st_mtime_ns, seen.st_ctime_ns, seen.st_ino)
    return found


@dataclass
class Seal:
    """verify: reads every byte again, and raises LimpideError when they are not what was loaded. seen: the stamps
    taken before the last verification that held. broken: what changed since, None while all is as it was."""

    verify: Callable[[], None]
    seen: dict[Path, Stamp]
    broken: str | None = None
    _turn: threading.Lock = field(default_factory=threading.Lock)

    def look(self) -> bool:
        """Whether a file was just found changed, by one `stat` each. A seal once broken stays so."""
        with self._turn:
            if self.broken is not None:
                return False
            now = stamps(self.seen)
            self.broken = next((path.name for path, stamp in self.seen.items() if now.get(path) != stamp), None)
            return self.broken is not None

    def renew(self) -> None:
        """Verify every byte; the seal holds again afterwards. Raises what `verify` raises, and stays broken then."""
        with self._turn:
            fresh = stamps(self.seen)
            try:
                self.verify()
            except LimpideError as error:
                self.broken = error.faults[0].file if error.faults else error.what
                raise
            self.seen, self.broken = {path: fresh.get(path, ABSENT) for path in self.seen}, None
