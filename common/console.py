"""Where commands print: a console for tables, and streams whose reader may go away. Knows rich and streams."""

import os
import sys
from typing import Any

from rich.console import Console

WIDTH = 120  # of tables that go into a file or a pipe


def make_console() -> Console:
    """A console on standard output: as wide as the terminal, or `WIDTH` where there is none."""
    return Console(width=None if os.isatty(1) else WIDTH)


class Unbroken:
    """A text stream that work does not depend on: once its reader is gone, what is written to it is dropped."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream
        self._gone = False

    def write(self, text: str) -> int:
        """As a stream's; always the length of the text."""
        return self._unless_gone(self._stream.write, text) or len(text)

    def flush(self) -> None:
        """As a stream's."""
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


def let_go_of_readers() -> None:
    """Write out what is buffered for standard output and error; where their reader is gone, to nowhere.

    Otherwise Python would end with a code of its own when it fails to do so at its exit.
    """
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, stream.fileno())
            os.close(nowhere)
