"""Where a command may write. Knows paths only."""

import shutil
from pathlib import Path

from ..corpus.errors import UserError
from ..corpus.writing import write_text

LEAST_FREE = 100 * 2**20


def refuse_existing(path: Path, overwrite: bool) -> None:
    """Raise a UserError if something stands at `path` that may not be replaced."""
    if path.exists() and not overwrite:
        raise UserError(f"{path} exists; choose another name, or give --overwrite to replace it")


def check_writable(folder: Path) -> None:
    """Raise a UserError now, and not after hours of work, if `folder` cannot be written or its disk is full."""
    probe = folder / ".writable"
    write_text(probe, "")
    probe.unlink()
    if shutil.disk_usage(folder).free < LEAST_FREE:
        raise UserError(f"less than 100 MB are free on the disk of {folder}; free some space or choose another place")
