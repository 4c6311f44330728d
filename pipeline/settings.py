"""What a user chooses about fitting a whole system. Knows the settings of both stages; runs nothing."""

from dataclasses import dataclass, field, replace
from typing import Literal

from ..balance import CalibrationKind, ConformalKind, DecisionSettings, TargetPrior
from ..common import UserError
from ..corpus import Columns
from ..decoder import DecoderSettings, GenerationSettings
from ..encoder import EncoderSettings

HARMLESS = "The committee met on Monday and agreed to meet again."  # if this fails too, no text is at fault
WINDOW = 1024  # texts held at once: long enough to sort by length, short enough to stream

ModelPrior = Literal["loss", "mean_posterior"]


@dataclass(frozen=True)
class DataSettings:
    """Where the records are.

    Attributes:
        train: The small clean set: a file, a glob, or a dataset id; each row has a topic, and for the decoder a target.
        noisy: A large set whose topics need not be right; None goes without.
        corrections: suspects.jsonl of `unskew inspect`, its topics corrected; a null topic drops the row.
        synthetic: Rows that `unskew synthesise` wrote and a person read, trained on with the clean ones.
        validation: Held-out clean rows; None splits them off `train`.
        validation_share: The share of `train` split off, each topic in proportion.
        columns: Which column holds what, in all of the sets.
        merge_spellings: Take topics that differ in case, blanks or Unicode form only as one, not with a warning.
    """

    train: str
    noisy: str | None = None
    corrections: str | None = None
    synthetic: str | None = None
    validation: str | None = None
    validation_share: float = 0.15
    columns: Columns = field(default_factory=Columns)
    merge_spellings: bool = False

    def __post_init__(self) -> None:
        if not 0 < self.validation_share < 1:
            raise UserError(f"data: validation_share is {self.validation_share}, must be between 0 and 1")


@dataclass(frozen=True)
class PredictOptions:
    """What a call of a pipeline asks of every text.

    Attributes:
        top_k: How many topics a result names.
        generation: How outputs are written; None: greedily.
        fairness: Whether `<force_fairness>` precedes the topic.
        min_confidence: A text whose topic has a smaller probability is undecided: its topic is None.
        write_undecided: Whether undecided texts get an output all the same, under the topic they would have.
        window: Texts held at once; batches are formed by length within it.
        sets: Error rate of conformal sets; None goes without.
        sets_kind: What is promised of the sets, see `unskew.balance.ConformalSets`.
    """

    top_k: int = 5
    generation: GenerationSettings | None = None
    fairness: bool = False
    min_confidence: float = 0.0
    write_undecided: bool = False
    window: int = WINDOW
    sets: float | None = None
    sets_kind: ConformalKind = "per_topic"

    def __post_init__(self) -> None:
        if self.top_k < 1:
            raise UserError(f"top_k is {self.top_k}, must be positive")
        if not 0 <= self.min_confidence <= 1:
            raise UserError(f"min_confidence is {self.min_confidence}, must be between 0 and 1")
        if self.window < 1:
            raise UserError(f"window is {self.window}, must be positive")


@dataclass(frozen=True)
class FitSettings:
    """A whole system.

    Attributes:
        data: The records.
        encoder: Stage 1.
        decoder: Stage 2; null fits the topic classifier alone.
        calibration: Calibration of probabilities, kept where held-out NLL improves. Unless given, phases have
            bias_corrected_temperature, and the recipes "tuned" and "probe" none (they fit a scale).
        model_prior: Source of the prior that is divided out: the loss (with counts), or held-out rows.
        target_prior: To be right for: uniform, train, shares, or each job's own rows.
        decision: Which topic a text gets under the target prior, and when none.
        seed: Random seed.
    """

    data: DataSettings
    encoder: EncoderSettings = field(default_factory=EncoderSettings)
    decoder: DecoderSettings | None = field(default_factory=DecoderSettings)
    calibration: CalibrationKind | None = None
    model_prior: ModelPrior = "loss"
    target_prior: TargetPrior | Literal["adaptive"] = "adaptive"
    decision: DecisionSettings = field(default_factory=DecisionSettings)
    seed: int = 0

    def resolved(self) -> "FitSettings":
        """With what was left open in either stage filled in as suits its base."""
        usual: CalibrationKind = "bias_corrected_temperature" if self.encoder.recipe_in_force == "phases" else "none"
        return replace(
            self,
            encoder=self.encoder.resolved(),
            decoder=self.decoder and self.decoder.resolved(),
            calibration=self.calibration or usual,
        )
