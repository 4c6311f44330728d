"""Describes what a job would do, after every check that needs no model. Loads no model and writes no file."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from ..common import check_disk
from ..corpus import BadRow, place_of, stream
from .folder import finished_shards, read_manifest
from .job import prepare
from .model import ModelHandle
from .resume import how_to_start
from .settings import JobSettings

_LOOKED_AT = 100


def describe(system: ModelHandle, job: JobSettings) -> str:
    """The plan of a job, a line for each part.

    Raises:
        UserError: As in the job itself before it loads the models.
    """
    return "\n".join(_lines(system, job))


def _lines(system: ModelHandle, job: JobSettings) -> Iterator[str]:
    place, state, plan = prepare(system, job)
    found = read_manifest(place)
    what = how_to_start(place, job, plan, found)
    rows = state.rows if job.limit is None or state.rows is None else min(state.rows, job.limit)
    begun = found if what == "go on" else None
    shard_rows = begun["shard_rows"] if begun else job.shard_rows or system.shard_rows
    names = ", ".join(part.get("file") or part["address"] for part in state.parts)
    limit = f" (limit {job.limit:,})" if job.limit is not None else ""
    yield f"input:    {names}: {'rows not counted' if rows is None else f'{rows:,} rows'}{limit}; {_looked_at(job)}"
    shards = "" if rows is None else f" in {-(-rows // shard_rows):,} shards"
    yield f"output:   {place.output} ({place.form}), worked on in {place.folder}{shards} of {shard_rows:,} rows"
    done = f"; {len(finished_shards(place, begun['plan'])[0]):,} shards are done" if begun else ""
    yield f"job:      {what}{done}"
    if isinstance(place.folder, Path):
        yield f"disk:     {check_disk(place.folder) / 1e9:.1f} GB free"
    on = f"{job.workers} Ray workers, each on " if job.executor == "ray" else ""
    where = ", ".join(str(system.state[name]) for name in ("device", "precision", "backend") if name in system.state)
    yield f"models:   {len(system.topics)} topics; {on}{where}; {system.weight_bytes / 1e6:,.0f} MB of weights"
    yield "settings: " + ", ".join(f"{name} {value}" for name, value in plan["settings"].items() if value is not None)


def _looked_at(job: JobSettings) -> str:
    limit = min(job.limit or _LOOKED_AT, _LOOKED_AT)
    head = list(stream(job.input, replace(job.columns, topic=None, target=None), limit))
    bad = [row for row in head if isinstance(row, BadRow)]
    said = f", the first: {place_of(bad[0])}: {bad[0].reason}" if bad else ""
    return f"{len(bad)} of the first {len(head)} rows cannot be used{said}"
