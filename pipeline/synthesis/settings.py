"""What a user chooses about synthetic rows. Loads no model."""

from dataclasses import dataclass

from ...common import UserError
from ...decoder import GenerationSettings

DIVERSE = GenerationSettings(sample=True, temperature=0.7, top_p=0.95)


@dataclass(frozen=True)
class FilterSettings:
    """Which written texts are kept.

    Attributes:
        agreement: The encoder's probability of the intended topic, all topics expected alike, must reach this.
        similarity: A text is a near-duplicate where its likeness to another (the Jaccard index of three-word
            sequences) reaches this.
        min_words: A text with fewer is too short; 1 for scripts without spaces.
    """

    agreement: float = 0.5
    similarity: float = 0.7
    min_words: int = 5

    def __post_init__(self) -> None:
        problems = [
            f"{name} is {getattr(self, name)}, must lie above 0 and at most 1"
            for name in ("agreement", "similarity")
            if not 0 < getattr(self, name) <= 1
        ]
        if self.min_words < 1:
            problems.append(f"min_words is {self.min_words}, must be positive")
        if problems:
            raise UserError("filter: " + "; ".join(problems))
