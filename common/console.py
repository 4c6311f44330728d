"""The output of commands: a console for tables, and streams that outlive their reader. Knows rich and streams."""

import os
import sys
from typing import Any

from rich.console import Console

WIDTH = 120  # columns of tables that go into a file or a pipe


def make_console() -> Console:
    """A console on standard output, as wide as the terminal, or `WIDTH` if there is no terminal."""
    return Console(width=None if os.isatty(1) else WIDTH)


class PipeSafeStream:
    """A text stream that never fails: once its reader is gone, it drops what is written."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream
        self._gone = False

    def write(self, text: str) -> int:
        """Write the text, or drop it; returns its length."""
        return self._unless_gone(self._stream.write, text) or len(text)

    def flush(self) -> None:
        """Flush the stream, if it still has a reader."""
        self._unless_gone(self._stream.flush)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def _unless_gone(self, act: Any, *given: str) -> Any:
        if not self._gone:
            try:
                return act(*given)
            except OSError:
                self._gone = True
        return None


def flush_or_drop() -> None:
    """Flush standard output and error; drop the buffer of a stream whose reader is gone.

    Otherwise Python would fail to flush it at exit, and end with its own exit code.
    """
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, stream.fileno())
            os.close(nowhere)
