"""A batch job from start to end: rows in, shards out, resumed after any interruption at the last whole shard.

Knows files and how the parts of this package fit together; knows nothing of the models. Shards are cut from the input
by position alone, and each is predicted on its own. So their bytes do not depend on where a run began or which process
predicted them.
"""

import json
import logging
import os
from collections import deque
from collections.abc import Generator, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import count, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..common import AnyPath, ProgressCallback, UserError, any_path, show_progress
from ..corpus import Source, SpreadSample, stream_located
from . import folder
from .encoding import Layout
from .first_pass import FirstPass, prior_of_texts, read_texts
from .inputs import InputState, input_state
from .metrics import MetricsFile, check_metrics
from .model import ModelHandle, Prior, open_model
from .paths import JobPaths
from .predict_shard import Predictor, Shard, ShardResult, predict_shard
from .report import Totals, drift, reconcile, summarise
from .resume import how_to_start, moved
from .retry import Retry, merged, reopen, with_errors
from .settings import JobSettings
from .standing import Standing, owning, what_stands

if TYPE_CHECKING:
    from ..decoder import Backend
    from ..runtime import Precision

log = logging.getLogger("unskew")

_LEAST_FOR_A_SHARE = 100


@dataclass(frozen=True)
class JobSummary:
    """The results of a job in numbers.

    Attributes:
        output: Output file or folder.
        written: Rows with a result.
        bad: Rows that could not be processed.
        first_bad: Place and reason of the first error.
        resumed: Rows, with results or errors, that earlier runs had finished.
        drift: Warnings about thresholds that were exceeded.
    """

    output: AnyPath
    written: int = 0
    bad: int = 0
    first_bad: str | None = None
    resumed: int = 0
    drift: tuple[str, ...] = ()

    def __str__(self) -> str:
        bad = f"; {self.bad:,} rows could not be processed, the first: {self.first_bad}" if self.bad else ""
        before = f" ({self.resumed:,} rows had been done before)" if self.resumed else ""
        return f"{self.written:,} rows written{before}{bad}"


def run(system: ModelHandle, job: JobSettings) -> JobSummary:
    """Run a job, resume it, run its errors again, or find it finished.

    Raises:
        UserError: If an input or option is invalid, another process works on the output, the output belongs to another
            job, or more rows failed than allowed. Finished shards remain.
    """
    asked = job.target_prior or ("adaptive" if system.adapts else None)
    sample = SpreadSample(job.estimate_rows, job.limit) if asked in ("adaptive", "estimate") else None
    place, state, plan = prepare(system, job, sample)
    how_to_start(place, job, plan, folder.read_manifest(place))  # raises before the folder is created
    with folder.locked(place):
        # Before the checks: a file that later takes the place of one they have seen is not the job's.
        standing = None if job.overwrite else what_stands(place)
        found = folder.read_manifest(place)
        match how_to_start(place, job, plan, found):
            case "nothing to do" if found is not None:
                folder.clear(place, parts=not place.is_folder)
                return _summary(place, job, found, found["finished"]["rows"] + found["finished"]["errors"])
            case "retry errors" if found is not None:
                manifest = reopen(place, found, job.layout(place.form), standing)
            case "go on" if found is not None:
                manifest = _go_on(place, plan, found, standing)
            case _:
                manifest = _begin(place, job, plan, system, state, standing, found)
        with _executor(job):
            manifest, prior, first = _with_prior(place, job, manifest, system, state, sample)
            return _finish(_Work(system, job, place, state, manifest, prior, first), standing)


def _executor(job: JobSettings) -> AbstractContextManager[Any]:
    if job.executor == "ray":
        from .ray_cluster import ray_cluster

        return ray_cluster(job)
    return nullcontext()


def _finish(work: "_Work", standing: Standing | None) -> JobSummary:
    place, job, manifest = work.place, work.job, work.manifest
    before, totals = folder.finished_shards(place, manifest["plan"])
    metrics = MetricsFile(check_metrics(job.metrics), job.output, manifest.get("input_rows")) if job.metrics else None
    try:
        records = work.missing(before, totals, metrics)
        if job.retry_errors:
            work.errors_again(records, totals, metrics)
    finally:
        if metrics is not None:
            metrics.end(finished=False)
    work.state.check_unchanged()
    folder.check_own(place, manifest)
    shards = [records[index] for index in sorted(records)]
    reconcile(shards, manifest["shard_rows"], manifest.get("input_rows"), manifest.get("report"))
    sampled = (manifest["prior"] or {}).get("seconds", 0.0)
    report = summarise(shards, totals, work.system.topics, manifest.get("report"), sampled)
    folder.finish(place, manifest, shards, work.layout, report, standing)
    if metrics is not None:
        metrics.end(finished=True)
    if not shards:
        log.warning("%s has no rows", job.input)
    return _summary(place, job, folder.read_manifest(place) or manifest, _rows_of(before, job.retry_errors))


