"""Batches of a phase as Lightning wants them: grouped by length, shared out among ranks.

Knows the lengths of rows, not what they hold.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Generic, Protocol, TypeVar

import lightning
from torch import Tensor
from torch.utils.data import DataLoader

from ..runtime import RowIndices, TokenBudgetBatches

Batch = dict[str, Tensor]
Draw = Callable[[int], Sequence[int]]


class TokenRows(Protocol):
    """Tokenised records of one stage."""

    def __len__(self) -> int: ...

    @property
    def lengths(self) -> list[int]:
        """Tokens of each row."""
        ...


R = TypeVar("R", bound=TokenRows)


class PhaseData(lightning.LightningDataModule, ABC, Generic[R]):
    """Training and validation batches, grouped by length under a budget of padded tokens. Subclasses give `collate`.

    Args:
        train: Rows to learn from.
        validation: Rows to measure on; None measures nothing.
        pad_id: Padding token id.
        tokens_per_batch: Budget of padded tokens.
        seed: Random seed of the order of the rows.
        draw: The rows of an epoch; a repeated row becomes another view by span dropout. None takes each once.
        max_rows: At most this many rows in a training batch.
    """

    def __init__(
        self,
        train: R,
        validation: R | None,
        *,
        pad_id: int,
        tokens_per_batch: int,
        seed: int,
        draw: Draw | None = None,
        max_rows: int | None = None,
    ) -> None:
        super().__init__()
        self.train, self.validation, self.pad_id = train, validation, pad_id
        self._tokens, self._seed, self._draw = tokens_per_batch, seed, draw
        self._max_rows = max_rows
        self.rows_per_batch = 1.0

    @abstractmethod
    def collate(self, rows: R, indices: list[int]) -> Batch:
        """One batch of tensors, of the rows with these indices."""

    def train_dataloader(self) -> DataLoader:
        """This rank's share of the current epoch; sets `rows_per_batch`, the mean that losses are divided by."""
        loader, batches = self._loader(self.train, shuffle=True)
        self.count(range(len(self.train)) if self._draw is None else self._draw(self._epoch), batches)
        return loader

    def count(self, drawn: Sequence[int], batches: int) -> None:
        """Note the means that losses are divided by: of an epoch's rows, over the batches of all ranks."""
        self.rows_per_batch = len(drawn) / batches

    def val_dataloader(self) -> DataLoader | list[DataLoader]:
        """This rank's share of the validation rows."""
        return [] if self.validation is None else self._loader(self.validation, shuffle=False)[0]

    def _loader(self, rows: R, *, shuffle: bool) -> tuple[DataLoader, int]:
        """The loader, and the number of batches of all ranks together."""
        world = self.trainer.world_size if self.trainer else 1
        batches = TokenBudgetBatches(
            rows.lengths,
            self._tokens,
            shuffle=shuffle,
            seed=self._seed,
            draw=self._draw if shuffle else None,
            max_rows=self._max_rows if shuffle else None,
            rank=self.trainer.global_rank if self.trainer else 0,
            world_size=world,
        )
        batches.set_epoch(self._epoch if shuffle else 0)
        loader = DataLoader(
            RowIndices(len(rows)), batch_sampler=batches, collate_fn=lambda indices: self.collate(rows, indices)
        )
        return loader, len(batches) * world

    @property
    def _epoch(self) -> int:
        return self.trainer.current_epoch if self.trainer else 0
