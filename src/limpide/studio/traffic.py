"""What people do in the studio, in the tamper-evident request log of the project."""

import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

from limpide.studio.project import Project

if TYPE_CHECKING:
    from limpide.serve.request_log.writer import RequestLog

_OPEN: dict[Path, "RequestLog"] = {}  # a process opens a log once
_OPENING = threading.Lock()


def record(project: Project, event: str, **facts: Any) -> None:
    """Append one entry to the project's log, which begins with the first. Raises LimpideError when it cannot be
    written: what was asked is then not to be done."""
    state = project.service
    with _OPENING:
        if state not in _OPEN:
            from limpide.serve.request_log.places import places
            from limpide.serve.request_log.writer import RequestLog

            _OPEN[state] = RequestLog(places(state))
    _OPEN[state].append(event, **facts)


def close(project: Project) -> None:
    """Sign the end of the log and let go of it; the next entry opens it again."""
    with _OPENING:
        log = _OPEN.pop(project.service, None)
    if log is not None:
        log.close()
