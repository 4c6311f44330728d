"""A bundle in object storage, copied once to this machine. Knows objects and a cache folder; not their contents."""

import math
import os
import shutil
import time
from pathlib import Path

from filelock import FileLock

from ..common import RemotePath, UserError, check_disk, fingerprint, replacing_folder
from .manifest import inside

UNUSED_DAYS = 30  # after which a copy is removed; a process that has loaded it needs it no more


def local_copy(url: str, marker: str) -> Path:
    """A folder on this machine with a copy of a bundle's current objects. Processes wait for each other.

    Copies are kept in $XDG_CACHE_HOME/unskew/bundles (else ~/.cache) under a fingerprint of names, sizes and versions,
    so a replaced object leads to another copy. Whenever one is made, copies that were not asked for in thirty days go.

    Args:
        url: URL of the bundle's folder.
        marker: Name of an object that every bundle has.

    Raises:
        UserError: If it is not a bundle, has an object whose name leads out of it, cannot be read, changes while it is
            copied, or the disk is full.
    """
    source = RemotePath.parse(url)
    if not (source / marker).is_file():
        raise UserError(f"{source} is not a bundle: it has no {marker}; give the URL of a bundle's folder")
    found = _state(source)
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "unskew" / "bundles"
    place = cache / fingerprint(str(source), found)[:32]
    lock = FileLock(f"{place}.lock")
    try:
        cache.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except OSError as error:
        remedy = "set XDG_CACHE_HOME to a folder that can be written"
        raise UserError(f"cannot write to {cache} for a copy of {source}: {error.strerror}; {remedy}") from error
    try:
        if not place.exists():
            _remove_unused(cache)
            check_disk(cache, sum(size for _, _, size in found))
            with replacing_folder(place) as new:
                for name, _, _ in found:
                    (new / name).parent.mkdir(parents=True, exist_ok=True)
                    (source / name).get(new / name)
                if _state(source) != found:
                    raise UserError(f"the bundle {source} was replaced while it was copied; run the same command again")
        os.utime(place)
    finally:
        lock.release()
    return place


def _remove_unused(cache: Path) -> None:
    """Remove copies by the time of their folder, which is that of their last use."""
    oldest = time.time() - UNUSED_DAYS * 24 * 3600
    for lock in cache.glob("*.lock"):
        place = lock.with_suffix("")
        if _used(place) < oldest:
            with FileLock(lock):
                if _used(place) < oldest:  # another process may have asked for it meanwhile
                    removed = place.with_suffix(".removed")  # so that a kill leaves no part of it under its name
                    shutil.rmtree(removed, ignore_errors=True)
                    place.rename(removed)
    for removed in cache.glob("*.removed"):
        shutil.rmtree(removed, ignore_errors=True)


def _used(place: Path) -> float:
    """The time of a copy's last use; infinite if there is none."""
    try:
        return place.stat().st_mtime
    except FileNotFoundError:
        return math.inf


def _state(source: RemotePath) -> list[tuple[str, int, int]]:
    """Name, version and bytes of each object."""
    files = [(file, file.stat()) for file in source.files()]
    return [(_name(source, file), stat.st_ino, stat.st_size) for file, stat in files]


def _name(source: RemotePath, file: RemotePath) -> str:
    # A store takes any name, `..` too, and the copy is written under the same one.
    name = "/".join(file.parts[len(source.parts) :])
    try:
        return inside(name)
    except ValueError:
        raise UserError(
            f"{source} has an object {name!r}, which is not the name of a file inside a bundle; delete it"
        ) from None
