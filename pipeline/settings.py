"""Settings of fitting and using a whole system. Knows the settings of both stages; runs nothing."""

from dataclasses import dataclass, field, replace
from typing import Literal

from ..balance import CalibrationKind, ConformalKind, DecisionSettings, TargetPrior
from ..common import UserError, check_seed, check_settings
from ..corpus import Columns
from ..decoder import DecoderSettings, GenerationSettings
from ..encoder import EncoderSettings

HARMLESS_TEXT = "The committee met on Monday and agreed to meet again."  # if this fails too, the fault is not in a text
WINDOW = 1024  # texts in memory at once: enough to sort by length, few enough to stream

ModelPrior = Literal["loss", "mean_posterior"]


@dataclass(frozen=True)
class DataSettings:
    """The sets of records.

    Attributes:
        train: Small clean set (file, glob or dataset id) with topics and, for the decoder, targets.
        noisy: Large set whose topics may be wrong; None uses none.
        corrections: File suspects.jsonl of `unskew inspect`, corrected; a null topic drops the row.
        synthetic: Rows from `unskew synthesise`, checked by a person, to train on with the clean rows.
        validation: Held-out clean rows; None splits them off `train`.
        validation_share: Share of `train` to split off, each topic in proportion.
        columns: Names of the columns, in all of the sets.
        merge_spellings: Merge topics that differ only in case, blanks or Unicode form, instead of a warning.
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
        check_settings("data.columns", self.columns, Columns)
        if not 0 < self.validation_share < 1:
            raise UserError(f"data: validation_share is {self.validation_share}, must be between 0 and 1")


@dataclass(frozen=True)
class PredictOptions:
    """Options of a call of a pipeline.

    Attributes:
        top_k: Number of topics in a result.
        generation: Settings of generation; None is greedy.
        fairness: Whether `<force_fairness>` precedes the topic.
        min_confidence: Smallest probability at which a text gets a topic; below it, its topic is None.
        write_undecided: Whether undecided texts get an output too, under the topic they would have.
        window: Texts in memory at once, within which batches are formed by length.
        sets: Error rate of conformal sets; None makes none.
        sets_kind: Kind of promise of the sets, see `unskew.balance.ConformalSets`.
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
    """Settings of a fit of a whole system.

    Attributes:
        data: Sets of records.
        encoder: Stage 1.
        decoder: Stage 2; null fits the topic classifier alone.
        calibration: Calibration of probabilities, kept if held-out NLL improves. Default: bias_corrected_temperature
            for "phases" and with data.validation, else none.
        model_prior: Source of the prior that is divided out: the loss (with counts), or held-out rows.
        target_prior: Prior to predict for: uniform, train, shares, or each job's own rows.
        decision: Decision rule that gives a text its topic, or none, under the target prior.
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

    def __post_init__(self) -> None:
        check_seed(self.seed)

    def resolved(self) -> "FitSettings":
        """These settings, with defaults for the base of each stage filled in."""
        usual = self.encoder.usual_calibration(apart=self.data.validation is not None)
        return replace(
            self,
            encoder=self.encoder.resolved(),
            decoder=self.decoder and self.decoder.resolved(),
            calibration=self.calibration or usual,
        )
