"""The results of a synthesis, by topic. Plain data that knows no model."""

from dataclasses import dataclass, field
from typing import Any

PROVENANCE = ("source", "paraphrase_of", "confidence", "seed", "model", "reason")


@dataclass
class TopicCounts:
    """Numbers of one topic's rows: existing `rows`, `asked` for, `written`, `agreed` to, `duplicates`, `kept`."""

    rows: int
    asked: int
    written: int = 0
    agreed: int = 0
    duplicates: int = 0
    kept: int = 0


@dataclass
class Synthesis:
    """The kept and the rejected rows so far, and the counts of each topic that rows were asked for."""

    tallies: dict[str, TopicCounts]
    kept: list[dict[str, Any]] = field(default_factory=list)
    rejected: list[dict[str, Any]] = field(default_factory=list)

    @property
    def missing(self) -> dict[str, int]:
        """Numbers of missing rows, by topic."""
        wanting = {topic: tally.asked - tally.kept for topic, tally in self.tallies.items()}
        return {topic: count for topic, count in wanting.items() if count > 0}
