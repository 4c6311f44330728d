"""The prior of a job's own rows, estimated from them unlabelled.

Knows a decider and logits; the mathematics is the balance room's. It assumes label shift: the texts of a topic look as
they did in training, and only the shares of the topics moved. Where texts are of another kind altogether the estimate
is not to be trusted, and nothing here can notice.
"""

import logging
from dataclasses import dataclass

import torch
from torch import Tensor

from ..balance.calibration import prior_from_counts
from ..balance.deciding import Decider
from ..balance.shift import MAX_ERROR, em_prior, em_standard_error
from ..corpus.errors import UserError
from ..corpus.topics import Topics

log = logging.getLogger("unskew")

MOST_ROWS = 50_000  # standard errors are then under 0.01 where topics can be told apart at all
SHOWN = 3


@dataclass(frozen=True)
class ShiftEstimate:
    """An estimated prior; as a string, the lines for a log.

    Attributes:
        topics: With their training counts.
        prior: The estimated share of each topic (C,), summing to 1. Add-half smoothed, (n q + 1/2) / (n + C/2): an
            estimate of none would rule a topic out, and rare topics are what must not vanish.
        errors: Standard errors of the shares (C,).
        rows: How many it was estimated from.
    """

    topics: Topics
    prior: tuple[float, ...]
    errors: tuple[float, ...]
    rows: int

    @property
    def shares(self) -> dict[str, float]:
        """The prior by topic, as `Decider.aimed_at` takes it."""
        return dict(zip(self.topics.names, self.prior, strict=True))

    @property
    def divergence(self) -> float:
        """KL(estimated prior || training prior) in nats: how far the rows have moved from the training set."""
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
            f"training prior\nlargest changes of share, ± standard error: {changes}"
        )


def estimate_target(decider: Decider, logits: Tensor) -> ShiftEstimate:
    """Estimate the prior of unlabelled rows from the encoder's logits (n, C), by EM on calibrated probabilities.

    Args:
        decider: Its calibration and training prior; its target prior plays no part.
        logits: Of the rows, any number; over 50,000 are thinned out evenly.

    Raises:
        UserError: If a share cannot be told to within a standard error of 0.1: too few rows, or topics that the
            encoder cannot tell apart.
    """
    if len(logits) == 0:
        raise UserError("there are no rows to estimate a target prior from")
    if len(logits) > MOST_ROWS:
        logits = logits[torch.linspace(0, len(logits) - 1, MOST_ROWS, dtype=torch.float64).round().long()]
    if decider.calibration.report is None:
        log.warning("the target prior is estimated from probabilities that were never calibrated: trust it less")
    topics, trained = decider.topics, prior_from_counts(decider.topics.counts)
    probabilities = decider.natural(logits).exp()
    prior = em_prior(probabilities, trained, max_error=None)
    errors = em_standard_error(probabilities, trained, prior)
    _refuse_vague(errors, topics, len(logits))
    smoothed = (len(logits) * prior + 0.5) / (len(logits) + len(topics) / 2)
    return ShiftEstimate(topics, tuple(smoothed.tolist()), tuple(errors.tolist()), len(logits))


def _refuse_vague(errors: Tensor, topics: Topics, rows: int) -> None:
    vague = [topic for topic in errors.argsort(descending=True).tolist() if not errors[topic] <= MAX_ERROR]
    if not vague:
        return
    named = ", ".join(f"{topics.names[topic]!r} ({errors[topic].item():.2g})" for topic in vague[:SHOWN])
    more = f" and {len(vague) - SHOWN} more" if len(vague) > SHOWN else ""
    raise UserError(
        f"the target prior of these {rows} rows cannot be estimated: the standard error of the share is over "
        f"{MAX_ERROR:g} for {named}{more}; give more rows, or a target prior (uniform, train, or shares by topic)"
    )