def predict(
    model: str | Path,
    source: Source,
    output: str | Path,
    *,
    device: str | None = None,
    precision: "Precision | None" = None,
    backend: "Backend" = "torch",
    **options: Any,
) -> JobSummary:
    """Run a job of a bundle. `options` are those of `JobSettings`; errors as in `run`."""
    names = str(source) if isinstance(source, str | os.PathLike) else [str(one) for one in source]
    job = JobSettings(names, str(output), **options)
    return run(open_model(str(model), device, precision, job, backend), job)


def prepare(
    system: ModelHandle, job: JobSettings, sample: SpreadSample | None = None
) -> tuple[JobPaths, InputState, dict[str, Any]]:
    """The paths of the job, its input, and the plan of everything that its results depend on; changes nothing.

    The rows of the input are shown to a `sample`, so that it need not be read once more.

    Raises:
        UserError: If the input cannot be read, or the output would be written into it.
    """
    place = JobPaths.of(job.output)
    state = input_state(job.input, replace(job.columns, topic=None, target=None), sample)
    for seen in state.seen:
        path = any_path(seen.name).resolve()
        own = {place.output.resolve(), place.errors.resolve()}
        if path in own or place.folder.resolve() in path.parents:
            raise UserError(f"{job.output} is the input itself; choose another name")
    plan = {"input": state.parts, "settings": job.in_results(system.window, system.adapts), **system.state}
    return place, state, json.loads(json.dumps(plan))


def _go_on(
    place: JobPaths, plan: Mapping[str, Any], found: dict[str, Any], standing: Standing | None
) -> dict[str, Any]:
    for warning in moved(found, plan):
        log.warning("%s", warning)
    if not found.get("joining"):
        return found
    manifest = owning(place, found, standing)  # what is there now is the job's, what appears later is not
    folder.write_manifest(place, manifest)
    return manifest


def _begin(
    place: JobPaths,
    job: JobSettings,
    plan: Mapping[str, Any],
    system: ModelHandle,
    state: InputState,
    standing: Standing | None,
    found: Mapping[str, Any] | None,
) -> dict[str, Any]:
    rows = state.rows if job.limit is None or state.rows is None else min(state.rows, job.limit)
    manifest = {
        "format": folder.FORMAT,
        "plan": plan,
        "shard_rows": job.shard_rows or system.shard_rows,
        "prior": None,
        "input_rows": rows,
        "finished": None,
    }
    if found is None:
        folder.write_manifest(place, manifest, new=True)
        return manifest
    manifest = owning(place, manifest, standing)
    folder.begin_again(place, manifest, found)
    return manifest


def _with_prior(
    place: JobPaths,
    job: JobSettings,
    manifest: dict[str, Any],
    system: ModelHandle,
    state: InputState,
    sample: SpreadSample | None,
) -> tuple[dict[str, Any], Prior, FirstPass | None]:
    """The target prior. One estimated from the rows is estimated once and kept in the manifest for resumed runs."""
    asked: Any = job.target_prior
    if sample is None:
        return manifest, asked, None
    kind, whole, texts, first = asked or "adaptive", sample.is_whole, sample.taken(), None
    if manifest["prior"] is None:
        if job.executor == "ray":  # this machine may have neither the memory nor the GPU for models
            from .ray_cluster import call_on_ray

            log.info("a worker estimates the target prior from %s rows", f"{len(texts):,}")
            found = call_on_ray(job, partial(prior_of_texts, system, texts, manifest["shard_rows"], kind))
        else:
            first = read_texts(system, texts, manifest["shard_rows"], whole, job.progress)
            found = first.plain_prior(kind)
            first = first.with_target_prior(found["shares"])
        state.check_unchanged()
        manifest = {**manifest, "prior": found}
        folder.write_manifest(place, manifest)
    log.info("%s", manifest["prior"]["said"])
    return manifest, manifest["prior"]["shares"], first


