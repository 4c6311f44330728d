"""The rows a decoder trains on, as Lightning wants them. Knows sequences; knows no model."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from ..balance import View, span_dropout
from ..corpus import Record, Topics
from ..training import Batch, PhaseData
from .sequences import Sequencer, pad_left

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

    @property
    def lengths(self) -> list[int]:
        """Tokens of each row."""
        return [len(tokens) for tokens in self.tokens]

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


class DecoderData(PhaseData[Rows]):
    """Batches of sequences; `written_per_batch` is the mean number of target tokens in one.

    A batch holds `input_ids` and `attention_mask` (B, T), padded on the left, `written` (B,) the length of the
    target at the end of each row, and `topic` (B,) the topic's index or `NO_TOPIC`; all int64; and `fair` (B,), bool.
    """

    written_per_batch = 1.0

    def count(self, drawn: Sequence[int], batches: int) -> None:
        """Note the mean rows and target tokens of a batch."""
        super().count(drawn, batches)
        self.written_per_batch = sum(self.train.written[i] for i in drawn) / batches

    def collate(self, rows: Rows, indices: list[int]) -> Batch:
        """Pad rows on the left."""
        return {
            **pad_left([rows.view(i) for i in indices], self.pad_id),
            "written": torch.tensor([rows.written[i] for i in indices]),
            "topic": torch.tensor([rows.topics[i] for i in indices]),
            "fair": torch.tensor([rows.fair[i] for i in indices]),
        }
