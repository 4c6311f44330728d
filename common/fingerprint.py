"""Fingerprints: short hex strings that change when settings or file contents change, and only then.

Equal between runs, machines and Python versions. Knows nothing of what is done with them.
"""

import dataclasses
import hashlib
import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .errors import UserError

if TYPE_CHECKING:
    from .storage import RemotePath


def fingerprint(*parts: Any) -> str:
    """64 hex digits over JSON-able values, dataclasses and paths; the order of dict keys does not matter.

    Fields of a dataclass that do not count when two are compared do not count here.

    Raises:
        TypeError: For a value without a stable form (its `repr` may contain a memory address).
    """
    canonical = json.dumps(parts, sort_keys=True, separators=(",", ":"), default=_plain)
    return hashlib.sha256(canonical.encode()).hexdigest()


def file_fingerprint(
    paths: "str | os.PathLike[str] | Iterable[str | os.PathLike[str] | RemotePath]",
) -> str:
    """64 hex digits over the contents of the files in the order given; their names and dates do not matter.

    Raises:
        UserError: If a file cannot be read.
    """
    listed = [paths] if isinstance(paths, str | os.PathLike) else paths
    files = [Path(path) if isinstance(path, str | os.PathLike) else path for path in listed]
    return fingerprint([file_sha256(file) for file in files])


def file_sha256(path: "Path | RemotePath") -> str:
    """SHA-256 of a file's contents, 64 hex digits.

    Raises:
        UserError: If it cannot be read.
    """
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}; check the path and its permissions") from error


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: getattr(value, field.name) for field in dataclasses.fields(value) if field.compare}
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    raise TypeError(f"no stable fingerprint for a {type(value).__name__}; give plain values")