@dataclass
class _Work:
    """The shards of one run: predicts and stores those that are not finished."""

    system: ModelHandle
    job: JobSettings
    place: JobPaths
    state: InputState
    manifest: dict[str, Any]
    prior: Prior
    first: FirstPass | None = None  # a loaded pipeline for that prior, if rows were read before

    @property
    def layout(self) -> Layout:
        return self.job.layout(self.place.form)

    def missing(
        self, finished: Mapping[int, dict[str, Any]], totals: Totals, metrics: MetricsFile | None
    ) -> dict[int, dict[str, Any]]:
        """Predict and store the shards that are not finished. Returns the bare records of all shards."""
        records = dict(finished)
        tally = _Tally.of(finished, self.job.max_errors)
        shards = self._shards(set(finished))
        with self._told("predict", self.manifest.get("input_rows"), tally, metrics):
            for result in self._answered(shards, tally):
                records[result.index] = self._store(result, metrics)
                totals.add(vars(result))
        return records

    def errors_again(self, records: dict[int, dict[str, Any]], totals: Totals, metrics: MetricsFile | None) -> None:
        """Predict rows with errors again and update the records."""
        failed = sum(record["errors"] for record in records.values())
        tally = _Tally.of(records, self.job.max_errors)
        tally.errors, tally.first_bad = 0, None
        retries: dict[int, Retry] = {}

        def shards() -> Iterator[Shard]:
            for retry in with_errors(self.place, records, self._shards(set())):
                retries[retry.shard.index] = retry
                yield retry.shard

        with self._told("retry", tally.seen + failed, tally, metrics) if failed else nullcontext():
            for result in self._answered(shards(), tally) if failed else ():
                whole = merged(self.place, retries.pop(result.index), result, self.layout)
                records[result.index] = self._store(whole, metrics)
                totals.add(vars(result))  # of these rows alone: the others are counted

    def _shards(self, finished: set[int]) -> Iterator[Shard]:
        return iter_shards(self.state, self.job, self.manifest["shard_rows"], finished)

    def _store(self, result: ShardResult, metrics: MetricsFile | None) -> dict[str, Any]:
        self.state.check_unchanged()
        folder.check_own(self.place, self.manifest)
        record = folder.store(self.place, result, self.manifest["plan"])
        if metrics is not None:
            metrics.stored(record)
        return folder.bare(record)

    @contextmanager
    def _told(self, name: str, total: int | None, tally: "_Tally", metrics: MetricsFile | None) -> Generator[None]:
        spent = self.first.seconds_per_row if self.first else 0.0
        with show_progress(self.job.progress, name, total, tally.seen, tally.errors, spent) as tell:
            tally.tellers = [tell, *([metrics.tell] if metrics is not None else [])]
            if metrics is not None:
                metrics.begin(tally.seen, tally.errors)
            yield

    def _answered(self, shards: Iterator[Shard], tally: "_Tally") -> Iterator[ShardResult]:
        if self.job.executor == "ray":
            from .ray_executor import answer_on_ray

            for result in answer_on_ray(self.system, self.prior, shards, self.job, self.layout):
                tally.add(result.rows, result.errors, result.first_bad)
                yield result
            return
        pipeline: Predictor | None = self.first
        for shard in shards:
            pipeline = pipeline or self.system.load(self.prior)
            yield predict_shard(pipeline, shard, self.job.predict_options(self.system.window), self.layout, tally.add)


def iter_shards(state: InputState, job: JobSettings, shard_rows: int, finished: set[int]) -> Iterator[Shard]:
    """The shards of the input that are not finished, with at most one in memory."""
    rows = stream_located(state.sources, replace(job.columns, topic=None, target=None), job.limit, keep=job.kept)
    for index in count():
        if index in finished:
            deque(islice(rows, shard_rows), maxlen=0)
        elif held := list(islice(rows, shard_rows)):
            yield Shard(index, held)
        else:
            return


@dataclass
class _Tally:
    """Counts rows, reports them to the progress view, and ends a job with too many errors."""

    most: float | None
    rows: int
    errors: int
    first_bad: str | None
    tellers: list[ProgressCallback] = field(default_factory=list)

    @classmethod
    def of(cls, finished: Mapping[int, Mapping[str, Any]], most: float | None) -> "_Tally":
        shards = [finished[index] for index in sorted(finished)]
        first = next((shard["first_bad"] for shard in shards if shard["first_bad"]), None)
        return cls(most, sum(s["rows"] for s in shards), sum(s["errors"] for s in shards), first)

    @property
    def seen(self) -> int:
        return self.rows + self.errors

    def add(self, rows: int, errors: int, reason: str | None) -> None:
        self.rows += rows
        self.errors += errors
        self.first_bad = self.first_bad or reason
        for tell in self.tellers:
            tell(rows + errors, errors)
        if not errors or self.most is None:
            return
        enough = self.most >= 1 or self.most == 0 or self.seen >= _LEAST_FOR_A_SHARE
        if enough and self.errors > (self.most * self.seen if self.most < 1 else self.most):
            raise UserError(
                f"stopped: {self.errors:,} of {self.seen:,} rows could not be processed, more than max_errors "
                f"{self.most:g} allows, the first: {self.first_bad}; finished shards remain: fix the input and give "
                "--restart, or allow more errors to go on"
            )


def _summary(place: JobPaths, job: JobSettings, manifest: Mapping[str, Any], resumed: int) -> JobSummary:
    finished, report = manifest["finished"], manifest.get("report")
    warnings = drift(report, job.max_shift, job.max_undecided) if report else ()
    for warning in warnings:
        log.warning("%s", warning)
    return JobSummary(place.output, finished["rows"], finished["errors"], finished["first_bad"], resumed, warnings)


def _rows_of(finished: Mapping[int, Mapping[str, Any]], without_errors: bool) -> int:
    return sum(shard["rows"] + (0 if without_errors else shard["errors"]) for shard in finished.values())
