"""How commands end: exit codes, and SIGTERM and SIGHUP as interruptions like Ctrl-C. Knows no command."""

import signal
import threading
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

EXIT_BAD_ROWS = 3  # done, but some rows could not be processed
EXIT_DRIFTED = 4  # done, but a threshold was exceeded: rows differ from the training set


class Terminated(KeyboardInterrupt):
    """A SIGTERM, or a SIGHUP from a terminal that was closed, arrived.

    Attributes:
        exit_code: 128 and the number of the signal, as shells have it.
    """

    def __init__(self, number: int = signal.SIGTERM) -> None:
        super().__init__()
        self.exit_code = 128 + number


@contextmanager
def ending_in_order() -> Generator[None]:
    """Raise `Terminated` in the block when a SIGTERM or SIGHUP arrives; does nothing outside the main thread.

    A signal that is ignored stays so, because `nohup` lets a command outlive its terminal in that way.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def end(number: int, _: Any) -> None:
        signal.signal(number, signal.SIG_IGN)  # a terminal's end is told by the system and by the shell
        raise Terminated(number)

    kinds = (signal.SIGTERM, signal.SIGHUP)
    before = {kind: handler for kind in kinds if (handler := signal.getsignal(kind)) != signal.SIG_IGN}
    for kind in before:
        signal.signal(kind, end)
    try:
        yield
    finally:
        for kind, handler in before.items():
            signal.signal(kind, handler)
