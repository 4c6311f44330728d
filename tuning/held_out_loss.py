"""The calibrated log-loss of a fit on held-out rows, row by row. Knows a fitted system; knows no study.

It is the mean of two losses, under the rows' own topic shares and under equal shares, so that neither rare nor frequent
topics improve at the expense of the others.
"""

import torch

from ..balance import PosteriorCorrector, share_weights
from ..common import UserError, fingerprint


def losses_of(corrector: PosteriorCorrector) -> list[float]:
    """The loss of each held-out row (n,) in nats; their mean is the log-loss.

    A row of topic y has the loss -(w log p(y) + v log q(y)) / 2. p and q are the probabilities under the training
    shares and under equal shares, by a calibration fitted without the row; w and v are the weights that give the rows
    these shares.

    Raises:
        UserError: If the fit held out no rows.
    """
    if corrector.rows is None:
        raise UserError("the fit held out no rows, so it cannot be judged; give more rows, or --data.validation")
    labels, losses = corrector.rows.labels.long(), torch.zeros(len(corrector.rows.labels), dtype=torch.float64)
    for prior in ("train", "uniform"):
        aimed = corrector.with_target_prior(prior)
        own = aimed.held_out_log_probs().double().gather(-1, labels[:, None])[:, 0]
        weights = share_weights(labels, torch.tensor(aimed.target, dtype=torch.float64), corrector.rows.weights)
        losses -= own * weights * len(weights) / weights.sum() / 2
    return losses.tolist()


def rows_of(corrector: PosteriorCorrector) -> str:
    """A fingerprint of the held-out rows."""
    return fingerprint([] if corrector.rows is None else corrector.rows.labels.tolist())
