"""The prior that a loss teaches a model. Knows counts and loss settings, no model."""

from collections.abc import Sequence

import torch
from torch import Tensor

from .losses import LossSettings, make_loss
from .weights import Counts, as_counts


def implied_prior(settings: LossSettings, counts: Counts, names: Sequence[str] | None = None) -> Tensor:
    """The prior (C,) float64 that softmax(logits) holds after training with a loss.

    Minimising the mean of w_y times the cross-entropy of f + a (a the additive adjustment of the loss: tau log n for
    logit adjustment and balanced softmax, else 0) makes softmax(f + a) the posterior under the prior n_y w_y, hence
    softmax(f) the posterior under n_y w_y exp(-a_y): Menon et al. 2021, section 4. Focal, LDAM and generalised
    cross-entropy are not proper losses; for them it is the nearest statement, and calibration corrects the rest.

    Args:
        settings: The loss.
        counts: Rows per topic (C,) that the loss was made for: of the set, or of an epoch drawn from it.
        names: Topic names (C,), for weights given as {topic: weight}.
    """
    loss = make_loss(settings, counts, names)
    loss.set_progress(1.0)
    tau = {"logit_adjusted": settings.tau, "balanced_softmax": 1.0}.get(settings.name, 0.0)
    rows = as_counts(counts)
    return torch.softmax(rows.log() + loss.weights.cpu().double().log() - tau * rows.log(), dim=0)
