"""A run as its events tell it: which step it is at, and how the losses went."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from limpide.studio.live import Live, Told

SAID_STEP = re.compile(r"\[(\d+)/(\d+)\] ([\w.-]+): ")
FIRST_NUMBER = re.compile(r"-?\d+(?:\.\d+)?(?:e-?\d+)?")
MOST_POINTS = 400  # of a curve that is drawn
State = Literal["kept", "done", "now", "todo", "halted"]


@dataclass
class Curve:
    """Losses of one training. train, held: (updates done, nats). held: where it was measured anew."""

    task: str
    train: list[tuple[float, float]] = field(default_factory=list)
    held: list[tuple[float, float]] = field(default_factory=list)
    held_said: Any = None

    def add(self, done: float, loss: float, held: Any) -> None:
        if self.train and done <= self.train[-1][0]:  # a run that goes on from a checkpoint tells some updates again
            self.train = [point for point in self.train if point[0] < done]
            self.held = [point for point in self.held if point[0] < done]
        self.train.append((done, loss))
        if held is not None and held != self.held_said:
            self.held_said = held
            found = FIRST_NUMBER.match(str(held))
            if found:
                self.held.append((done, float(found[0])))


@dataclass
class Followed:
    """A job of a run. planned: its steps and whether they were kept when it began. Feed each event once, in order."""

    planned: Sequence[tuple[str, bool]]
    live: Live = field(default_factory=Live)
    said: list[str] = field(default_factory=list)
    count: int = 0
    curves: dict[str, Curve] = field(default_factory=dict)
    task: str = ""

    def feed(self, events: Sequence[Mapping[str, Any]]) -> None:
        self.live.feed(events)
        for event in events:
            kind = event.get("event")
            if kind == "message" and (found := SAID_STEP.match(str(event.get("text", "")))):
                self.said.append(found[3])
                self.count = int(found[2])
                self.task = ""
            elif kind in ("start", "move"):
                self.task = str(event.get("task", ""))
                self._loss(event)

    def _loss(self, event: Mapping[str, Any]) -> None:
        loss, done = event.get("loss"), event.get("done")
        if isinstance(loss, int | float) and isinstance(done, int | float):
            step = self.said[-1] if self.said else ""
            curve = self.curves.setdefault(f"{step}/{self.task}", Curve(self.task))
            curve.add(float(done), float(loss), event.get("held_out"))

    @property
    def now(self) -> Told | None:
        """The piece of work that is under way."""
        task = self.live.tasks.get(self.task)
        return None if task is None or task.over else task

    def steps(self, state: str, code: int | None) -> list[tuple[str, State]]:
        """Each step and how it stands. state, code: of the job. After a gate that failed, all steps are done."""
        names = [name for name, _ in self.planned] or list(dict.fromkeys(self.said))
        kept = {name for name, was in self.planned if was}
        last = self.said[-1] if self.said else ""
        whole = state == "done" or code in (3, 4)
        reached = names.index(last) if last in names else -1
        found: list[tuple[str, State]] = []
        for place, name in enumerate(names):
            if name in kept and name not in self.said:
                found.append((name, "kept"))
            elif whole or place < reached:
                found.append((name, "done"))
            elif place == reached:
                found.append((name, "now" if state == "running" else "halted"))
            else:
                found.append((name, "todo"))
        return found

    def lines(self) -> list[tuple[bool, str]]:
        """What a person should read, without the names of the steps, which are shown apart."""
        return [(warns, text) for warns, text in self.live.lines if warns or not SAID_STEP.match(text)]


def thinned(points: Sequence[tuple[float, float]], most: int = MOST_POINTS) -> list[tuple[float, float]]:
    """At most so many points: means of neighbours, the last point as it is."""
    if len(points) <= most:
        return list(points)
    size = -(-len(points) // most)
    groups = [points[start : start + size] for start in range(0, len(points) - 1, size)]
    return [(group[-1][0], _mean(y for _, y in group)) for group in groups] + [points[-1]]


def _mean(values: Iterable[float]) -> float:
    kept = list(values)
    return sum(kept) / len(kept)
