"""Settings of losses, calibration and priors: plain data that checks itself. Loads no torch."""

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from numbers import Real
from typing import Any, Literal, get_args

from ..common import UserError

Scheme = Literal["none", "balanced", "inverse_frequency", "effective_number"]
CalibrationKind = Literal[
    "none", "temperature", "per_class_temperature", "bias_corrected_temperature", "vector_scaling"
]
ConformalKind = Literal["per_topic", "clustered", "pooled"]
TargetPrior = Literal["uniform", "train"] | dict[str, float]
TunedMetric = Literal["macro_f1", "balanced_accuracy"]
LossName = Literal[
    "cross_entropy",
    "focal",
    "logit_adjusted",
    "balanced_softmax",
    "ldam",
    "generalised_cross_entropy",
    "forward_noise",
]

# Fields that only some losses have: their default, and the losses that have them.
_OF_LOSSES: dict[str, tuple[float, tuple[LossName, ...]]] = {
    "gamma": (2.0, ("focal",)),
    "tau": (1.0, ("logit_adjusted",)),
    "max_margin": (0.5, ("ldam",)),
    "scale": (10.0, ("ldam",)),
    "q": (0.7, ("generalised_cross_entropy",)),
    "noise_rate": (0.3, ("forward_noise",)),
    "label_smoothing": (0.0, ("cross_entropy", "focal", "logit_adjusted", "balanced_softmax")),
}
_OF_SCHEMES: dict[str, Scheme] = {"beta": "effective_number", "exponent": "inverse_frequency"}
_RANGES = {
    "beta": ("be in [0, 1)", lambda x: 0 <= x < 1),
    "exponent": ("be in [0, 4]", lambda x: 0 <= x <= 4),
    "reweight_from": ("be in [0, 1]", lambda x: 0 <= x <= 1),
    "gamma": ("be in [0, 100]", lambda x: 0 <= x <= 100),
    "tau": ("be in [0, 10]", lambda x: 0 <= x <= 10),
    "max_margin": ("be in [0, 10]", lambda x: 0 <= x <= 10),
    "scale": ("be in (0, 100]", lambda x: 0 < x <= 100),
    "q": ("be in (0, 1]", lambda x: 0 < x <= 1),
    "noise_rate": ("be in [0, 1)", lambda x: 0 <= x < 1),
    "label_smoothing": ("be in [0, 1)", lambda x: 0 <= x < 1),
}


@dataclass(frozen=True)
class LossSettings:
    """A loss and its class weights. A field that the named loss or weights do not have is an error.

    Attributes:
        name: Name of the loss.
        weights: Scheme of the class weights, or {topic: weight}. "auto" is effective_number (Cui et al. 2019) for
            cross_entropy, focal and ldam, and none for the others, which handle skew or noise by their own formula.
        beta: Beta of effective_number, in [0, 1); by default 1 - 1/mean rows per topic, at most 0.99.
        exponent: Exponent of inverse_frequency: 1 (default) is full, 0.5 the usual softer choice, 0 none.
        reweight_from: Share of training after which the class weights act (deferred re-weighting), if the training
            calls `set_progress`; by default 0.8 for ldam and 0 for the others.
        gamma: Gamma of focal; 0 is cross_entropy; default 2.
        tau: Strength of logit_adjusted; 0 is cross_entropy, 1 (default) is balanced_softmax.
        max_margin: Margin of the rarest topic for ldam, in units of 1/scale; default 0.5.
        scale: Nats per unit of margin for ldam; default 10 (30 in the paper, for a cosine head).
        q: Power of generalised_cross_entropy, in (0, 1]; 1 is mean absolute error; default 0.7.
        noise_rate: Share of labels that forward_noise assumes to be drawn at random from the set's shares, in [0, 1): a
            little over the share of wrong labels. 0 is cross_entropy; default 0.3.
        label_smoothing: Label smoothing in [0, 1), for cross_entropy, focal, logit_adjusted and balanced_softmax;
            default 0.
    """

    name: LossName = "cross_entropy"
    weights: Literal["auto"] | Scheme | dict[str, float] = "auto"
    beta: float | None = None
    exponent: float | None = None
    reweight_from: float | None = None
    gamma: float | None = None
    tau: float | None = None
    max_margin: float | None = None
    scale: float | None = None
    q: float | None = None
    noise_rate: float | None = None
    label_smoothing: float | None = None

    def __post_init__(self) -> None:
        """Check the settings and report every problem at once."""
        problems = [
            f"{field} must {rule}, got {getattr(self, field)}"
            for field, (rule, fits) in _RANGES.items()
            if getattr(self, field) is not None and not fits(getattr(self, field))
        ]
        if not isinstance(self.weights, dict) and self.weights not in ("auto", *get_args(Scheme)):
            problems.append(f"unknown weights {self.weights!r}; give auto, {', '.join(get_args(Scheme))}")
        if self.name in get_args(LossName):
            problems += self._without_meaning()
        else:
            problems.append(f"unknown loss {self.name!r}; give one of {', '.join(get_args(LossName))}")
        if problems:
            raise UserError("loss settings: " + "; ".join(problems))

    def _without_meaning(self) -> list[str]:
        given = {field for field in (*_OF_LOSSES, *_OF_SCHEMES) if getattr(self, field) is not None}
        return [
            f"{field} has no effect with {self.name}; leave it out, or name {' or '.join(losses)}"
            for field, (_, losses) in _OF_LOSSES.items()
            if field in given and self.name not in losses
        ] + [
            f"{field} has no effect with weights {self.scheme}; leave it out, or name {scheme}"
            for field, scheme in _OF_SCHEMES.items()
            if field in given and self.scheme != scheme
        ]

    @property
    def scheme(self) -> Scheme | dict[str, float]:
        """The class weights in force, "auto" resolved."""
        if self.weights == "auto":
            return "effective_number" if self.name in ("cross_entropy", "focal", "ldam") else "none"
        return self.weights

    def value(self, field: str) -> float:
        """The value of a field of the named loss: as given, or its default."""
        given = getattr(self, field)
        return _OF_LOSSES[field][0] if given is None else given

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> "LossSettings":
        """Settings from a bundle; earlier versions stored every field, whatever the loss."""
        name, weights = stored["name"], stored["weights"]
        named = cls(name, weights)
        kept = {
            field
            for field in stored
            if name in _OF_LOSSES.get(field, (0.0, (name,)))[1] and _OF_SCHEMES.get(field, named.scheme) == named.scheme
        }
        return cls(**{field: stored[field] for field in kept})


