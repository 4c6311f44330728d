"""The rows a decoder trains on, as Lightning wants them. Knows sequences; knows no model."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from ..balance import View, span_dropout
from ..corpus import Record, StoredRecords, Topics, topic_indices
from ..training import Batch, PhaseData
from .sequences import Sequencer, pad_left
from .stored_sequences import NO_TOPIC, StoredSequences


@dataclass(frozen=True)
class Rows:
    """Tokenised records: `tokens[i]` int32 (T_i,), of which the last `written[i]` are the target and its end.

    Attributes:
        tokens: The sequences.
        written: Tokens of each target (n,).
        topics: Index of the topic given before the target (n,), `NO_TOPIC` where none is.
        texts: Where the text's own tokens start and stop (n, 2).
        fair: Whether `<force_fairness>` stands before the topic (n,), bool.
    """

    tokens: Sequence[np.ndarray]
    written: np.ndarray
    topics: np.ndarray
    texts: np.ndarray
    fair: np.ndarray

    @classmethod
    def from_records(
        cls,
        records: Sequence[Record],
        sequencer: Sequencer,
        topics: Topics,
        max_target_tokens: int,
        fairness: bool = False,
    ) -> "Rows":
        """Tokenise records; for one whose topic is not in `topics` (a noisy set may have such) no topic is given.

        The tokens of records on disk are on disk too; those have no `fairness`.
        """
        fair = np.full(len(records), fairness)
        if isinstance(records, StoredRecords):
            assert not fairness
            stored = StoredSequences.of(records, sequencer, topics, max_target_tokens)
            return cls(stored, stored.targets.lengths, stored.topics, stored.text_spans(), fair)
        texts = [record.text for record in records]
        spans = [sequencer.text_span(prompt) for prompt in sequencer.prompts(texts)]
        targets = sequencer.targets([record.target or "" for record in records], max_target_tokens)
        indices = topic_indices(records, topics)
        marks = [[] if index == NO_TOPIC else sequencer.mark(topics.names[index]) for index in indices.tolist()]
        tokens = [
            np.asarray([*prompt, *mark, *target], dtype=np.int32)
            for prompt, mark, target in zip(sequencer.prompts(texts, fairness), marks, targets, strict=True)
        ]
        written = np.asarray([len(target) for target in targets], dtype=np.int32)
        return cls(tokens, written, indices, np.asarray(spans, dtype=np.int32).reshape(-1, 2), fair)

    def __len__(self) -> int:
        return len(self.tokens)

    @property
    def lengths(self) -> np.ndarray:
        """Tokens of each row (n,)."""
        if isinstance(self.tokens, StoredSequences):
            return self.tokens.lengths
        return np.asarray([len(tokens) for tokens in self.tokens], dtype=np.int32)

    def __add__(self, other: "Rows") -> "Rows":
        """These rows, and those of `other` after them."""
        names = ("written", "topics", "texts", "fair")
        arrays = {name: np.concatenate([getattr(self, name), getattr(other, name)]) for name in names}
        return replace(self, tokens=[*self.tokens, *other.tokens], **arrays)

    def view(self, index: int) -> list[int]:
        """The row's tokens; where `index` is a repeat, without some spans of its text. All else stays."""
        ids = self.tokens[index].tolist()
        if not isinstance(index, View) or index.repeat == 0:
            return ids
        start, stop = self.texts[index]
        return [*ids[:start], *span_dropout(ids[start:stop], index.repeat, index.seed), *ids[stop:]]


class DecoderData(PhaseData[Rows]):
    """Batches of sequences; `written_per_batch` is the mean number of target tokens in one.

    A batch holds `input_ids` and `attention_mask` (B, T), padded on the left, `written` (B,) the length of the
    target at the end of each row, and `topic` (B,) the topic's index or `NO_TOPIC`; all int64; and `fair` (B,), bool.
    """

    written_per_batch = 1.0

    def count(self, drawn: Sequence[int], batches: int) -> None:
        """Note the mean rows and target tokens of a batch."""
        super().count(drawn, batches)
        rows = np.asarray(drawn, dtype=np.int64)
        self.written_per_batch = int(self.train.written[rows].sum(dtype=np.int64)) / batches

    def collate(self, rows: Rows, indices: list[int]) -> Batch:
        """Pad rows on the left."""
        return {
            **pad_left([rows.view(i) for i in indices], self.pad_id),
            "written": torch.from_numpy(rows.written[indices]).long(),
            "topic": torch.from_numpy(rows.topics[indices]),
            "fair": torch.from_numpy(rows.fair[indices]),
        }
