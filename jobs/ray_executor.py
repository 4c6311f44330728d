"""Predicts a job's shards on a pool of Ray actors: more processes, more machines, same bytes. Writes no files.

Each actor has both models. Plain actors instead of Ray Data: a job retries, checkpoints and writes its own shards,
which Ray Data would cut and order by its blocks. Here a worker gets a shard's rows and returns its bytes, and only the
driver, which has the job's lock, reads the input and writes the shards, whole or not at all. So output is exactly once
whatever dies: a dead worker's shards go to another worker, and the next driver (on either executor) finds what was
written. Machines share no disk if the bundle is a URL or on the hub: each fetches its own copy with its own
credentials. A bundle in a folder must have the same path on every machine.

Shards go only to workers that have started. One for which the cluster has no room yet, because a machine was lost or
is still to come, holds nothing up.
"""

import logging
from collections import Counter, deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from ..common import UserError, first_line
from ..pipeline import PredictOptions
from .encoding import Layout
from .model import Load, ModelHandle, Prior
from .predict_shard import Predictor, Shard, ShardResult, predict_shard
from .ray_cluster import cores_of_worker, naming_machine, ray_cluster
from .settings import JobSettings

log = logging.getLogger("unskew")

IN_FLIGHT = 2  # shards at a worker: one in progress, one waiting
ATTEMPTS = 3
MOST_LOST = 10  # workers that a shard may lose with their machines
PATIENCE = 30.0  # seconds without any worker before a warning


class Worker:
    """Has the models in its own process. They load at the first shard, so that errors are reported like others."""

    def __init__(self, load: Load, prior: Prior) -> None:
        self._load = load
        self._prior: Prior = prior
        self._pipeline: Predictor | None = None

    def machine(self) -> str:
        """Ray's id of the machine; the first answer of a worker that has started."""
        import ray  # pyright: ignore[reportMissingImports] an extra

        return ray.get_runtime_context().get_node_id()

    def answer(self, shard: Shard, options: PredictOptions, layout: Layout) -> ShardResult:
        """Call `predict_shard`."""
        self._pipeline = self._pipeline or naming_machine(lambda: self._load(self._prior))
        return predict_shard(self._pipeline, shard, options, layout)


def answer_on_ray(
    system: ModelHandle, prior: Prior, shards: Iterator[Shard], job: JobSettings, layout: Layout
) -> Iterator[ShardResult]:
    """Yield predicted shards in any order; another worker predicts the shards of a worker that dies.

    Raises:
        UserError: If Ray is not installed, the cluster cannot be reached or lacks the requested GPUs, no worker can
            start, or a shard ends three workers.
        Exception: If a worker fails and no row is at fault; its own error.
    """
    with ray_cluster(job) as ray:
        make = ray.remote(num_cpus=cores_of_worker(ray.nodes(), job), num_gpus=job.gpus_per_worker)(Worker)
        pool = _Pool(ray, lambda: make.remote(system.load, prior), job.workers)
        try:
            yield from pool.answers(shards, job.predict_options(system.window), layout)
        finally:
            pool.end()


@dataclass
class _Pool:
    """The workers that start and that have started, what each works on, and what is to be done again."""

    ray: Any
    start: Any
    size: int
    starting: dict[Any, Any] = field(default_factory=dict)
    workers: dict[Any, str] = field(default_factory=dict)  # with the machine of each
    running: dict[Any, tuple[Any, Shard]] = field(default_factory=dict)
    again: deque[Shard] = field(default_factory=deque)
    deaths: dict[int, list[str]] = field(default_factory=dict)  # machines, by shard
    failed_starts: int = 0

    def answers(self, shards: Iterator[Shard], options: PredictOptions, layout: Layout) -> Iterator[ShardResult]:
        self.again += islice(shards, 1)  # no worker starts for nothing
        for _ in range(self.size if self.again else 0):
            self._start()
        while True:
            self._hand_out(shards, options, layout)
            if not (self.running or self.again):
                return
            answer = self._next()
            if answer in self.starting:
                self._started(answer)
                continue
            try:
                result = self.ray.get(answer)
            except self.ray.exceptions.RayActorError as error:
                self._replace_worker(self.running[answer][0], error)
            except self.ray.exceptions.ObjectLostError:
                # Predicted on a machine that was lost before its bytes came here.
                self.again.append(self.running.pop(answer)[1])
            except self.ray.exceptions.RayTaskError as error:
                raise error.cause or error from None
            else:
                del self.running[answer]
                yield result

    def end(self) -> None:
        for worker in (*self.workers, *self.starting.values()):
            self.ray.kill(worker)

    def _start(self) -> None:
        worker = self.start()
        self.starting[worker.machine.remote()] = worker

    def _started(self, answer: Any) -> None:
        """Take a worker that has started into the pool; one that could not is tried again.

        Raises:
            UserError: If several in a row could not.
        """
        worker = self.starting.pop(answer)
        try:
            self.workers[worker] = self.ray.get(answer)
            self.failed_starts = 0
        except (self.ray.exceptions.RayActorError, self.ray.exceptions.RayTaskError) as error:
            self.failed_starts += 1
            if self.failed_starts == ATTEMPTS:
                raise UserError(
                    f"{ATTEMPTS} workers in a row could not start, the last with: {first_line(error)}; install the "
                    "same unskew on every machine"
                ) from None
            self._start()

    def _next(self) -> Any:
        """The next answer, of a worker that starts or that predicts; waits for it."""
        waiting = [*self.starting, *self.running]
        if not self.workers:
            ready, _ = self.ray.wait(waiting, num_returns=1, timeout=PATIENCE)
            if ready:
                return ready[0]
            log.warning("no worker has started yet; the job waits until the cluster has room for one")
        return self.ray.wait(waiting, num_returns=1)[0][0]

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
        self.ray.kill(dead)  # it may only be out of reach, and would hold its cores
        lost = [answer for answer, (worker, _) in self.running.items() if worker is dead and self._is_lost(answer)]
        shard, *waiting = [self.running.pop(answer)[1] for answer in lost]
        said = first_line(error)
        machines = self.deaths.setdefault(shard.index, [])
        machines.append(self.workers.pop(dead))
        self._check_deaths(shard, said)
        log.warning("a worker died; shard %d is done again by another: %s", shard.index, said)
        self.again += [shard, *waiting]
        self._start()

    def _check_deaths(self, shard: Shard, said: str) -> None:
        """Blame a shard for workers that died; those that died with their machines count less."""
        alive = {node["NodeID"] for node in self.ray.nodes() if node["Alive"]}
        machines = Counter(machine in alive for machine in self.deaths[shard.index])
        if machines[True] >= ATTEMPTS or machines.total() >= MOST_LOST:
            raise UserError(
                f"shard {shard.index} ended {machines.total()} workers, the last with: {said}; give workers more "
                "memory, or remove the failing row; finished shards remain"
            )

    def _is_lost(self, answer: Any) -> bool:
        try:
            self.ray.get(answer)
        except (self.ray.exceptions.RayActorError, self.ray.exceptions.ObjectLostError):
            return True
        except self.ray.exceptions.RayTaskError:
            return False  # raised when its turn comes
        return False