@dataclass(frozen=True)
class DecisionSettings:
    """How a row gets its topic from its probabilities, or stays undecided. By default the most probable topic decides.

    Attributes:
        tune: Metric to tune offsets of the log-probabilities for: macro_f1 or balanced_accuracy.
        costs: Costs as {true topic: {decided topic: cost}}, else 1; the lowest expected cost wins.
        accuracy: Share of decided rows to be right, with 95% certainty; less sure rows stay undecided.
        undecided: Share of rows to leave undecided.
        min_confidence: Smallest probability to decide at, or {topic: probability}.
    """

    tune: TunedMetric | None = None
    costs: dict[str, dict[str, float]] | None = None
    accuracy: float | None = None
    undecided: float | None = None
    min_confidence: float | dict[str, float] = 0.0

    def __post_init__(self) -> None:
        problems = []
        if self.tune is not None and self.tune not in get_args(TunedMetric):
            problems.append(f"tune is {self.tune!r}, give one of {', '.join(get_args(TunedMetric))}")
        if self.tune and self.costs:
            problems.append("tune and costs cannot be combined; leave one out")
        if self.accuracy is not None and self.undecided is not None:
            problems.append("accuracy and undecided cannot be combined; leave one out")
        for name in ("accuracy", "undecided"):
            share: float | None = getattr(self, name)
            if share is not None and not (isinstance(share, Real) and 0 < share < 1):
                problems.append(f"{name} is {share!r}, must be a number between 0 and 1")
        least = self.min_confidence.values() if isinstance(self.min_confidence, dict) else [self.min_confidence]
        problems += [
            f"min_confidence is {value!r}, must be a number from 0 to 1"
            for value in least
            if not (isinstance(value, Real) and 0 <= value <= 1)
        ]
        problems += self._problems_of_costs()
        if problems:
            raise UserError("decision: " + "; ".join(problems))

    def _problems_of_costs(self) -> list[str]:
        rows = self.costs or {}
        if not (isinstance(rows, Mapping) and all(isinstance(row, Mapping) for row in rows.values())):
            return [f"costs are {self.costs!r}, must be {{true topic: {{decided topic: cost}}}}"]
        return [
            f"a cost is {cost!r:.40}, must be a number of at least 0"
            for row in rows.values()
            for cost in row.values()
            if not (isinstance(cost, Real) and 0 <= cost <= sys.float_info.max)
        ]

    @property
    def needs_rows(self) -> bool:
        """Whether fitting the decision needs held-out rows."""
        return self.tune is not None or self.accuracy is not None or self.undecided is not None
