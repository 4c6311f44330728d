"""Settings of synthetic rows. Loads no model."""

from dataclasses import dataclass, field

from ...common import UserError, check_seed
from ...decoder import DecoderSettings, GenerationSettings

DIVERSE_SAMPLING = GenerationSettings(sample=True, temperature=0.7, top_p=0.95)


@dataclass(frozen=True)
class FilterSettings:
    """The filter of written texts.

    Attributes:
        agreement: Smallest probability of the intended topic by the encoder, under a uniform prior.
        similarity: Similarity to another text (Jaccard index of three-word sequences) from which a text is a
            near-duplicate.
        min_words: Fewest words of a text; use 1 for scripts without spaces.
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
    """The rows to write, and how to write them.

    Attributes:
        threshold: Number of clean training rows below which a topic gets new rows.
        per_topic: Rows to add to each such topic; by default as many as it lacks to reach the threshold.
        attempts: Most attempts to write the rows that a topic still lacks.
        filter: Filter of the written texts.
        generation: Settings of generation; texts are always sampled, with `seed`.
        max_text_tokens: Most tokens of a text; by default as many as the bundle's decoder reads.
        decoder: Settings of the text generator; by default those of the bundle's decoder.
        seed: Random seed.
    """

    threshold: int = 20
    per_topic: int | None = None
    attempts: int = 5
    filter: FilterSettings = field(default_factory=FilterSettings)
    generation: GenerationSettings = DIVERSE_SAMPLING
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
        check_seed(self.seed)
