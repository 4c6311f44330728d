"""The sequences of records on disk, assembled on demand. Knows no model.

The tokens of texts and targets are in files without prompt and topic, so that fits with other prompts, topics and seeds
share them.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import overload

import numpy as np

from ..corpus import StoredRecords, Topics, topic_indices
from ..training import TokenFile, token_file, tokenizer_contents
from .sequences import Sequencer

NO_TOPIC = -1


@dataclass(frozen=True, eq=False)
class StoredSequences(Sequence[np.ndarray]):
    """Sequences as a `Sequencer` builds them, int32 (T_i,), without the fairness token.

    Attributes:
        texts: Tokens of the texts.
        targets: Tokens of the targets, with their end tokens.
        topics: Index (n,) of each row's topic, or `NO_TOPIC`.
        before: Tokens before every text.
        after: Tokens between text and topic.
        topic_tokens: Tokens that give each topic (C + 1 lists); the last, for `NO_TOPIC`, is empty.
    """

    texts: TokenFile
    targets: TokenFile
    topics: np.ndarray
    before: np.ndarray
    after: np.ndarray
    topic_tokens: list[np.ndarray]

    @classmethod
    def of(
        cls, records: StoredRecords, sequencer: Sequencer, topics: Topics, max_target_tokens: int
    ) -> "StoredSequences":
        """Tokenise records on disk; a topic that is not in `topics` is left out."""
        contents = tokenizer_contents(sequencer.tokenizer)
        largest = max(sequencer.tokenizer.get_vocab().values())
        texts = token_file(records, "text", ["decoder", contents, sequencer.room], largest, sequencer.texts)
        kind = ["decoder", contents, max_target_tokens]
        targets = token_file(records, "target", kind, largest, lambda some: sequencer.targets(some, max_target_tokens))
        topic_tokens = [sequencer.topic_tokens(name) for name in topics.names]
        before, after, *rest = (
            np.asarray(part, dtype=np.int32) for part in (sequencer.prefix, sequencer.after_text, *topic_tokens, [])
        )
        return cls(texts, targets, topic_indices(records, topics), before, after, rest)

    def __len__(self) -> int:
        return len(self.texts)

    @overload
    def __getitem__(self, index: int) -> np.ndarray: ...
    @overload
    def __getitem__(self, index: slice) -> "StoredSequences": ...
    def __getitem__(self, index: int | slice) -> "np.ndarray | StoredSequences":
        if isinstance(index, slice):
            return replace(self, texts=self.texts[index], targets=self.targets[index], topics=self.topics[index])
        given = self.topic_tokens[self.topics[index]]
        return np.concatenate([self.before, self.texts[index], self.after, given, self.targets[index]])

    @cached_property
    def lengths(self) -> np.ndarray:
        """Length (n,) of each sequence, int32."""
        frame = len(self.before) + len(self.after)
        return self.texts.lengths + self.targets.lengths + self.topic_token_counts + np.int32(frame)

    @property
    def topic_token_counts(self) -> np.ndarray:
        """Number (n,) of tokens that give each sequence its topic, int32."""
        return np.asarray([len(given) for given in self.topic_tokens], dtype=np.int32)[self.topics]

    def text_spans(self) -> np.ndarray:
        """First position of each text's own tokens, and the position after the last (n, 2), int32."""
        starts = np.full(len(self), len(self.before), dtype=np.int32)
        return np.stack([starts, starts + self.texts.lengths], axis=1)
