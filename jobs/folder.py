"""The working folder of a job: its manifest, its finished shards, its lock. Knows no model and no input.

OUTPUT.job/            (OUTPUT itself, where that is a folder)
  job.json             what the results depend on, the prior that was estimated, and at the end what was written
  part-00000.jsonl     result rows of a shard
  errors/              rows of a shard that could not be processed, where there are any
  done/                written last: rows, bytes and SHA-256 of a finished shard
  .lock                held by the process that works here

Every file is written whole or not at all, and a shard without its file in `done` does not count. So after any
interruption, a job finds only whole shards.

In object storage the layout is the same, but there is no lock: a lease would depend on clocks, and none is needed. The
manifest of a new job is created only if there is none, so the first of two simultaneous runs sets the plan. A shard's
bytes depend only on the plan, so equal runs write equal objects. A run stops before it stores a shard if its manifest
is gone, replaced or finished. At the end every shard is compared with the SHA-256 in its record.
"""

import glob
import hashlib
import json
import os
import platform
import re
from collections.abc import Generator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from itertools import chain
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from ..common import (
    AnyPath,
    RemotePath,
    UserError,
    file_sha256,
    fingerprint,
    read_artefact,
    replacing,
)
from .encoding import FORMATS, Layout, join
from .manifest import JobManifest, ShardRecord
from .paths import JobPaths
from .predict_shard import ShardResult
from .report import IN_RECORDS, Totals
from .standing import Standing, is_new, refuse_new

FORMAT = 1
MANIFEST = "job.json"
_SHARD = re.compile(rf"part-[0-9]{{5,}}\.({'|'.join(map(re.escape, ('json', *FORMATS)))})")


def read_manifest(place: JobPaths) -> dict[str, Any] | None:
    """The manifest of an earlier run; None without one.

    Raises:
        UserError: If it is of a newer version, or not a job's manifest.
    """
    path = place.folder / MANIFEST
    try:
        return read_artefact(path, JobManifest, FORMAT, "choose another output, or remove it").plain()
    except FileNotFoundError:
        return None


def write_manifest(place: JobPaths, manifest: Mapping[str, Any], new: bool = False) -> None:
    """Write the manifest whole or not at all. In object storage a `new` one does not replace another."""
    with replacing(place.folder / MANIFEST, new=new) as file:
        file.write(json.dumps(manifest, indent=1, ensure_ascii=False) + "\n")


def begin_again(place: JobPaths, manifest: Mapping[str, Any], found: Mapping[str, Any]) -> None:
    """Write the manifest of a job that begins in the place of the job `found`, and remove the shards of that one.

    Until they are removed the manifest says so: after a kill, no shard that is left may count as the new job's.
    """
    write_manifest(place, {**manifest, "clearing": True, "shards": found.get("shards", [])})
    clear(place)
    write_manifest(place, manifest)


def check_own(place: JobPaths, manifest: Mapping[str, Any]) -> None:
    """Raise a UserError if another run has ended this job or begun another job in its place.

    On a file system the lock prevents that.
    """
    if isinstance(place.folder, Path):
        return
    found = read_manifest(place)
    kept = ("plan", "shard_rows")
    if found is None or found["finished"] or any(found[name] != manifest[name] for name in kept):
        raise UserError(
            f"another run has finished or replaced the job at {place.output}; run the same command again to see which"
        )


def store(place: JobPaths, shard: ShardResult, plan: Mapping[str, Any]) -> dict[str, Any]:
    """Write a shard's files, with its record last. Returns the record, which is bound to the plan."""
    with replacing(place.part(shard.index), "wb") as file:
        file.write(shard.content)
    if shard.bad:
        with replacing(place.bad(shard.index), "wb") as file:
            file.write(shard.bad)
    record = {
        "index": shard.index,
        "rows": shard.rows,
        "errors": shard.errors,
        "first_bad": shard.first_bad,
        "bytes": len(shard.content),
        "sha256": hashlib.sha256(shard.content).hexdigest(),
        "error_bytes": len(shard.bad),
        "plan": fingerprint(plan),
        "topics": shard.topics,
        "undecided": shard.undecided,
        **({"cost": shard.cost} if shard.cost else {}),
    }
    with replacing(place.done(shard.index)) as file:
        file.write(json.dumps(record, ensure_ascii=False))
    return record


def finished_shards(place: JobPaths, plan: Mapping[str, Any]) -> tuple[dict[int, dict[str, Any]], Totals]:
    """The plan's finished shards whose files exist with the recorded size: what `bare` leaves, by index; and totals."""
    found: dict[int, dict[str, Any]] = {}
    totals = Totals()
    bound = fingerprint(plan)
    for path in sorted((place.folder / "done").glob("part-*.json")):  # pyright: ignore[reportArgumentType] all of a kind
        with suppress(UserError, OSError):  # an unreadable record means that the shard is done again
            record = read_artefact(path, ShardRecord).plain()
            if path != place.done(record["index"]) or record.get("plan", bound) != bound:
                continue
            sizes = [(place.part(record["index"]), record["bytes"])]
            if record["error_bytes"]:
                sizes.append((place.bad(record["index"]), record["error_bytes"]))
            if all(file.stat().st_size == size for file, size in sizes):
                found[record["index"]] = bare(record)
                totals.add(record)
    return found, totals


def bare(record: Mapping[str, Any]) -> dict[str, Any]:
    """The record of a shard without what `Totals` sums up, as the manifest of a finished job lists it."""
    return {name: value for name, value in record.items() if name not in IN_RECORDS}


