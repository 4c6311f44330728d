"""Lightning's loggers by name. A missing library is an error at once; a failing logger never ends a fit.

Knows names, Lightning and a folder; knows nothing of what is logged.
"""

import logging
import os
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import CSVLogger, Logger, MLFlowLogger, TensorBoardLogger, WandbLogger
from lightning.pytorch.utilities import rank_zero_only

from ..common import UserError, first_line
from .settings import LoggerName

log = logging.getLogger("unskew")

PROJECT = "unskew"


def check_logger(name: LoggerName) -> None:
    """Raise a UserError if the library of a logger is not installed."""
    if name != "csv" and find_spec(name) is None:
        raise UserError(f"the logger {name} needs a library that is not installed: pip install 'unskew[{name}]'")


def make_logger(name: LoggerName, folder: Path, run: str) -> Logger:
    """Lightning's logger of that name for a run. A tracker that fails is not used again.

    Args:
        name: Name of the logger: csv, tensorboard, mlflow or wandb.
        folder: Folder of its files; mlflow and wandb follow their own settings.
        run: Name of the run in the tracker.

    Raises:
        UserError: If its library is not installed.
    """
    check_logger(name)
    if name == "csv":
        return CSVLogger(folder, name="logs")
    return Forgiving(name, folder, run)


class Forgiving(Logger):
    """A tracker's logger, opened when first needed. Its first failure is logged once, and it is not used again."""

    def __init__(self, tracker: LoggerName, folder: Path, run: str) -> None:
        super().__init__()
        self._tracker: LoggerName = tracker
        self._folder, self._run = folder, run
        self._inner: Logger | None = None
        self._failed = False

    @property
    def name(self) -> str:
        """The tracker."""
        return self._tracker

    @property
    def version(self) -> str:
        """The run."""
        return self._run

    @rank_zero_only
    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        """Log metrics at a step."""
        self._ask("log_metrics", metrics, step)

    @rank_zero_only
    def log_hyperparams(self, params: Any, *args: Any, **kwargs: Any) -> None:
        """Log a run's settings."""
        self._ask("log_hyperparams", params)

    @rank_zero_only
    def save(self) -> None:
        """Write pending data."""
        self._ask("save")

    @rank_zero_only
    def finalize(self, status: str) -> None:
        """End the run."""
        self._ask("finalize", status)

    def _ask(self, method: str, *given: Any) -> None:
        if self._failed:
            return
        try:
            self._inner = self._inner or _open(self._tracker, self._folder, self._run)
            getattr(self._inner, method)(*given)
        except Exception as error:  # each tracker has its own kinds
            self._failed = True
            log.warning(
                "%s: %s does not answer (%s); the fit goes on without it", self._run, self._tracker, first_line(error)
            )


def _open(tracker: LoggerName, folder: Path, run: str) -> Logger:
    if tracker == "tensorboard":
        return TensorBoardLogger(folder, name="tensorboard", version="")
    if tracker == "mlflow":
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")  # otherwise a dead server delays a fit by minutes
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "10")
        return MLFlowLogger(experiment_name=PROJECT, run_name=run, tracking_uri=os.environ.get("MLFLOW_TRACKING_URI"))
    return WandbLogger(project=PROJECT, name=run, save_dir=folder)
