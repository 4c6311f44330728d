"""The prior that a loss teaches a model, and the one that the model was measured to hold.

Knows counts, loss settings, probabilities and targets; no model.
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
    """The prior (C,) float64 that softmax(logits) holds after training with a loss.

    Minimising the mean of w_y times the cross-entropy of f + a (a the additive adjustment of the loss: tau log n for
    logit adjustment and balanced softmax, else 0) makes softmax(f + a) the posterior under the prior n_y w_y, hence
    softmax(f) the posterior under n_y w_y exp(-a_y); Menon et al. 2021, section 5.2, have the case that ends in equal
    shares. Forward noise without weights holds the true topics' prior, which for redrawn labels has the shares of the
    counts. For losses that are not proper (focal, LDAM, generalised cross-entropy, label smoothing) it is the prior of
    softmax(logits) once `loss_link` has undone them. Weights that began late may not have taken hold; calibration with
    biases (or `prior_from_predictions`) corrects the rest.

    Args:
        settings: The loss.
        counts: Rows per topic (C,) that the loss was made for: of the set, or of an epoch drawn from it.
        names: Topic names (C,), for weights given as {topic: weight}.
    """
    loss = make_loss(settings, counts, names)
    loss.set_progress(1.0)
    tau = {"logit_adjusted": settings.value("tau"), "balanced_softmax": 1.0}.get(settings.name, 0.0)
    rows = as_counts(counts)
    return torch.softmax(rows.log() + loss.weights.cpu().double().log() - tau * rows.log(), dim=0)


def prior_from_predictions(probabilities: Tensor, labels: Tensor, model_prior: Tensor) -> Tensor:
    """The prior (C,) float64 that a model holds: its mean posterior over held-out rows, topics weighted as in training.

    A posterior averages to its own prior only over rows that come under that prior, sum_x P(x) P(y | x) = P(y), and a
    re-weighted loss is fitted to another population than the held-out rows. So row y counts model_prior_y / n_y: the
    mean is over topics in the shares that the loss made them count, m_j = sum_i model_prior_i mean(p_j | topic i). An
    exact posterior under `model_prior` gives it back; after plain cross-entropy it is the plain mean posterior.

    Each topic has one row more, answered rightly: a topic without held-out rows keeps what the loss implies, and one
    of a few is not handed to their chance.

    Args:
        probabilities: softmax of the model's own logits (n, C), uncalibrated, on rows it was not trained on.
        labels: Their topics (n,).
        model_prior: What the loss should have taught (C,), see `prior_from_loss`.
    """
    rows, labels = checked_probabilities(probabilities), labels.detach().cpu().long()
    shares = model_prior.detach().cpu().double()
    if rows.ndim != 2 or labels.shape != rows.shape[:1] or shares.shape != rows.shape[1:] or len(rows) == 0:
        raise UserError(f"{tuple(rows.shape)} probabilities, {tuple(labels.shape)} targets: nothing to measure")
    answers = torch.eye(rows.shape[1], dtype=torch.float64).index_add_(0, labels, rows)
    prior = shares @ (answers / answers.sum(-1, keepdim=True))
    return prior / prior.sum()
