"""Progress of long work on stderr: a bar on a terminal, occasional lines elsewhere, or JSON. Knows no work."""

import json
import logging
import sys
import time
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Literal, TypeVar

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    TextColumn,
    TimeElapsedColumn,
)
from rich.progress import Task as RichTask
from rich.text import Text

from .console import PipeSafeStream

log = logging.getLogger("unskew")

Item = TypeVar("Item")
ProgressKind = Literal["auto", "json", "none"]
ProgressCallback = Callable[[int, int], None]

# Seconds between two updates.
_BAR = 0.1
_JSON = 1.0
_LINES = 15.0


def track(items: Iterable[Item], name: str, total: int | None = None, spent: float = 0.0) -> Iterator[Item]:
    """Yield `items`, and show how many are done, how fast, and (with `total`) how long the rest will take.

    `spent` is as in `show_progress`.
    """
    with show_progress("auto", name, total, spent=spent) as tell:
        for item in items:
            yield item
            tell(1, 0)


@contextmanager
def show_progress(
    kind: ProgressKind, name: str, total: int | None = None, done: int = 0, errors: int = 0, spent: float = 0.0
) -> Generator[ProgressCallback]:
    """Show progress while the block runs; the block calls the yielded function with new rows and errors among them.

    Args:
        kind: "auto" is a bar on a terminal and plain lines elsewhere; "json" is one object per line; or "none".
        name: Name of the work.
        total: Number of rows, if known.
        done: Rows that an earlier run has done, errors included.
        errors: Number of errors among `done`.
        spent: Seconds that earlier work took for each row; they count in the rate, but not in the time left.
    """
    state = _State(name, total, done, errors, done, spent)
    if kind == "none":
        yield state.add
    elif kind == "json":
        with _shown(state, _JSON, _print_json) as tell:
            yield tell
    elif sys.stderr.isatty():
        with _bar(state) as tell:
            yield tell
    else:
        with _shown(state, _LINES, lambda state: log.info("%s", state)) as tell:
            yield tell


@dataclass
class _State:
    name: str
    total: int | None
    rows: int
    errors: int
    resumed: int
    spent: float
    start: float = field(default_factory=time.monotonic)

    def add(self, rows: int, errors: int) -> None:
        self.rows += rows
        self.errors += errors

    @property
    def new(self) -> int:
        return self.rows - self.resumed

    @property
    def seconds(self) -> float:
        return time.monotonic() - self.start + self.new * self.spent

    @property
    def rate(self) -> float:
        return self.new / max(self.seconds, 1e-9)

    @property
    def seconds_left(self) -> float | None:
        if self.total is None or not self.new:
            return None
        return max(0, self.total - self.rows) * (time.monotonic() - self.start) / self.new

    @property
    def failed(self) -> str:
        """The number of errors, to print after the rows."""
        return f", {self.errors:,} error{'s' * (self.errors > 1)}" if self.errors else ""

    def __str__(self) -> str:
        of = "" if self.total is None else f" of {self.total:,}"
        left = self.seconds_left
        after = f"{self.seconds:.0f} s so far" if left is None else f"{left:.0f} s left"
        return f"{self.name}: {self.rows:,}{of} rows{self.failed}, {self.rate:,.1f} rows/s, {after}"


@contextmanager
def _shown(state: _State, every: float, show: Callable[[_State], None]) -> Generator[ProgressCallback]:
    said = state.start

    def tell(rows: int, errors: int) -> None:
        nonlocal said
        state.add(rows, errors)
        now = time.monotonic()
        if now - said >= every:
            said = now
            show(state)

    try:
        yield tell
    finally:
        show(state)


def _print_json(state: _State) -> None:
    left = state.seconds_left
    values = {
        "name": state.name,
        "rows": state.rows,
        "total": state.total,
        "errors": state.errors,
        "rows_per_second": round(state.rate, 2),
        "seconds_left": None if left is None else round(left, 1),
    }
    with suppress(OSError):  # its reader is gone
        print(json.dumps(values), file=sys.stderr, flush=True)


class _Rate(ProgressColumn):
    def render(self, task: RichTask) -> Text:
        state: _State = task.fields["state"]
        return Text(f"{state.rate:,.1f} rows/s{state.failed}", style="progress.data.speed")


class _Left(ProgressColumn):
    def render(self, task: RichTask) -> Text:
        left = task.fields["state"].seconds_left
        return Text("" if left is None else f"{timedelta(seconds=round(left))} left", style="progress.remaining")


@contextmanager
def _bar(state: _State) -> Generator[ProgressCallback]:
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        _Rate(),
        TimeElapsedColumn(),
        _Left(),
    )
    stream: Any = PipeSafeStream(sys.stderr)
    with Progress(*columns, console=Console(file=stream)) as progress:
        task = progress.add_task(state.name, total=state.total, completed=state.rows, state=state)
        with _shown(state, _BAR, lambda state: progress.update(task, completed=state.rows)) as tell:
            yield tell
