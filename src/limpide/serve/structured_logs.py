"""One JSON line a request on standard error, for whoever collects logs: what was asked of which route, never the text.

The request log is the record; these lines are for watching.
"""

import json
import sys
import time
from typing import Any, TextIO


class Lines:
    """stream: None writes nothing."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self.stream = stream

    @classmethod
    def on_stderr(cls) -> "Lines":
        return cls(sys.stderr)

    def write(self, event: str, **facts: Any) -> None:
        if self.stream is None:
            return
        record = {"event": event, "at": round(time.time(), 3), **facts}
        try:
            print(json.dumps(record, ensure_ascii=False), file=self.stream, flush=True)
        except (OSError, ValueError):  # whoever read them left: the service goes on
            self.stream = None
