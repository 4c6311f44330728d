"""Progress of long work: a bar with rate and time left on a terminal, a plain line now and then elsewhere."""

import logging
import sys
import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.progress import Task as RichTask
from rich.text import Text

log = logging.getLogger("unskew")

Item = TypeVar("Item")
_SECONDS_BETWEEN_LINES = 15.0


def track(items: Iterable[Item], name: str, total: int | None = None) -> Iterator[Item]:
    """Pass `items` on, showing how many have passed, how fast, and (with `total`) how long the rest will take."""
    return _bar(items, name, total) if sys.stderr.isatty() else _lines(items, name, total)


class _Rate(ProgressColumn):
    def render(self, task: RichTask) -> Text:
        rate = task.finished_speed or task.speed
        return Text("" if rate is None else f"{rate:,.1f} rows/s", style="progress.data.speed")


def _bar(items: Iterable[Item], name: str, total: int | None) -> Iterator[Item]:
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        _Rate(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True)) as progress:
        yield from progress.track(items, total=total, description=name)


def _lines(items: Iterable[Item], name: str, total: int | None) -> Iterator[Item]:
    start = said = time.monotonic()
    count = 0
    for item in items:
        yield item
        count += 1
        now = time.monotonic()
        if now - said >= _SECONDS_BETWEEN_LINES:
            said = now
            log.info("%s: %s", name, _sentence(count, total, now - start))
    log.info("%s: %s", name, _sentence(count, None, time.monotonic() - start))


def _sentence(count: int, total: int | None, seconds: float) -> str:
    rate = count / max(seconds, 1e-9)
    if total is None:
        return f"{count:,} rows in {seconds:.0f} s ({rate:,.1f} rows/s)"
    return f"{count:,} of {total:,} rows, {rate:,.1f} rows/s, {max(0, total - count) / rate:.0f} s left"
