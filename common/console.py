"""The console that commands print their tables on. Knows rich alone."""

import os

from rich.console import Console

WIDTH = 120  # of tables that go into a file or a pipe


def make_console() -> Console:
    """A console on standard output: as wide as the terminal, or `WIDTH` where there is none."""
    return Console(width=None if os.isatty(1) else WIDTH)
