"""The prior of a model: derived from its loss, or measured on its predictions.

Knows counts, loss settings, probabilities and labels; knows no model.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from ..common import UserError
from .calibration import checked_probabilities
from .losses import make_loss
from .settings import LossSettings
from .weights import Counts, as_counts


def prior_from_loss(settings: LossSettings, counts: Counts, names: Sequence[str] | None = None) -> Tensor:
    """The prior (C,) of softmax(logits) after training with a loss, float64.

    Take the mean of w_y times the cross-entropy of f + a, where a is the additive adjustment of the loss: tau log n for
    logit adjustment and balanced softmax, else 0. Its minimiser has softmax(f + a) as the posterior under the prior n_y
    w_y, and so softmax(f) as the posterior under n_y w_y exp(-a_y). (Menon et al. 2021, section 5.2, have the case with
    equal shares.) Forward noise without weights has the true topics' prior; for redrawn labels that is the shares of
    the counts. For losses that are not proper (focal, LDAM, generalised cross-entropy, label smoothing) it is the prior
    once `loss_link` has undone them. Weights that began late may not have taken full effect; calibration with biases
    (or `prior_from_predictions`) corrects the rest.

    Args:
        settings: Settings of the loss.
        counts: Rows per topic (C,) that the loss was made for, of the set or of an epoch sampled from it.
        names: Topic names (C,), for weights given as {topic: weight}.
    """
    loss = make_loss(settings, counts, names)
    loss.set_progress(1.0)
    tau = {"logit_adjusted": settings.value("tau"), "balanced_softmax": 1.0}.get(settings.name, 0.0)
    rows = as_counts(counts)
    return torch.softmax(rows.log() + loss.weights.cpu().double().log() - tau * rows.log(), dim=0)


def prior_from_predictions(probabilities: Tensor, labels: Tensor, model_prior: Tensor) -> Tensor:
    """The prior (C,) of a model, float64: its mean posterior over held-out rows, with topics weighted as in training.

    A posterior averages to its own prior only over rows drawn under that prior, sum_x P(x) P(y | x) = P(y). A
    re-weighted loss is fitted to another population than the held-out rows. So a row of topic y counts model_prior_y /
    n_y, which weights topics as the loss did: m_j = sum_i model_prior_i mean(p_j | topic i). For an exact posterior
    under `model_prior` the result is `model_prior`; after plain cross-entropy it is the plain mean posterior.

    Each topic gets one extra row with a perfect prediction. A topic without held-out rows thus keeps the share that the
    loss implies, and one with few rows depends less on chance.

    Args:
        probabilities: Softmax of the model's own logits (n, C), uncalibrated, on rows it was not trained on.
        labels: Topics (n,) of the rows.
        model_prior: Prior (C,) that the loss should have taught, see `prior_from_loss`.
    """
    rows, labels = checked_probabilities(probabilities), labels.detach().cpu().long()
    shares = model_prior.detach().cpu().double()
    if rows.ndim != 2 or labels.shape != rows.shape[:1] or shares.shape != rows.shape[1:] or len(rows) == 0:
        raise UserError(f"{tuple(rows.shape)} probabilities, {tuple(labels.shape)} targets: nothing to measure")
    answers = torch.eye(rows.shape[1], dtype=torch.float64).index_add_(0, labels, rows)
    prior = shares @ (answers / answers.sum(-1, keepdim=True))
    return prior / prior.sum()
