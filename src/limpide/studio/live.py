"""What a job's events say, put together: its tasks with their place and time left, and what a person should read."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

KEPT = 200  # messages of one job that are held; older ones stay in its file


@dataclass
class Told:
    """One piece of work of a job. left: seconds, None when nobody can tell. facts: what was shown beside (loss=…)."""

    what: str
    total: float | None
    done: float
    left: float | None = None
    seconds: float | None = None
    facts: dict[str, Any] = field(default_factory=dict)

    @property
    def share(self) -> float | None:
        """From 0 to 1, or None when the length is unknown."""
        if self.seconds is not None:
            return 1.0
        return min(1.0, self.done / self.total) if self.total else None

    @property
    def over(self) -> bool:
        return self.seconds is not None


@dataclass
class Live:
    """A job as its events tell it. lines: (is it a warning, text), oldest first. Feed each event once, in order."""

    tasks: dict[str, Told] = field(default_factory=dict)
    lines: list[tuple[bool, str]] = field(default_factory=list)
    read: int = 0

    def feed(self, events: Iterable[Mapping[str, Any]]) -> None:
        for event in events:
            self.read += 1
            kind, what = event.get("event"), str(event.get("task", ""))
            if kind in ("message", "warning"):
                self.lines = [*self.lines[-KEPT:], (kind == "warning", str(event.get("text", "")))]
            elif kind == "start":
                self.tasks.pop(what, None)  # one that is done twice is shown where it is now
                self.tasks[what] = Told(what, event.get("total"), float(event.get("done") or 0))
            elif kind == "move" and what in self.tasks:
                task = self.tasks[what]
                task.done, task.left = float(event.get("done") or 0), event.get("seconds_left")
                task.facts |= {k: v for k, v in event.items() if k not in FIXED}
            elif kind == "end" and what in self.tasks:
                self.tasks[what].seconds = float(event.get("seconds") or 0)


FIXED = ("event", "task", "done", "total", "seconds_left")
