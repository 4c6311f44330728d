"""The row of a corpus. Knows nothing of files or models."""

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Record:
    """One row: the text to classify, and where known its topic and the target text to write.

    `paraphrase_of` is the id of the row that this row paraphrases, if any. `kept` has the values of further columns
    that were asked for. `weight` is the row's weight in training; a row of a file has 1. `synthetic` rows were written
    by a model: they are trained on, but nothing is measured on them.
    """

    text: str
    id: str
    topic: str | None = None
    target: str | None = None
    paraphrase_of: str | None = None
    kept: dict[str, Any] | None = None
    weight: float = 1.0
    synthetic: bool = False

    def to_row(self) -> dict[str, str | None]:
        """The row's values for a file of records: id, text, topic and target; `paraphrase_of` only if there is one."""
        left_out = ["kept", "weight", "synthetic"] + ["paraphrase_of"] * (self.paraphrase_of is None)
        return {name: value for name, value in asdict(self).items() if name not in left_out}


@dataclass(frozen=True, slots=True)
class BadRow:
    """A row that cannot be used: where it is (1-based line or row number in `file`) and why."""

    line: int
    reason: str
    id: str | None = None
    file: str | None = None
