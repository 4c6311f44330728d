"""Predicts a job's shards on a pool of Ray actors: more processes, more machines, same bytes. Writes no files.

Each actor has both models. Plain actors instead of Ray Data: a job retries, checkpoints and writes its own shards,
which Ray Data would cut and order by its blocks. Here a worker gets a shard's rows and returns its bytes, and only the
driver, which has the job's lock, writes them, whole or not at all. So output is exactly once whatever dies: a dead
worker's shards go to another worker, and the next driver (on either executor) finds what was written. No shared disk is
needed, except that a bundle in a folder must have the same path on every machine.

The cluster is that of RAY_ADDRESS or of this machine; if there is none, one is started here for the job.
"""

import logging
import os
from collections import Counter, deque
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from ..common import UserError, ending_on_sigterm, first_line
from ..pipeline import PredictOptions
from .encoding import Layout
from .model import Load, ModelHandle, Prior
from .predict_shard import Predictor, Shard, ShardResult, predict_shard
from .settings import JobSettings

log = logging.getLogger("unskew")

IN_FLIGHT = 2  # shards at a worker: one in progress, one waiting
ATTEMPTS = 3


class Worker:
    """Has the models in its own process. They load at the first shard, so that errors are reported like others."""

    def __init__(self, load: Load, prior: Prior) -> None:
        self._load = load
        self._prior: Prior = prior
        self._pipeline: Predictor | None = None

    def answer(self, shard: Shard, options: PredictOptions, layout: Layout) -> ShardResult:
        """Call `predict_shard`."""
        self._pipeline = self._pipeline or self._load(self._prior)
        return predict_shard(self._pipeline, shard, options, layout)


def answer_on_ray(
    system: ModelHandle, prior: Prior, shards: Iterator[Shard], job: JobSettings, layout: Layout
) -> Iterator[ShardResult]:
    """Yield predicted shards in any order; another worker predicts the shards of a worker that dies.

    Raises:
        UserError: If Ray is not installed, the cluster lacks the requested GPUs, or a shard ends three workers.
        Exception: If a worker fails and no row is at fault; its own error.
    """
    with _cluster(job) as ray, ending_on_sigterm():  # Ray has its own handler
        make = ray.remote(num_cpus=_cpus(ray, job), num_gpus=job.gpus_per_worker)(Worker)
        pool = _Pool(ray, lambda: make.remote(system.load, prior), job.workers)
        try:
            yield from pool.answers(shards, job.predict_options(system.window), layout)
        finally:
            pool.end()


@dataclass
class _Pool:
    ray: Any
    start: Any
    size: int
    workers: list[Any] = field(default_factory=list)
    running: dict[Any, tuple[Any, Shard]] = field(default_factory=dict)
    again: deque[Shard] = field(default_factory=deque)
    deaths: Counter[int] = field(default_factory=Counter)

    def answers(self, shards: Iterator[Shard], options: PredictOptions, layout: Layout) -> Iterator[ShardResult]:
        self.workers = [self.start() for _ in range(self.size)]
        while True:
            self._hand_out(shards, options, layout)
            if not self.running:
                return
            ready, _ = self.ray.wait(list(self.running), num_returns=1)
            try:
                result = self.ray.get(ready[0])
            except self.ray.exceptions.RayActorError as error:
                self._replace_worker(self.running[ready[0]][0], error)
            except self.ray.exceptions.RayTaskError as error:
                raise error.cause or error from None
            else:
                del self.running[ready[0]]
                yield result

    def end(self) -> None:
        for worker in self.workers:
            self.ray.kill(worker)

    def _hand_out(self, shards: Iterator[Shard], options: PredictOptions, layout: Layout) -> None:
        for most in range(1, IN_FLIGHT + 1):
            for worker in self.workers:
                if sum(its is worker for its, _ in self.running.values()) >= most:
                    continue
                shard = self.again.popleft() if self.again else next(shards, None)
                if shard is None:
                    return
                self.running[worker.answer.remote(shard, options, layout)] = (worker, shard)

    def _replace_worker(self, dead: Any, error: Exception) -> None:
        """Give a dead worker's shards to others, and start a new worker.

        A worker takes its shards in turn, so it died of the first one that is not predicted; waiting shards are not
        blamed.
        """
        lost = [answer for answer, (worker, _) in self.running.items() if worker is dead and self._is_lost(answer)]
        shard, *waiting = [self.running.pop(answer)[1] for answer in lost]
        said = first_line(error)
        self.deaths[shard.index] += 1
        if self.deaths[shard.index] == ATTEMPTS:
            raise UserError(
                f"shard {shard.index} ended {ATTEMPTS} workers, the last with: {said}; give workers more memory, or "
                "remove the failing row; finished shards remain"
            )
        log.warning("a worker died; shard %d is done again by another: %s", shard.index, said)
        self.again += [shard, *waiting]
        if any(worker is dead for worker in self.workers):
            self.workers = [self.start() if worker is dead else worker for worker in self.workers]

    def _is_lost(self, answer: Any) -> bool:
        try:
            self.ray.get(answer)
        except self.ray.exceptions.RayActorError:
            return True
        except self.ray.exceptions.RayTaskError:
            return False  # raised when its turn comes
        return False


@contextmanager
def _cluster(job: JobSettings) -> Generator[Any]:
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        import ray  # pyright: ignore[reportMissingImports] an extra
    except ImportError:
        raise UserError('the Ray executor is not installed: `pip install "unskew[ray]"`') from None
    ours = not ray.is_initialized()
    if ours:
        ray.init(include_dashboard=False, log_to_driver=False, logging_level=logging.WARNING)
    try:
        gpus = ray.cluster_resources().get("GPU", 0)
        if job.gpus_per_worker * job.workers > gpus:
            wanted = f"{job.workers} workers with {job.gpus_per_worker:g} GPUs each"
            raise UserError(f"{wanted}, but the cluster has {gpus:g} GPUs; give fewer workers or a share of a GPU")
        yield ray
    finally:
        if ours:
            ray.shutdown()


def _cpus(ray: Any, job: JobSettings) -> int:
    """Cores for a worker: its share of all cores, at most those of the smallest machine."""
    cores = [node["Resources"].get("CPU", 0) for node in ray.nodes() if node["Alive"]]
    return max(1, int(min(sum(cores) / job.workers, *cores)))
