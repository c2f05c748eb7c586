"""Appending to the log, from several threads and several processes."""

import fcntl
import os
import secrets
import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import Any, NoReturn, Self

from limpide.core.errors import IntegrityError, LimpideError, MissingError, UsageError
from limpide.core.files import clear_write_errors, write_bytes
from limpide.release.keys import load_private, new_keys, public_of
from limpide.serve.request_log.entry import Entry, fit, sealed, seconds, stamp
from limpide.serve.request_log.heads import Head, Purged, add_line, last_head, signed
from limpide.serve.request_log.merkle import Peaks
from limpide.serve.request_log.places import Places, day_path, heads_path, remember_heads, sync_folder
from limpide.serve.request_log.purged import log_id, purged_days
from limpide.serve.request_log.tail import REMEDY, after, load, read_on, save, torn_name
from limpide.serve.request_log.texts import commitments, key_line, keys_path

SYNC_EVERY = 1.0  # seconds between two waits for the disk
BACK = 1.0  # seconds the clock may go back, as time servers make it, before the log says so
FORWARD = 120.0  # seconds the clock may gain on the one that counts from the start of the machine


def since_boot() -> float:
    """Seconds since the machine started, sleep included where the system counts it."""
    return time.clock_gettime(time.CLOCK_BOOTTIME) if hasattr(time, "CLOCK_BOOTTIME") else time.monotonic()


class CannotLog(UsageError):
    """An entry could not be written. What it would have told must not happen: the request is refused."""


