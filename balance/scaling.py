"""One number that makes logits without a prior honest under one: how sure a model that favours no topic may be.

Knows logits, labels and priors as tensors; no model. Temperature scaling (Guo et al. 2017) with the prior outside:
scaling g + log p as a whole would flatten the prior too, which is known and needs no flattening.
"""

import math

import torch
from torch import Tensor

from ..common import UserError

_LARGEST = 6.0  # of |log scale|: rows that are all answered rightly would ask for an infinite one
_ROUNDS = 60


def fit_scale(logits: Tensor, labels: Tensor, prior: Tensor) -> float:
    """The s that makes softmax(s g + log p) honest on held-out rows both under their own shares and with topics alike.

    Minimises the sum of two mean NLLs: of the rows as they come, under their prior, and of the rows weighted so that
    topics count alike, under a uniform prior. The first alone would be decided by the frequent topics, and leave a
    model too sure of the rare ones. Each is convex in s, so that a ternary search over log s in [-6, 6] finds the
    minimum.

    Args:
        logits: g (n, C), of a model that favours no topic, on rows that it was not trained on.
        labels: Their topics (n,).
        prior: (C,) the shares that the rows were drawn with.

    Raises:
        UserError: If there are no rows, or a logit is not a number.
    """
    logits, labels = logits.detach().cpu().double(), labels.detach().cpu().long()
    if len(labels) == 0 or not logits.isfinite().all():
        raise UserError(f"a scale needs rows with finite logits, got {tuple(logits.shape)}")
    prior = prior.detach().cpu().double()

    def loss(log_scale: float) -> float:
        return sum(both_nlls(logits * math.exp(log_scale), labels, prior))

    low, high = -_LARGEST, _LARGEST
    for _ in range(_ROUNDS):
        left, right = low + (high - low) / 3, high - (high - low) / 3
        if loss(left) < loss(right):
            high = right
        else:
            low = left
    return math.exp((low + high) / 2)


def both_nlls(logits: Tensor, labels: Tensor, prior: Tensor) -> tuple[float, float]:
    """Mean NLL in nats of rows as they come, under their prior, and with topics alike, under a uniform one.

    Args:
        logits: g (n, C), of a model that favours no topic.
        labels: Topics (n,).
        prior: (C,) the shares that the rows were drawn with.
    """
    natural = row_nll(logits, labels, prior).mean().item()
    alike = row_nll(logits, labels, torch.full_like(prior, 1 / len(prior)))
    weights = 1 / torch.bincount(labels, minlength=len(prior)).double()[labels]
    return natural, ((alike * weights).sum() / weights.sum()).item()


def row_nll(logits: Tensor, labels: Tensor, prior: Tensor) -> Tensor:
    """-log softmax(g + log prior)_y of each row (n,), in nats; g (n, C) favours no topic."""
    scores = logits.double() + prior.double().log()
    return -scores.log_softmax(-1).gather(-1, labels[:, None]).squeeze(-1)


def smaller_by(losses: Tensor, others: Tensor) -> tuple[float, float]:
    """Mean of `losses - others` (n,) over the same rows, and its standard error: two models, compared in pairs."""
    differences = losses - others
    if len(differences) < 2:
        return differences.mean().item(), float("inf")
    return differences.mean().item(), (differences.std() / len(differences) ** 0.5).item()
