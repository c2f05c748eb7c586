"""Request logs made for tests: a clock that is set by hand, a log of several days, and ways to harm one."""

import json
import os
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path

from limpide.serve.request_log.entry import parsed, sealed
from limpide.serve.request_log.places import Places, day_path, days, places
from limpide.serve.request_log.verify import Verdict, verify
from limpide.serve.request_log.writer import RequestLog

NOON = 1_795_435_200.0  # 2026-11-23T12:00:00Z
DAY = 86_400.0


@dataclass
class Clock:
    """Both clocks of a machine: `now` is its date, `steady` the seconds since it started."""

    now: float = NOON
    steady: float = 0.0

    def pass_(self, seconds: float) -> None:
        self.now += seconds
        self.steady += seconds

    def open(self, state: Path, heads: Path | None = None) -> RequestLog:
        return RequestLog(places(state, heads), clock=lambda: self.now, steady=lambda: self.steady)


def written(state: Path, days: int = 3, each: int = 12) -> Places:
    """A log of `days` days with `each` entries a day, the first one but one fewer, and a head in the middle and at the
    end of each day."""
    clock = Clock()
    with clock.open(state) as log:
        for day in range(days):
            for number in range(each - (day == 0)):
                clock.pass_(1)
                log.append("answer", texts={"prompt": f"question {number}", "output": "an answer"}, key="k1", n=number)
                if number == each // 2:
                    log.head()
            log.head()
            clock.pass_(DAY)
    return log.places


def verdict(where: Places, *elsewhere: Path) -> Verdict:
    return verify(where.folder, where.public, where.heads, elsewhere=elsewhere)


def lines_of(where: Places, day: int) -> list[bytes]:
    """The lines of the nth day, without newlines."""
    return path_of(where, day).read_bytes().split(b"\n")[:-1]


def put(where: Places, day: int, lines: list[bytes]) -> None:
    path_of(where, day).write_bytes(b"".join(line + b"\n" for line in lines))


def path_of(where: Places, day: int) -> Path:
    return day_path(where.folder, days(where.folder)[day])


def changed(line: bytes, **facts: object) -> bytes:
    """The line with other facts, and a hash that holds."""
    entry = parsed(line)
    return sealed(replace(entry, facts={**entry.facts, **facts}))[0][:-1]


def chained_again(lines: list[bytes], prev: str) -> list[bytes]:
    """The lines, each following the one before."""
    made = []
    for line in lines:
        sealed_line, prev = sealed(replace(parsed(line), prev=prev))
        made.append(sealed_line[:-1])
    return made


def in_process(script: str, *arguments: object) -> list[str]:
    """What a script prints, line by line, in a Python of its own that can be forked, limited and killed."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    done = subprocess.run(
        [sys.executable, "-c", script, *map(str, arguments)],
        capture_output=True,
        text=True,
        env=environment,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def told(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
