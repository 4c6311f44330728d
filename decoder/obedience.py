"""Measures whether a decoder follows its topic or the topic that its text suggests, by giving it wrong topics.

Knows decoders, judges and records; knows no files.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain, zip_longest
from random import Random

import torch

from ..corpus import Record
from .judges import FrameJudge, TopicJudge
from .sampling import has_target
from .settings import GenerationSettings
from .topic_decoder import TopicDecoder

WRONG = 3  # wrong topics that a text is tried with
LISTENS = 0.5  # smallest part of the way from ignoring wrong topics to following them, for a decoder that listens
WRITES = 0.8  # smallest share of outputs that follow the right topic, relative to the targets' own share


@dataclass(frozen=True)
class Obedience:
    """How far outputs follow the given topic, by an independent judge; shares from 0 to 1.

    Attributes:
        rows: Number of texts.
        right: Share of outputs under the right topic that read like it.
        wrong: Share of outputs under a wrong topic that read like the topic given.
        targets: Share of the targets that read like the right topic: an upper bound for `right`.
        ignoring: Share of the targets that read like the wrong topic: `wrong` of a perfect decoder that ignores its
            topic.
        gap: Mean log-probability of a target's tokens under the right topic minus that under a wrong one, in nats.
    """

    rows: int
    right: float
    wrong: float
    targets: float
    ignoring: float
    gap: float

    @property
    def listens(self) -> bool | None:
        """Whether outputs also follow wrong topics, and right ones nearly as often as targets do.

        `wrong` counts from `ignoring`, which topics that look alike can make large. None if it cannot be told, because
        targets read as much like a wrong topic as like their own.
        """
        if self.targets <= self.ignoring:
            return None
        follows = self.wrong - self.ignoring >= LISTENS * (self.targets - self.ignoring)
        return follows and self.right >= WRITES * self.targets

    def __str__(self) -> str:
        return (
            f"on {self.rows} held-out texts, outputs followed the right topic in {self.right:.0%} (their targets in "
            f"{self.targets:.0%}), a wrong one in {self.wrong:.0%} (the same targets in {self.ignoring:.0%})"
        )


@dataclass(frozen=True)
class ObedienceTrial:
    """Texts with their targets and topics, and wrong topics `wrong[i]` for each."""

    texts: list[str]
    targets: list[str]
    right: list[str]
    wrong: list[list[str]]

    @classmethod
    def sample(
        cls, records: Sequence[Record], topics: Sequence[str], rows: int, wrong: int = WRONG
    ) -> "ObedienceTrial":
        """A fixed sample of the rows with a target, with all topics as equally frequent as possible.

        Args:
            records: Rows with topics.
            topics: Topics to draw wrong topics from: those with targets in training.
            rows: Most texts.
            wrong: Number of wrong topics for each text.
        """
        known = set(topics)
        usable = [record for record in records if has_target(record) and record.topic in known]
        kept = _alike(usable, rows)
        draw = Random(0)
        others = [sorted(known - {record.topic}) for record in kept]
        return cls(
            [record.text for record in kept],
            [str(record.target) for record in kept],
            [str(record.topic) for record in kept],
            [draw.sample(names, min(wrong, len(names))) for names in others],
        )

    @property
    def tried(self) -> list[tuple[int, str]]:
        """Row and topic of each trial with a wrong topic."""
        return [(i, topic) for i, topics in enumerate(self.wrong) for topic in topics]

    def write(self, decoder: TopicDecoder, options: GenerationSettings | None = None) -> list[str]:
        """The outputs for each text under its own topic, followed by those under wrong topics."""
        texts = [*self.texts, *(self.texts[i] for i, _ in self.tried)]
        return decoder.generate(texts, [*self.right, *(topic for _, topic in self.tried)], options)

    def __len__(self) -> int:
        return len(self.texts)


def measure_obedience(
    decoder: TopicDecoder,
    trial: ObedienceTrial,
    judge: TopicJudge | FrameJudge,
    options: GenerationSettings | None = None,
) -> Obedience | None:
    """Write under right and wrong topics and judge the outputs; None without rows or without a second topic."""
    if not trial.tried:
        return None
    return judge_obedience(trial, trial.write(decoder, options), judge, log_probability_gap(decoder, trial))


def judge_obedience(
    trial: ObedienceTrial, outputs: Sequence[str], judge: TopicJudge | FrameJudge, gap: float = 0.0
) -> Obedience:
    """The judgement of the outputs of `trial.write`; `gap` is the result of `log_probability_gap`."""
    wrong = [topic for _, topic in trial.tried]
    targets = [trial.targets[i] for i, _ in trial.tried]
    return Obedience(
        len(trial),
        judge.fit_share(outputs[: len(trial)], trial.right),
        judge.fit_share(outputs[len(trial) :], wrong),
        judge.fit_share(trial.targets, trial.right),
        judge.fit_share(targets, wrong),
        gap,
    )


def log_probability_gap(decoder: TopicDecoder, trial: ObedienceTrial) -> float:
    """Mean over trials of log p(target | right topic) - log p(target | wrong topic), in nats per target token."""
    rows = torch.tensor([i for i, _ in trial.tried])
    wrong = [topic for _, topic in trial.tried]
    right = decoder.target_log_probs(trial.texts, trial.right, trial.targets)
    texts, targets = ([values[i] for i in rows.tolist()] for values in (trial.texts, trial.targets))
    return float((right[rows] - decoder.target_log_probs(texts, wrong, targets)).mean())


def _alike(records: Sequence[Record], most: int) -> list[Record]:
    """The first rows of each topic in turn, rarest topics first, so that all topics count equally."""
    by_topic: dict[str, list[Record]] = defaultdict(list)
    for record in records:
        by_topic[str(record.topic)].append(record)
    turns = zip_longest(*sorted(by_topic.values(), key=len))
    return [record for record in chain.from_iterable(turns) if record is not None][:most]
