"""The rows a decoder trains on, as Lightning wants them. Knows sequences; knows no model."""

from collections.abc import Sequence
from dataclasses import dataclass

import lightning
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from ..corpus.records import Record
from ..corpus.topics import Topics
from ..training.batching import TokenBudgetBatches
from .control import ControlTokens
from .sequences import Sequencer, pad_left

Batch = dict[str, Tensor]
NO_TOPIC = -1


@dataclass(frozen=True)
class Rows:
    """Tokenised records: `tokens[i]` int32 (T_i,), of which the last `written[i]` are the target and its end.

    `topics[i]` is the index of the topic whose token stands before the target, `NO_TOPIC` where none does.
    """

    tokens: list[np.ndarray]
    written: list[int]
    topics: list[int]

    @classmethod
    def from_records(
        cls,
        records: Sequence[Record],
        sequencer: Sequencer,
        control: ControlTokens,
        topics: Topics,
        max_target_tokens: int,
    ) -> "Rows":
        """Tokenise records; one whose topic is not in `topics` (a noisy set may have such) has no topic token."""
        prompts = sequencer.prompts([record.text for record in records])
        targets = sequencer.targets([record.target or "" for record in records], max_target_tokens)
        indices = [topics.index(str(r.topic)) if r.topic in topics else NO_TOPIC for r in records]
        marks = [[] if index == NO_TOPIC else [control.topic_ids[index]] for index in indices]
        tokens = [
            np.asarray([*prompt, *mark, *target], dtype=np.int32)
            for prompt, mark, target in zip(prompts, marks, targets, strict=True)
        ]
        return cls(tokens, [len(target) for target in targets], indices)

    def __len__(self) -> int:
        return len(self.tokens)


class DecoderData(lightning.LightningDataModule):
    """Training and validation batches, grouped by length under a budget of padded tokens.

    A batch holds `input_ids` and `attention_mask` (B, T), padded on the left, `written` (B,) the length of the
    target at the end of each row, and `topic` (B,) the topic's index or `NO_TOPIC`; all int64.

    Args:
        train: Rows to learn from.
        validation: Rows to measure on.
        pad_id: Of the tokenizer.
        tokens_per_batch: Budget of padded tokens.
        seed: Of the order of the rows.
    """

    def __init__(self, train: Rows, validation: Rows, *, pad_id: int, tokens_per_batch: int, seed: int) -> None:
        super().__init__()
        self.train, self.validation = train, validation
        self._pad_id, self._tokens, self._seed = pad_id, tokens_per_batch, seed
        self.rows_per_batch = 1.0
        self.written_per_batch = 1.0

    def train_dataloader(self) -> DataLoader:
        """This rank's share of the current epoch; sets the mean rows and target tokens of a batch."""
        loader, batches = self._loader(self.train, shuffle=True)
        self.rows_per_batch = len(self.train) / batches
        self.written_per_batch = sum(self.train.written) / batches
        return loader

    def val_dataloader(self) -> DataLoader:
        """This rank's share of the validation rows."""
        return self._loader(self.validation, shuffle=False)[0]

    def _loader(self, rows: Rows, *, shuffle: bool) -> tuple[DataLoader, int]:
        world = self.trainer.world_size if self.trainer else 1
        batches = TokenBudgetBatches(
            [len(tokens) for tokens in rows.tokens],
            self._tokens,
            shuffle=shuffle,
            seed=self._seed,
            rank=self.trainer.global_rank if self.trainer else 0,
            world_size=world,
        )
        batches.set_epoch(self.trainer.current_epoch if self.trainer and shuffle else 0)

        def collate(indices: list[int]) -> Batch:
            return {
                **pad_left([rows.tokens[i].tolist() for i in indices], self._pad_id),
                "written": torch.tensor([rows.written[i] for i in indices]),
                "topic": torch.tensor([rows.topics[i] for i in indices]),
            }

        loader = DataLoader(range(len(rows)), batch_sampler=batches, collate_fn=collate)  # pyright: ignore[reportArgumentType]
        return loader, len(batches) * world
