"""Answers that an endpoint gave, kept as soon as they come: a killed audit asks, and pays, only for the rest."""

import json
import os
import threading
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from limpide.core import digests, files
from limpide.models.cache import cache_folder

KEPT = timedelta(days=7)  # then the model behind a name may be another one: it is asked again


@dataclass(frozen=True)
class Reply:
    """One answer of an endpoint. model, fingerprint, tokens: as the endpoint tells them, None where it does not.

    finish: why it ended, in OpenAI's words (stop, length, content_filter). date: UTC, ISO 8601.
    without: settings that the endpoint did not accept, such as temperature.
    """

    text: str
    finish: str | None
    model: str | None
    fingerprint: str | None
    tokens_in: int | None
    tokens_out: int | None
    date: str
    without: tuple[str, ...] = ()


class Journal:
    """One file for each endpoint and model, readable by its owner alone. It holds answers and no question."""

    def __init__(self, url: str, model: str) -> None:
        name = f"{digests.slug(model)}-{digests.of_value([url, model])[: digests.SHORT]}.jsonl"
        self.path = cache_folder() / "answers" / name
        self._lock = threading.Lock()

    def load(self, now: datetime) -> dict[str, Reply]:
        """{key: reply} of what was kept lately; of several, the last. A line cut by a killed run is passed over."""
        if not self.path.is_file():
            return {}
        found = {}
        for line in self.path.read_text(encoding="utf-8", errors="replace").split("\n"):
            read = _read(line)
            if read is not None and now - datetime.fromisoformat(read[1].date) < KEPT:
                found[read[0]] = read[1]
        return found

    def add(self, key: str, reply: Reply) -> None:
        """Write one answer at once. It begins a line of its own even after one that was cut."""
        line = json.dumps({"key": key, **asdict(reply)}, ensure_ascii=False) + "\n"
        with self._lock, files.clear_write_errors(self.path):
            self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            cut = self.path.is_file() and not _ends_a_line(self.path)
            file = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
            try:
                os.write(file, (("\n" if cut else "") + line).encode())
            finally:
                os.close(file)


def _ends_a_line(path: Path) -> bool:
    with path.open("rb") as file:
        if file.seek(0, os.SEEK_END) == 0:
            return True
        file.seek(-1, os.SEEK_END)
        return file.read(1) == b"\n"


NAMES = {f.name for f in fields(Reply)}


def _read(line: str) -> tuple[str, Reply] | None:
    try:
        row: Mapping[str, Any] = json.loads(line)
        values = {name: row[name] for name in NAMES}
        datetime.fromisoformat(values["date"])
        return str(row["key"]), Reply(**{**values, "without": tuple(values["without"])})
    except (ValueError, KeyError, TypeError):
        return None


def utc(seconds: float) -> datetime:
    """The moment `seconds` after 1970."""
    return datetime.fromtimestamp(seconds, UTC).replace(microsecond=0)
