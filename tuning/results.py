"""The results of trials, and the choice of the best. Knows no fit and no search."""

import csv
import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from ..common import UserError, replacing_file, write_text

DEFAULT = 0  # number of the trial with the default settings


@dataclass(frozen=True)
class TrialResult:
    """The result of one fit.

    Attributes:
        number: Number of the trial; 0 is the default.
        values: Values of the searched options, by name.
        seconds: Seconds of work, over all calls.
        losses: Loss of each held-out row in nats; empty if the trial failed.
        rows: Fingerprint of the held-out rows.
        failure: Reason of a failure; None without one.
    """

    number: int
    values: dict[str, Any]
    seconds: float
    losses: tuple[float, ...] = ()
    rows: str = ""
    failure: str | None = None

    @property
    def loss(self) -> float:
        """Held-out log-loss in nats; nan if the trial failed."""
        return fmean(self.losses) if self.losses else math.nan

    def save(self, path: Path) -> None:
        """Write the file, whole or not at all."""
        write_text(path, json.dumps(asdict(self)) + "\n")

    @classmethod
    def load(cls, path: Path) -> "TrialResult":
        """Read a file from `save`.

        Raises:
            UserError: If it is not such a file.
        """
        try:
            values = json.loads(path.read_text("utf-8"))
            return cls(**{**values, "losses": tuple(values["losses"])})
        except (ValueError, TypeError, KeyError) as error:
            raise UserError(
                f"{path} is not the result of a trial ({error}); give --overwrite to start the study again"
            ) from error


@dataclass(frozen=True)
class StudyResult:
    """All trials of a study so far.

    Attributes:
        trials: Trials in order; the first is the default.
    """

    trials: Sequence[TrialResult]

    @property
    def default(self) -> TrialResult:
        """The first trial."""
        return self.trials[DEFAULT]

    def gain(self, trial: TrialResult) -> tuple[float, float]:
        """The default's log-loss minus the trial's, paired by row, and its standard error."""
        pairs = [a - b for a, b in zip(self.default.losses, trial.losses, strict=True)]
        error = stdev(pairs) / math.sqrt(len(pairs)) if len(pairs) > 1 else math.inf
        return fmean(pairs), error

    @property
    def kept(self) -> TrialResult:
        """The trial with the lowest log-loss; the default, unless it is beaten by more than the standard error."""
        best = min((trial for trial in self.trials if trial.failure is None), key=lambda trial: trial.loss)
        gain, error = self.gain(best)
        return best if gain > error else self.default

    def __str__(self) -> str:
        default, kept = self.default, self.kept
        failed = sum(trial.failure is not None for trial in self.trials)
        done = f"{len(self.trials)} trials" + (f", {failed} of them failed" if failed else "")
        rows = f"{len(default.losses):,} held-out rows"
        if kept is default:
            return (
                f"tuning, {done}: the default is kept, held-out log-loss {default.loss:.4f} nats on {rows}; "
                "no trial is better by more than its standard error"
            )
        gain, error = self.gain(kept)
        return (
            f"tuning, {done}: trial {kept.number} is kept, held-out log-loss {kept.loss:.4f} nats on {rows}, default "
            f"{default.loss:.4f}: {gain:.4f} better, standard error {error:.4f}"
        )

    def write_table(self, path: Path) -> None:
        """Write a CSV file with a line for each trial."""
        with replacing_file(path) as file:
            writer = csv.writer(file)
            writer.writerow(["trial", "log_loss", "gain", "standard_error", "seconds", "failure", *self.default.values])
            for trial in self.trials:
                gain, error = self.gain(trial) if trial.failure is None else ("", "")
                loss = trial.loss if trial.failure is None else ""
                own = [trial.number, loss, gain, error, round(trial.seconds, 1), trial.failure or ""]
                writer.writerow([*own, *trial.values.values()])


def short(value: Any) -> str:
    """A searched value in short form for people."""
    return f"{value:.3g}" if isinstance(value, float) else str(value)
