"""Limits loggers to errors for a while. Knows no logger by name."""

import logging
from collections.abc import Generator
from contextlib import contextmanager


@contextmanager
def errors_only(*names: str) -> Generator[None]:
    """Raise these loggers' level to ERROR while the block runs."""
    loggers = [logging.getLogger(name) for name in names]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
