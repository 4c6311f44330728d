"""Checks the paths that a command may read and write. Knows paths only."""

import json
import os
import shutil
from collections.abc import Generator, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .atomic import write_text
from .errors import UserError

if TYPE_CHECKING:
    from .storage import AnyPath

BUNDLE_MANIFEST = "unskew.json"
LEAST_FREE = 100 * 10**6
LONGEST_NAME = 150  # bytes of an output's name; the system allows 255, and temporary names add host and process

_OTHER_NAME = "choose another name"


def usable_path(name: str | os.PathLike[str]) -> Path:
    """The path that a user's text names, with `~` as the home folder; it need not exist.

    Raises:
        UserError: If no file can have this name: it is empty or too long, contains a null byte, or passes through
            circular links, a file, or a folder that may not be entered.
    """
    text = os.fspath(name)
    if not text or "\0" in text:
        raise UserError(f"{text!r} is not the name of a file or folder; give one")
    try:
        path = Path(text).expanduser()
        with suppress(FileNotFoundError):
            path.stat()
    except (OSError, RuntimeError, ValueError) as error:
        shown = text if len(text) <= 100 else text[:97] + "..."
        raise UserError(f"cannot use {shown!r}: {getattr(error, 'strerror', None) or error}; choose another") from error
    return path


def output_folder(name: str | os.PathLike[str]) -> Path:
    """The absolute path of a folder that will be written, or replaced as a whole.

    Raises:
        UserError: As `usable_path`; if it is the working folder or contains it; if it is not a folder; if it is inside
            a bundle; if its name is too long for the names of the files beside it.
    """
    try:
        path = usable_path(name).resolve()
    except UserError as error:
        raise UserError(f"cannot write the folder: {error}") from error
    if path == Path.cwd() or path in Path.cwd().parents:
        raise UserError(f"{path} is the working folder or contains it; name a new folder inside it")
    if path.exists() and not path.is_dir():
        raise UserError(f"{path} is {'a file' if path.is_file() else 'neither a file nor a folder'}; {_OTHER_NAME}")
    return _checked(path)


def model_folder(name: str | os.PathLike[str]) -> Path:
    """The absolute path of a folder for models that will be written, see `output_folder`.

    Raises:
        UserError: As `output_folder`; if the path is not UTF-8, because tokenizers cannot be written there.
    """
    path = output_folder(name)
    check_unicode(path)
    return path


def check_unicode(path: "AnyPath") -> None:
    """Raise a UserError if a path is not UTF-8: no JSON file can hold it, and no tokenizer can be read from it."""
    try:
        str(path).encode()
    except UnicodeEncodeError:
        raise UserError(f"the name {str(path)!r} is not UTF-8; rename the file or its folder") from None


def problems_of_text(options: Mapping[str, Any]) -> Iterator[str]:
    """A message for each option with text that no JSON file could hold, because it is not UTF-8."""
    for name, value in options.items():
        try:
            json.dumps(value, ensure_ascii=False).encode()
        except UnicodeEncodeError:
            yield f"{name} is {value!r}, which is not UTF-8; give other text"


def output_file(name: str | os.PathLike[str]) -> Path:
    """The absolute path of a file that will be written, or replaced as a whole.

    Raises:
        UserError: As `usable_path`; if it is a folder or a device; if it is inside a bundle; if its name is too long
            for the names of the files beside it.
    """
    path = usable_path(name).absolute()
    if path.is_dir() or os.fspath(name).endswith(("/", "/..", "/.")):
        raise UserError(f"{path} is a folder; name a file in it")
    if path.exists() and not path.is_file():
        raise UserError(f"{path} is neither a file nor a folder; {_OTHER_NAME}")
    return _checked(path)


def _checked(path: Path) -> Path:
    for folder in path.parents:
        if (folder / BUNDLE_MANIFEST).is_file():
            raise UserError(
                f"{path} is inside the bundle {folder}, which a new fit replaces as a whole; choose another place"
            )
    if len(os.fsencode(path.name)) > LONGEST_NAME:
        raise UserError(f"the name {path.name[:40]}... is longer than {LONGEST_NAME} bytes; choose a shorter one")
    return path


def refuse_existing(path: Path, overwrite: bool, marker: str | None = None) -> None:
    """Raise a UserError if `path` exists and may not be replaced.

    Args:
        path: A file to be written; with `marker`, a folder.
        overwrite: Whether the user allows the replacement.
        marker: A file that only a folder of the same kind contains; a folder without it is never replaced.
    """
    if not path.exists():
        return
    if not path.is_dir() and not path.is_file():
        raise UserError(f"{path} is neither a file nor a folder; choose another name")
    if not overwrite:
        raise UserError(f"{path} exists; choose another name, or give --overwrite to replace it")
    if path.is_dir() != (marker is not None):
        raise UserError(f"{path} is a {'folder' if path.is_dir() else 'file'}; choose another name")
    if marker is not None and any(path.iterdir()) and not (path / marker).exists():
        raise UserError(
            f"the folder {path} has other contents (no {marker}), so it is not replaced; choose another name"
        )


def check_writable(folder: Path) -> None:
    """Raise a UserError before the work starts if `folder` cannot be written or its disk is full."""
    probe = folder / ".writable"
    write_text(probe, "")
    probe.unlink(missing_ok=True)
    check_disk(folder)


@contextmanager
def removed_if_unused(folder: Path) -> Generator[None]:
    """Remove the folder, which may have empty ones in it, if a `UserError` ends the block before a file is stored."""
    try:
        yield
    except UserError:
        for place in sorted([folder, *folder.rglob("*")], reverse=True):
            with suppress(OSError):  # a file, or a folder with one
                place.rmdir()
        raise


def check_disk(folder: Path, needed: int = LEAST_FREE) -> int:
    """Bytes free on the disk of `folder`, which need not exist yet.

    Raises:
        UserError: If fewer than `needed` are free, or almost none.
    """
    there = next(place for place in (folder.absolute(), *folder.absolute().parents) if place.exists())
    free = shutil.disk_usage(there).free
    if free < max(needed, LEAST_FREE):
        lacking = "less than 100 MB are free" if free < LEAST_FREE else f"{free / 1e9:.1f} GB are free"
        wanted = f", and {needed / 1e9:.1f} GB are needed," if needed > LEAST_FREE else ""
        raise UserError(f"{lacking}{wanted} on the disk of {folder}; free some space or choose another place")
    return free


def check_system() -> None:
    """Raise a UserError if the system is not POSIX: it cannot flush folders or report a process's memory."""
    if os.name != "posix":
        raise UserError("unskew runs on Linux and macOS; on Windows, run it in the Windows Subsystem for Linux (WSL)")
