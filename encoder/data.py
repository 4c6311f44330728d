"""The rows an encoder trains on, as Lightning wants them. Knows tokens and topic indices; knows no model."""

from collections.abc import Sequence
from dataclasses import dataclass

import lightning
import numpy as np
import torch
from torch.utils.data import DataLoader
from transformers import PreTrainedTokenizerBase

from ..balance import TemperedDraw, View, span_dropout
from ..corpus import Record, Topics
from ..runtime import RowIndices, TokenBudgetBatches
from .tokens import pad, tokenize

Batch = dict[str, torch.Tensor]


@dataclass(frozen=True)
class Rows:
    """Tokenised records: `tokens[i]` int32 (T_i,), `targets[i]` the index of the topic."""

    tokens: list[np.ndarray]
    targets: list[int]

    @classmethod
    def from_records(
        cls, records: Sequence[Record], topics: Topics, tokenizer: PreTrainedTokenizerBase, max_tokens: int
    ) -> "Rows":
        """Tokenise records whose topics are all in `topics`."""
        targets = topics.encode([str(record.topic) for record in records])
        ids = tokenize(tokenizer, [record.text for record in records], max_tokens)
        return cls([np.asarray(row, dtype=np.int32) for row in ids], list(targets))

    def __len__(self) -> int:
        return len(self.targets)

    @property
    def lengths(self) -> list[int]:
        """Tokens of each row."""
        return [len(row) for row in self.tokens]


class EncoderData(lightning.LightningDataModule):
    """Training and validation batches, grouped by length under a budget of padded tokens.

    A batch holds `row` (B,) the row's index, `target` (B,), `input_ids` and `attention_mask` (B, T), all int64.

    Args:
        train: Rows to learn from.
        validation: Rows to measure on; None measures nothing.
        pad_id: Of the tokenizer.
        tokens_per_batch: Budget of padded tokens.
        seed: Of the order of the rows.
        draw: The rows of an epoch; a repeated row becomes another view by span dropout. None takes each once.
        max_rows: At most this many rows in a training batch.
    """

    def __init__(
        self,
        train: Rows,
        validation: Rows | None,
        *,
        pad_id: int,
        tokens_per_batch: int,
        seed: int,
        draw: TemperedDraw | None = None,
        max_rows: int | None = None,
    ) -> None:
        super().__init__()
        self.train, self.validation = train, validation
        self._pad_id, self._tokens, self._seed, self._draw = pad_id, tokens_per_batch, seed, draw
        self._max_rows = max_rows
        self.rows_per_batch = 1.0

    def train_dataloader(self) -> DataLoader:
        """This rank's share of the current epoch; sets `rows_per_batch`, the mean that losses are divided by."""
        rows = len(self.train if self._draw is None else self._draw)
        loader, batches = self._loader(self.train, shuffle=True, draw=self._draw)
        self.rows_per_batch = rows / (batches * self._world_size)
        return loader

    def val_dataloader(self) -> DataLoader | list[DataLoader]:
        """This rank's share of the validation rows."""
        return [] if self.validation is None else self._loader(self.validation, shuffle=False)[0]

    def _loader(self, rows: Rows, *, shuffle: bool, draw: TemperedDraw | None = None) -> tuple[DataLoader, int]:
        batches = TokenBudgetBatches(
            rows.lengths,
            self._tokens,
            shuffle=shuffle,
            seed=self._seed,
            draw=draw,
            max_rows=self._max_rows if shuffle else None,
            rank=self.trainer.global_rank if self.trainer else 0,
            world_size=self._world_size,
        )
        batches.set_epoch(self._epoch if shuffle else 0)

        def collate(indices: list[int]) -> Batch:
            return {
                "row": torch.tensor(indices),
                "target": torch.tensor([rows.targets[i] for i in indices]),
                **pad((_view(rows.tokens[i], i) for i in indices), self._pad_id),
            }

        loader = DataLoader(RowIndices(len(rows)), batch_sampler=batches, collate_fn=collate)
        return loader, len(batches)

    @property
    def _epoch(self) -> int:
        return self.trainer.current_epoch if self.trainer else 0

    @property
    def _world_size(self) -> int:
        return self.trainer.world_size if self.trainer else 1


def _view(tokens: np.ndarray, index: int) -> Sequence[int]:
    """The row's tokens, or for a repeat a version of them that lacks some spans; the marks at both ends stay."""
    ids = tokens.tolist()
    if not isinstance(index, View) or index.repeat == 0:
        return ids
    return [*ids[:1], *span_dropout(ids[1:-1], index.repeat, index.seed), *ids[-1:]]
