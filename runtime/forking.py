"""Refuses what would hang: a model used in a process that was forked from one that had used a model. Knows processes.

A fork copies the calling thread alone. torch's other threads, and those of the tokenizers, are awaited for ever.
"""

import os

import torch

from ..common import UserError

_first_user: int | None = None  # process id


def refuse_after_fork() -> None:
    """Note that this process uses a model.

    Raises:
        UserError: If the process that this one was forked from did, and more than one thread would be used here.
    """
    global _first_user
    if _first_user is None:
        _first_user = os.getpid()
    if _first_user != os.getpid() and _uses_threads():
        raise UserError(
            "this process was forked from one that had used a model, and would wait for ever for threads that only "
            "that one has; start workers by spawn or forkserver, or fork before a model is used"
        )


def _uses_threads() -> bool:
    # The tokenizers keep to one thread after a fork unless they are told otherwise.
    told = os.environ.get("TOKENIZERS_PARALLELISM", "").lower()
    return torch.get_num_threads() > 1 or told in ("true", "1", "on", "yes", "y", "t")
