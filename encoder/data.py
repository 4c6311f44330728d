"""The rows an encoder trains on, as Lightning wants them. Knows tokens and topic indices; knows no model."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from transformers import PreTrainedTokenizerBase

from ..balance import View, span_dropout
from ..corpus import Record, Topics
from ..training import Batch, PhaseData
from .tokens import pad, tokenize


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


class EncoderData(PhaseData[Rows]):
    """A batch holds `row` (B,) the row's index, `target` (B,), `input_ids` and `attention_mask` (B, T), all int64."""

    def collate(self, rows: Rows, indices: list[int]) -> Batch:
        """Pad rows on the right."""
        return {
            "row": torch.tensor(indices),
            "target": torch.tensor([rows.targets[i] for i in indices]),
            **pad((_view(rows.tokens[i], i) for i in indices), self.pad_id),
        }


def _view(tokens: np.ndarray, index: int) -> Sequence[int]:
    """The row's tokens, or for a repeat a version of them that lacks some spans; the marks at both ends stay."""
    ids = tokens.tolist()
    if not isinstance(index, View) or index.repeat == 0:
        return ids
    return [*ids[:1], *span_dropout(ids[1:-1], index.repeat, index.seed), *ids[-1:]]
