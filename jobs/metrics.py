"""A job's counts as a text file for Prometheus, rewritten every few seconds. Knows no shard and no model.

The file is for the node exporter's textfile collector (or any reader of that format): NAME.prom in its folder.
"""

import logging
import time
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from ..common import UserError, output_file, printable

log = logging.getLogger("unskew")

EVERY = 5.0  # seconds
_STAGE = {
    "tokens_read": ("unskew_job_tokens_read", "Tokens of prompts and texts."),
    "tokens_written": ("unskew_job_tokens_written", "Tokens of outputs."),
    "seconds": ("unskew_job_stage_seconds", "Seconds at work, over all workers."),
}


def check_metrics(name: str) -> Path:
    """The path of a metrics file, checked before anything is done.

    Raises:
        UserError: If prometheus_client is not installed, or the file cannot be written. Because it is replaced every
            few seconds, it must not be a file of another kind.
    """
    if find_spec("prometheus_client") is None:
        raise UserError('metrics need prometheus_client: `pip install "unskew[metrics]"`')
    path = output_file(name)
    if path.suffix != ".prom":
        raise UserError(f"metrics is {name!r}; name it NAME.prom, which is what Prometheus's collector reads")
    if not path.parent.is_dir():
        raise UserError(f"cannot write {path}: its folder does not exist; create it, or choose another")
    return path


class MetricsFile:
    """The metrics file of one run.

    Args:
        path: Path of the file.
        output: Output of the job, used as its label.
        total: Rows of the input, if known.

    Raises:
        UserError: If the file cannot be written.
    """

    def __init__(self, path: Path, output: str, total: int | None) -> None:
        from prometheus_client import CollectorRegistry, Counter, Gauge

        self._path, self._output = path, printable(output)  # the file is UTF-8
        self._tried, self._problem = 0.0, ""
        self._registry = registry = CollectorRegistry()

        def counter(name: str, text: str, *more: str) -> Any:
            made = Counter(name, text, ["output", *more], registry=registry)
            return made if more else made.labels(self._output)

        def gauge(name: str, text: str) -> Any:
            return Gauge(name, text, ["output"], registry=registry).labels(self._output)

        self._rows = counter("unskew_job_rows", "Rows done, errors included.")
        self._errors = counter("unskew_job_errors", "Rows that could not be processed.")
        self._shards = counter("unskew_job_shards", "Shards stored.")
        self._stages = {name: counter(*described, "stage") for name, described in _STAGE.items()}
        self._now = gauge("unskew_job_updated_seconds", "Unix time of this file.")
        self._finished = gauge("unskew_job_finished", "1 once the job has ended well.")
        if total is not None:
            gauge("unskew_job_input_rows", "Rows of the input.").set(total)
        try:
            self._write()
        except OSError as error:
            raise UserError(f"cannot write {path}: {error.strerror}; choose a place that can be written") from error

    def begin(self, rows: int, errors: int) -> None:
        """Count from these numbers: rows done before, which do not include rows that run again."""
        self._rows.reset()
        self._errors.reset()
        self.tell(rows, errors)

    def tell(self, rows: int, errors: int) -> None:
        """Count rows, and write the file when it is due."""
        self._rows.inc(rows)
        self._errors.inc(errors)
        if time.monotonic() - self._tried >= EVERY:
            self._try_to_write()

    def stored(self, record: Mapping[str, Any]) -> None:
        """Count a stored shard."""
        self._shards.inc()
        for stage, its in record.get("cost", {}).get("stages", {}).items():
            for name, counter in self._stages.items():
                counter.labels(self._output, stage).inc(its[name])

    def end(self, finished: bool) -> None:
        """Write the final state."""
        self._finished.set(finished)
        self._try_to_write()

    def _try_to_write(self) -> None:
        before, self._problem = self._problem, ""
        try:
            self._write()
        except OSError as error:
            self._problem = error.strerror or str(error)
        if self._problem and self._problem != before:
            log.warning("cannot write %s: %s; the job goes on", self._path, self._problem)
        elif before and not self._problem:
            log.warning("%s is written again", self._path)

    def _write(self) -> None:
        from prometheus_client import write_to_textfile

        self._tried = time.monotonic()
        self._now.set_to_current_time()
        write_to_textfile(str(self._path), self._registry)
