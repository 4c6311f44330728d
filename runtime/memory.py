"""How much memory is free, and how to do with less. Knows devices and weights; knows no architecture."""

import logging
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TypeVar

import psutil
import torch
from torch import nn

from .batching import group_by_length

log = logging.getLogger("unskew")
T = TypeVar("T")

_LIMITS = Path("/sys/fs/cgroup")  # of a container, where there is one (control groups, version 2)


def free_bytes(device: torch.device) -> int:
    """Bytes that could be taken now on a device; on a CPU within the limit of its container."""
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        return free + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    free = psutil.virtual_memory().available
    try:
        limit, used = ((_LIMITS / name).read_text().strip() for name in ("memory.max", "memory.current"))
    except OSError:
        return free
    return free if limit == "max" else min(free, int(limit) - int(used))


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that an allocation failed, on whatever device."""
    if isinstance(error, (torch.OutOfMemoryError, MemoryError)):
        return True
    return isinstance(error, RuntimeError) and "can't allocate memory" in str(error)  # torch, on a CPU


def copy_from_mmap(model: nn.Module) -> None:
    """Copy weights out of the files they are mapped from: one that stays there keeps a whole file in memory."""
    for tensor in (*model.parameters(), *model.buffers()):
        tensor.data = tensor.data.clone()


def in_batches(
    lengths: Sequence[int], budget: int, work: Callable[[list[int]], T], max_rows: int | None = None
) -> Iterator[tuple[list[int], T]]:
    """Do work on batches of rows of like length, longest first, and on half of them where the memory runs out.

    Args:
        lengths: Tokens of every row.
        budget: Padded tokens in a batch.
        work: Given the indices of a batch's rows; what it makes of them is yielded with these.
        max_rows: At most this many rows in a batch.

    Raises:
        torch.OutOfMemoryError, MemoryError, RuntimeError: if a single row does not fit the memory.
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
        # Out of the handler, whose error holds on to the memory.
        budget = max(1, len(batch) * lengths[batch[0]] // 2)
        log.warning("out of memory with %d rows together; going on with batches of %d tokens", len(batch), budget)
        waiting = group_by_length([row for group in waiting for row in group], lengths, budget, max_rows)
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
