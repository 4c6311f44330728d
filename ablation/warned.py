"""Logs each warning once: every seed reads the same files, and finds the same faults. Knows no seeds and no files."""

import logging
from collections.abc import Callable, Generator, Iterable
from contextlib import contextmanager


class Warned:
    """The warnings that have been logged.

    Args:
        said: Messages to begin with.
    """

    def __init__(self, said: Iterable[str] = ()) -> None:
        self.said = set(said)

    def is_new(self, message: str) -> bool:
        """Whether a message was not asked about before."""
        known = message in self.said
        self.said.add(message)
        return not known


@contextmanager
def warning_once(is_new: Callable[[str], bool]) -> Generator[None]:
    """In the block, log only warnings whose message is new; other levels pass."""
    log = logging.getLogger("unskew")

    def passes(record: logging.LogRecord) -> bool:
        return record.levelno != logging.WARNING or is_new(record.getMessage())

    log.addFilter(passes)
    try:
        yield
    finally:
        log.removeFilter(passes)
