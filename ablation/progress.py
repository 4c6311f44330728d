"""Progress of an ablation: a bar for each seed on a terminal, a line for each run elsewhere. Knows names only."""

import logging
import sys
import time
from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.progress_bar import ProgressBar
from rich.table import Table

log = logging.getLogger("unskew")


class ProgressBoard:
    """Finished and remaining runs.

    Args:
        titles: Titles of the arms, by name.
        seeds: Seeds; each arm runs once with each.
    """

    def __init__(self, titles: Mapping[str, str], seeds: Sequence[int]) -> None:
        self._titles, self._seeds = titles, seeds
        self._figures: dict[int, dict[str, str]] = {seed: {} for seed in seeds}
        self._begun = time.monotonic()
        self._found = 0

    def begin(self, finished: Mapping[str, Mapping[int, Mapping[str, Any]]]) -> None:
        """Show finished runs: metrics by arm and seed."""
        for name, own in finished.items():
            for seed in own.keys() & self._figures.keys():
                self._figures[seed][name] = _figure(own[seed])
        self._found = self._done
        log.info("%d arms, %d seeds: %d runs are there already", len(self._titles), len(self._seeds), self._found)

    def start(self, name: str, seed: int) -> None:
        """Show that a run begins."""
        log.info("== seed %d: %s", seed, self._titles[name])

    def done(self, name: str, seed: int, metrics: Mapping[str, Any], seconds: float) -> None:
        """Show how a run ended, and how long the rest will take."""
        self._figures[seed][name] = _figure(metrics)
        left = (time.monotonic() - self._begun) / (self._done - self._found) * (self._total - self._done)
        log.info(
            "== seed %d: %s: %s, %.0f s; %d of %d runs, about %.0f min left",
            seed,
            self._titles[name],
            self._figures[seed][name],
            seconds,
            self._done,
            self._total,
            left / 60,
        )
        if sys.stderr.isatty():
            Console(stderr=True).print(self._bars())

    @property
    def _done(self) -> int:
        return sum(len(own) for own in self._figures.values())

    @property
    def _total(self) -> int:
        return len(self._titles) * len(self._seeds)

    def _bars(self) -> Table:
        table = Table.grid(padding=(0, 2))
        for seed, own in self._figures.items():
            last = next(reversed(own), None)
            latest = "" if last is None else f"{self._titles[last]}: {own[last]}"
            bar = ProgressBar(total=len(self._titles), completed=len(own), width=30)
            table.add_row(f"seed {seed}", bar, f"{len(own)} of {len(self._titles)}", latest)
        return table


def _figure(metrics: Mapping[str, Any]) -> str:
    """The main figure of a run."""
    for name, title in (("macro_f1", "macro-F1"), ("topic_fit", "topic fit")):
        if metrics.get(name) is not None:
            return f"{title} {metrics[name]:.3f}"
    return "done"
