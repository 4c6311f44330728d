"""The training rows of a decoder as a Lightning data module. Knows sequences; knows no model."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from random import Random
from typing import Any

import numpy as np
import torch

from ..balance import SampledRow, span_dropout
from ..corpus import Record, StoredRecords, Topics, topic_indices
from ..training import Batch, PhaseData
from .sequences import Sequencer, pad_left
from .stored_sequences import NO_TOPIC, StoredSequences
from .swaps import Swaps


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

    def target(self, index: int) -> np.ndarray:
        """Tokens (T,) of the row's target and its end."""
        return self.tokens[index][-int(self.written[index]) :]

    def view(self, index: int, topic: bool = True, text_of: int | None = None, shown: int | None = None) -> list[int]:
        """The row's tokens; a repeated row lacks some spans of its text.

        Args:
            index: Index of the row.
            topic: Whether the topic's tokens are included.
            text_of: Row whose text replaces this row's, cut to the same length.
            shown: Number of target tokens; None means all.
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
        return [*ids[:start], *text, *ids[stop:given], *ids[end:][:shown]]


@dataclass(frozen=True)
class _View:
    """What is shown of a row: its tokens `ids`, of whose last `len(learnt)`, the target, those marked are learnt."""

    row: int
    ids: list[int]
    learnt: np.ndarray
    has_topic: bool = True


class DecoderData(PhaseData[Rows]):
    """Batches of sequences; `written_per_batch` is the mean number of target tokens in a batch.

    A share `topic_dropout` of the training rows lacks its topic. A share `text_swap` of their texts comes a second time
    in the same batch, under a row of another topic (see `Swaps`); these views are beyond the tokens of a batch, and not
    among those counted. The seed and the epoch decide which rows.

    A batch has `input_ids` and `attention_mask` (B, T), padded on the left; `written` (B,), the length of the target at
    the end of each row; `topic` (B,), the topic's index or `NO_TOPIC`; all int64. And bool: `learnt` (B, T), the tokens
    that the loss is of; `fair` (B,).
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
        """Pad rows on the left: every row, and after some of them its text once more under another topic's row."""
        views = [view for index in indices for view in self._views(rows, index)]
        batch = pad_left([view.ids for view in views], self.pad_id)
        learnt = torch.zeros_like(batch["input_ids"], dtype=torch.bool)
        for mask, view in zip(learnt, views, strict=True):
            mask[-len(view.learnt) :] = torch.from_numpy(view.learnt)
        places = [view.row for view in views]
        return {
            **batch,
            "learnt": learnt,
            "written": torch.tensor([len(view.learnt) for view in views]),
            "topic": torch.from_numpy(np.where([view.has_topic for view in views], rows.topics[places], NO_TOPIC)),
            "fair": torch.from_numpy(rows.fair[places]),
        }

    def _views(self, rows: Rows, index: int) -> list[_View]:
        """A row with or without its topic, and perhaps its text once more under another topic's row."""
        whole = np.ones(rows.written[index], dtype=bool)
        if rows is not self.train or not (self._topic_dropout or self._text_swap):
            return [_View(index, rows.view(index), whole)]
        repeat = index.repeat if isinstance(index, SampledRow) else 0
        random = Random(f"{self._seed} {self._epoch} {index} {repeat}")
        kept = random.random() >= self._topic_dropout
        views = [_View(index, rows.view(index, kept), whole, kept)]
        if random.random() < self._text_swap and (drawn := self._swaps.draw(random, int(rows.topics[index]))):
            other, learnt = drawn
            views.append(_View(other, rows.view(other, text_of=index, shown=len(learnt)), learnt))
        return views

    @cached_property
    def _swaps(self) -> Swaps:
        return Swaps(self.train.target, self.train.topics)
