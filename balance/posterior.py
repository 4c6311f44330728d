"""From the encoder's logits to the probabilities that decide: calibrated, and right for a chosen prior.

Knows tensors, topics and priors; no model and no file. Four steps: what the loss distorts is undone, the prior that it
taught is exchanged for the training prior, the calibration is applied there (it was fitted on rows of that prior),
and the training prior is exchanged for the target prior.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from ..common import UserError
from ..corpus import Topics
from .calibration import (
    Calibration,
    fit_calibration,
    prior_correct,
    prior_from_counts,
    refit_calibration,
    training_weights,
    uniform_prior,
)
from .links import LossLink
from .settings import CalibrationKind, TargetPrior


@dataclass(frozen=True)
class Decider:
    """Turns logits (n, C) into probabilities (n, C).

    Attributes:
        topics: With their training counts.
        implied: The prior that the encoder's softmax holds, (C,), once `link` is applied.
        calibration: Fitted under the training prior.
        target: The prior to be right for, (C,).
        link: Undoes a loss that is not proper, see `loss_link`; as made, nothing.
    """

    topics: Topics
    implied: tuple[float, ...]
    calibration: Calibration
    target: tuple[float, ...]
    link: LossLink = field(default_factory=LossLink)

    def __call__(self, logits: Tensor) -> Tensor:
        """Float32 probabilities (n, C) under the target prior."""
        return self.log_probabilities(logits).exp()

    def log_probabilities(self, logits: Tensor) -> Tensor:
        """Their logarithms (n, C)."""
        return prior_correct(self.natural(logits), prior_from_counts(self.topics.counts), torch.tensor(self.target))

    def natural(self, logits: Tensor) -> Tensor:
        """Calibrated log-probabilities (n, C) under the training prior: what a target prior is estimated from."""
        return self.calibration(self._uncalibrated(logits))

    def fitted(
        self, logits: Tensor, targets: Tensor, kind: CalibrationKind, weights: Tensor | None = None
    ) -> "Decider":
        """With a calibration fitted on held-out rows: logits (n, C), topic indices (n,).

        The map is to be right under the training prior. Held-out rows hardly come in its shares (each topic has one at
        least), and biases would learn the difference: so topics are weighted to their shares of the training set,
        beside the rows' own `weights` (n,), where there are any.
        """
        weights = training_weights(targets, self.topics.counts, weights)
        return replace(self, calibration=fit_calibration(self._uncalibrated(logits), targets, kind, weights))

    def refitted(self, logits: Tensor, targets: Tensor) -> "Decider":
        """With the same kind of calibration, fitted on these rows without asking whether it helps: for a bootstrap."""
        report = self.calibration.report
        if report is None or not report.kept:
            return self
        weights = training_weights(targets, self.topics.counts)
        return replace(self, calibration=refit_calibration(self._uncalibrated(logits), targets, report.kind, weights))

    def aimed_at(self, prior: TargetPrior) -> "Decider":
        """For another target prior.

        Raises:
            UserError: If the shares given name unknown topics, are negative, or are all 0.
        """
        return replace(self, target=resolve_prior(prior, self.topics))

    def to_dict(self) -> dict[str, Any]:
        """Plain values, fit for JSON."""
        return {
            "topics": self.topics.to_dict(),
            "implied_prior": list(self.implied),
            "calibration": self.calibration.to_dict(),
            "target_prior": list(self.target),
            "loss_link": self.link.to_dict(),
        }

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> "Decider":
        """The inverse of `to_dict`."""
        return cls(
            Topics.from_dict(stored["topics"]),
            tuple(stored["implied_prior"]),
            Calibration.from_dict(stored["calibration"]),
            tuple(stored["target_prior"]),
            LossLink.from_dict(stored.get("loss_link", {})),
        )

    def _uncalibrated(self, logits: Tensor) -> Tensor:
        return prior_correct(self.link(logits), torch.tensor(self.implied), prior_from_counts(self.topics.counts))


def resolve_prior(prior: TargetPrior, topics: Topics) -> tuple[float, ...]:
    """Shares by topic index, summing to 1; topics that a dict does not name get none.

    Raises:
        UserError: If a dict names unknown topics, holds negative shares, or none at all.
    """
    if prior == "uniform":
        return tuple(uniform_prior(len(topics)).tolist())
    if prior == "train":
        return topics.prior
    if not isinstance(prior, dict):
        raise UserError(f"target prior {prior!r}: give uniform, train, or shares by topic")
    shares = [0.0] * len(topics)
    for name, share in prior.items():
        shares[topics.index(name)] = float(share)
    if not all(0 <= share < math.inf for share in shares) or sum(shares) <= 0:
        raise UserError("target prior: shares must be numbers of at least 0, and one of them positive")
    return tuple(share / sum(shares) for share in shares)
