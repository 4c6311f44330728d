"""How commands end: exit codes, and SIGTERM as an interruption like Ctrl-C. Knows no command."""

import signal
import threading
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

EXIT_BAD_ROWS = 3  # done, but some rows could not be processed
EXIT_DRIFTED = 4  # done, but a threshold was exceeded: rows differ from the training set


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
