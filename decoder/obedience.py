"""Does a decoder write what its topic says, or what its text suggests? Measured by giving it wrong topics.

Knows decoders, judges and records; no files but the curve that its callback writes.
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

WRONG = 3  # topics that a text is tried under beside its own
LISTENS = 0.5  # share of outputs that follow a wrong topic below which a decoder counts as not listening
WRITES = 0.8  # share that follow the right one, of what targets themselves reach, below which it does not write well


@dataclass(frozen=True)
class Obedience:
    """How far outputs follow the topic given, by an independent judge; shares of 0 to 1.

    Attributes:
        rows: How many texts were tried.
        right: Share of outputs under the right topic that read like it.
        wrong: Share of outputs under a wrong topic that read like the topic given.
        targets: What the targets themselves reach under the right topic: the most that `right` can show.
        ignoring: What they reach under wrong topics: `wrong` of a decoder that writes well and ignores its topic.
        gap: Mean log-probability of a target's tokens under the right topic, less that under a wrong one, in nats.
    """

    rows: int
    right: float
    wrong: float
    targets: float
    ignoring: float
    gap: float

    @property
    def listens(self) -> bool:
        """Whether outputs follow wrong topics too, and right ones nearly as often as targets do."""
        return self.wrong >= LISTENS and self.right >= WRITES * self.targets

    def __str__(self) -> str:
        return (
            f"of {self.rows} held-out texts, outputs followed the right topic in {self.right:.0%} (their targets in "
            f"{self.targets:.0%}), a wrong one in {self.wrong:.0%} (the same targets in {self.ignoring:.0%})"
        )


@dataclass(frozen=True)
class Trial:
    """Texts with their targets, each under its own topic and under `wrong[i]`, others."""

    texts: list[str]
    targets: list[str]
    right: list[str]
    wrong: list[list[str]]

    @classmethod
    def sample(cls, records: Sequence[Record], topics: Sequence[str], rows: int, wrong: int = WRONG) -> "Trial":
        """At most so many of the rows with a target, each topic as often as the others where it can; always the same.

        Args:
            records: Rows with topics.
            topics: Those that a wrong topic is drawn from: those with targets in training.
            rows: At most so many texts.
            wrong: Wrong topics a text.
        """
        usable = [record for record in records if has_target(record) and record.topic in topics]
        kept = _alike(usable, rows)
        draw = Random(0)
        others = [sorted(set(topics) - {record.topic}) for record in kept]
        return cls(
            [record.text for record in kept],
            [str(record.target) for record in kept],
            [str(record.topic) for record in kept],
            [draw.sample(names, min(wrong, len(names))) for names in others],
        )

    @property
    def tried(self) -> list[tuple[int, str]]:
        """Row and wrong topic of each trial under one."""
        return [(i, topic) for i, topics in enumerate(self.wrong) for topic in topics]

    def write(self, decoder: TopicDecoder, options: GenerationSettings | None = None) -> list[str]:
        """What is written of each text under its own topic, then of each trial under a wrong one."""
        texts = [*self.texts, *(self.texts[i] for i, _ in self.tried)]
        return decoder.generate(texts, [*self.right, *(topic for _, topic in self.tried)], options)

    def __len__(self) -> int:
        return len(self.texts)


def measure_obedience(
    decoder: TopicDecoder, trial: Trial, judge: TopicJudge | FrameJudge, options: GenerationSettings | None = None
) -> Obedience | None:
    """Write under right and wrong topics and judge it; None without rows, or without another topic to give."""
    if not trial.tried:
        return None
    return judge_obedience(trial, trial.write(decoder, options), judge, log_probability_gap(decoder, trial))


def judge_obedience(
    trial: Trial, outputs: Sequence[str], judge: TopicJudge | FrameJudge, gap: float = 0.0
) -> Obedience:
    """What `judge` says of what `trial.write` returned; `gap` is that of `log_probability_gap`."""
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


def log_probability_gap(decoder: TopicDecoder, trial: Trial) -> float:
    """Mean over trials of log p(target | right topic) - log p(target | wrong topic), in nats a token of the target."""
    rows = torch.tensor([i for i, _ in trial.tried])
    wrong = [topic for _, topic in trial.tried]
    right = decoder.target_log_probs(trial.texts, trial.right, trial.targets)
    texts, targets = ([values[i] for i in rows.tolist()] for values in (trial.texts, trial.targets))
    return float((right[rows] - decoder.target_log_probs(texts, wrong, targets)).mean())


def _alike(records: Sequence[Record], most: int) -> list[Record]:
    """The first rows of each topic in turn, rarest topics first, so that all topics count."""
    by_topic: dict[str, list[Record]] = defaultdict(list)
    for record in records:
        by_topic[str(record.topic)].append(record)
    turns = zip_longest(*sorted(by_topic.values(), key=len))
    return [record for record in chain.from_iterable(turns) if record is not None][:most]
