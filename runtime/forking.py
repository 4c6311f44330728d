"""Refuses to use a model in a fork of a process that has used one. Knows processes; knows no model.

A fork copies only the calling thread, so it would wait forever for the other threads of torch and the tokenizers.
"""

import os

import torch

from ..common import UserError

_first_user: int | None = None  # process id


def refuse_after_fork() -> None:
    """Record that this process uses a model.

    Raises:
        UserError: If the parent of this fork used a model, and more than one thread would be used here.
    """
    global _first_user
    if _first_user is None:
        _first_user = os.getpid()
    if _first_user != os.getpid() and _uses_threads():
        raise UserError(
            "this process is a fork of one that has used a model, and would hang, because a fork does not copy "
            "threads; start workers by spawn or forkserver, or fork before a model is used"
        )


def _uses_threads() -> bool:
    # The tokenizers use one thread after a fork unless told otherwise.
    told = os.environ.get("TOKENIZERS_PARALLELISM", "").lower()
    return torch.get_num_threads() > 1 or told in ("true", "1", "on", "yes", "y", "t")
