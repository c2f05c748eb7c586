"""Is the log what was written? The chain, the days, the numbers, the tree and every signed head are held against it."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from limpide.core.errors import MissingError
from limpide.core.progress import Progress, Quiet, Task
from limpide.release.keys import PublicKey, load_public
from limpide.serve.request_log.entry import FIRST_PREV, Entry, NotAnEntry, parsed
from limpide.serve.request_log.heads import Head, NotSigned, Purged, parse_head, parse_purged, signed_lines
from limpide.serve.request_log.places import day_path, ends_in_half, forwards, heads_path, require_log, sizes
from limpide.serve.request_log.purged import purged_path
from limpide.serve.request_log.tail import after

LIMIT = (
    "Whoever holds the key and the disk can rewrite everything since the last head that is held elsewhere: "
    "keep heads (--heads) and the public key on another disk."
)
HEADS = "heads.jsonl"
STEP = 1000  # entries between two moves of the progress bar


@dataclass(frozen=True)
class Damage:
    """The first thing that is not as it was written. file: its name. line: from 1; seq: number of the entry; None where
    no single one is to blame."""

    what: str
    file: str
    line: int | None = None
    seq: int | None = None

    def __str__(self) -> str:
        return f"{self.file}{'' if self.line is None else f':{self.line}'}: {self.what}"


@dataclass(frozen=True)
class Verdict:
    """log: id of the log. first, end: entries [first, end) were read and hold. covered: entries the last head that was
    met and holds counts. heads: how many hold; those of days that were purged are not met. key_id: fingerprint.
    before: `prev` of entry `first`."""

    log: str = ""
    first: int = 0
    end: int = 0
    days: tuple[str, ...] = ()
    heads: int = 0
    covered: int = 0
    covered_at: str = ""
    key_id: str = ""
    before: str = FIRST_PREV
    damage: Damage | None = None
    notes: tuple[str, ...] = ()

    @property
    def intact(self) -> bool:
        return self.damage is None


class _Found(Exception):
    """Verifying ends at the first damage."""

    def __init__(self, what: str, file: str, line: int | None = None, seq: int | None = None) -> None:
        super().__init__(what)
        self.damage = Damage(what, file, line, seq)


def verify(
    folder: Path,
    public_key: Path,
    heads: Path,
    *,
    elsewhere: Sequence[Path] = (),
    progress: Progress | None = None,
) -> Verdict:
    """Hold the log in `folder` against itself and against the signed heads in `heads`.

    elsewhere: files of heads (JSON lines) that were kept apart. Never writes; what is added meanwhile is not looked at.
    Raises MissingError where there is no log, and what `load_public` raises; damage is in the verdict.
    """
    require_log(folder)
    for path in elsewhere:
        if not path.is_file():
            raise MissingError(f"There is no file of heads at {path}.", remedy="give the copy that was kept elsewhere")
    public = load_public(public_key)
    check = _Check(folder, public)
    try:
        check.signed(heads_path(heads), elsewhere)  # before the entries: a head signed meanwhile counts more of them
        files = sizes(folder)
        check.entries(files, progress or Quiet())
        check.end(files)
    except _Found as found:
        return replace(check.verdict(), damage=found.damage)
    return check.verdict()


class _Check:
    """What is known so far: the end of the chain, and the heads still to be met, by size."""

    def __init__(self, folder: Path, public: PublicKey) -> None:
        self.folder, self.public = folder, public
        self.log, self.first, self.tail = "", 0, after(())
        self.purged: list[Purged] = []
        self.heads: dict[int, list[Head]] = {}
        self.met: list[Head] = []
        self.days: list[str] = []
        self.notes: list[str] = []
        self.line, self.half = 0, False  # the last line that was looked at; does the log end in half a line
        self.unvouched: tuple[str, int] | None = (
            None  # file and line of the first entry after the last head that was met
        )

    def verdict(self) -> Verdict:
        last = max(self.met, key=lambda head: head.tree_size, default=None)
        return Verdict(
            log=self.log,
            first=self.first,
            end=self.tail.seq,
            days=tuple(self.days),
            heads=len(self.met),
            covered=last.tree_size if last else 0,
            covered_at=last.at if last else "",
            key_id=self.public.fingerprint,
            before=after(self.purged).prev,
            notes=tuple(self.notes),
        )

    def signed(self, heads: Path, elsewhere: Sequence[Path]) -> None:
        """The signed records: the days that were purged, and the heads."""
        for number, record in signed_lines(purged_path(self.folder), parse_purged, self.public):
            name = purged_path(self.folder).name
            if isinstance(record, NotSigned):
                raise _Found(f"this record of a purged day does not hold: {record}", name, number)
            if record.first != (self.purged[-1].end if self.purged else 0):
                raise _Found("the record of the purged day before this one is missing", name, number)
            self.purged.append(record)
        if self.purged:
            self.tail, self.log = after(self.purged), self.purged[0].log
            self.first = self.tail.seq
        for path in (heads, *elsewhere):
            for number, head in signed_lines(path, parse_head, self.public):
                if isinstance(head, NotSigned):
                    raise _Found(f"this head does not hold: {head}", path.name, number)
                self.heads.setdefault(head.tree_size, []).append(head)
            if ends_in_half(path):
                self.notes.append(f"{path.name} does not end in a whole line: a write was stopped, or it was changed")
        self._meet()

    def entries(self, files: dict[str, int], progress: Progress) -> None:
        """Every line of every day, in order."""
        gone = {day.day for day in self.purged}
        with progress.task("verify the log", total=sum(files.values())) as task:
            for day, size in files.items():
                if day in gone:
                    self.notes.append(f"{day}.jsonl was purged and is still there: limpide log purge removes it")
                else:
                    self._day(day, size, task)
                    self._half_line(day, size, last=day == max(files))

    def _day(self, day: str, size: int, task: Task) -> None:
        path = day_path(self.folder, day)
        self.tail.enter(day)
        self.days.append(day)
        self.line = told = 0
        for self.line, (offset, line) in enumerate(forwards(path, size), 1):
            try:
                entry = parsed(line)
            except NotAnEntry as error:
                raise self._found(f"this line was changed: {error}") from error
            if (entry.seq, entry.prev) != (self.tail.seq, self.tail.prev):
                raise self._found(self._why_not_next(entry, day, size))
            self._fits(entry, day)
            if self.unvouched is None:
                self.unvouched = (path.name, self.line)
            self.tail.follow(entry, len(line) + 1)
            if entry.seq + 1 in self.heads:
                self._meet()
            if self.line % STEP == 0:
                task.advance(offset - told)
                told = offset
        task.advance(size - told)

    def _fits(self, entry: Entry, day: str) -> None:
        """That the entry is in the file of its day, and the first one names this log and this key."""
        if entry.at[:10] > day or (self.line == 1 and entry.at[:10] != day):
            raise self._found(f"this entry, of {entry.at[:10]}, is not in the file of its day: a file was renamed")
        if entry.seq == 0:
            if entry.event != "log.start" or entry.facts.get("key_id") != self.public.fingerprint:
                raise self._found(f"the log was begun with another key: {entry.facts.get('key_id')}")
            self.log = str(entry.facts.get("log"))

    def _why_not_next(self, entry: Entry, day: str, size: int) -> str:
        """What was done, of an entry that holds in itself and does not follow the one before."""
        next_ = self.tail.seq
        if entry.seq == next_:
            return (
                f"the chain breaks: entry {next_ - 1}, or this one, was changed and hashed again"
                if next_
                else "the chain breaks: this is not how the log began"
            )
        if entry.seq < next_:
            return f"entry {entry.seq} stands here after entry {next_ - 1}: a line was inserted or moved"
        missing = f"entry {next_} is" if entry.seq == next_ + 1 else f"entries {next_} to {entry.seq - 1} are"
        if self.line == 1:
            before = f"between {self.days[-2]} and {day}" if len(self.days) > 1 else f"before {day}"
            return f"{missing} missing {before}: files of whole days were removed, or the end of one was cut"
        for _, line in forwards(day_path(self.folder, day), size, self.tail.offset):
            try:
                if parsed(line).seq == next_:
                    return f"entry {entry.seq} stands before entry {next_}: lines were put in another order"
            except NotAnEntry:
                continue
        return f"{missing} missing before this line: lines were removed"

    def _half_line(self, day: str, size: int, last: bool) -> None:
        rest = size - self.tail.offset
        if rest and not last:
            self.line += 1
            raise self._found("this line does not end, and a later day was begun: it was cut or changed")
        if rest:
            self.line, self.half = self.line + 1, True
            self.notes.append(
                f"{day}.jsonl ends in {rest} bytes of a line that was not written whole: the next start of the service "
                "sets them aside"
            )

    def _meet(self) -> None:
        """Hold the heads of the present size against the tree."""
        for head in self.heads.get(self.tail.seq, ()):
            if head.log != self.log:
                continue
            if head.root != self.tail.peaks.root().hex():
                file, line = self.unvouched or (purged_path(self.folder).name, len(self.purged))
                since = max((met.tree_size for met in self.met), default=self.first)
                raise _Found(
                    f"the head signed on {head.at} counts {head.tree_size} entries and disagrees: from this line on, "
                    f"entries {since} to {head.tree_size - 1}, something was changed and all hashed again",
                    file,
                    line,
                    since,
                )
            self.met.append(head)
            self.unvouched = None

    def end(self, files: dict[str, int]) -> None:
        """What only a head can tell: that nothing is missing at the end."""
        own = [head for heads in self.heads.values() for head in heads if head.log == self.log or not self.log]
        others = sum(map(len, self.heads.values())) - len(own)
        if others:
            self.notes.append(f"{others} heads are of another log, and say nothing about this one")
        name = f"{max(files)}.jsonl" if files else purged_path(self.folder).name
        if not own and self.tail.seq:
            raise _Found("no signed head of this log is there: they were removed, or lie elsewhere (--heads)", HEADS)
        last = max(own, key=lambda head: head.tree_size, default=None)
        if last is not None and last.tree_size > self.tail.seq:
            how = "the last line was changed or cut" if self.half else "the end was cut"
            raise _Found(
                f"{how}: the head signed on {last.at} counts {last.tree_size} entries, and the log ends after "
                f"{self.tail.seq}; what is missing may be lines of this file or whole days after it",
                name,
                self.line or None,
                self.tail.seq,
            )

    def _found(self, what: str) -> _Found:
        """Damage at the line that is being looked at."""
        return _Found(what, day_path(self.folder, self.days[-1]).name, self.line, self.tail.seq)