def finish(
    place: JobPaths,
    manifest: Mapping[str, Any],
    shards: list[dict[str, Any]],
    layout: Layout,
    report: Mapping[str, Any],
    before: Standing | None = None,
) -> None:
    """Join the shards, write the final manifest, and only then clean up. May be repeated after a kill at any point.

    Args:
        place: Paths of the job.
        manifest: Manifest as it was written.
        shards: Bare records of all shards, in order.
        layout: Layout of the rows.
        report: Report of the job's work and cost.
        before: State of the output that may be replaced; None allows anything.

    Raises:
        UserError: If a shard was changed (the next run predicts it again), or something else changed the output.
    """
    for shard in shards:
        _check(place, shard)
    refuse_new(before)
    write_manifest(place, {**manifest, "joining": True})  # from here on, an existing output is ours
    bad = [place.bad(shard["index"]) for shard in shards if shard["error_bytes"]]
    with ExitStack() as stack:
        if bad:
            join(bad, Layout("jsonl"), stack.enter_context(replacing(place.errors, "wb", is_new(place.errors, before))))
        if not place.is_folder:
            parts = (place.part(shard["index"]) for shard in shards)
            file = stack.enter_context(replacing(place.output, "wb", is_new(place.output, before)))
            join(parts, layout, file)
        try:
            refuse_new(before)
        except UserError:
            write_manifest(place, manifest)
            raise
    if not bad:
        place.errors.unlink(missing_ok=True)
    written: dict[str, Any] = {"rows": sum(s["rows"] for s in shards), "errors": sum(s["errors"] for s in shards)}
    written["first_bad"] = next((shard["first_bad"] for shard in shards if shard["first_bad"]), None)
    if not place.is_folder:
        written |= {"bytes": place.output.stat().st_size, "sha256": file_sha256(place.output)}
    write_manifest(place, {**manifest, "replaces": [], "finished": written, "report": report, "shards": shards})
    clear(place, parts=not place.is_folder)


def clear(place: JobPaths, parts: bool = True) -> None:
    """Remove the records of shards and, with `parts`, the shards; removes only files that a job writes.

    Records go last: a kill leaves no shard whose record is gone, which `unrecorded` would take for somebody else's.
    """
    for path in _own(place.folder) if parts else ():
        path.unlink(missing_ok=True)
    for folder in (place.bad(0).parent, place.done(0).parent):
        for path in _own(folder):
            path.unlink(missing_ok=True)
        with suppress(OSError):  # the folder has other contents
            folder.rmdir()


def unrecorded(place: JobPaths, manifest: Mapping[str, Any]) -> list[AnyPath]:
    """Shard files without a record. A kill leaves at most those of one shard, which the job writes again."""
    known = {place.done(shard["index"]).stem for shard in manifest.get("shards", [])}
    known |= {path.stem for path in _own(place.done(0).parent)}
    found = [path for folder in (place.folder, place.bad(0).parent) for path in _own(folder)]
    return [path for path in found if path.name.partition(".")[0] not in known and not path.name.startswith(".")]


def is_intact(place: JobPaths, manifest: Mapping[str, Any]) -> bool:
    """Whether the output of a finished job is unchanged."""
    finished = manifest["finished"]
    if bool(finished["errors"]) != place.errors.is_file():
        return False
    if place.is_folder:
        shards = manifest.get("shards", [])
        whole = all(_is(place.part(shard["index"]), shard["bytes"], shard["sha256"]) for shard in shards)
        return whole and bool(shards or not finished["rows"])
    return _is(place.output, finished.get("bytes"), finished.get("sha256"))


@contextmanager
def locked(place: JobPaths) -> Generator[None]:
    """Lock the folder, which is created if missing. The system frees the lock however the process ends.

    Temporary files of shards and results are removed: only the process with the lock writes them, so killed ones left
    these.

    Raises:
        UserError: If another process has the lock.
    """
    if isinstance(place.folder, RemotePath):
        yield
        return
    file = place.folder / ".lock"
    lock = FileLock(file, timeout=0)
    try:
        place.folder.mkdir(parents=True, exist_ok=True)
        lock.acquire()
        file.write_text(f"process {os.getpid()} of {platform.node()}", "utf-8")
        shards = (place.folder, place.done(0).parent, place.bad(0).parent)
        for path in chain(*map(_temporary, shards), *map(_unfinished, place.results)):
            path.unlink(missing_ok=True)
    except Timeout as error:
        who = file.read_text("utf-8").strip() or "another process"
        raise UserError(f"{who} is working on {place.output}; wait for it, or choose another output") from error
    except OSError as error:
        lock.release()
        raise UserError(
            f"cannot write to {place.folder}: {error.strerror}; choose a place that can be written"
        ) from error
    try:
        yield
    finally:
        lock.release()


def _own(folder: AnyPath) -> list[AnyPath]:
    """The files in a folder with names of shard files, and temporary files left by killed writers."""
    return [path for path in sorted(folder.glob("part-*")) if _SHARD.fullmatch(path.name)] + _temporary(folder)


def _temporary(folder: AnyPath) -> list[AnyPath]:
    return [path for path in folder.glob(".part-*.tmp") if _SHARD.fullmatch(path.name[1:].partition("~")[0])]


def _unfinished(result: AnyPath) -> list[AnyPath]:
    """Temporary files of a result; in a container, where all processes have one number, `replacing_file` keeps them."""
    return list(result.parent.glob(f".{glob.escape(result.name)}~*.tmp"))


def _check(place: JobPaths, shard: Mapping[str, Any]) -> None:
    part = place.part(shard["index"])
    if not _is(part, shard["bytes"], shard["sha256"]):
        place.done(shard["index"]).unlink(missing_ok=True)
        raise UserError(f"{part} was changed after it was written; run the same command again to redo only that part")


def _is(path: AnyPath, size: int | None, sha256: str | None) -> bool:
    return path.is_file() and path.stat().st_size == size and file_sha256(path) == sha256
