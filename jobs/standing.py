"""What stands at a job's output, and which of it the job may replace: nothing that appears while it runs."""

from collections.abc import Mapping
from typing import Any

from ..common import AnyPath, UserError, file_sha256
from .paths import JobPaths

Standing = dict[AnyPath, tuple[int, int, int] | None]


def what_stands(place: JobPaths) -> Standing:
    """The state of the output's files: inode, size and modification time (ns) of each, None if it is missing."""
    return {path: _identity(path) for path in place.results}


def owning(place: JobPaths, manifest: Mapping[str, Any], before: Standing | None) -> dict[str, Any]:
    """The manifest with which a job, also when it resumes, may replace what is at its output now, but nothing else.

    Raises:
        UserError: If something else than `before` is there.
    """
    replaces = [file_sha256(path) for path in place.results if path.is_file()]
    refuse_new(before)
    return {**manifest, "joining": False, "replaces": replaces}


def is_new(path: AnyPath, before: Standing | None) -> bool:
    """Whether an output must not replace anything."""
    return before is not None and before[path] is None


def refuse_new(before: Standing | None) -> None:
    """Refuse a file that has appeared at the output, or taken a file's place there.

    Raises:
        UserError: If there is one.
    """
    for path, known in (before or {}).items():
        if _identity(path) not in (None, known):
            raise UserError(
                f"{path} was written by another process while the job ran; move it away, or give --overwrite to "
                "replace it, and run the command again, without --restart to keep the finished shards"
            )


def _identity(path: AnyPath) -> tuple[int, int, int] | None:
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns
