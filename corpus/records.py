"""What a row of a corpus is. Knows nothing of files or models."""

from dataclasses import asdict, dataclass


@dataclass(frozen=True, slots=True)
class Record:
    """One row: the text to classify, and where known its topic and the target text to write.

    `of` is the id of the row that this one says in other words, if it does.
    """

    text: str
    id: str
    topic: str | None = None
    target: str | None = None
    of: str | None = None

    def to_row(self) -> dict[str, str | None]:
        """What a file of records holds of it; `of` only where there is one."""
        row = asdict(self)
        return row if self.of is not None else {name: value for name, value in row.items() if name != "of"}


@dataclass(frozen=True, slots=True)
class BadRow:
    """A row that cannot be used: where it stands (1-based line or row number in `file`) and why."""

    line: int
    reason: str
    id: str | None = None
    file: str | None = None
