"""The Ray cluster of a job: joined or started, and the share of its machines for a worker. Knows no shard and no model.

It is the cluster of RAY_ADDRESS or of this machine; if there is none, one is started here for the job.
"""

import logging
import os
import platform
import signal
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

from ..common import Terminated, UserError, ending_in_order, first_line
from .settings import JobSettings

Value = TypeVar("Value")


@contextmanager
def ray_cluster(job: JobSettings) -> Generator[Any]:
    """The module `ray`, connected to a cluster; connected only once where blocks are nested.

    Raises:
        UserError: If Ray is not installed, the cluster cannot be reached, or it lacks the requested GPUs.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        import ray  # pyright: ignore[reportMissingImports] an extra
    except ImportError:
        raise UserError('the Ray executor is not installed: `pip install "unskew[ray]"`') from None
    ours = not ray.is_initialized()
    try:
        if ours:
            _connect(ray)
        with ending_in_order():  # `ray.init` has set a handler of its own
            gpus = ray.cluster_resources().get("GPU", 0)
            if job.gpus_per_worker * job.workers > gpus:
                wanted = f"{job.workers} workers with {job.gpus_per_worker:g} GPUs each"
                raise UserError(f"{wanted}, but the cluster has {gpus:g} GPUs; give fewer workers or a share of a GPU")
            yield ray
    finally:
        if ours:
            ray.shutdown()


def _connect(ray: Any) -> None:
    try:
        ray.init(include_dashboard=False, log_to_driver=False, logging_level=logging.WARNING)
    except SystemExit as end:  # how Ray's handler of SIGTERM ends a process
        raise Terminated() if end.code == signal.SIGTERM else end from None
    except Exception as error:
        where = os.environ.get("RAY_ADDRESS")
        what = (
            f"the Ray cluster at RAY_ADDRESS {where!r} cannot be joined" if where else "no Ray cluster can be started"
        )
        raise UserError(f"{what}: {first_line(error)}; check the address, and that `ray status` works") from error


def call_on_ray(job: JobSettings, call: Callable[[], Value]) -> Value:
    """The value of a function that is called on a worker's machine, again if that machine is lost.

    Raises:
        UserError: If it ends its process each time.
        Exception: If the function fails; its own error.
    """
    with ray_cluster(job) as ray:
        # The process ends with its call, so its models leave the memory to the workers.
        options = {"num_cpus": cores_of_worker(ray.nodes(), job), "num_gpus": job.gpus_per_worker, "max_calls": 1}
        # As an argument: a function that holds the rows' texts may be larger than Ray allows.
        answer = ray.remote(**options)(naming_machine).remote(call)
        try:
            return ray.get(answer)
        except ray.exceptions.RayTaskError as error:
            raise error.cause or error from None
        except ray.exceptions.RayError as error:
            raise UserError(f"a worker ended while it estimated the target prior: {first_line(error)}") from None


def naming_machine(call: Callable[[], Value]) -> Value:
    """The value of a function; a UserError, as of missing credentials, then says on which machine."""
    try:
        return call()
    except UserError as error:
        raise UserError(f"a worker on {platform.node()}: {error}") from None


def cores_of_worker(nodes: Sequence[Mapping[str, Any]], job: JobSettings) -> int:
    """The most cores a worker can have if all of them are to find room; 1 if they do not find any.

    Args:
        nodes: Machines of the cluster, as `ray.nodes()` describes them.
        job: Settings with the number of workers and the GPUs of each.
    """
    alive = [node["Resources"] for node in nodes if node["Alive"]]

    def room(cores: int) -> int:
        by_gpus = [
            int(own.get("GPU", 0) / job.gpus_per_worker) if job.gpus_per_worker else job.workers for own in alive
        ]
        return sum(min(int(own.get("CPU", 0) // cores), gpus) for own, gpus in zip(alive, by_gpus, strict=True))

    most = max((int(own.get("CPU", 0)) for own in alive), default=1)
    return next((cores for cores in range(most, 1, -1) if room(cores) >= job.workers), 1)
