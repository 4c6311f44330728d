"""From the encoder's logits to calibrated probabilities under a chosen prior, and to decisions.

Knows tensors, topics and priors; knows no model and no file. Four steps: undo the distortion of the loss, exchange the
prior that the loss taught for the training prior, apply the calibration (fitted under that prior), and exchange the
training prior for the target prior. The decision comes last.
"""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from ..common import UserError
from ..corpus import Topics
from .calibration import (
    Calibration,
    cross_fitted,
    fit_calibration,
    prior_correct,
    prior_from_counts,
    prior_shift,
    refit_calibration,
    share_weights,
    shift_logits,
    training_weights,
    uniform_prior,
)
from .conformal import ConformalSets, conformal_of_scores
from .fitted_decision import FittedDecision, fit_decision
from .held_out import HeldOutRows
from .links import LossLink
from .settings import CalibrationKind, ConformalKind, DecisionSettings, TargetPrior


@dataclass(frozen=True)
class HeldOutScores:
    """Scores of held-out rows, for conformal sets of any error rate.

    Attributes:
        scores: Probability of each row's true topic (n,) under a uniform prior, calibrated on other rows.
        labels: Topics (n,) of the rows.
    """

    scores: tuple[float, ...]
    labels: tuple[int, ...]


@dataclass(frozen=True)
class PosteriorCorrector:
    """Turns logits (n, C) into probabilities (n, C).

    Attributes:
        topics: Topics with their training counts.
        model_prior: Prior (C,) of the encoder's softmax once `link` is applied.
        calibration: Calibration fitted under the training prior.
        target: Target prior (C,).
        link: Link that undoes a loss that is not proper, see `loss_link`; by default it changes nothing.
        held_out: Scores for conformal sets; None before a calibration is fitted.
        rows: Held-out rows, for tuned decisions and the errors of estimated priors; None if there are none.
        asked: Settings of the decision.
        known: Fitted decision for this target prior; None if it is not worked out yet.
    """

    topics: Topics
    model_prior: tuple[float, ...]
    calibration: Calibration
    target: tuple[float, ...]
    link: LossLink = field(default_factory=LossLink)
    held_out: HeldOutScores | None = None
    rows: HeldOutRows | None = None
    asked: DecisionSettings = field(default_factory=DecisionSettings)
    known: FittedDecision | None = None

    def __call__(self, logits: Tensor) -> Tensor:
        """Float32 probabilities (n, C) under the target prior."""
        return self.log_probabilities(logits).exp()

    def log_probabilities(self, logits: Tensor) -> Tensor:
        """Log-probabilities (n, C) under the target prior, float32."""
        return shift_logits(self.calibrated_log_probs(logits), self._to_target)

    def calibrated_log_probs(self, logits: Tensor) -> Tensor:
        """Calibrated log-probabilities (n, C) under the training prior. Target priors are estimated from them."""
        return self.calibration(self._uncalibrated(logits))

    def calibrate(
        self, logits: Tensor, labels: Tensor, kind: CalibrationKind, weights: Tensor | None = None
    ) -> "PosteriorCorrector":
        """A corrector with a calibration fitted on held-out rows: logits (n, C), topic indices (n,).

        The map has to be right under the training prior. Held-out rows rarely have its shares (each topic has at least
        one row), and biases would learn the difference. So topics are weighted to their shares of the training set, on
        top of the rows' own `weights` (n,) if given.
        """
        shares = training_weights(labels, self.topics.counts, weights)
        uncalibrated = self._uncalibrated(logits)
        calibration = fit_calibration(uncalibrated, labels, kind, shares)
        crossed = self._alike(cross_fitted(calibration, uncalibrated, labels, shares)).exp().cpu()
        own = crossed.gather(-1, labels.detach().cpu().long()[:, None])[:, 0].tolist()
        held_out = HeldOutScores(tuple(float(f"{score:.7g}") for score in own), tuple(labels.tolist()))
        rows = HeldOutRows.kept_of(logits, labels, weights)
        return replace(self, calibration=calibration, held_out=held_out, rows=rows, known=None)

    def sets(self, error_rate: float, kind: ConformalKind = "per_topic") -> ConformalSets:
        """Conformal sets for an error rate, to call with `uniform_probabilities`; for the promise see `fit_conformal`.

        The calibration rows are used again, each scored by a map fitted without it. If these rows also chose the
        encoder's weights or settings, the promise is slightly optimistic; with out-of-fold rows of the training set it
        is not.

        Raises:
            UserError: If there were no held-out rows, or the rate is not in (0, 1).
        """
        if self.held_out is None:
            raise UserError("conformal sets need held-out rows, but there are none; fit it again with rows held out")
        scores, labels = torch.tensor(self.held_out.scores).double(), torch.tensor(self.held_out.labels)
        return conformal_of_scores(scores, labels, len(self.topics), error_rate, kind)

    def uniform_probabilities(self, logits: Tensor) -> Tensor:
        """Float32 probabilities (n, C) under a uniform prior, whatever the target prior; conformal sets take these."""
        return self._alike(self.calibrated_log_probs(logits)).exp()

    def _alike(self, natural: Tensor) -> Tensor:
        return prior_correct(natural, self._train, uniform_prior(len(self.topics)))

    @property
    def is_calibrated(self) -> bool:
        """Whether a calibration was fitted and kept."""
        return self.calibration.report is not None and self.calibration.report.kept

    def recalibrated(self, logits: Tensor, labels: Tensor, weights: Tensor) -> "PosteriorCorrector":
        """A corrector with the same kind of calibration, refitted on these rows without a test, for a bootstrap.

        Args:
            logits: Logits of the rows (n, C).
            labels: Topics (n,) of the rows.
            weights: Relative weights of the rows (n,).
        """
        report = self.calibration.report
        if report is None or not self.is_calibrated:
            return self
        shares = training_weights(labels, self.topics.counts, weights)
        uncalibrated = self._uncalibrated(logits)
        refit = refit_calibration(uncalibrated, labels, report.kind, shares, self.calibration)
        return replace(self, calibration=refit)

    def with_target_prior(self, prior: TargetPrior) -> "PosteriorCorrector":
        """A corrector for another target prior.

        Raises:
            UserError: If the shares given name unknown topics, are negative, or are all 0.
        """
        target = resolve_prior(prior, self.topics)
        if target == self.target:
            return self
        aimed = replace(self, target=target, known=None)
        if self.asked.needs_rows and self.rows is not None:
            # Seconds of fitting, the same for every target prior.
            vars(aimed)["_held_out_natural"] = self._held_out_natural
        return aimed

    def with_decision(self, settings: DecisionSettings) -> "PosteriorCorrector":
        """A corrector with other decision settings, fitted for the target prior when first needed."""
        return self if settings == self.asked else replace(self, asked=settings, known=None)

    @cached_property
    def decision(self) -> FittedDecision:
        """The fitted decision under the target prior.

        Raises:
            UserError: If the decision needs held-out rows and there are none, or they do not reach the wanted accuracy.
        """
        if self.known is not None:
            return self.known
        if not self.asked.needs_rows:
            return fit_decision(self.asked, self.topics)
        labels = self._needed_rows.labels.long()
        weights = share_weights(labels, torch.tensor(self.target, dtype=torch.float64), self._needed_rows.weights)
        if not weights.sum() > 0:
            raise UserError(
                "decision: no held-out row has a topic with a share in the target prior; give another prior"
            )
        return fit_decision(self.asked, self.topics, self.held_out_log_probs().exp(), labels, weights)

    def held_out_log_probs(self) -> Tensor:
        """Log-probabilities (n, C) of `rows` under the target prior, each row by a map fitted without it.

        Raises:
            UserError: If there are no held-out rows.
        """
        return shift_logits(self._held_out_natural, self._to_target)

    @cached_property
    def _held_out_natural(self) -> Tensor:
        rows = self._needed_rows
        logits, labels = rows.logits.float(), rows.labels.long()
        weights = training_weights(labels, self.topics.counts, rows.weights)
        return cross_fitted(self.calibration, self._uncalibrated(logits), labels, weights)

    @property
    def _needed_rows(self) -> HeldOutRows:
        if self.rows is None:
            raise UserError(
                "decision: tune, accuracy and undecided need held-out rows, but there are none; fit it again with rows "
                "held out"
            )
        return self.rows

    def to_dict(self) -> dict[str, Any]:
        """Plain values, fit for JSON; everything but `rows`."""
        decided = self.asked != DecisionSettings()
        return {
            "topics": self.topics.to_dict(),
            "model_prior": list(self.model_prior),
            "calibration": self.calibration.to_dict(),
            "target_prior": list(self.target),
            "loss_link": self.link.to_dict(),
            "held_out": None if self.held_out is None else asdict(self.held_out),
            **({"decision": self.decision.to_dict()} if decided else {}),
        }

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any], rows: HeldOutRows | None = None) -> "PosteriorCorrector":
        """The inverse of `to_dict`."""
        held_out = stored.get("held_out")
        topics = Topics.from_dict(stored["topics"])
        known = FittedDecision.from_dict(stored["decision"], topics) if stored.get("decision") else None
        return cls(
            topics,
            tuple(stored["model_prior"]),
            Calibration.from_dict(stored["calibration"]),
            tuple(stored["target_prior"]),
            LossLink.from_dict(stored.get("loss_link", {})),
            HeldOutScores(*(tuple(values) for values in held_out.values())) if held_out else None,
            rows,
            known.settings if known else DecisionSettings(),
            known,
        )

    def _uncalibrated(self, logits: Tensor) -> Tensor:
        return shift_logits(self.link(logits), self._to_train)

    # One text at a time, working these out again would take as long as the rest of a decision.
    @cached_property
    def _to_train(self) -> Tensor:
        return prior_shift(torch.tensor(self.model_prior), self._train)

    @cached_property
    def _to_target(self) -> Tensor:
        return prior_shift(self._train, torch.tensor(self.target))

    @property
    def _train(self) -> Tensor:
        return prior_from_counts(self.topics.counts)


def resolve_prior(prior: TargetPrior, topics: Topics) -> tuple[float, ...]:
    """Shares by topic index, summing to 1; topics that a dict does not name get share 0.

    Raises:
        UserError: If a dict names unknown topics, has negative shares or what is no number, or only shares of 0.
    """
    if prior == "uniform":
        return tuple(uniform_prior(len(topics)).tolist())
    if prior == "train":
        return topics.prior
    if not isinstance(prior, dict):
        raise UserError(f"target prior {prior!r}: give uniform, train, or shares by topic")
    shares = [0.0] * len(topics)
    for name, share in prior.items():
        shares[topics.index(name)] = _number(share)
    total = sum(shares)
    if not all(0 <= share < math.inf for share in shares) or total <= 0:
        raise UserError("target prior: shares must be numbers of at least 0, and one of them positive")
    return tuple(share / total for share in shares)


def _number(share: Any) -> float:
    """The share as a float; nan if it is none."""
    try:
        return float(share)
    except (TypeError, ValueError, OverflowError):
        return math.nan
