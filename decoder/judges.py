"""Judges which topic an output reads like, by the look of training targets. Knows texts and topics; no model.

Both judges are independent of the system they judge: they learn from training targets and topics, not from texts or
outputs.
"""

import re
from collections import defaultdict
from collections.abc import Sequence

from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline

from ..corpus import Record

_MOST_WEIGHTS = 5_000_000  # topics times words and pairs of words; fitting them takes about 200 bytes each
_FRAME = re.compile(r"\s*(none|[\w.-]+=[^;]*(; *[\w.-]+=[^;]*)*)\s*")


def parse_frame(text: str) -> list[tuple[str, str]]:
    """Names and values of a slot frame "name=value; name=value"; anything else ("none") is a name without a value."""
    parts = [part.strip() for part in text.split(";")]
    pairs = (part.partition("=") for part in parts if part)
    return [(name.strip(), value.strip()) for name, _, value in pairs]


def are_slot_frames(targets: Sequence[str]) -> bool:
    """Whether all targets are slot frames, and not all of them "none"."""
    return all(map(_FRAME.fullmatch, targets)) and any("=" in target for target in targets)


class TopicJudge:
    """Predicts which topic an output reads like: TF-IDF and a balanced logistic regression."""

    _model: Pipeline

    def fit(self, targets: Sequence[str], topics: Sequence[str]) -> "TopicJudge":
        """Learn the words typical of each topic's targets; their characters, if no target has a word of two letters.

        Of very many topics, only the most frequent words and pairs of words are learnt, so that memory is bounded.
        """
        words = any(re.search(r"\w\w", target) for target in targets)
        most = max(1, _MOST_WEIGHTS // len(set(topics)))
        self._model = make_pipeline(
            TfidfVectorizer(
                analyzer="word" if words else "char", ngram_range=(1, 2), sublinear_tf=True, max_features=most
            ),
            LogisticRegression(class_weight="balanced", max_iter=1000, C=10),
        )
        self._model.fit(list(targets), list(topics))
        return self

    def fit_share(self, outputs: Sequence[str], topics: Sequence[str]) -> float:
        """Share of the outputs that read like their topic."""
        read = self._model.predict(list(outputs))
        return float((read == list(topics)).mean())


class FrameJudge:
    """Judges whether the slots of a slot frame are those of a topic."""

    def __init__(self) -> None:
        self._names: dict[str, set[str]] = defaultdict(set)

    def fit(self, targets: Sequence[str], topics: Sequence[str]) -> "FrameJudge":
        """Learn the slot names of each topic."""
        for target, topic in zip(targets, topics, strict=True):
            self._names[topic].update(name for name, _ in parse_frame(target))
        return self

    def fit_share(self, outputs: Sequence[str], topics: Sequence[str]) -> float:
        """Mean over outputs of the share of slot names that the topic has in training; 0 for an empty output."""
        return sum(map(self._share, outputs, topics)) / len(outputs)

    def _share(self, output: str, topic: str) -> float:
        names = [name for name, _ in parse_frame(output)]
        return sum(name in self._names[topic] for name in names) / len(names) if names else 0.0


def make_judge(targets: Sequence[str], topics: Sequence[str]) -> TopicJudge | FrameJudge:
    """The judge for these training targets: by slots if all are slot frames, else by words."""
    kind = FrameJudge if are_slot_frames(targets) else TopicJudge
    return kind().fit(targets, topics)


def judge_of_records(records: Sequence[Record]) -> TopicJudge | FrameJudge:
    """The judge for the targets of training rows, which must all have one."""
    return make_judge([str(record.target) for record in records], [str(record.topic) for record in records])
