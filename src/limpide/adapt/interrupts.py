"""Ctrl-C at the right moment."""

import contextlib
import signal
import threading
from collections.abc import Iterator


@contextlib.contextmanager
def whole() -> Iterator[None]:
    """What is done inside is done whole: Ctrl-C meanwhile is raised at its end."""
    if threading.current_thread() is not threading.main_thread():  # where Python handles no signals
        yield
        return
    pressed: list[int] = []
    before = signal.signal(signal.SIGINT, lambda number, _: pressed.append(number))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
    if pressed:
        raise KeyboardInterrupt
