"""The calibrated log-loss of a fit on held-out rows, row by row. Knows a fitted system; knows no study.

It is the mean of two losses, under the rows' own topic shares and under equal shares, so that neither rare nor frequent
topics improve at the expense of the others.
"""

import torch
from torch import Tensor

from ..balance import PosteriorCorrector, share_weights
from ..common import UserError, fingerprint


def losses_of(corrector: PosteriorCorrector) -> list[float]:
    """The loss of each held-out row (n,) in nats; their mean is the log-loss.

    A row of topic y has the loss -(w log p(y) + v log q(y)) / 2. p and q are the calibrated probabilities under the
    training shares and under equal shares; w and v are the weights that give the rows these shares.

    Raises:
        UserError: If the fit held out no rows.
    """
    if corrector.rows is None:
        raise UserError("the fit held out no rows, so it cannot be judged; give more rows, or --data.validation")
    logits, labels = corrector.rows.logits.float(), corrector.rows.labels.long()
    shares = torch.tensor(corrector.topics.counts, dtype=torch.float64)
    natural = _own(corrector.calibrated_log_probs(logits), labels) * _weights(labels, shares)
    alike = _own(corrector.uniform_probabilities(logits).log(), labels) * _weights(labels, torch.ones_like(shares))
    return (-(natural + alike) / 2).tolist()


def rows_of(corrector: PosteriorCorrector) -> str:
    """A fingerprint of the held-out rows."""
    return fingerprint([] if corrector.rows is None else corrector.rows.labels.tolist())


def _own(log_probabilities: Tensor, labels: Tensor) -> Tensor:
    return log_probabilities.double().gather(-1, labels[:, None])[:, 0]


def _weights(labels: Tensor, shares: Tensor) -> Tensor:
    """Weights (n,) with a mean of 1 that give the topics these shares (C,)."""
    weights = share_weights(labels, shares)
    return weights * len(weights) / weights.sum()
