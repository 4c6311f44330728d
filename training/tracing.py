"""Which training runs a piece of work stands on: those made in it, and those found ended. Knows folders only."""

from collections.abc import Generator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path

_noted: ContextVar[list[Path] | None] = ContextVar("noted", default=None)


@contextmanager
def tracing() -> Generator[list[Path]]:
    """A list to which every `run` inside the block adds its folder, in order; a run that had already ended too."""
    folders: list[Path] = []
    token = _noted.set(folders)
    try:
        yield folders
    finally:
        _noted.reset(token)


def note(folder: Path) -> None:
    """Add a run's folder to the list of whoever is tracing."""
    folders = _noted.get()
    if folders is not None:
        folders.append(folder)
