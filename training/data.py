"""The batches of a phase as a Lightning data module: grouped by length, divided among ranks.

Knows the lengths of rows; knows nothing of their contents.
"""

import logging
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Generic, Protocol, TypeVar

import lightning
import numpy as np
from torch import Tensor
from torch.utils.data import DataLoader

from ..runtime import RowIndices, TokenBudgetBatches

log = logging.getLogger("unskew")

Batch = dict[str, Tensor]
Sampler = Callable[[int], Sequence[int]]


class TokenRows(Protocol):
    """Tokenised records of one stage."""

    def __len__(self) -> int: ...

    @property
    def lengths(self) -> np.ndarray:
        """Tokens of each row (n,)."""
        ...


R = TypeVar("R", bound=TokenRows)


class PhaseData(lightning.LightningDataModule, ABC, Generic[R]):
    """Training and validation batches, grouped by length under a budget of padded tokens. Subclasses give `collate`.

    Args:
        train: Rows to train on.
        validation: Rows to validate on; None validates nothing.
        pad_id: Padding token id.
        tokens_per_batch: Budget of padded tokens.
        seed: Random seed of the order of the rows.
        sampler: Sampler of an epoch's rows, in which span dropout makes a new view of a repeated row; None takes each
            row once.
        max_rows: Most rows in a training batch.
    """

    def __init__(
        self,
        train: R,
        validation: R | None,
        *,
        pad_id: int,
        tokens_per_batch: int,
        seed: int,
        sampler: Sampler | None = None,
        max_rows: int | None = None,
    ) -> None:
        super().__init__()
        self.train, self.validation, self.pad_id = train, validation, pad_id
        self.tokens_per_batch, self._seed, self._sampler = tokens_per_batch, seed, sampler
        self._max_rows = max_rows
        self._most: tuple[int | None, int | None] = (None, None)
        self.rows_per_batch = 1.0

    @abstractmethod
    def collate(self, rows: R, indices: list[int]) -> Batch:
        """One batch of tensors from the rows with these indices."""

    def limit(self, steps: int | None, tokens: int | None) -> None:
        """End training after `steps` optimiser steps, or after the steps that read `tokens` tokens on average."""
        self._most = steps, tokens

    @cached_property
    def most_steps(self) -> int | None:
        """Most optimiser steps; None if only the epochs limit training. A limit in tokens needs a trainer."""
        steps, tokens = self._most
        if tokens is None:
            return steps
        first = self._batches(self.train, shuffle=True)
        sampled = np.arange(len(self.train)) if self._sampler is None else np.asarray(self._sampler(0))
        read = int(self.train.lengths[sampled].sum(dtype=np.int64)) * self._batches_per_step / len(first)
        within = max(1, int(tokens / read))
        log.info("%s tokens are %s steps of %s on average", f"{tokens:,}", f"{within:,}", f"{read:,.0f}")
        return within if steps is None else min(steps, within)

    def train_dataloader(self) -> DataLoader:
        """This rank's share of the current epoch. Sets `rows_per_batch`, the mean that losses are divided by."""
        batches = self._batches(self.train, shuffle=True)
        batches.set_epoch(self._epoch)
        sampled = range(len(self.train)) if self._sampler is None else self._sampler(self._epoch)
        self.count(sampled, len(batches) * self._world)
        if self.most_steps is not None:
            batches.most = (self.most_steps - self._steps_before) * self._batches_per_step
        return self._loader(self.train, batches)

    def count(self, sampled: Sequence[int], batches: int) -> None:
        """Set the means that losses are divided by: an epoch's rows over the batches of all ranks."""
        self.rows_per_batch = len(sampled) / batches

    def val_dataloader(self) -> DataLoader | list[DataLoader]:
        """This rank's share of the validation rows."""
        if self.validation is None:
            return []
        return self._loader(self.validation, self._batches(self.validation, shuffle=False))

    def _loader(self, rows: R, batches: TokenBudgetBatches) -> DataLoader:
        return DataLoader(
            RowIndices(len(rows)), batch_sampler=batches, collate_fn=lambda indices: self.collate(rows, indices)
        )

    def _batches(self, rows: R, *, shuffle: bool) -> TokenBudgetBatches:
        return TokenBudgetBatches(
            rows.lengths,
            self.tokens_per_batch,
            shuffle=shuffle,
            seed=self._seed,
            sampler=self._sampler if shuffle else None,
            max_rows=self._max_rows if shuffle else None,
            rank=self.trainer.global_rank if self.trainer else 0,
            world_size=self._world,
        )

    @property
    def _world(self) -> int:
        return self.trainer.world_size if self.trainer else 1

    @property
    def _epoch(self) -> int:
        return self.trainer.current_epoch if self.trainer else 0

    @property
    def _batches_per_step(self) -> int:
        return self.trainer.accumulate_grad_batches if self.trainer else 1

    @property
    def _steps_before(self) -> int:
        """Optimiser steps of earlier epochs."""
        if self.trainer is None:
            return 0
        loop = self.trainer.fit_loop
        begun = loop.epoch_loop.batch_progress.current.ready if loop.restarting else 0
        return self.trainer.global_step - begun // self._batches_per_step
