"""Counts of a stage's work: rows, tokens, seconds. Knows no stage and no job."""

import time
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from threading import Lock

_lock = Lock()


@dataclass
class Usage:
    """Counts that only grow; threads may add to the same object.

    Attributes:
        rows: Number of texts.
        tokens_read: Tokens of prompts and texts, without padding.
        tokens_written: Tokens of outputs, including the end token.
        seconds: Wall-clock seconds of work, summed over threads.
    """

    rows: int = 0
    tokens_read: int = 0
    tokens_written: int = 0
    seconds: float = 0.0

    def add(self, rows: int, tokens_read: int, tokens_written: int = 0) -> None:
        """Count some rows."""
        with _lock:
            self.rows += rows
            self.tokens_read += tokens_read
            self.tokens_written += tokens_written

    @contextmanager
    def timed(self) -> Generator[None]:
        """Count the seconds of a block, also if it fails."""
        start = time.perf_counter()
        try:
            yield
        finally:
            with _lock:
                self.seconds += time.perf_counter() - start

    def since(self, before: "Usage") -> "Usage":
        """The difference from an earlier copy."""
        return Usage(**{name: value - getattr(before, name) for name, value in vars(self).items()})
