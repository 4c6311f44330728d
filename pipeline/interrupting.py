"""SIGTERM as an interruption: what the system's shutdown, a scheduler or `kill` sends ends a job as Ctrl-C does."""

import signal
import threading
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any


class Terminated(KeyboardInterrupt):
    """A SIGTERM arrived."""


@contextmanager
def ending_on_sigterm() -> Generator[None]:
    """Raise `Terminated` in the block when a SIGTERM arrives; does nothing outside the main thread."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def end(*_: Any) -> None:
        raise Terminated

    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
