"""What became of the rows that were asked for, topic by topic. Plain data."""

from dataclasses import dataclass, field
from typing import Any

PROVENANCE = ("source", "paraphrase_of", "confidence", "seed", "model", "reason")


@dataclass
class TopicCounts:
    """What became of one topic's rows: `rows` it has, `asked` for, `written`, `agreed` to, `duplicates`, `kept`."""

    rows: int
    asked: int
    written: int = 0
    agreed: int = 0
    duplicates: int = 0
    kept: int = 0


@dataclass
class Synthesis:
    """The rows kept and those rejected, as they are written, and the tally of each topic that rows were asked for."""

    tallies: dict[str, TopicCounts]
    kept: list[dict[str, Any]] = field(default_factory=list)
    rejected: list[dict[str, Any]] = field(default_factory=list)

    @property
    def missing(self) -> dict[str, int]:
        """Rows still wanting, by topic."""
        wanting = {topic: tally.asked - tally.kept for topic, tally in self.tallies.items()}
        return {topic: count for topic, count in wanting.items() if count > 0}
