"""The contents of unskew.json and metrics.json of a bundle, as types. Knows no model and reads no weights."""

import math
from typing import Annotated

from pydantic import AfterValidator, AliasChoices, Field, JsonValue, model_validator

from ..balance import CalibrationKind, TunedMetric
from ..common import Artefact, Count, FormatNumber, JsonObject, Name, Sha256, Share

ROUNDING = 1e-3  # how far from 1 a stored prior may sum


def inside(name: str) -> str:
    """The name of a file in a bundle, given with its folders and slashes.

    Raises:
        ValueError: If it may lead out of the bundle's folder.
    """
    parts = name.split("/")
    if not {"", ".", ".."}.isdisjoint(parts) or "\\" in name or "\0" in name or parts[0] == "~":
        raise ValueError("must be the path of a file inside the bundle")
    return name


FileName = Annotated[str, Field(max_length=1000), AfterValidator(inside)]
Nats = Annotated[float, Field(ge=-1000, le=1000)]


class StoredTopics(Artefact):
    """The topics in the order of the encoder's outputs, with their training rows."""

    names: list[Name] = Field(min_length=1, max_length=1_000_000, description="Topic names; no two are equal.")
    counts: list[Count | Annotated[float, Field(ge=0, le=2**53)]] = Field(
        description="Clean training rows of each topic, or the sum of their weights; one is positive."
    )

    @model_validator(mode="after")
    def _fits(self) -> "StoredTopics":
        if len(self.counts) != len(self.names):
            raise ValueError(f"{len(self.names)} names but {len(self.counts)} counts")
        if len(set(self.names)) != len(self.names):
            raise ValueError("a name occurs twice")
        if not any(self.counts):
            raise ValueError("all counts are 0")
        return self


class StoredReport(Artefact):
    """How the calibration was chosen."""

    kind: CalibrationKind = Field(description="Kind of the map that was tried.")
    kept: bool = Field(description="Whether the map is in force.")
    nll_before: float = Field(ge=0, description="Held-out NLL in nats without the map.")
    nll_after: float = Field(ge=0, description="Held-out NLL in nats with the map.")
    rows: Count = Field(description="Number of calibration rows.")
    folds: Count = Field(description="Number of folds for the held-out NLL.")
    asked: CalibrationKind | None = Field(default=None, description="Map asked for, if another one is in force.")


class StoredCalibration(Artefact):
    """log p'(c) = log p(c) / T_c + b_c, normalised."""

    log_temperature: list[Nats] = Field(min_length=1, description="log T: one for all topics, or one for each topic.")
    bias: list[Nats] = Field(description="b in nats: one for each topic, or empty.")
    report: StoredReport | None = Field(description="How it was chosen; null if nothing was chosen.")


class StoredLink(Artefact):
    """The link that undoes a loss that is not proper; all 0 and empty if there is nothing to undo."""

    gamma: float = Field(default=0, ge=0, description="Gamma of focal loss.")
    smoothing: Share = Field(default=0, description="Label smoothing.")
    adjustment: list[Nats] = Field(default=[], description="Adjustment of each topic's logit, or empty.")
    margins: list[Annotated[float, Field(ge=0, le=1000)]] = Field(
        default=[], description="LDAM margin of each topic, or empty."
    )
    power: float = Field(default=0, ge=0, lt=1, description="The q of generalised cross-entropy.")


class StoredScores(Artefact):
    """Scores of held-out rows, for conformal sets."""

    scores: list[Annotated[float, Field(ge=0, le=1 + ROUNDING)]] = Field(
        description="Probability of each row's true topic under a uniform prior."
    )
    labels: list[Count] = Field(
        description="Index of each row's true topic.", validation_alias=AliasChoices("labels", "targets")
    )

    @model_validator(mode="after")
    def _fits(self) -> "StoredScores":
        if len(self.scores) != len(self.labels):
            raise ValueError(f"{len(self.scores)} scores but {len(self.labels)} labels")
        return self


Interval = Annotated[list[Share], Field(min_length=2, max_length=2)]
Costs = list[Annotated[float, Field(ge=0)]]


class StoredDecisionSettings(Artefact):
    """The decision settings of the user, as `unskew fit --decision` takes them."""

    tune: TunedMetric | None = Field(default=None, description="Metric that the offsets are tuned for.")
    costs: dict[Name, dict[Name, float]] | None = Field(default=None, description="Costs by true and decided topic.")
    accuracy: Share | None = Field(default=None, description="Wanted accuracy of decided rows.")
    undecided: Share | None = Field(default=None, description="Wanted share of undecided rows.")
    min_confidence: Share | dict[Name, Share] = Field(
        default=0.0, description="Smallest probability, for all topics or by topic."
    )


class StoredTuning(Artefact):
    """The effect of tuned offsets on the held-out rows."""

    before: float = Field(description="Metric without offsets.")
    after: float = Field(description="Metric with offsets tuned on the other folds.")
    kept: bool = Field(description="Whether the offsets are in force.")


