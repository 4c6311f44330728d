"""The state of a job from its folder alone, wherever the job runs. Starts nothing and changes nothing."""

import fcntl
import time
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from ..common import RemotePath, UserError, any_path
from .folder import MANIFEST, finished_shards, read_manifest
from .paths import JobPaths
from .report import Totals

Status = dict[str, Any]


def job_status(name: str) -> Status:
    """The state of a job.

    Args:
        name: Output or working folder of the job.

    Returns:
        `state` ("running", "interrupted" or "finished"; in object storage, where no lock tells, "unfinished" instead of
        the first two), `output`, `held_by` (the process at work, or None), `rows`, `errors`, `shards` (done so far),
        `input_rows` (None where not counted), `first_bad`, `seconds_since_last_shard`, `rows_per_second` and
        `seconds_left` (None where not known), `report` (of a finished job, else None).

    Raises:
        UserError: If there is no job.
    """
    place = _place(name)
    manifest = _manifest(place, name)
    done = {} if manifest["finished"] else _done(place, manifest)
    if done:
        manifest = _manifest(place, name)  # again: a job that has ended meanwhile has removed its records
    finished, holder = manifest["finished"], _holder(place)
    status = {
        "state": "finished" if finished else _unfinished(place, holder),
        "output": str(place.output),
        "held_by": holder,
        "input_rows": manifest.get("input_rows"),
    }
    if finished:
        counts = {name: finished[name] for name in ("rows", "errors", "first_bad")}
        return {
            **status,
            **counts,
            "shards": len(manifest.get("shards", [])),
            **_pace(Totals(), None),
            "report": manifest.get("report"),
        }
    return {**status, **done, "report": None}


def _manifest(place: JobPaths, name: str) -> Mapping[str, Any]:
    manifest = read_manifest(place)
    if manifest is None:
        raise UserError(f"there is no job at {name} (no {MANIFEST}); give the output of `unskew predict` or its folder")
    return manifest


def _done(place: JobPaths, manifest: Mapping[str, Any]) -> Status:
    """The part of the state that the records of finished shards tell."""
    shards, totals = finished_shards(place, manifest["plan"])
    records = [shards[index] for index in sorted(shards)]
    counts = {name: sum(record[name] for record in records) for name in ("rows", "errors")}
    first_bad = next((record["first_bad"] for record in records if record["first_bad"]), None)
    total = manifest.get("input_rows")
    left = None if total is None else max(0, total - counts["rows"] - counts["errors"])
    pace = {**_pace(totals, left), "seconds_since_last_shard": _age(place)}
    return {**counts, "first_bad": first_bad, "shards": len(records), **pace}


def describe_status(status: Status) -> str:
    """The state in words, a line for each part."""
    of = "" if status["input_rows"] is None else f" of {status['input_rows']:,}"
    by = f" ({status['held_by']})" if status["held_by"] else ""
    lines = [f"state:   {status['state']}{by}", f"output:  {status['output']}"]
    lines.append(f"rows:    {status['rows'] + status['errors']:,}{of} done in {status['shards']:,} shards")
    if status["errors"]:
        lines.append(f"errors:  {status['errors']:,}, the first: {status['first_bad']}")
    if status["seconds_since_last_shard"] is not None:
        lines.append(f"last:    a shard was stored {status['seconds_since_last_shard']:,.0f} s ago")
    if status["rows_per_second"] is not None:
        after = "" if status["seconds_left"] is None else f", {status['seconds_left']:,.0f} s left"
        lines.append(f"speed:   {status['rows_per_second']:,.1f} rows/s{after}")
    if status["report"]:
        lines += _report_lines(status["report"])
    return "\n".join(lines)


def _report_lines(report: dict[str, Any]) -> list[str]:
    lines = [f"time:    {report['seconds']:,.0f} s at work, {report['rows_per_second'] or 0:,.1f} rows/s"]
    for stage, its in report["stages"].items():
        tokens = f"{its['tokens_read']:,} tokens read, {its['tokens_written']:,} written"
        lines.append(
            f"{stage + ':':<8} {its['seconds']:,.0f} s, {its['tokens_per_second'] or 0:,.0f} tokens/s; {tokens}"
        )
    gpu = "" if report["peak_gpu_memory"] is None else f", {report['peak_gpu_memory'] / 1e9:.2f} GB on the GPU"
    lines.append(f"memory:  {report['peak_memory'] / 1e9:.2f} GB at most{gpu}")
    shift = "" if report["shift"] is None else f"; {report['shift']:.3f} away from the training shares"
    lines.append(f"topics:  {report['undecided_rows']:,} rows undecided{shift}")
    return lines


def _place(name: str) -> JobPaths:
    path = any_path(name)
    if path.suffix == ".job" and (path / MANIFEST).exists():
        return JobPaths.of(str(path.with_suffix("")))
    return JobPaths.of(f"{path}/" if (path / MANIFEST).exists() else str(path))


def _unfinished(place: JobPaths, holder: str | None) -> str:
    if isinstance(place.folder, RemotePath):
        return "unfinished"
    return "running" if holder else "interrupted"


def _holder(place: JobPaths) -> str | None:
    """The process with the folder's lock, found by a shared lock that is released at once."""
    if isinstance(place.folder, RemotePath):
        return None
    with suppress(OSError), (place.folder / ".lock").open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return file.read(1000).decode("utf-8", "replace").strip() or "a process"
    return None


def _age(place: JobPaths) -> float | None:
    times: list[float] = []
    for path in place.done(0).parent.glob("part-*.json"):
        with suppress(FileNotFoundError):  # removed by a job that ends
            times.append(path.stat().st_mtime)
    return round(max(0.0, time.time() - max(times)), 1) if times else None


def _pace(totals: Totals, rows_left: int | None) -> Status:
    """The speed of one worker, over the shards with a known cost, and the time it would need for the rest."""
    rate = totals.timed_rows / totals.seconds if totals.seconds else None
    return {
        "seconds_since_last_shard": None,
        "rows_per_second": rate and round(rate, 2),
        "seconds_left": round(rows_left / rate, 1) if rate and rows_left is not None else None,
    }
