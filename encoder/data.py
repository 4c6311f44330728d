"""The training rows of an encoder as a Lightning data module. Knows tokens and topic indices; knows no model."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from transformers import PreTrainedTokenizerBase

from ..balance import SampledRow, span_dropout
from ..corpus import Record, StoredRecords, Topics, record_weights, topic_indices
from ..runtime import TextTokenizer
from ..training import Batch, PhaseData, TokenFile, token_file, tokenizer_contents
from .tokens import pad, tokenize

AT_ONCE = 4096  # texts


@dataclass(frozen=True)
class Rows:
    """Tokenised records: `tokens[i]` (T_i,) int32, topic indices `labels` (n,), and `weights` (n,) float64."""

    tokens: Sequence[np.ndarray]
    labels: np.ndarray
    weights: np.ndarray

    @classmethod
    def from_records(
        cls, records: Sequence[Record], topics: Topics, tokenizer: PreTrainedTokenizerBase, max_tokens: int
    ) -> "Rows":
        """Tokenise records whose topics are all in `topics`. For records on disk the tokens are on disk too."""
        if isinstance(records, StoredRecords):
            reader, largest = TextTokenizer.private(tokenizer), max(tokenizer.get_vocab().values())
            kind = ["encoder", tokenizer_contents(tokenizer), max_tokens]
            tokens = token_file(records, "text", kind, largest, lambda texts: tokenize(reader, texts, max_tokens))
            return cls(tokens, topic_indices(records, topics), record_weights(records))
        labels = topics.encode([str(record.topic) for record in records])
        reader, tokens = TextTokenizer.private(tokenizer), []
        for start in range(0, len(records), AT_ONCE):  # a text's tokens take thirty times as much memory at first
            texts = [record.text for record in records[start : start + AT_ONCE]]
            tokens += [np.asarray(row, dtype=np.int32) for row in tokenize(reader, texts, max_tokens)]
        return cls(tokens, np.asarray(labels, dtype=np.int64), record_weights(records))

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def lengths(self) -> np.ndarray:
        """Tokens of each row (n,)."""
        if isinstance(self.tokens, TokenFile):
            return self.tokens.lengths
        return np.asarray([len(row) for row in self.tokens], dtype=np.int32)


class EncoderData(PhaseData[Rows]):
    """Batches of row index `row` (B,), topic index `target` (B,), `input_ids` and `attention_mask` (B, T), all int64.

    They also have `weight` (B,), float32.
    """

    def collate(self, rows: Rows, indices: list[int]) -> Batch:
        """Pad rows on the right."""
        return {
            "row": torch.tensor(indices),
            "target": torch.from_numpy(rows.labels[indices]),
            **pad((_view(rows.tokens[i], i) for i in indices), self.pad_id),
            "weight": torch.from_numpy(rows.weights[indices]).float(),
        }


def _view(tokens: np.ndarray, index: int) -> Sequence[int]:
    """The row's tokens; a repeated row lacks some spans, but keeps the special tokens at both ends."""
    ids = tokens.tolist()
    if not isinstance(index, SampledRow) or index.repeat == 0:
        return ids
    return [*ids[:1], *span_dropout(ids[1:-1], index.repeat, index.seed), *ids[-1:]]
