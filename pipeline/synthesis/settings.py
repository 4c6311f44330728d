"""What a user chooses about synthetic rows. Loads no model."""

from dataclasses import dataclass, field

from ...common import UserError
from ...decoder import DecoderSettings, GenerationSettings

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
            f"{name} is {getattr(self, name)}, must be above 0 and at most 1"
            for name in ("agreement", "similarity")
            if not 0 < getattr(self, name) <= 1
        ]
        if self.min_words < 1:
            problems.append(f"min_words is {self.min_words}, must be positive")
        if problems:
            raise UserError("filter: " + "; ".join(problems))


@dataclass(frozen=True)
class SynthesisSettings:
    """Which rows are written, and how.

    Attributes:
        threshold: Topics with fewer clean training rows than this get new ones.
        per_topic: Rows to add to each such topic; as many as it lacks of the threshold unless given.
        attempts: How many times a topic is tried for the rows that it still lacks.
        filter: Which of the written texts are kept.
        generation: How texts are written; they are always sampled, with `seed`.
        max_text_tokens: Most tokens of a text; as many as the bundle's decoder reads unless given.
        decoder: How the writer is trained; as the bundle's decoder was unless given.
        seed: Random seed.
    """

    threshold: int = 20
    per_topic: int | None = None
    attempts: int = 5
    filter: FilterSettings = field(default_factory=FilterSettings)
    generation: GenerationSettings = DIVERSE
    max_text_tokens: int | None = None
    decoder: DecoderSettings | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        problems = [
            f"{name} is {value}, must be positive"
            for name in ("threshold", "per_topic", "attempts", "max_text_tokens")
            if (value := getattr(self, name)) is not None and value < 1
        ]
        if problems:
            raise UserError("synthesise: " + "; ".join(problems))
