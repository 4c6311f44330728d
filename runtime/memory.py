"""Free memory, and work that needs less of it. Knows devices and weights; knows no architecture."""

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

import psutil
import torch
from torch import nn

from .batching import group_by_length

log = logging.getLogger("unskew")
T = TypeVar("T")

_LEAST = 2**26  # bytes: below it, smaller batches would save next to nothing
_LIMITS = Path("/sys/fs/cgroup")  # of a container, if there is one
_VERSIONS = (  # of control groups, 2 and 1: the files of limit, use and statistics, and the latter's page cache
    ("memory.max", "memory.current", "memory.stat", ("inactive_file", "active_file")),
    (
        "memory/memory.limit_in_bytes",
        "memory/memory.usage_in_bytes",
        "memory/memory.stat",
        ("total_inactive_file", "total_active_file"),
    ),
)


def free_bytes(device: torch.device) -> int:
    """Free bytes of a device; on a CPU within the limit of the container, and at least 64 MiB."""
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        return free + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    free = psutil.virtual_memory().available
    with suppress(StopIteration, OSError, KeyError, ValueError):  # no container, or one whose limit is no number
        free = min(free, _left_to_container())
    return max(_LEAST, free)


def _left_to_container() -> int:
    """The limit less the use. The page cache of files that were read counts as used, but is given back on demand."""
    limit, used, statistics, cached = next(names for names in _VERSIONS if (_LIMITS / names[0]).exists())
    counts = dict(line.split() for line in (_LIMITS / statistics).read_text().splitlines())
    reclaimable = sum(int(counts[name]) for name in cached)
    return int((_LIMITS / limit).read_text()) - int((_LIMITS / used).read_text()) + reclaimable


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error means that an allocation failed, on any device."""
    if isinstance(error, (torch.OutOfMemoryError, MemoryError)):
        return True
    return isinstance(error, RuntimeError) and "can't allocate memory" in str(error)  # torch, on a CPU


def copy_from_mmap(model: nn.Module) -> None:
    """Copy memory-mapped weights, because one mapped weight keeps its whole file in memory."""
    for tensor in (*model.parameters(), *model.buffers()):
        tensor.data = tensor.data.clone()


def in_batches(
    lengths: Sequence[int], budget: int, work: Callable[[list[int]], T], max_rows: int | None = None
) -> Iterator[tuple[list[int], T]]:
    """Do work on batches of rows of similar length, longest first; halve the batches if memory runs out.

    Args:
        lengths: Tokens of every row.
        budget: Most padded tokens in a batch.
        work: Function of the row indices of a batch; its result is yielded with the indices.
        max_rows: Most rows in a batch.

    Raises:
        torch.OutOfMemoryError, MemoryError, RuntimeError: If a single row does not fit into memory.
    """
    waiting = group_by_length(range(len(lengths)), lengths, budget, max_rows)
    while waiting:
        batch, *rest = waiting
        try:
            result = work(batch)
        except (RuntimeError, MemoryError) as error:
            if len(batch) == 1 or not is_out_of_memory(error):
                raise
        else:
            yield batch, result
            waiting = rest
            continue
        # Outside the handler, because its error keeps the memory in use.
        budget = max(1, len(batch) * lengths[batch[0]] // 2)
        log.warning("out of memory with %d rows together; going on with batches of %d tokens", len(batch), budget)
        waiting = group_by_length([row for group in waiting for row in group], lengths, budget, max_rows)
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
