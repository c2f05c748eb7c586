"""Progress, three ways: bars with time left on a terminal, plain lines elsewhere, JSON events for programs.

All of it goes to standard error: standard output carries results only.
"""

import json
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal, Protocol, TextIO

from limpide.core.visible import visible

Mode = Literal["auto", "rich", "plain", "json", "none"]
PLAIN_EVERY = 10.0  # seconds between two plain lines of one task
EVENTS_EVERY = 0.2  # seconds between two events of a move that tells nothing but its place


class Task(Protocol):
    """A piece of work that moves forward."""

    def advance(self, by: float = 1, **facts: Any) -> None:
        """`by` units are done; `facts` (loss=2.1) are shown beside."""


class Progress(Protocol):
    def task(self, what: str, total: float | None = None, done: float = 0) -> Any:
        """Context manager that gives a Task."""

    def say(self, text: str) -> None:
        """One line a person should read now."""

    def warn(self, text: str) -> None:
        """One line a person should not miss."""


class _Moved:
    """A task that calls back on each move."""

    def __init__(self, what: str, total: float | None, done: float) -> None:
        self.what, self.total, self.done = what, total, done
        self.started = self.shown = time.monotonic()
        self.done_at_start = done

    def left(self) -> float | None:
        """Seconds left at the pace so far, or None when it cannot be told."""
        moved = self.done - self.done_at_start
        if self.total is None or moved <= 0:
            return None
        return (time.monotonic() - self.started) / moved * (self.total - self.done)


class Quiet:
    """Says nothing: for tests and library use."""

    @contextmanager
    def task(self, what: str, total: float | None = None, done: float = 0) -> Iterator["Quiet"]:
        yield self

    def advance(self, by: float = 1, **facts: Any) -> None:
        pass

    def say(self, text: str) -> None:
        pass

    def warn(self, text: str) -> None:
        pass


class Plain:
    """Plain lines: when a task starts, every few seconds, and when it ends."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self.stream = stream or sys.stderr

    def say(self, text: str) -> None:
        print(visible(text), file=self.stream, flush=True)

    def warn(self, text: str) -> None:
        self.say(f"warning: {text}")

    @contextmanager
    def task(self, what: str, total: float | None = None, done: float = 0) -> Iterator["PlainTask"]:
        task = PlainTask(self, what, total, done)
        self.say(f"{what} …")
        yield task
        self.say(f"{what}: done in {time.monotonic() - task.started:.1f} s")


class PlainTask(_Moved):
    def __init__(self, owner: Plain, what: str, total: float | None, done: float) -> None:
        super().__init__(what, total, done)
        self.owner = owner

    def advance(self, by: float = 1, **facts: Any) -> None:
        self.done += by
        now = time.monotonic()
        if now - self.shown < PLAIN_EVERY:
            return
        self.shown = now
        of = f"/{self.total:g}" if self.total is not None else ""
        left = self.left()
        extra = "".join(f", {k} {_short(v)}" for k, v in facts.items())
        self.owner.say(
            f"  {self.what}: {self.done:g}{of}{extra}" + (f", {left:.0f} s left" if left is not None else "")
        )


class Events:
    """One JSON object a line."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self.stream = stream or sys.stderr

    def emit(self, event: str, **facts: Any) -> None:
        print(json.dumps({"event": event, **facts}, ensure_ascii=False), file=self.stream, flush=True)

    def say(self, text: str) -> None:
        self.emit("message", text=text)

    def warn(self, text: str) -> None:
        self.emit("warning", text=text)

    @contextmanager
    def task(self, what: str, total: float | None = None, done: float = 0) -> Iterator["EventTask"]:
        task = EventTask(self, what, total, done)
        self.emit("start", task=what, total=total, done=done)
        yield task
        self.emit("end", task=what, seconds=round(time.monotonic() - task.started, 3))


class EventTask(_Moved):
    def __init__(self, owner: Events, what: str, total: float | None, done: float) -> None:
        super().__init__(what, total, done)
        self.owner = owner

    def advance(self, by: float = 1, **facts: Any) -> None:
        self.done += by
        now = time.monotonic()
        if not facts and self.done != self.total and now - self.shown < EVENTS_EVERY:
            return
        self.shown = now
        left = self.left()
        left = None if left is None else round(left, 1)
        self.owner.emit("move", task=self.what, done=self.done, total=self.total, seconds_left=left, **facts)


class Bars:
    """Rich bars with time left."""

    def __init__(self) -> None:
        from rich.console import Console

        self.console = Console(stderr=True, highlight=False)

    def say(self, text: str) -> None:
        self.console.print(visible(text), markup=False)

    def warn(self, text: str) -> None:
        self.console.print(f"warning: {visible(text)}", style="yellow", markup=False)

    @contextmanager
    def task(self, what: str, total: float | None = None, done: float = 0) -> Iterator["BarTask"]:
        from rich import progress as bars

        columns = (
            bars.TextColumn("{task.description}", markup=False),
            bars.BarColumn(bar_width=30),
            bars.MofNCompleteColumn(),
            bars.TextColumn("{task.fields[facts]}", markup=False),
            bars.TimeRemainingColumn(),
            bars.TimeElapsedColumn(),
        )
        with bars.Progress(*columns, console=self.console) as shown:
            row = shown.add_task(what, total=total, completed=int(done), facts="")
            yield BarTask(shown, row)


class BarTask:
    def __init__(self, shown: Any, row: Any) -> None:
        self.shown, self.row = shown, row

    def advance(self, by: float = 1, **facts: Any) -> None:
        text = " ".join(f"{k} {_short(v)}" for k, v in facts.items())
        self.shown.update(self.row, advance=by, **({"facts": text} if text else {}))


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def progress_for(mode: Mode = "auto") -> Progress:
    """The way to show progress that fits where standard error goes."""
    if mode == "auto":
        mode = "rich" if sys.stderr.isatty() else "plain"
    made: dict[str, type[Any]] = {"rich": Bars, "plain": Plain, "json": Events, "none": Quiet}
    progress: Progress = made[mode]()
    return progress
