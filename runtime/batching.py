"""Batches of rows of similar length under a budget of padded tokens. Knows lengths only, not what the rows are."""

from collections.abc import Callable, Iterator, Sequence

import torch
from torch.utils.data import Dataset, Sampler

from ..common import UserError

_WINDOW_BATCHES = 50  # rows are sorted within a window of about this many batches, so that epochs still differ


def group_by_length(
    rows: Sequence[int], lengths: Sequence[int], tokens_per_batch: int, max_rows: int | None = None
) -> list[list[int]]:
    """Cut `rows`, longest first, into batches whose padded size stays within the budget.

    The longest batch comes first, so that a budget too large for the memory fails at once and not after an hour.

    Args:
        rows: Row indices.
        lengths: Tokens of every row, indexed by row.
        tokens_per_batch: Rows times the longest row of a batch stay at or below this; a longer row stands alone.
        max_rows: At most this many rows in a batch.
    """
    batches: list[list[int]] = []
    for row in sorted(rows, key=lambda row: -lengths[row]):
        if batches and _fits(batches[-1], lengths, tokens_per_batch, max_rows):
            batches[-1].append(row)
        else:
            batches.append([row])
    return batches


def _fits(batch: list[int], lengths: Sequence[int], tokens: int, max_rows: int | None) -> bool:
    longest = max(1, lengths[batch[0]])
    return (len(batch) + 1) * longest <= tokens and (max_rows is None or len(batch) < max_rows)


class TokenBudgetBatches(Sampler[list[int]]):
    """A `batch_sampler`: every row of an epoch once, grouped by length, under a budget of padded tokens.

    The batches of an epoch depend on `seed` and the epoch alone, so a resumed run sees what the uninterrupted one
    would, and the ranks of a distributed run agree without speaking. Each rank gets the same number of batches
    (the last are repeated from the start of the epoch where they do not divide evenly).

    Args:
        lengths: Tokens of every row.
        tokens_per_batch: Budget of padded tokens, see `group_by_length`.
        shuffle: Whether rows and batches change order from epoch to epoch.
        seed: Of the shuffling.
        draw: Gives the rows of an epoch, repeats allowed (tempered sampling); None takes every row once.
        max_rows: At most this many rows in a batch.
        rank: Of this process.
        world_size: Number of processes.
    """

    def __init__(
        self,
        lengths: Sequence[int],
        tokens_per_batch: int,
        *,
        shuffle: bool,
        seed: int = 0,
        draw: Callable[[int], Sequence[int]] | None = None,
        max_rows: int | None = None,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        if tokens_per_batch < 1:
            raise UserError(f"tokens_per_batch is {tokens_per_batch}, must be positive")
        self._lengths = lengths
        self._tokens = tokens_per_batch
        self._max_rows = max_rows
        self._shuffle = shuffle
        self._seed = seed
        self._draw = draw
        self._rank = rank
        self._world = world_size
        self._epoch = 0
        self._batches: list[list[int]] | None = None

    @property
    def sampler(self) -> "TokenBudgetBatches":
        """Itself: Lightning looks for `set_epoch` on a batch sampler's `sampler`."""
        return self

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch whose batches come next."""
        if epoch != self._epoch:
            self._epoch, self._batches = epoch, None

    def __iter__(self) -> Iterator[list[int]]:
        return iter(self._of_rank())

    def __len__(self) -> int:
        return len(self._of_rank())

    def _of_rank(self) -> list[list[int]]:
        if self._batches is None:
            batches = self._of_epoch()
            spare = -len(batches) % self._world
            batches += [batches[i % len(batches)] for i in range(spare)]
            self._batches = batches[self._rank :: self._world]
        return self._batches

    def _of_epoch(self) -> list[list[int]]:
        rows = list(range(len(self._lengths))) if self._draw is None else list(self._draw(self._epoch))
        if not self._shuffle:
            return group_by_length(rows, self._lengths, self._tokens, self._max_rows)
        generator = torch.Generator().manual_seed(self._seed * 1_000_003 + self._epoch)
        rows = [rows[i] for i in torch.randperm(len(rows), generator=generator).tolist()]
        window = self._window(rows)
        batches = [
            batch
            for start in range(0, len(rows), window)
            for batch in group_by_length(rows[start : start + window], self._lengths, self._tokens, self._max_rows)
        ]
        return [batches[i] for i in torch.randperm(len(batches), generator=generator).tolist()]

    def _window(self, rows: Sequence[int]) -> int:
        mean = max(1.0, sum(self._lengths[row] for row in rows) / max(1, len(rows)))
        per_batch = max(1, int(self._tokens / mean))
        return _WINDOW_BATCHES * min(per_batch, self._max_rows or per_batch)


class RowIndices(Dataset[int]):
    """Gives the sampler's indices back as they are: what a view is of its row is decided where batches are made."""

    def __init__(self, rows: int) -> None:
        self._rows = rows

    def __len__(self) -> int:
        return self._rows

    def __getitem__(self, index: int) -> int:
        return index
