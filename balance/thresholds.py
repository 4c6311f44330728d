"""Confidence thresholds for a wanted accuracy or a wanted share of undecided rows.

Knows probabilities and topic indices; knows nothing of models or names of topics.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from ..common import UserError
from .calibration import checked_weights
from .decisions import Decision

SURE = 0.95  # certainty of a derived threshold


@dataclass(frozen=True)
class ConfidenceThreshold:
    """The smallest confidence to decide at, and what to expect of it.

    Attributes:
        value: Smallest probability at which a topic is decided; less sure rows stay undecided.
        accuracy: Share of the decided held-out rows that were right; nan if none was decided.
        accuracy_interval: 95% interval of `accuracy`.
        undecided: Share of the held-out rows left undecided.
        undecided_interval: 95% interval of `undecided`.
    """

    value: float
    accuracy: float
    accuracy_interval: tuple[float, float]
    undecided: float
    undecided_interval: tuple[float, float]

    def __str__(self) -> str:
        accuracy, undecided = self.accuracy_interval, self.undecided_interval
        return (
            f"decided from a probability of {self.value:.3f} on: right in {self.accuracy:.1%} of decided rows "
            f"(95% interval {accuracy[0]:.1%} to {accuracy[1]:.1%}), undecided {self.undecided:.1%} "
            f"({undecided[0]:.1%} to {undecided[1]:.1%})"
        )


def threshold_for_accuracy(
    probabilities: Tensor,
    labels: Tensor,
    accuracy: float,
    decision: Decision = Decision(),  # noqa: B008 frozen
    weights: Tensor | None = None,
) -> ConfidenceThreshold:
    """The lowest confidence at which decided rows reach a wanted accuracy, with 95% certainty.

    Thresholds are tested in turn, downward from the one that a fifth of the rows pass: an exact test at 5% that the
    accuracy is lower than wanted. The last threshold before the first failure is taken. This is fixed-sequence testing,
    valid for the chosen threshold and not only for one named in advance (Angelopoulos et al. 2021, arXiv:2110.01052).
    It assumes rows drawn like the held-out ones. With weights it is for rows in the weighted shares, and approximate: a
    weighted share has the binomial tail of its effective sample size (Korn & Graubard 1998).

    Args:
        probabilities: Probabilities of held-out rows (n, C), calibrated on other rows.
        labels: Topics (n,) of the rows.
        accuracy: Wanted accuracy, in (0, 1).
        decision: Decision that gives a row its topic; the confidence is that topic's probability.
        weights: Weights of the rows (n,), equal unless given.

    Raises:
        UserError: If no threshold reaches the accuracy: there are too few rows, or the model is not good enough.
    """
    from scipy.stats import beta  # takes half a second, and nothing else in this room needs it

    if not 0 < accuracy < 1:
        raise UserError(f"the wanted accuracy must be in (0, 1), got {accuracy}")
    confidence, right, own = _sorted_by_confidence(probabilities, labels, decision, weights)
    mass, hits = own.cumsum(0), (own * right).cumsum(0)
    rows = mass**2 / (own**2).cumsum(0)
    successes = rows * hits / mass
    # P(Binomial(rows, accuracy) >= successes), also for fractional numbers of rows.
    tail = beta.cdf(accuracy, successes.clamp(min=1e-9).numpy(), (rows - successes + 1).numpy())
    passes = torch.from_numpy(tail) <= 1 - SURE
    # Fewer than `least` rows could not pass even if all were right; a few more keep one early error from ending the
    # search.
    least = math.ceil(math.log(1 - SURE) / math.log(accuracy))
    last_of_ties = torch.cat([confidence[1:] < confidence[:-1], torch.tensor([True])])
    tested = (last_of_ties & (rows >= least - 1e-9) & (mass >= mass[-1] / 5)).nonzero().flatten()
    failed = (~passes[tested]).nonzero().flatten()
    passing = tested[: int(failed[0])] if len(failed) else tested
    if len(passing) == 0:
        raise UserError(
            f"no confidence threshold reaches an accuracy of {accuracy:.1%} on {_rows_of(rows[-1], own)} with 95% "
            "certainty; give a lower accuracy, or hold out more rows"
        )
    return _described(confidence, right, own, confidence[int(passing[-1])].item())


def threshold_for_undecided(
    probabilities: Tensor,
    labels: Tensor,
    share: float,
    decision: Decision = Decision(),  # noqa: B008 frozen
    weights: Tensor | None = None,
) -> ConfidenceThreshold:
    """The confidence that leaves about this share of rows undecided. Arguments as in `threshold_for_accuracy`."""
    if not 0 <= share < 1:
        raise UserError(f"the share of undecided rows must be in [0, 1), got {share}")
    confidence, right, own = _sorted_by_confidence(probabilities, labels, decision, weights)
    wanted = (1 - share) * own.sum()
    nearest = int((own.cumsum(0) - wanted).abs().argmin())
    return _described(confidence, right, own, confidence[nearest].item())


def _sorted_by_confidence(
    probabilities: Tensor, labels: Tensor, decision: Decision, weights: Tensor | None
) -> tuple[Tensor, Tensor, Tensor]:
    """Confidence (n,), largest first, whether each row is right (n,), and its weight (n,), always over 0."""
    labels = labels.detach().cpu().long()
    own = checked_weights(weights, len(labels))
    if probabilities.ndim != 2 or len(probabilities) != len(labels) or len(labels) == 0:
        raise UserError(
            f"a threshold needs rows: {tuple(probabilities.shape)} probabilities, {tuple(labels.shape)} topics"
        )
    decided, confidence, _ = decision.parts(probabilities)
    order = confidence.argsort(descending=True, stable=True)
    order = order[own[order] > 0]
    return confidence[order], (decided == labels)[order].double(), own[order]


def _described(confidence: Tensor, right: Tensor, own: Tensor, value: float) -> ConfidenceThreshold:
    decided = confidence >= value
    accuracy = ((own * right)[decided].sum() / own[decided].sum()).item()
    undecided = (own[~decided].sum() / own.sum()).item()
    return ConfidenceThreshold(value, accuracy, _interval(accuracy, own[decided]), undecided, _interval(undecided, own))


def _interval(share: float, weights: Tensor) -> tuple[float, float]:
    """95% interval of a share by Clopper & Pearson (1934), with the effective number of rows of the weights (n,)."""
    from scipy.stats import beta

    rows = (weights.sum() ** 2 / (weights**2).sum()).item()
    hits = share * rows
    low = float(beta.ppf(0.025, hits, rows - hits + 1)) if hits > 1e-9 else 0.0
    high = float(beta.ppf(0.975, hits + 1, rows - hits)) if hits < rows - 1e-9 else 1.0
    return low, high


def _rows_of(effective: Tensor, weights: Tensor) -> str:
    worth = "" if torch.equal(weights, weights[:1].expand(weights.shape)) else f" (worth {effective.item():.0f})"
    return f"{len(weights)} held-out rows{worth}"