class StoredThreshold(Artefact):
    """A derived confidence threshold and what to expect of it, in the shares of the target prior."""

    value: float = Field(ge=0, le=1 + ROUNDING, description="Smallest confidence that is enough.")
    accuracy: Share = Field(description="Accuracy of the decided held-out rows.")
    accuracy_interval: Interval = Field(description="95% interval of `accuracy`.")
    undecided: Share = Field(description="Share of the held-out rows left undecided.")
    undecided_interval: Interval = Field(description="95% interval of `undecided`.")


class StoredDecision(Artefact):
    """The decision from probabilities to topics, fitted for the stored target prior; refitted for another one."""

    settings: StoredDecisionSettings = Field(description="Settings that the user gave.")
    offsets: list[Nats] = Field(description="Offset of each topic's log-probability, or empty.")
    costs: list[Costs] = Field(
        default=[],
        description="Not read: the settings have the costs. Empty, absent if there are any, in older bundles a matrix.",
    )
    least: list[Annotated[float, Field(ge=0, le=1 + ROUNDING)]] = Field(
        description="Smallest probability at which each topic is decided for, or empty."
    )
    tuned: StoredTuning | None = Field(description="null if nothing is tuned.")
    threshold: StoredThreshold | None = Field(description="null if none is derived.")


class StoredCorrector(Artefact):
    """From the encoder's logits to probabilities."""

    topics: StoredTopics = Field(description="Topics with their counts.")
    model_prior: list[Share] = Field(
        description="Prior of the encoder's softmax; sums to 1.",
        validation_alias=AliasChoices("model_prior", "implied_prior"),
    )
    calibration: StoredCalibration = Field(description="Calibration under the training prior.")
    target_prior: list[Share] = Field(description="Prior to predict for; sums to 1.")
    loss_link: StoredLink = Field(default=StoredLink(), description="Absent in bundles of version 0.1.0.")
    held_out: StoredScores | None = Field(default=None, description="null or absent if there are none.")
    decision: StoredDecision | None = Field(
        default=None, description="null or absent if the most probable topic always decides."
    )

    @model_validator(mode="after")
    def _fits(self) -> "StoredCorrector":
        topics = len(self.topics.names)
        for name in ("model_prior", "target_prior"):
            prior = getattr(self, name)
            if len(prior) != topics:
                raise ValueError(f"{name} has {len(prior)} numbers for {topics} topics")
            if not math.isclose(sum(prior), 1, abs_tol=ROUNDING):
                raise ValueError(f"{name} sums to {sum(prior):.6g} instead of 1")
        for name in ("log_temperature", "bias"):
            if len(getattr(self.calibration, name)) not in (0, 1, topics):
                raise ValueError(f"calibration.{name} has {len(getattr(self.calibration, name))} numbers")
        if len(self.calibration.bias) == 1 != topics:
            raise ValueError("calibration.bias has 1 number")
        for name in ("adjustment", "margins"):
            if len(getattr(self.loss_link, name)) not in (0, topics):
                raise ValueError(f"loss_link.{name} has {len(getattr(self.loss_link, name))} numbers")
        if self.held_out is not None and max(self.held_out.labels, default=0) >= topics:
            raise ValueError(f"held_out.labels names topic {max(self.held_out.labels)} of {topics}")
        if self.decision is not None:
            for name in ("offsets", "least"):
                if len(getattr(self.decision, name)) not in (0, topics):
                    raise ValueError(f"decision.{name} has {len(getattr(self.decision, name))} numbers")
            costs = self.decision.settings.costs or {}
            if unknown := {*costs, *(name for row in costs.values() for name in row)}.difference(self.topics.names):
                raise ValueError(f"decision.settings.costs names {min(unknown)!r}, which is not a topic")
        return self


class Description(Artefact):
    """How the system was made. Nothing is computed from it."""

    settings: JsonObject = Field(default={}, description="Options of the fit, as `unskew fit --config` takes them.")
    decoder_facts: dict[str, JsonValue] | None = Field(
        default=None, description="Trained parameters, for the model card; null without a decoder."
    )


class Manifest(Artefact):
    """unskew.json, the manifest of a bundle: written last, read first."""

    format: FormatNumber = Field(description="1. A reader refuses a higher number.")
    unskew: str = Field(default="", max_length=100, description="Version that wrote the bundle.")
    corrector: StoredCorrector = Field(
        validation_alias=AliasChoices("corrector", "decider"), description="Priors, calibration and decision."
    )
    description: Description = Field(description="Settings, fingerprints and versions.")
    files: dict[FileName, Count] = Field(description="Bytes of every other file by its path in the bundle.")
    sha256: dict[FileName, Sha256] = Field(
        default={},
        description="SHA-256 of weights and held-out rows (*.safetensors) and tokenizers (tokenizer.json); absent "
        "in bundles of version 0.1.0, where only sizes are checked.",
    )


class Metrics(Artefact):
    """metrics.json: the metrics on the held-out rows."""

    validation: dict[str, float | None] = Field(
        default={}, description="Metrics by their names in `unskew.balance.topic_metrics`; null if there were no rows."
    )
    validation_recall: dict[str, float | None] = Field(default={}, description="Recall by topic.")
    calibration: str | None = Field(default=None, description="How the calibration was chosen, in words.")
    decision: str | None = Field(default=None, description="How rows are decided, in words.")
    obedience: dict[str, float] | None = Field(
        default=None, description="Whether outputs follow the given topic, see `unskew.decoder.Obedience`."
    )
