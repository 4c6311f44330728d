"""Runs seeds at the same time, on several processes, GPUs or machines. Knows Ray, but not the work of a seed.

A task is a seed, not an arm: the arms of a seed share their warm-ups, which two tasks would train twice. Several
machines (RAY_ADDRESS names their cluster) must have the sets and the output folder at the same paths.
"""

import logging
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from ..common import UserError
from .warned import Warned, warning_once


def map_seeds(work: Callable[[int], None], seeds: Sequence[int], workers: int, warned: Warned) -> None:
    """Call `work` with each seed, several at a time; raises the first failure.

    Args:
        work: Function of a seed.
        seeds: Seeds.
        workers: Most seeds at a time.
        warned: Warnings logged before; the seeds log none of them again, and each other warning once.

    Raises:
        UserError: if Ray is not installed.
    """
    try:
        import ray  # pyright: ignore[reportMissingImports] an extra
        from ray.exceptions import RayTaskError  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise UserError('workers need Ray: pip install "unskew[ray]", or leave --workers out') from error
    here = Path.cwd()

    def task(seed: int) -> None:
        os.chdir(here)  # so that relative paths are relative to the user's folder
        logging.basicConfig(format="%(message)s", level=logging.WARNING)
        logging.getLogger("unskew").setLevel(logging.INFO)
        with warning_once(lambda message: ray.get(shared.is_new.remote(message))):
            work(seed)

    mine = not ray.is_initialized()
    if mine:
        ray.init(configure_logging=False, include_dashboard=False)
    try:
        shared: Any = ray.remote(num_cpus=0)(Warned).remote(warned.said)
        remote = ray.remote(num_cpus=1, num_gpus=int(torch.cuda.is_available()), max_retries=0)(task)
        running = []
        for seed in seeds:
            if len(running) == workers:
                ended, running = ray.wait(running)
                ray.get(ended)
            running.append(remote.remote(seed))
        ray.get(running)
    except RayTaskError as error:
        raise error.cause from error
    finally:
        if mine:
            ray.shutdown()