class RequestLog:
    """The log of a service, open for appending.

    Any number of threads share one RequestLog; every process opens its own, after it was forked. A lock on `log/lock`,
    held for about 0.1 ms, lets one process append at a time; each first reads what the others have added.

    What `append` gave back is in the hands of the system: it survives the end of the process, kill -9 included. A power
    cut or a crash of the system may take the entries of the last second or so (a thread waits for the disk every
    SYNC_EVERY, and so does `close`), never one before, and never one that a signed head counts. A full disk makes
    `append` raise CannotLog; the half line is cut off again. Where a kill came in the middle of a write, whoever comes
    next sets the half line aside in `log/torn/`, and an entry `recovered` says so: its `append` had not returned.
    """

    def __init__(
        self,
        places: Places,
        *,
        every: int = 1000,
        minutes: float = 5.0,
        clock: Callable[[], float] = time.time,
        steady: Callable[[], float] = since_boot,
    ) -> None:
        """every, minutes: entries and time after which a head is signed. clock: seconds since 1970. steady: seconds
        that no change of the date touches.

        Begins the log and makes its key where there is none. Raises IntegrityError for a log that is damaged or shorter
        than a signed head says; CannotLog where it cannot be written; what `load_private` raises.
        """
        self.places, self.every, self.minutes = places, every, minutes
        self.trouble: str | None = None  # why the last head could not be written, until one is
        self._clock, self._steady = clock, steady
        self._last: tuple[float, float] | None = None  # both clocks at this process's last entry
        self._thread, self._depth = threading.RLock(), 0
        self._files: dict[str, tuple[str, int]] = {}  # "day", "keys" → the day, and the open file
        self._unsynced = False
        self._lost: str | None = None  # why the disk did not keep what it was given
        with clear_write_errors(places.folder / "lock"):
            places.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._lock_file = os.open(places.folder / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            with self.alone():
                self._open()
                self._head_if_new()  # before another process opens a log without a head
                remember_heads(places)
        except BaseException:
            self._release()
            raise
        self._ended = threading.Event()
        self._keeper = threading.Thread(target=self._keep, name="request log", daemon=True)
        self._keeper.start()

    def append(self, event: str, *, texts: Mapping[str, str] | None = None, **facts: Any) -> Entry:
        """Add an entry: what happened, facts about it (JSON values), and texts, of which only commitments are kept.

        Raises CannotLog, and then nothing was added.
        """
        with self.alone():
            self._catch_up()
            now = self._clock()
            at = stamp(now)
            self._note_jump(now, at)
            return self._write(event, facts, texts, at)

    def head(self) -> Head:
        """Sign a head of all entries there are, once the disk has them. Raises CannotLog."""
        with self.alone():
            self._catch_up()
            tail = replace(self._tail, peaks=Peaks(self._tail.seq, list(self._tail.peaks.peaks)))
            self._unsynced = True  # what other processes added counts too
        self._sync()
        at = stamp(self._clock())
        head = signed(Head(tail.seq, tail.peaks.root().hex(), at, self._log, self._public.fingerprint), self._key)
        try:
            add_line(heads_path(self.places.heads), head.record())
            save(tail, self.places.folder)
        except (OSError, LimpideError) as error:
            self._cannot_sign(error)
        self.trouble = None
        self._headed = (tail.seq, self._steady())
        return head

    def sign(self, record: Purged) -> Purged:
        """The record, which names `log` and `key_id`, signed."""
        return signed(record, self._key)

    @property
    def names(self) -> tuple[str, str]:
        """The id of the log, and the fingerprint of its key."""
        return self._log, self._public.fingerprint

    @contextmanager
    def alone(self) -> Iterator[None]:
        """No other thread or process appends meanwhile; this thread may."""
        with self._thread:
            if not self._depth:
                fcntl.flock(self._lock_file, fcntl.LOCK_EX)
            self._depth += 1
            try:
                yield
            finally:
                self._depth -= 1
                if not self._depth:
                    fcntl.flock(self._lock_file, fcntl.LOCK_UN)

    def close(self) -> None:
        """Sign a last head, wait for the disk, let go of the files. A head that cannot be written stops nothing."""
        if self._ended.is_set():
            return
        self._ended.set()
        self._keeper.join()
        with suppress(LimpideError):
            self._sync()
            self._head_if_new()
        self._release()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _head_if_new(self) -> None:
        if self._tail.seq > self._headed[0]:
            self.head()

    def _open(self) -> None:
        folder, key = self.places.folder, self.places.key
        begun = log_id(folder)
        if not key.exists():
            if begun is not None:
                raise MissingError(
                    f"The request log in {folder} has lost its key: {key} is not there.",
                    remedy="restore the key; or move the folder of the log aside, and a new log begins",
                )
            new_keys(key, self.places.public)
        self._key = load_private(key)
        self._public = public_of(self._key, str(key))
        self._log = begun or secrets.token_hex(16)
        head = last_head(self.places.heads, self._public, self._log)
        purged = purged_days(folder, self._public)
        self._tail = load(folder, head) or after(purged)
        self._headed = (head.tree_size if head else 0, self._steady())
        self._read_on({day.day for day in purged})
        if head is not None and head.tree_size > self._tail.seq:
            raise IntegrityError(
                f"The request log in {folder} was cut: it ends after {self._tail.seq} entries.",
                expected=f"at least {head.tree_size}, which the head signed on {head.at} counts",
                remedy=REMEDY,
            )
        if not self._tail.seq:
            self._begin()
        elif head is None and begun is not None and self._tail.seq > 1:
            about = {"what": "no earlier signed head was found", "heads": str(self.places.heads)}
            self._write("error", about, None, stamp(self._clock()))

    def _begin(self) -> None:
        about = {"log": self._log, "key_id": self._public.fingerprint}
        self._write("log.start", about, None, stamp(self._clock()))

    def _catch_up(self) -> None:
        """Read what other processes added since, and mend what one left half written."""
        if self._lost is not None:
            raise _lost(self._lost)
        day, file = self._files["day"]
        with _clear():
            told = os.fstat(file)
            current = os.pread(self._lock_file, 10, 0)
        if told.st_nlink == 0 or told.st_size < self._tail.offset:
            raise CannotLog(
                f"The request log was changed while it was written to: {day}.jsonl was removed or cut.", remedy=REMEDY
            )
        if told.st_size != self._tail.offset or current != day.encode():
            try:
                with _clear():
                    self._read_on()
            except IntegrityError as error:
                raise CannotLog(error.what, received=error.received, remedy=error.remedy) from error

    def _read_on(self, gone: Collection[str] = ()) -> None:
        torn = read_on(self._tail, self.places.folder, gone)
        if self._tail.day:
            self._use(self._tail.day)
        if torn is None:
            return
        name = torn_name(self._tail, torn)
        aside = self.places.folder / "torn" / name
        offset = self._tail.offset
        with _clear():
            aside.parent.mkdir(exist_ok=True, mode=0o700)
            write_bytes(aside, torn)
            aside.chmod(0o600)
            os.ftruncate(self._files["day"][1], offset)
        if not self._tail.seq:
            self._begin()
        facts = {"file": f"{self._tail.day}.jsonl", "offset": offset, "bytes": len(torn), "kept": f"torn/{name}"}
        self._write("recovered", facts, None, stamp(self._clock()))

    def _note_jump(self, now: float, at: str) -> None:
        before, steady = self._tail.at, self._steady()
        back = seconds(before) - now if at < before else 0.0
        gained = 0.0 if self._last is None else (now - self._last[0]) - (steady - self._last[1])
        self._last = (now, steady)
        if back > BACK or gained > FORWARD:
            self._write("clock.jump", {"seconds": round(-back or gained, 3), "before": before}, None, at)

    def _write(self, event: str, facts: Mapping[str, Any], texts: Mapping[str, str] | None, at: str) -> Entry:
        tail, given = self._tail, fit(facts)
        with _clear():
            day = max(at[:10], tail.day)  # a clock that went back does not bring an earlier day back
            if day != tail.day:
                self._use(day)
                tail.enter(day)
            committed: dict[str, str] = {}
            if texts:
                key = secrets.token_bytes(32)
                committed = commitments(texts, key)
                _write_all(self._file("keys", day), key_line(tail.seq, key))
            entry = Entry(tail.seq, at, event, given, committed, tail.prev, "")
            line, digest = sealed(entry)
            file = self._files["day"][1]
            try:
                _write_all(file, line)
            except BaseException:
                with suppress(OSError):  # where even that fails, the next append finds the half line and sets it aside
                    os.ftruncate(file, tail.offset)
                raise
        self._unsynced = True
        entry = replace(entry, hash=digest)
        tail.follow(entry, len(line))
        return entry

    def _use(self, day: str) -> None:
        """Append to the file of `day` from now on, and let other processes know."""
        if self._files.get("day", ("",))[0] != day:
            if "day" in self._files:
                os.fsync(self._files["day"][1])
            self._file("day", day)
        if os.pread(self._lock_file, 10, 0) != day.encode():
            os.pwrite(self._lock_file, day.encode(), 0)

    def _file(self, what: str, day: str) -> int:
        """The open file of the entries ("day") or of the keys ("keys") of a day."""
        open_day, file = self._files.get(what, ("", -1))
        if open_day == day:
            return file
        folder = self.places.folder
        path = day_path(folder, day) if what == "day" else keys_path(folder, day)
        path.parent.mkdir(exist_ok=True, mode=0o700)
        new = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
        sync_folder(path.parent)
        if file >= 0:
            os.close(file)
        self._files[what] = (day, new)
        return new

    def _sync(self) -> None:
        """Wait until the disk has what was written; others append meanwhile."""
        with self._thread:
            if not self._unsynced:
                return
            self._unsynced = False
            copies = [os.dup(file) for _, file in reversed(self._files.values())]
        try:
            for copy in copies:
                os.fsync(copy)
        except OSError as error:
            self._lost = str(error)  # the system forgets what it could not write: a later wait would not tell
            raise CannotLog("The disk did not keep the request log.", received=error) from error
        finally:
            for copy in copies:
                os.close(copy)

    def _keep(self) -> None:
        """What the thread of the log does: wait for the disk, and sign a head when one is due."""
        while not self._ended.wait(SYNC_EVERY):
            with suppress(LimpideError, OSError):  # told by `trouble`, by an entry, and by the next append
                self._sync()
                size, since = self._headed
                new = self._tail.seq - size
                if new >= self.every or (new and self._steady() - since >= self.minutes * 60):
                    self.head()

    def _cannot_sign(self, error: Exception) -> NoReturn:
        told, self.trouble = self.trouble, str(error)
        if told is None:
            with suppress(CannotLog):
                self.append("error", what="a signed head could not be written", received=str(error))
        raise CannotLog(
            f"No signed head can be written in {self.places.heads}.",
            received=error,
            remedy="free some space there, or give another folder: --heads FOLDER",
        ) from error

    def _release(self) -> None:
        for _, file in self._files.values():
            os.close(file)
        self._files = {}
        os.close(self._lock_file)


def _lost(why: str) -> CannotLog:
    return CannotLog(
        "The request log is not written to any more: the disk lost a part of it.",
        received=why,
        remedy="mend the disk, then start the service again",
    )


@contextmanager
def _clear() -> Iterator[None]:
    """What the system says when it cannot write, as CannotLog."""
    try:
        yield
    except OSError as error:
        raise CannotLog(
            "The request log cannot be written, so nothing is answered.",
            received=error.strerror or error,
            remedy="free some space on its disk, or mend the disk: as soon as it is written, requests are answered",
        ) from error


def _write_all(file: int, data: bytes) -> None:
    while data:
        data = data[os.write(file, data) :]
