"""Writes files and folders completely or not at all. Knows nothing of what is written.

New content is written under a temporary name beside its target, flushed to the disk, and only then replaces the old.
So an error, a full disk or a kill at any moment leaves the old content unchanged.
"""

import ctypes
import errno
import json
import os
import secrets
import shutil
import socket
import stat
from collections.abc import Generator, Iterable, Mapping
from contextlib import contextmanager, suppress
from functools import lru_cache
from pathlib import Path
from typing import IO, Any

from .errors import UserError

Target = str | os.PathLike[str]


@contextmanager
def replacing_file(path: Target, mode: str = "w") -> Generator[IO[Any]]:
    """An open file (UTF-8 text, or bytes with mode "wb") that replaces `path` when the block ends without an error.

    Missing parent folders are made. If the block or the writing fails, `path` is unchanged. Temporary files of killed
    writers of `path` are removed, if they were there when this process first wrote a file to the folder.

    Raises:
        UserError: If the folder cannot be written or the disk is full.
    """
    place = Path(path).resolve()
    if place.is_dir():
        raise UserError(f"cannot write the file {path}: a folder is there; choose another name")
    with _explained(place, always=True):
        place.parent.mkdir(parents=True, exist_ok=True)
        _remove_all(_ended(place, ".tmp", _left_in(place.parent, os.getpid())))
    temporary = _sibling(place, ".tmp")
    try:
        encoding, newline = (None, None) if "b" in mode else ("utf-8", "\n")
        with _explained(path, always=True):
            opened = open(temporary, mode, encoding=encoding, newline=newline)  # noqa: SIM115
        with _explained(path), opened as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        with _explained(path, always=True):
            os.replace(temporary, place)
            _sync_folder(place.parent)
    finally:
        _remove(temporary)


@contextmanager
def replacing_folder(path: Target) -> Generator[Path]:
    """A new empty folder that replaces the folder `path` when the block ends without an error.

    Missing parent folders are made. If the block or the writing fails, `path` is unchanged. On Linux the two folders
    are exchanged in one step. If the file system cannot do that, there is an instant without `path`; if the process is
    killed in that instant, `restore_folder` puts the old folder back.

    Raises:
        UserError: If the folder cannot be written or the disk is full.
    """
    place = Path(path).resolve()
    if place.exists() and not place.is_dir():
        raise UserError(f"cannot write the folder {path}: a file is there; choose another name")
    with _explained(place, always=True):
        place.parent.mkdir(parents=True, exist_ok=True)
        restore_folder(place)
        _remove_all([*_abandoned(place, ".tmp"), *_abandoned(place, ".old")])
    temporary = _sibling(place, ".tmp")
    try:
        with _explained(path, always=True):
            temporary.mkdir()
        with _explained(path):
            yield temporary
        with _explained(path, always=True):
            _share_tree(temporary)
            _sync_tree(temporary)
            _swap(temporary, place)
            _sync_folder(place.parent)
    finally:
        _remove(temporary)


def restore_folder(path: Target) -> None:
    """Put back the old folder if a `replacing_folder` was killed in the middle of its swap."""
    place = Path(path).resolve()
    if not place.exists() and place.parent.is_dir():
        for old in _abandoned(place, ".old"):
            old.rename(place)
            return


def write_text(path: Target, text: str) -> None:
    """Write a text file atomically; raises what `replacing_file` raises."""
    with replacing_file(path) as file:
        file.write(text)


def write_jsonl(path: Target, rows: Iterable[Mapping[str, Any]]) -> None:
    """Write one JSON object per line, atomically; raises what `replacing_file` raises."""
    with replacing_file(path) as file:
        for row in rows:
            file.write(json.dumps(row, ensure_ascii=False) + "\n")


def _sibling(place: Path, ending: str) -> Path:
    # Host and process are in the name, so that a later writer can tell whether this one still runs.
    return place.with_name(f".{place.name}~{socket.gethostname()}~{os.getpid()}~{secrets.token_hex(4)}{ending}")


# Once for each process: a job has as many files in a folder as it has shards, and would list them all for each.
@lru_cache
def _left_in(folder: Path, process: int) -> list[str]:
    """The temporary names in a folder when a process first writes a file there."""
    return [name for name in os.listdir(folder) if name.startswith(".") and name.endswith(".tmp")]


def _abandoned(place: Path, ending: str) -> list[Path]:
    """Temporary files of writers of `place` that ran on this host and have ended."""
    return _ended(place, ending, os.listdir(place.parent))


def _ended(place: Path, ending: str, names: Iterable[str]) -> list[Path]:
    start = f".{place.name}~{socket.gethostname()}~"
    found = [name for name in names if name.startswith(start) and name.endswith(ending)]
    return [place.with_name(name) for name in found if not _runs(name[len(start) :])]


def _runs(rest: str) -> bool:
    pid = rest.partition("~")[0]
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError, ValueError):
        return True
    return True


def _swap(new: Path, place: Path) -> None:
    """Replace the folder `place` by `new`; afterwards the old folder is at `new`, or removed."""
    if not place.exists():
        os.replace(new, place)
    elif not _exchange(new, place):
        old = _sibling(place, ".old")
        os.replace(place, old)
        try:
            os.replace(new, place)
        except OSError:
            os.replace(old, place)
            raise
        _remove(old)


def _exchange(first: Path, second: Path) -> bool:
    """Swap two names in one step by Linux's renameat2(2); False if kernel or file system cannot."""
    at_working_folder, exchange = -100, 2
    rename = getattr(ctypes.CDLL(None), "renameat2", None) if os.name == "posix" else None
    if rename is None:
        return False
    return rename(at_working_folder, os.fsencode(first), at_working_folder, os.fsencode(second), exchange) == 0


def _share_tree(folder: Path) -> None:
    """Let everybody read the files who may read the folder: safetensors makes files for their owner alone."""
    usual = stat.S_IMODE(folder.stat().st_mode) & 0o666
    for path in folder.rglob("*"):
        if path.is_file() and not path.is_symlink():
            path.chmod(stat.S_IMODE(path.stat().st_mode) | usual)


def _sync_tree(folder: Path) -> None:
    for parent, _, names in os.walk(folder):
        for name in names:
            with open(Path(parent, name), "rb") as file:
                os.fsync(file.fileno())
        _sync_folder(Path(parent))


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    # Some network file systems refuse to flush a folder; the rename itself still works there.
    with suppress(OSError):
        os.fsync(descriptor)
    os.close(descriptor)


def _remove_all(paths: Iterable[Path]) -> None:
    for path in paths:
        _remove(path)


def _remove(path: Path) -> None:
    with suppress(OSError):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


@contextmanager
def _explained(path: Target, always: bool = False) -> Generator[None]:
    """Turn disk errors into a UserError; other errors of the caller's block are unchanged unless `always`."""
    try:
        yield
    except Exception as error:
        if _disk_full(error):
            remedy = "free some space or choose another place; what was there before is unchanged"
            raise UserError(f"cannot write {path}: no space left on the disk; {remedy}") from error
        if isinstance(error, OSError) and (always or error.errno == errno.EROFS):
            remedy = "choose a place that can be written"
            raise UserError(f"cannot write {path}: {error.strerror or error}; {remedy}") from error
        raise


def _disk_full(error: Exception) -> bool:
    # safetensors and pyarrow wrap the system's message in their own exceptions.
    full = isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)
    return full or os.strerror(errno.ENOSPC) in str(error)
