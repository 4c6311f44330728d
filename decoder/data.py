"""The training rows of a decoder as a Lightning data module. Knows sequences; knows no model."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import islice
from random import Random
from typing import Any

import numpy as np
import torch

from ..balance import SampledRow, span_dropout
from ..corpus import Record, StoredRecords, Topics, topic_indices
from ..training import Batch, PhaseData
from .sequences import Sequencer, pad_left
from .stored_sequences import NO_TOPIC, StoredSequences

TRIES = 50  # random rows tried to find one of another topic
SWAPPED_TOKENS = 8  # first tokens of a target under a swapped text; later ones need facts that the text lacks


@dataclass(frozen=True)
class Rows:
    """Tokenised records: `tokens[i]` int32 (T_i,), of which the last `written[i]` are the target and its end.

    Attributes:
        tokens: Token ids of the sequences.
        written: Tokens of each target (n,).
        topics: Index (n,) of the topic given before the target; `NO_TOPIC` without one.
        texts: First position of the text's own tokens, and the position after the last (n, 2).
        fair: Whether (n,) `<force_fairness>` comes before the topic, bool.
        topic_tokens: Number (n,) of tokens that give the topic, right before the target.
    """

    tokens: Sequence[np.ndarray]
    written: np.ndarray
    topics: np.ndarray
    texts: np.ndarray
    fair: np.ndarray
    topic_tokens: np.ndarray

    @classmethod
    def from_records(
        cls,
        records: Sequence[Record],
        sequencer: Sequencer,
        topics: Topics,
        max_target_tokens: int,
        fairness: bool = False,
    ) -> "Rows":
        """Tokenise records. A topic that is not in `topics`, as a noisy set may have, is left out of the sequence.

        For records on disk the tokens are on disk too; `fairness` is not available for them.
        """
        fair = np.full(len(records), fairness)
        if isinstance(records, StoredRecords):
            assert not fairness
            stored = StoredSequences.of(records, sequencer, topics, max_target_tokens)
            return cls(
                stored, stored.targets.lengths, stored.topics, stored.text_spans(), fair, stored.topic_token_counts
            )
        texts = [record.text for record in records]
        spans = [sequencer.text_span(prompt) for prompt in sequencer.prompts(texts)]
        targets = sequencer.targets([record.target or "" for record in records], max_target_tokens)
        indices = topic_indices(records, topics)
        topic_tokens = [
            [] if index == NO_TOPIC else sequencer.topic_tokens(topics.names[index]) for index in indices.tolist()
        ]
        tokens = [
            np.asarray([*prompt, *given, *target], dtype=np.int32)
            for prompt, given, target in zip(sequencer.prompts(texts, fairness), topic_tokens, targets, strict=True)
        ]
        written, given = (np.asarray(list(map(len, parts)), dtype=np.int32) for parts in (targets, topic_tokens))
        return cls(tokens, written, indices, np.asarray(spans, dtype=np.int32).reshape(-1, 2), fair, given)

    def __len__(self) -> int:
        return len(self.tokens)

    @property
    def lengths(self) -> np.ndarray:
        """Tokens of each row (n,)."""
        if isinstance(self.tokens, StoredSequences):
            return self.tokens.lengths
        return np.asarray([len(tokens) for tokens in self.tokens], dtype=np.int32)

    def __add__(self, other: "Rows") -> "Rows":
        """These rows, followed by those of `other`."""
        names = ("written", "topics", "texts", "fair", "topic_tokens")
        arrays = {name: np.concatenate([getattr(self, name), getattr(other, name)]) for name in names}
        return replace(self, tokens=[*self.tokens, *other.tokens], **arrays)

    def view(self, index: int, topic: bool = True, text_of: int | None = None) -> list[int]:
        """The row's tokens; a repeated row lacks some spans of its text.

        Args:
            index: Index of the row.
            topic: Whether the topic's tokens are included.
            text_of: Row whose text replaces this row's, cut to the same length; see `shown`.
        """
        ids = self.tokens[index].tolist()
        start, stop = self.texts[index]
        text = ids[start:stop]
        if text_of is not None:
            text = self.tokens[text_of].tolist()[slice(*self.texts[text_of])][: len(text)]
        elif isinstance(index, SampledRow) and index.repeat > 0:
            text = span_dropout(text, index.repeat, index.seed)
        end = len(ids) - self.written[index]
        given = end if topic else end - self.topic_tokens[index]
        return [*ids[:start], *text, *ids[stop:given], *ids[end : end + self.shown(index, text_of)]]

    def shown(self, index: int, text_of: int | None) -> int:
        """Number of target tokens in a view of the row; only the first few if the text is another row's."""
        written = int(self.written[index])
        return written if text_of is None else min(written, SWAPPED_TOKENS)


class DecoderData(PhaseData[Rows]):
    """Batches of sequences; `written_per_batch` is the mean number of target tokens in a batch.

    A share `topic_dropout` of the training rows lacks its topic. A share `text_swap` comes a second time in the same
    batch, with the text of a row of another topic and only the beginning of its own target; these views are beyond the
    tokens of a batch, and not among those counted. The seed and the epoch decide which rows.

    A batch has `input_ids` and `attention_mask` (B, T), padded on the left; `written` (B,), the length of the target at
    the end of each row; `topic` (B,), the topic's index or `NO_TOPIC`; all int64; and `fair` (B,), bool.
    """

    written_per_batch = 1.0

    def __init__(
        self,
        train: Rows,
        validation: Rows | None,
        *,
        topic_dropout: float = 0.0,
        text_swap: float = 0.0,
        **options: Any,
    ) -> None:
        super().__init__(train, validation, **options)
        self._topic_dropout, self._text_swap = topic_dropout, text_swap

    def count(self, sampled: Sequence[int], batches: int) -> None:
        """Set the mean numbers of rows and of target tokens in a batch."""
        super().count(sampled, batches)
        rows = np.asarray(sampled, dtype=np.int64)
        self.written_per_batch = int(self.train.written[rows].sum(dtype=np.int64)) / batches

    def collate(self, rows: Rows, indices: list[int]) -> Batch:
        """Pad rows on the left: every row, and after some of them the same row with another row's text."""
        views = [view for index in indices for view in self._views(rows, index)]
        places, kept = [index for index, _, _ in views], [topic for _, topic, _ in views]
        return {
            **pad_left([rows.view(*view) for view in views], self.pad_id),
            "written": torch.tensor([rows.shown(index, other) for index, _, other in views]),
            "topic": torch.from_numpy(np.where(kept, rows.topics[places], NO_TOPIC)),
            "fair": torch.from_numpy(rows.fair[places]),
        }

    def _views(self, rows: Rows, index: int) -> list[tuple[int, bool, int | None]]:
        """A row with or without its topic, and perhaps once more with the text of another topic's row."""
        if rows is not self.train or not (self._topic_dropout or self._text_swap):
            return [(index, True, None)]
        repeat = index.repeat if isinstance(index, SampledRow) else 0
        draw = Random(f"{self._seed} {self._epoch} {index} {repeat}")
        views: list[tuple[int, bool, int | None]] = [(index, draw.random() >= self._topic_dropout, None)]
        if draw.random() < self._text_swap and rows.topics[index] != NO_TOPIC:
            tried = (draw.randrange(len(rows)) for _ in range(TRIES))
            others = (i for i in tried if rows.topics[i] not in (rows.topics[index], NO_TOPIC))
            views += [(index, True, other) for other in islice(others, 1)]
        return views
