"""A sample of texts spread evenly over rows whose number is not known beforehand. Knows nothing of files."""

from dataclasses import dataclass, field

MOST_CHARACTERS = 2**28


@dataclass
class SpreadSample:
    """The texts of at most `most` of the rows that it is shown, evenly spaced, the same ones each time.

    So it represents rows that are sorted by date or topic, too. It holds every `step`-th row. If it holds too many, it
    lets every second go and doubles the step. Memory does not grow with the rows or their texts.

    Attributes:
        most: Most texts.
        limit: Number of rows after which it takes none; None for no limit.
        step: Distance between the rows that are held.
    """

    most: int
    limit: int | None = None
    step: int = 1
    _seen: int = 0
    _held: list[str | None] = field(default_factory=list)
    _characters: int = 0

    def wants(self) -> bool:
        """Whether the next row is to be read; it must then be added before this is called again."""
        index, self._seen = self._seen, self._seen + 1
        return index % self.step == 0 and (self.limit is None or index < self.limit)

    def add(self, text: str | None) -> None:
        """Take the text of a row that was wanted; None if the row has none."""
        self._held.append(text)
        self._characters += len(text or "")
        while len(self._held) > 1 and (len(self._held) > 2 * self.most or self._characters > MOST_CHARACTERS):
            self._held, self.step = self._held[::2], 2 * self.step
            self._characters = sum(len(held or "") for held in self._held)

    @property
    def is_whole(self) -> bool:
        """Whether it holds all rows that were shown up to the limit."""
        return self.step == 1 and len(self._held) <= self.most

    def taken(self) -> list[str | None]:
        """The texts, in order, None for a row without one; the sample is empty afterwards."""
        held, self._held = self._held, []
        if len(held) <= self.most:
            return held
        return [held[i * len(held) // self.most] for i in range(self.most)]
