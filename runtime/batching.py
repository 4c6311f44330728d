"""Batches of rows of similar length under a budget of padded tokens. Knows lengths; knows nothing of the rows."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch.utils.data import Dataset, Sampler

from ..common import UserError

_WINDOW_BATCHES = 50  # rows are sorted within windows of about this many batches, so that epochs still differ


def group_by_length(
    rows: Sequence[int], lengths: Sequence[int] | np.ndarray, tokens_per_batch: int, max_rows: int | None = None
) -> list[list[int]]:
    """Cut `rows`, longest first, into batches whose padded size stays within the budget.

    The longest batch comes first, so that a budget too large for the memory fails at once and not after an hour.

    Args:
        rows: Row indices.
        lengths: Tokens of every row, indexed by row.
        tokens_per_batch: Most padded tokens in a batch (rows times its longest row); a longer row is alone.
        max_rows: Most rows in a batch.
    """
    own = np.asarray(lengths)[np.asarray(rows, dtype=np.int64)]
    order = np.argsort(-own, kind="stable")
    cuts = _cuts(own[order], tokens_per_batch, max_rows)
    return [[rows[i] for i in order[start:stop]] for start, stop in zip(cuts[:-1], cuts[1:], strict=True)]


def _cuts(lengths: np.ndarray, tokens: int, max_rows: int | None) -> list[int]:
    """Starts of the batches of rows sorted longest first, and the end of the last batch."""
    cuts = [0]
    while cuts[-1] < len(lengths):
        room = max(1, tokens // max(1, int(lengths[cuts[-1]])))
        cuts.append(min(cuts[-1] + min(room, max_rows or room), len(lengths)))
    return cuts


class TokenBudgetBatches(Sampler[list[int]]):
    """A `batch_sampler`: every row of an epoch once, grouped by length, under a budget of padded tokens.

    The batches of an epoch depend only on `seed` and the epoch. So a resumed run sees the batches of an uninterrupted
    run, and distributed ranks agree without communication. Each rank gets the same number of batches; if they do not
    divide evenly, batches from the start of the epoch are repeated. An epoch takes two numbers per row in memory, about
    16 bytes.

    Args:
        lengths: Tokens of every row.
        tokens_per_batch: Most padded tokens in a batch, see `group_by_length`.
        shuffle: Whether rows and batches change order from epoch to epoch.
        seed: Random seed of the shuffling.
        sampler: Sampler of an epoch's rows, which may repeat (tempered sampling); None takes every row once.
        max_rows: Most rows in a batch.
        rank: Rank of this process.
        world_size: Number of processes.

    Attributes:
        start: Batches of the chosen epoch to skip, because a resumed run has done them.
        most: Most batches of an epoch; None takes all.
    """

    def __init__(
        self,
        lengths: Sequence[int] | np.ndarray,
        tokens_per_batch: int,
        *,
        shuffle: bool,
        seed: int = 0,
        sampler: Callable[[int], Sequence[int]] | None = None,
        max_rows: int | None = None,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        if tokens_per_batch < 1:
            raise UserError(f"tokens_per_batch is {tokens_per_batch}, must be positive")
        self.start = 0
        self.most: int | None = None
        self._lengths = np.asarray(lengths)
        self._tokens = tokens_per_batch
        self._max_rows = max_rows
        self._shuffle = shuffle
        self._seed = seed
        self._sampler = sampler
        self._rank = rank
        self._world = world_size
        self._epoch = 0
        self._made: _Epoch | None = None

    @property
    def sampler(self) -> "TokenBudgetBatches":
        """This object, because Lightning looks for `set_epoch` on a batch sampler's `sampler`."""
        return self

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch whose batches come next."""
        if epoch != self._epoch:
            self._epoch, self._made, self.start = epoch, None, 0

    def __iter__(self) -> Iterator[list[int]]:
        epoch = self._of_epoch()
        for batch in self._own(epoch)[self.start :]:
            yield epoch.rows_of(batch)

    def __len__(self) -> int:
        return len(self._own(self._of_epoch()))

    def _own(self, epoch: "_Epoch") -> np.ndarray:
        """The batch numbers of this rank."""
        order = epoch.order
        spare = np.resize(order, -len(order) % self._world)
        return np.concatenate([order, spare])[self._rank :: self._world][: self.most]

    def _of_epoch(self) -> "_Epoch":
        if self._made is None:
            sampled = range(len(self._lengths)) if self._sampler is None else self._sampler(self._epoch)
            self._made = self._shuffled(sampled) if self._shuffle else self._grouped(sampled)
        return self._made

    def _grouped(self, sampled: Sequence[int]) -> "_Epoch":
        lengths = self._lengths[np.asarray(sampled, dtype=np.int64)]
        order = np.argsort(-lengths, kind="stable")
        cuts = np.asarray(_cuts(lengths[order], self._tokens, self._max_rows))
        return _Epoch(sampled, order, cuts, np.arange(len(cuts) - 1))

    def _shuffled(self, sampled: Sequence[int]) -> "_Epoch":
        generator = torch.Generator().manual_seed(self._seed * 1_000_003 + self._epoch)
        order = torch.randperm(len(sampled), generator=generator).numpy()
        lengths = self._lengths[np.asarray(sampled, dtype=np.int64)][order]
        window = self._window(lengths)
        cuts = [np.zeros(1, dtype=np.int64)]
        for start in range(0, len(order), window):
            own = slice(start, start + window)
            by_length = np.argsort(-lengths[own], kind="stable")
            order[own] = order[own][by_length]
            cuts.append(start + np.asarray(_cuts(lengths[own][by_length], self._tokens, self._max_rows)[1:]))
        bounds = np.concatenate(cuts)
        return _Epoch(sampled, order, bounds, torch.randperm(len(bounds) - 1, generator=generator).numpy())

    def _window(self, lengths: np.ndarray) -> int:
        mean = max(1.0, int(lengths.sum(dtype=np.int64)) / max(1, len(lengths)))
        per_batch = max(1, int(self._tokens / mean))
        return _WINDOW_BATCHES * min(per_batch, self._max_rows or per_batch)


@dataclass(frozen=True)
class _Epoch:
    """The batches of an epoch: `places` (n,) in `sampled`, cut at `bounds` (b + 1,), taken in the given `order`."""

    sampled: Sequence[int]
    places: np.ndarray
    bounds: np.ndarray
    order: np.ndarray

    def rows_of(self, batch: int) -> list[int]:
        return [self.sampled[i] for i in self.places[self.bounds[batch] : self.bounds[batch + 1]].tolist()]


class RowIndices(Dataset[int]):
    """Gives the sampler's indices back unchanged; views of rows are made with the batches."""

    def __init__(self, rows: int) -> None:
        self._rows = rows

    def __len__(self) -> int:
        return self._rows

    def __getitem__(self, index: int) -> int:
        return index
