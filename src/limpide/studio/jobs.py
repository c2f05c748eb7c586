"""Jobs: what takes long runs as a command in a process of its own, and everything about it is read from files.

`<project>/.limpide/studio/jobs/<id>/` holds `job.json` (what was asked), `process.json` (which process, and when it was
made, so that another program that was given the same number is never taken for it), `stdout` (the result), `stderr`
(one JSON event a line), `stop.json` (somebody asked to stop) and `ended.json` (exit code, written last). Nothing is
kept in memory that a studio started again could not read: closing the browser or killing the studio changes nothing.
"""

import json
import os
import re
import secrets
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import psutil

from limpide.core import files
from limpide.core.errors import MissingError, UsageError
from limpide.studio.session import private_folder

State = Literal["running", "done", "failed", "stopped", "killed"]
INTERRUPTED = 130  # the code of a command that was stopped
# -P: the folder of the project is not searched for modules; a `json.py` in it is data, and never runs.
COMMAND = (sys.executable, "-P", "-m", "limpide.cli.main")
GRACE_SECONDS = 20.0  # from the order to stop to the kill: a step may have to finish its file
STARTING_SECONDS = 15.0  # a job without a process is taken for one that is starting, this long
ID = re.compile(r"\d{8}-\d{6}-[a-z0-9-]{1,40}-[0-9a-f]{6}")
LENGTH_OF_TIME = len("20270303-101500")
KIND = re.compile(r"[a-z][a-z0-9-]{0,39}")


@dataclass(frozen=True)
class Job:
    """One command. argv: the words after `limpide`. started: seconds since 1970. folder: its files. who: who asked."""

    id: str
    kind: str
    folder: Path
    argv: tuple[str, ...]
    started: float
    who: str = ""


@dataclass
class _Tail:
    """What was read of a job's events so far: each line is parsed once, however many browsers look."""

    read: int = 0
    events: list[dict[str, Any]] = field(default_factory=list)


class Jobs:
    """The jobs of one project. home: where their commands run."""

    def __init__(self, root: Path, home: Path) -> None:
        self.root, self.home = root, home
        self._tails: dict[str, _Tail] = {}
        self._children: list[subprocess.Popen[bytes]] = []
        self._lock = threading.Lock()

    def start(
        self, kind: str, argv: Sequence[str], *, who: str = "", environment: Mapping[str, str] | None = None
    ) -> Job:
        """Start `limpide ARGV --json` in a process of its own and return at once.

        environment: variables added for this process; they are not written anywhere. Raises UsageError when the disk
        is full or may not be written.
        """
        if not KIND.fullmatch(kind):
            raise ValueError(f"a kind of job is one short word, not {kind!r}")
        now = time.time()
        stamp = time.strftime("%Y%m%d-%H%M%S", time.gmtime(now))
        folder = self.root / f"{stamp}-{kind}-{secrets.token_hex(3)}"
        argv = tuple(argv) if "--json" in argv else (*argv, "--json")
        job = Job(folder.name, kind, folder, argv, now, who)
        record = {name: value for name, value in asdict(job).items() if name not in ("id", "folder")}
        private_folder(self.root)  # results hold questions and answers
        files.write_json(folder / "job.json", {**record, "home": str(self.home), "command": [*COMMAND, *argv]})
        child = subprocess.Popen(
            [sys.executable, "-P", "-m", "limpide.studio.job_process", str(folder)],
            cwd=self.home,
            env={**os.environ, **(environment or {})},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,  # Ctrl-C in the studio's terminal is not for it
        )
        with self._lock:
            self._children = [c for c in self._children if c.poll() is None] + [child]
        with suppress(psutil.NoSuchProcess):
            record_process(folder, child.pid)
        return job

    def again(self, job: Job, *, who: str = "", environment: Mapping[str, str] | None = None) -> Job:
        """The same command as a new job. Commands keep their finished steps, so this goes on where it stopped."""
        return self.start(job.kind, job.argv, who=who or job.who, environment=environment)

    def all(self, kind: str | None = None) -> list[Job]:
        """Newest first."""
        found = [job for path in self._folders(kind) if (job := _read(path)) and kind in (None, job.kind)]
        return sorted(found, key=lambda job: (job.started, job.id), reverse=True)

    def last(self, kind: str) -> Job | None:
        found = self.all(kind)
        return found[0] if found else None

    def get(self, id: str) -> Job:
        """Raises MissingError; `id` may come from an address that anybody wrote."""
        job = _read(self.root / id) if ID.fullmatch(id) else None
        if job is None:
            raise MissingError("There is no such job in this project.", received=id[:80])
        return job

    def state(self, job: Job) -> State:
        code = self.code(job)
        if code is None:
            if _alive(job):
                return "running"
            return "stopped" if (job.folder / "stop.json").exists() else "killed"
        if code == 0:
            return "done"
        if code == INTERRUPTED or (job.folder / "stop.json").exists():
            return "stopped"
        return "killed" if code < 0 else "failed"

    def code(self, job: Job) -> int | None:
        """The exit code (core/errors.py), negative when a signal ended it; None while it runs or when it was killed."""
        ended = _json(job.folder / "ended.json")
        return int(ended["code"]) if isinstance(ended, dict) else None

    def ended(self, job: Job) -> float | None:
        """When it ended, in seconds since 1970."""
        ended = _json(job.folder / "ended.json")
        return float(ended["ended"]) if isinstance(ended, dict) else None

    def events(self, job: Job, since: int = 0) -> list[dict[str, Any]]:
        """Events from number `since` on: core/progress.py's `Events`; a line that is none is {"event": "text"}."""
        with self._lock:
            tail = self._tails.setdefault(job.id, _Tail())
            try:
                with (job.folder / "stderr").open("rb") as stream:
                    stream.seek(tail.read)
                    for line in stream:
                        if not line.endswith(b"\n"):
                            break
                        tail.read += len(line)
                        if event := _event(line):
                            tail.events.append(event)
            except FileNotFoundError:
                return []
            return tail.events[since:]

    def result(self, job: Job) -> Any:
        """What the command printed, parsed; None when it printed no JSON (yet)."""
        return _json(job.folder / "stdout")

    def error(self, job: Job) -> dict[str, Any] | None:
        """The record of the error that ended it: error, exit_code, what, received, expected, to_do, faults."""
        return next((event for event in reversed(self.events(job)) if event["event"] == "error"), None)

    def stop(self, job: Job, *, who: str = "", grace: float = GRACE_SECONDS) -> None:
        """Ask it to stop (as Ctrl-C does); after `grace` seconds it is killed. Returns at once."""
        if self.state(job) != "running":
            return
        files.write_json(job.folder / "stop.json", {"who": who, "asked": time.time()})
        if not _signal(job, signal.SIGINT):
            return
        timer = threading.Timer(grace, self._kill, (job,))
        timer.daemon = True
        timer.start()

    def forget(self, kinds: Sequence[str], before: float) -> None:
        """Remove the jobs of these kinds that began before a time (seconds since 1970) and do not run."""
        for job in self.all():
            if job.kind in kinds and job.started < before and self.state(job) != "running":
                shutil.rmtree(job.folder, ignore_errors=True)

    def _kill(self, job: Job) -> None:
        if self.state(job) == "running":
            _signal(job, signal.SIGKILL)

    def _folders(self, kind: str | None = None) -> list[Path]:
        """kind: told by the name, so that the files of other kinds are not read."""
        if not self.root.is_dir():
            return []
        found = [path for path in self.root.iterdir() if ID.fullmatch(path.name)]
        return [path for path in found if kind in (None, path.name[LENGTH_OF_TIME + 1 : -7])]


