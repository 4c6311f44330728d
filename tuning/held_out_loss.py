"""How good a fit is: its calibrated log-loss on held-out rows, row by row. Knows a fitted system; no study.

Half of it is that of the rows as they come, half that with topics alike, so that neither rare nor frequent topics are
bought with the others.
"""

import torch
from torch import Tensor

from ..balance import PosteriorCorrector, share_weights
from ..common import UserError, fingerprint


def losses_of(corrector: PosteriorCorrector) -> list[float]:
    """Nats of each held-out row (n,); their mean is the log-loss.

    A row of topic y counts -(w log p(y) + v log q(y)) / 2: p under the training shares and q under equal ones, both
    calibrated, w and v the weights that give the rows' topics these shares.

    Raises:
        UserError: If the fit held no rows out.
    """
    if corrector.rows is None:
        raise UserError("the fit held no rows out to be judged on: give more rows, or --data.validation")
    logits, labels = corrector.rows.logits.float(), corrector.rows.labels.long()
    shares = torch.tensor(corrector.topics.counts, dtype=torch.float64)
    natural = _own(corrector.calibrated_log_probs(logits), labels) * _weights(labels, shares)
    alike = _own(corrector.alike(logits).log(), labels) * _weights(labels, torch.ones_like(shares))
    return (-(natural + alike) / 2).tolist()


def rows_of(corrector: PosteriorCorrector) -> str:
    """Equal for fits that held out the same rows."""
    return fingerprint([] if corrector.rows is None else corrector.rows.labels.tolist())


def _own(log_probabilities: Tensor, labels: Tensor) -> Tensor:
    return log_probabilities.double().gather(-1, labels[:, None])[:, 0]


def _weights(labels: Tensor, shares: Tensor) -> Tensor:
    """Weights (n,) that give the topics these shares (C,), 1 on average."""
    weights = share_weights(labels, shares)
    return weights * len(weights) / weights.sum()
