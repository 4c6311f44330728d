"""Estimates the target prior of a job from its unlabelled rows.

Knows a `PosteriorCorrector`, its topics and logits; knows no model and no file. The estimators are in label_shift.py.
"""

import logging
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from ..common import UserError
from ..corpus import Topics
from .calibration import prior_from_counts
from .label_shift import each_once, em_prior, em_priors, em_standard_error, shrunk_em_priors
from .posterior import PosteriorCorrector
from .prior_errors import bootstrap_errors, thinned

log = logging.getLogger("unskew")

MOST_ROWS = 50_000  # standard errors are then under 0.01 if topics can be told apart at all
SHOWN = 3  # topics named in a log line
TEMPER = 0.125  # exponent of the training shares, the centre of the adaptive prior
MAX_WIDTH = 0.4  # of a share's interval; a wider one refuses the estimate
Z = 1.96
TOLERANCE = 1e-4  # of bootstrap estimates: nats per row, or change of a share


@dataclass(frozen=True)
class ShiftEstimate:
    """An estimated prior; its string is the lines for a log.

    Attributes:
        topics: Topics with their training counts.
        prior: Estimated share of each topic (C,), summing to 1. With few rows it is shrunk toward the training shares
            p: (n q + 1/2 + C p / 2) / (n + C). A share of 0 would rule a topic out, and rare topics must not vanish.
        errors: Standard errors of the shares (C,), from the rows and, if `with_classifier`, from calibration and
            classifier.
        rows: Number of rows that it was estimated from.
        with_classifier: Whether the errors include calibration and classifier, measured on held-out rows.
    """

    topics: Topics
    prior: tuple[float, ...]
    errors: tuple[float, ...]
    rows: int
    with_classifier: bool = False

    @property
    def intervals(self) -> tuple[tuple[float, float], ...]:
        """About 95% intervals of the shares (C,), within [0, 1]."""
        return _intervals(self.prior, self.errors)

    @property
    def shares(self) -> dict[str, float]:
        """The prior by topic, as `PosteriorCorrector.with_target_prior` takes it."""
        return dict(zip(self.topics.names, self.prior, strict=True))

    @property
    def divergence(self) -> float:
        """KL(estimated prior || training prior) in nats: how far the rows' shares are from the training set's."""
        estimated, trained = torch.tensor(self.prior).double(), prior_from_counts(self.topics.counts)
        return (estimated * (estimated / trained).log()).sum().item()

    def __str__(self) -> str:
        trained = prior_from_counts(self.topics.counts).tolist()
        moved = sorted(range(len(trained)), key=lambda topic: -abs(self.prior[topic] - trained[topic]))
        changes = "; ".join(
            f"{self.topics.names[topic]} {trained[topic]:.1%} -> {self.prior[topic]:.1%} ± {self.errors[topic]:.1%}"
            for topic in moved[:SHOWN]
        )
        return (
            f"target prior estimated from {self.rows} unlabelled rows, {self.divergence:.2f} nats (KL) from the "
            f"training prior\nlargest changes of share, ± standard error{self._of()}: {changes}"
        )

    def _of(self) -> str:
        return "" if self.with_classifier else " (from the rows alone, without the classifier's own errors)"


@dataclass(frozen=True)
class AdaptedPrior:
    """A target prior between tempered training shares and the shares of unlabelled rows; its string is a log line.

    Attributes:
        topics: Topics with their training counts.
        prior: Share of each topic (C,), summing to 1.
        rows: Number of unlabelled rows that it was adapted to.
        errors: Standard errors of the shares (C,), from rows, calibration and classifier; empty without held-out rows.
    """

    topics: Topics
    prior: tuple[float, ...]
    rows: int
    errors: tuple[float, ...] = ()

    @property
    def intervals(self) -> tuple[tuple[float, float], ...]:
        """About 95% intervals of the shares (C,), within [0, 1]; empty if the errors are not known."""
        return _intervals(self.prior, self.errors) if self.errors else ()

    @property
    def shares(self) -> dict[str, float]:
        """The prior by topic, as `PosteriorCorrector.with_target_prior` takes it."""
        return dict(zip(self.topics.names, self.prior, strict=True))

    def __str__(self) -> str:
        most = max(range(len(self.prior)), key=lambda topic: self.prior[topic])
        error = f" ± {self.errors[most]:.1%}" if self.errors else ""
        return (
            f"target prior adapted to {self.rows:,} unlabelled rows, most of them {self.topics.names[most]!r} "
            f"({self.prior[most]:.1%}{error}); give --target_prior uniform, train, or shares by topic if you know them"
        )


def target_of_rows(
    kind: Literal["adaptive", "estimate"], corrector: PosteriorCorrector, logits: Tensor
) -> AdaptedPrior | ShiftEstimate:
    """The target prior "adaptive" or "estimate" for these rows, by `adapt_target` or `estimate_target`."""
    return adapt_target(corrector, logits) if kind == "adaptive" else estimate_target(corrector, logits)


