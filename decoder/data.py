"""The rows a decoder trains on, as Lightning wants them. Knows sequences; knows no model."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import lightning
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from ..balance import View, span_dropout
from ..corpus import Record, Topics
from ..runtime import RowIndices, TokenBudgetBatches
from .sequences import Sequencer, pad_left

Batch = dict[str, Tensor]
Draw = Callable[[int], Sequence[int]]
NO_TOPIC = -1


@dataclass(frozen=True)
class Rows:
    """Tokenised records: `tokens[i]` int32 (T_i,), of which the last `written[i]` are the target and its end.

    Attributes:
        tokens: The sequences.
        written: Tokens of each target.
        topics: Index of the topic given before the target, `NO_TOPIC` where none is.
        texts: Where the text's own tokens start and stop.
        fair: Whether `<force_fairness>` stands before the topic.
    """

    tokens: list[np.ndarray]
    written: list[int]
    topics: list[int]
    texts: list[tuple[int, int]]
    fair: list[bool]

    @classmethod
    def from_records(
        cls,
        records: Sequence[Record],
        sequencer: Sequencer,
        topics: Topics,
        max_target_tokens: int,
        fairness: bool = False,
    ) -> "Rows":
        """Tokenise records; for one whose topic is not in `topics` (a noisy set may have such) no topic is given."""
        texts = [record.text for record in records]
        spans = [sequencer.text_span(prompt) for prompt in sequencer.prompts(texts)]
        targets = sequencer.targets([record.target or "" for record in records], max_target_tokens)
        indices = [topics.index(str(r.topic)) if r.topic in topics else NO_TOPIC for r in records]
        marks = [[] if index == NO_TOPIC else sequencer.mark(topics.names[index]) for index in indices]
        tokens = [
            np.asarray([*prompt, *mark, *target], dtype=np.int32)
            for prompt, mark, target in zip(sequencer.prompts(texts, fairness), marks, targets, strict=True)
        ]
        return cls(tokens, [len(target) for target in targets], indices, spans, [fairness] * len(records))

    def __len__(self) -> int:
        return len(self.tokens)

    def __add__(self, other: "Rows") -> "Rows":
        """These rows, and those of `other` after them."""
        names = ("tokens", "written", "topics", "texts", "fair")
        return replace(self, **{name: getattr(self, name) + getattr(other, name) for name in names})

    def view(self, index: int) -> list[int]:
        """The row's tokens; where `index` is a repeat, without some spans of its text. All else stays."""
        ids = self.tokens[index].tolist()
        if not isinstance(index, View) or index.repeat == 0:
            return ids
        start, stop = self.texts[index]
        return [*ids[:start], *span_dropout(ids[start:stop], index.repeat, index.seed), *ids[stop:]]


class DecoderData(lightning.LightningDataModule):
    """Training and validation batches, grouped by length under a budget of padded tokens.

    A batch holds `input_ids` and `attention_mask` (B, T), padded on the left, `written` (B,) the length of the
    target at the end of each row, and `topic` (B,) the topic's index or `NO_TOPIC`; all int64; and `fair` (B,), bool.

    Args:
        train: Rows to learn from.
        validation: Rows to measure on.
        pad_id: Of the tokenizer.
        tokens_per_batch: Budget of padded tokens.
        seed: Of the order of the rows.
        draw: The rows of an epoch; a repeated row becomes another view by span dropout. None takes each once.
    """

    def __init__(
        self,
        train: Rows,
        validation: Rows,
        *,
        pad_id: int,
        tokens_per_batch: int,
        seed: int,
        draw: Draw | None = None,
    ) -> None:
        super().__init__()
        self.train, self.validation = train, validation
        self._pad_id, self._tokens, self._seed, self._draw = pad_id, tokens_per_batch, seed, draw
        self.rows_per_batch = 1.0
        self.written_per_batch = 1.0

    def train_dataloader(self) -> DataLoader:
        """This rank's share of the current epoch; sets the mean rows and target tokens of a batch."""
        loader, batches = self._loader(self.train, shuffle=True)
        drawn = range(len(self.train)) if self._draw is None else self._draw(self._epoch)
        self.rows_per_batch = len(drawn) / batches
        self.written_per_batch = sum(self.train.written[i] for i in drawn) / batches
        return loader

    def val_dataloader(self) -> DataLoader:
        """This rank's share of the validation rows."""
        return self._loader(self.validation, shuffle=False)[0]

    @property
    def _epoch(self) -> int:
        return self.trainer.current_epoch if self.trainer else 0

    def _loader(self, rows: Rows, *, shuffle: bool) -> tuple[DataLoader, int]:
        world = self.trainer.world_size if self.trainer else 1
        batches = TokenBudgetBatches(
            [len(tokens) for tokens in rows.tokens],
            self._tokens,
            shuffle=shuffle,
            seed=self._seed,
            draw=self._draw if shuffle else None,
            rank=self.trainer.global_rank if self.trainer else 0,
            world_size=world,
        )
        batches.set_epoch(self._epoch if shuffle else 0)

        def collate(indices: list[int]) -> Batch:
            return {
                **pad_left([rows.view(i) for i in indices], self._pad_id),
                "written": torch.tensor([rows.written[i] for i in indices]),
                "topic": torch.tensor([rows.topics[i] for i in indices]),
                "fair": torch.tensor([rows.fair[i] for i in indices]),
            }

        loader = DataLoader(RowIndices(len(rows)), batch_sampler=batches, collate_fn=collate)
        return loader, len(batches) * world
