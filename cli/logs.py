"""The format of log lines on standard error: plain text, or one JSON object per line. Knows logging alone."""

import json
import logging
import sys
from datetime import UTC, datetime
from typing import Any, Literal

from ..common import one_line, printable

LogKind = Literal["text", "json"]


class Printable(logging.Formatter):
    """Formats lines that may quote data: escape sequences are shown as text."""

    def format(self, record: logging.LogRecord) -> str:
        """The message, with escape sequences as text."""
        return printable(super().format(record))


class JsonLine(logging.Formatter):
    """Formats each line as an object: time (ISO 8601, UTC), level, logger, message."""

    def format(self, record: logging.LogRecord) -> str:
        """The object; a traceback follows the message."""
        raised = f"; {self.formatException(record.exc_info)}" if record.exc_info else ""
        values = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage() + raised,
        }
        return json.dumps(values)


class Stderr(logging.StreamHandler[Any]):
    """Writes to the current standard error, so that lines appear above a progress bar."""

    @property
    def stream(self) -> Any:
        """Standard error."""
        return sys.stderr

    @stream.setter
    def stream(self, value: Any) -> None:
        pass


def log_plainly() -> None:
    """Set up the process's logging with lines of text."""
    _log_with(Printable("%(message)s"))


def log_as_json() -> None:
    """Set up the process's logging with JSON lines."""
    _log_with(JsonLine())


def say(line: str) -> None:
    """Print a command's last message: a log line if logs are JSON, else a line on standard error."""
    if any(isinstance(handler.formatter, JsonLine) for handler in logging.getLogger().handlers):
        logging.getLogger("unskew").error("%s", line)
    else:
        print(f"unskew: {one_line(line)}", file=sys.stderr)


def _log_with(formatter: logging.Formatter) -> None:
    root = logging.getLogger()
    for handler in root.handlers:
        if isinstance(handler, Stderr):
            handler.setFormatter(formatter)
            return
    if not root.handlers:
        root.setLevel(logging.WARNING)
        handler = Stderr()
        handler.setFormatter(formatter)
        root.addHandler(handler)
