"""What a row of a corpus is. Knows nothing of files or models."""

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Record:
    """One row: the text to classify, and where known its topic and the target text to write.

    `paraphrase_of` is the id of the row that this one says in other words, if it does. `kept` has further columns that
    were asked for, as they were read. `weight` is how many rows it counts as in training; a row of a file counts as 1.
    """

    text: str
    id: str
    topic: str | None = None
    target: str | None = None
    paraphrase_of: str | None = None
    kept: dict[str, Any] | None = None
    weight: float = 1.0

    def to_row(self) -> dict[str, str | None]:
        """Its values in a file of records: no `kept`, no `weight`, and `paraphrase_of` only if there is one."""
        left_out = ("kept", "weight") if self.paraphrase_of is not None else ("kept", "weight", "paraphrase_of")
        return {name: value for name, value in asdict(self).items() if name not in left_out}


@dataclass(frozen=True, slots=True)
class BadRow:
    """A row that cannot be used: where it is (1-based line or row number in `file`) and why."""

    line: int
    reason: str
    id: str | None = None
    file: str | None = None
