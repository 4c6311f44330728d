"""Decides whether to start, resume, skip or refuse a job, by what is at its output.

Knows manifests as plain values; starts nothing.
"""

from collections.abc import Collection, Iterator, Mapping
from typing import Any, Literal

from ..common import AnyPath, RemotePath, UserError, file_sha256
from .folder import MANIFEST, finished_shards, is_intact, read_manifest, unrecorded
from .metrics import check_metrics
from .paths import JobPaths
from .settings import JobSettings

Start = Literal["begin", "go on", "retry errors", "nothing to do"]

_ROUNDING = {
    "processor": "this job was started on {before} and goes on on {now}; last digits may differ",
    "threads": "this job was started with {before} threads and goes on with {now}; last digits may differ; to get the "
    "same ones, interrupt it and go on with OMP_NUM_THREADS={before}",
}


def check_output(job: JobSettings) -> JobPaths:
    """The paths of a job, with all checks that are possible before the bundle is read, its metrics file included.

    Raises:
        UserError: If nothing can be written there, or something there is not a job's and must not be replaced.
    """
    place = JobPaths.of(job.output)
    if job.metrics is not None:
        check_metrics(job.metrics)
    if isinstance(place.folder, RemotePath):
        place.folder.check_bucket()
    if read_manifest(place) is None:
        _refuse_foreign(place, job.overwrite)
    return place


def how_to_start(place: JobPaths, job: JobSettings, plan: Mapping[str, Any], found: Mapping[str, Any] | None) -> Start:
    """Decide by the manifest `found` in the folder and the `plan` of this run; changes nothing.

    Raises:
        UserError: If something there must not be replaced, or belongs to another bundle, input or setting.
    """
    if found is None:
        _refuse_foreign(place, job.overwrite)
        return "begin"
    if job.restart or found.get("clearing"):
        return _begin_again(place, job, found)
    changes = list(changed(_with_new_names(found["plan"]), plan))
    if job.shard_rows not in (None, found["shard_rows"]):
        changes.append(f"shard_rows was {found['shard_rows']}, is {job.shard_rows}")
    if found["finished"]:
        return _after_the_end(place, job, found, changes)
    if changes and finished_shards(place, found["plan"])[0]:
        raise UserError(
            f"the job at {place.output} was started differently: {'; '.join(changes)}; undo these changes to go on, "
            "or give --restart to start again"
        )
    if not found.get("joining"):
        _refuse_results(place, job.overwrite, found.get("replaces", ()))
    return _from_the_start(place, found) if changes else "go on"


def _with_new_names(plan: Mapping[str, Any]) -> dict[str, Any]:
    """A plan of version 0.1.0, as this version would write it."""
    return {"backend" if name == "writer" else name: value for name, value in plan.items()}


def moved(found: Mapping[str, Any], plan: Mapping[str, Any]) -> Iterator[str]:
    """Warnings if a job resumes with other instructions or another number of threads, which may round differently."""
    for name, said in _ROUNDING.items():
        before, now = found["plan"].get(name), plan.get(name)
        if None not in (before, now) and before != now:
            yield said.format(before=before, now=now)


def changed(before: Any, now: Any, name: str = "") -> Iterator[str]:
    """The differences between two plans, in words."""
    if isinstance(before, dict) and isinstance(now, dict):
        for key in dict.fromkeys([*before, *now]):
            if key in _ROUNDING:
                continue  # `moved` reports it
            yield from changed(before.get(key), now.get(key), key)
    elif name == "input" and before != now:
        yield from _changed_input(before, now)
    elif name == "bundle" and before != now:
        yield "the bundle has other contents"
    elif before != now:
        yield f"{name} was {before!r}, is {now!r}"


def _changed_input(before: Any, now: Any) -> Iterator[str]:
    names = [[part.get("file") or part["address"] for part in parts] for parts in (before, now)]
    if names[0] != names[1]:
        yield f"the input was {', '.join(names[0])}, is {', '.join(names[1])}"
        return
    for name, old, new in zip(names[1], before, now, strict=True):
        if old != new:
            yield f"{name} has other contents"


def _after_the_end(place: JobPaths, job: JobSettings, found: Mapping[str, Any], changes: list[str]) -> Start:
    if not changes and is_intact(place, found):
        return "retry errors" if job.retry_errors and found["finished"]["errors"] else "nothing to do"
    if job.overwrite:
        return _from_the_start(place, found)
    if place.output.exists():
        why = (
            f"belongs to another job ({'; '.join(changes)})" if changes else "was changed after the job had written it"
        )
        raise UserError(f"{place.output} exists and {why}; choose another name, or give --overwrite to replace it")
    return _from_the_start(place, found)


def _from_the_start(place: JobPaths, found: Mapping[str, Any]) -> Start:
    """Start again where a job's manifest is, unless the folder has shards that seem to be somebody else's."""
    strange = unrecorded(place, found)
    if len({path.name.partition(".")[0] for path in strange}) > 1:
        listed = ", ".join(path.name for path in strange[:3])
        raise UserError(
            f"{place.folder} contains {listed}, which this job has no record of; move them away, or choose another name"
        )
    return "begin"


def _begin_again(place: JobPaths, job: JobSettings, found: Mapping[str, Any]) -> Start:
    """Start again, as requested now or of a run that was killed; that alone replaces only results of the job's own."""
    own = is_intact(place, found) if found["finished"] else found.get("joining", False)
    if not own:
        _refuse_results(place, job.overwrite, found.get("replaces", ()))
    return _from_the_start(place, found)


def _refuse_foreign(place: JobPaths, overwrite: bool) -> None:
    """Refuse to replace anything that is not a job's unless `overwrite`, and any folder with other contents always."""
    if place.folder.is_dir() and not all(_of_a_beginning(path) for path in place.folder.iterdir()):
        raise UserError(f"the folder {place.folder} has other contents (no {MANIFEST}); choose another name")
    _refuse_results(place, overwrite)


def _of_a_beginning(path: AnyPath) -> bool:
    """Whether the contents may be left over from a job that was killed before it wrote a manifest."""
    return path.name == ".lock" or path.name.startswith(f".{MANIFEST}~")


def _refuse_results(place: JobPaths, overwrite: bool, replaces: Collection[str] = ()) -> None:
    for path in place.results:
        _refuse_existing(path, overwrite or bool(replaces and path.is_file() and file_sha256(path) in replaces))


def _refuse_existing(path: AnyPath, overwrite: bool) -> None:
    if path.is_dir():
        raise UserError(f"{path} is a folder; choose another name")
    if path.exists() and not overwrite:
        raise UserError(f"{path} exists; choose another name, or give --overwrite to replace it")