def record_process(folder: Path, pid: int) -> None:
    """Write which process runs the job. Both the one who starts it and the process itself do, in case one is killed."""
    files.write_json(folder / "process.json", {"pid": pid, "created": psutil.Process(pid).create_time()})


def _process(job: Job) -> psutil.Process | None:
    """The job's own process, or None: a number that the system gave to another program since is not it."""
    record = _json(job.folder / "process.json")
    if not isinstance(record, dict):
        return None
    with suppress(psutil.Error):
        process = psutil.Process(int(record["pid"]))
        if abs(process.create_time() - float(record["created"])) < 1 and process.status() != psutil.STATUS_ZOMBIE:
            return process
    return None


def _alive(job: Job) -> bool:
    if _process(job) is not None:
        return True
    starting = not (job.folder / "process.json").exists() and time.time() - job.started < STARTING_SECONDS
    return starting or (job.folder / "ended.json").exists()


def _signal(job: Job, number: signal.Signals) -> bool:
    """Whether the job's group was told. The process leads its own group (start_new_session)."""
    process = _process(job)
    if process is None:
        return False
    with suppress(ProcessLookupError):
        os.killpg(process.pid, number)
        return True
    return False


def _read(folder: Path) -> Job | None:
    record = _json(folder / "job.json")
    if not isinstance(record, dict):
        return None
    try:
        argv = tuple(str(word) for word in record["argv"])
        return Job(folder.name, str(record["kind"]), folder, argv, float(record["started"]), str(record["who"]))
    except (KeyError, TypeError, ValueError):
        return None


def _event(line: bytes) -> dict[str, Any] | None:
    text = line.decode("utf-8", "replace").strip()
    if not text:
        return None
    try:
        record = json.loads(text)
    except ValueError:
        record = None
    if not isinstance(record, dict):
        return {"event": "text", "text": text}
    if "exit_code" in record:
        return {**record, "event": "error"}
    return record if isinstance(record.get("event"), str) else {"event": "text", "text": text}


def _json(path: Path) -> Any:
    try:
        return files.read_json(path)
    except (OSError, ValueError):
        return None


def command_of(job: Job) -> str:
    """The command a person would type for the same."""
    return " ".join(["limpide", *(_quoted(word) for word in job.argv if word != "--json")])


def _quoted(word: str) -> str:
    return word if re.fullmatch(r"[\w./:=@%+,-]+", word) else "'" + word.replace("'", "'\\''") + "'"


def require_none_running(jobs: Jobs, kind: str) -> None:
    """Raise UsageError when a job of this kind runs already: two would write the same files."""
    running = [job for job in jobs.all(kind) if jobs.state(job) == "running"]
    if running:
        raise UsageError(
            "The same work is under way already.", received=running[0].id, remedy="wait for it, or stop it first"
        )
