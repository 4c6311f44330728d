"""What a user chooses about losses, calibration and priors: plain data that checks itself. Needs no torch."""

import math
from dataclasses import dataclass
from typing import Literal, get_args

from ..common import UserError

Scheme = Literal["none", "balanced", "inverse_frequency", "effective_number"]
CalibrationKind = Literal[
    "none", "temperature", "per_class_temperature", "bias_corrected_temperature", "vector_scaling"
]
TargetPrior = Literal["uniform", "train"] | dict[str, float]
LossName = Literal[
    "cross_entropy",
    "focal",
    "logit_adjusted",
    "balanced_softmax",
    "ldam",
    "generalised_cross_entropy",
    "forward_noise",
]


@dataclass(frozen=True)
class LossSettings:
    """Which loss, with which class weights. Fields of other losses than the named one are not used.

    Attributes:
        name: the loss.
        weights: class weights, or {topic: weight}. "auto" is effective_number for cross_entropy, focal and ldam, after
            Cui et al. 2019; none for the others, whose formula has its own answer to skew or noise.
        beta: of effective_number, in [0, 1); null derives it from the counts (1 - 1/mean rows per topic).
        exponent: of inverse_frequency: 1 full, 0.5 the usual softer choice, 0 none.
        reweight_from: share of training after which the class weights act (deferred re-weighting); null is 0.8
            for ldam and 0 for the others. Acts only where the training calls `set_progress`.
        gamma: of focal: 0 is cross_entropy.
        tau: of logit_adjusted: 0 is cross_entropy, 1 is balanced_softmax.
        max_margin: of ldam: the margin of the rarest topic, in units of 1/scale.
        scale: of ldam: nats of a unit of margin. The paper's 30 is the factor of its cosine head; a linear head has no
            such factor, and would have to learn logits of that size. At 10 the rarest topic's margin is 5 nats, about
            what logit adjustment adds at 100:1 (log 100 = 4.6).
        q: of generalised_cross_entropy, in (0, 1]: near 0 is cross_entropy, 1 is mean absolute error.
        noise_rate: of forward_noise, in [0, 1): the share of labels drawn anew from the set's shares, whatever the
            text, see `noise.redrawn_noise`; a little over the share of wrong labels. 0 is cross_entropy.
        label_smoothing: in [0, 1); not for ldam, generalised_cross_entropy and forward_noise.
    """

    name: LossName = "cross_entropy"
    weights: Literal["auto"] | Scheme | dict[str, float] = "auto"
    beta: float | None = None
    exponent: float = 1.0
    reweight_from: float | None = None
    gamma: float = 2.0
    tau: float = 1.0
    max_margin: float = 0.5
    scale: float = 10.0
    q: float = 0.7
    noise_rate: float = 0.3
    label_smoothing: float = 0.0

    def __post_init__(self) -> None:
        """Report every problem at once."""
        checks = {
            f"unknown loss {self.name!r}": self.name in get_args(LossName),
            f"unknown weights {self.weights!r}": isinstance(self.weights, dict)
            or self.weights in ("auto", *get_args(Scheme)),
            f"beta must lie in [0, 1), got {self.beta}": self.beta is None or 0 <= self.beta < 1,
            f"exponent must lie in [0, 4], got {self.exponent}": 0 <= self.exponent <= 4,
            f"reweight_from must lie in [0, 1], got {self.reweight_from}": self.reweight_from is None
            or 0 <= self.reweight_from <= 1,
            f"gamma must be a number of at least 0, got {self.gamma}": 0 <= self.gamma < math.inf,
            f"tau must be a number of at least 0, got {self.tau}": 0 <= self.tau < math.inf,
            f"max_margin must be a number of at least 0, got {self.max_margin}": 0 <= self.max_margin < math.inf,
            f"scale must be a positive number, got {self.scale}": 0 < self.scale < math.inf,
            f"q must lie in (0, 1], got {self.q}": 0 < self.q <= 1,
            f"noise_rate must lie in [0, 1), got {self.noise_rate}": 0 <= self.noise_rate < 1,
            f"label_smoothing must lie in [0, 1), got {self.label_smoothing}": 0 <= self.label_smoothing < 1,
            f"label_smoothing has no meaning for {self.name}": self.label_smoothing == 0
            or self.name not in ("ldam", "generalised_cross_entropy", "forward_noise"),
            "balanced_softmax has tau 1: name logit_adjusted for another": self.tau == 1
            or self.name != "balanced_softmax",
        }
        problems = [problem for problem, fine in checks.items() if not fine]
        if problems:
            raise UserError("loss settings: " + "; ".join(problems))

    @property
    def scheme(self) -> Scheme | dict[str, float]:
        """The class weights in force, "auto" resolved."""
        if self.weights == "auto":
            return "effective_number" if self.name in ("cross_entropy", "focal", "ldam") else "none"
        return self.weights