def adapt_target(corrector: PosteriorCorrector, logits: Tensor, seed: int = 0) -> AdaptedPrior:
    """A low-regret prior for unlabelled rows with unknown shares, from the encoder's logits (n, C).

    It is `shrunk_em_prior` around the eighth roots of the training shares, which are nearly uniform. A few rows hardly
    move it, many rows outweigh the centre. Unlike `estimate_target` it refuses nothing.

    Args:
        corrector: Corrector, whose calibration, training prior and held-out rows (for the errors) are used, and whose
            target prior is not.
        logits: Logits of the rows, any number; over 50,000 are thinned out evenly.
        seed: Random seed of the bootstrap of the errors.
    """
    logits = thinned(logits, MOST_ROWS)
    prior = _adapted(corrector, logits, each_once(logits), 1e-7)[:, 0]
    errors: tuple[float, ...] = ()
    if corrector.rows is not None and len(logits):
        likely = _estimated(corrector, logits, each_once(logits))[:, 0]
        errors = tuple(bootstrap_errors(corrector, logits, likely, corrector.rows, _adapted, seed).tolist())
    return AdaptedPrior(corrector.topics, tuple(prior.tolist()), len(logits), errors)


def estimate_target(corrector: PosteriorCorrector, logits: Tensor, seed: int = 0) -> ShiftEstimate:
    """Estimate the prior of unlabelled rows from the encoder's logits (n, C), by EM on calibrated probabilities.

    Use it if the texts of a topic are like those in training, only the shares have moved, and there are hundreds of
    rows. Do not use it if the shares are known, or if macro-recall matters most.

    Args:
        corrector: Corrector, whose calibration, training prior and held-out rows are used, and whose target prior is
            not. With held-out rows the errors are those of `bootstrap_errors`, which include calibration and
            classifier. Without them they are of the unlabelled rows alone, which is too small unless the classifier is
            perfect.
        logits: Logits of the rows, any number; over 50,000 are thinned out evenly.
        seed: Random seed of the bootstrap.

    Raises:
        UserError: If the 95% interval of a share is wider than 0.4: too few rows, or topics that the encoder cannot
            tell apart.
    """
    if len(logits) == 0:
        raise UserError("there are no rows to estimate a target prior from")
    logits = thinned(logits, MOST_ROWS)
    if corrector.calibration.report is None:
        log.warning("the target prior is estimated from uncalibrated probabilities, so it is less reliable")
    topics, trained = corrector.topics, prior_from_counts(corrector.topics.counts)
    probabilities = corrector.calibrated_log_probs(logits).exp()
    prior = em_prior(probabilities, trained, max_error=None)
    errors = em_standard_error(probabilities, trained, prior)
    _refuse_vague(errors, topics, len(logits))
    shrunk = _shrunk(prior, trained, len(logits))
    if corrector.rows is not None:
        errors = bootstrap_errors(corrector, logits, shrunk, corrector.rows, _estimated, seed).maximum(errors)
        _refuse_vague(errors, topics, len(logits))
    known = corrector.rows is not None
    return ShiftEstimate(topics, tuple(shrunk.tolist()), tuple(errors.tolist()), len(logits), known)


def _adapted(corrector: PosteriorCorrector, logits: Tensor, times: Tensor, tolerance: float = TOLERANCE) -> Tensor:
    """Adapted priors (C, B) of B resamples, each with row i `times[i]` times (n, B)."""
    favouring_none = corrector.with_target_prior("uniform").log_probabilities(logits)
    center = prior_from_counts(corrector.topics.counts) ** TEMPER
    return shrunk_em_priors(favouring_none, center, times, tolerance=tolerance)


def _estimated(corrector: PosteriorCorrector, logits: Tensor, times: Tensor) -> Tensor:
    """Estimated priors (C, B) of B resamples, each with row i `times[i]` times (n, B)."""
    trained = prior_from_counts(corrector.topics.counts)
    priors = em_priors(corrector.calibrated_log_probs(logits).exp(), trained, times, TOLERANCE)
    return _shrunk(priors, trained[:, None], int(times[:, 0].sum()))


def _shrunk(priors: Tensor, trained: Tensor, rows: int) -> Tensor:
    topics = len(priors)
    return (rows * priors + 0.5 + topics * trained / 2) / (rows + topics)


def _intervals(prior: tuple[float, ...], errors: tuple[float, ...]) -> tuple[tuple[float, float], ...]:
    pairs = zip(prior, errors, strict=True)
    return tuple((max(0.0, share - Z * error), min(1.0, share + Z * error)) for share, error in pairs)


def _refuse_vague(errors: Tensor, topics: Topics, rows: int) -> None:
    widest = MAX_WIDTH / (2 * Z)
    vague = [topic for topic in errors.argsort(descending=True).tolist() if not errors[topic] <= widest]
    if not vague:
        return
    named = ", ".join(f"{topics.names[topic]!r} ({errors[topic].item():.2g})" for topic in vague[:SHOWN])
    more = f" and {len(vague) - SHOWN} more" if len(vague) > SHOWN else ""
    raise UserError(
        f"the target prior of these {rows} rows cannot be estimated: the standard error of the share is over "
        f"{widest:.1f} for {named}{more}; give more rows, or a target prior (uniform, train, or shares by topic)"
    )
