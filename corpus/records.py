"""What a row of a corpus is. Knows nothing of files or models."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Record:
    """One row: the text to classify, and where known its topic and the target text to write."""

    text: str
    id: str
    topic: str | None = None
    target: str | None = None


@dataclass(frozen=True, slots=True)
class BadRow:
    """A row that cannot be used: where it stands (1-based line or row number in `file`) and why."""

    line: int
    reason: str
    id: str | None = None
    file: str | None = None
