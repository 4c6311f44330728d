"""A scale for the logits of a model that favours no topic, which makes its confidence honest under a prior.

Knows logits, labels and priors as tensors; knows no model. This is temperature scaling (Guo et al. 2017) with the prior
left out of it: scaling g + log p as a whole would also flatten the prior, which is known.
"""

import math

import torch
from torch import Tensor

from ..common import UserError
from .calibration import checked_weights

_LARGEST = 6.0  # of |log scale|: rows that are all predicted correctly would need an infinite scale
_ROUNDS = 36
_CACHED = 1 << 16  # logits that are worked on at once, so that they stay in a processor's cache
_CHANCE_ROWS = 0.5


def fit_scale(logits: Tensor, labels: Tensor, prior: Tensor, weights: Tensor | None = None) -> float:
    """The scale s that makes softmax(s g + log p) honest on held-out rows, under own and uniform shares.

    Minimises the sum of two mean NLLs: that of the rows under their own prior, and that of the rows weighted so that
    topics count alike, under a uniform prior. The first alone would be dominated by the frequent topics and leave the
    model too sure of the rare ones. Each topic counts an extra half row predicted by chance, because a few correct rows
    do not prove that predictions are certain. Each NLL is convex in s, so bisection of log s in [-6, 6] finds where the
    slope of their sum is 0.

    Args:
        logits: Logits g (n, C) of a model that favours no topic, on rows it was not trained on.
        labels: Topics (n,) of the rows.
        prior: Shares (C,) of the rows, weighted by `weights` if given.
        weights: Weights of the rows (n,), equal unless given.

    Raises:
        UserError: If there are no rows, a logit is not a number, a weight is not a number of at least 0, or all are 0.
    """
    logits, labels = logits.detach().cpu(), labels.detach().cpu().long()
    if len(labels) == 0 or not logits.isfinite().all():
        raise UserError(f"a scale needs rows with finite logits, got {tuple(logits.shape)}")
    prior = prior.detach().cpu().double()
    own = checked_weights(weights, len(labels))
    rows = torch.bincount(labels, own, minlength=len(prior))[labels]
    alike = _alike(own, rows)
    both = torch.stack([own / own.sum(), alike / alike.sum()], 1)
    shares = torch.stack([prior, torch.full_like(prior, 1 / len(prior))], 1)
    chance = _CHANCE_ROWS / (rows + _CHANCE_ROWS)
    wanted = (1 - chance) * logits.gather(-1, labels[:, None])[:, 0] + chance * logits.mean(-1, dtype=torch.float64)
    size = max(1, _CACHED // len(prior))
    parts = list(zip(logits.split(size), wanted.split(size), both.split(size), strict=True))
    low, high = -_LARGEST, _LARGEST
    for _ in range(_ROUNDS):
        middle = (low + high) / 2
        if sum(_slope(math.exp(middle), shares, *part) for part in parts) > 0:
            high = middle
        else:
            low = middle
    return math.exp((low + high) / 2)


def _slope(scale: float, shares: Tensor, logits: Tensor, wanted: Tensor, weights: Tensor) -> float:
    """The slope in s of rows' NLLs, weighted (n, 2), under two priors (C, 2): expected less wanted (n,) logits."""
    logits = logits.double()
    powers = (scale * (logits - logits.amax(-1, keepdim=True))).exp_()
    expected = (powers * logits) @ shares / (powers @ shares)
    return (weights * (expected - wanted[:, None])).sum().item()


def natural_and_uniform_nll(
    logits: Tensor, labels: Tensor, prior: Tensor, weights: Tensor | None = None
) -> tuple[float, float]:
    """Mean NLL in nats of the rows under their own prior, and with topics weighted alike under a uniform prior.

    Args:
        logits: Logits g (n, C) of a model that favours no topic.
        labels: Topics (n,) of the rows.
        prior: Shares (C,) of the rows, weighted by `weights` if given.
        weights: Weights of the rows (n,), equal unless given.
    """
    own = checked_weights(weights, len(labels))
    natural = (own * row_nll(logits, labels, prior)).sum() / own.sum()
    alike = row_nll(logits, labels, torch.full_like(prior, 1 / len(prior)))
    even = _alike(own, torch.bincount(labels, own, minlength=len(prior))[labels])
    return natural.item(), ((alike * even).sum() / even.sum()).item()


def _alike(own: Tensor, rows: Tensor) -> Tensor:
    """Weights (n,) by which topics count alike, from the rows' own and their topics' (n,); 0 in a topic of weight 0."""
    return own / rows.clamp(min=torch.finfo(rows.dtype).tiny)


def row_nll(logits: Tensor, labels: Tensor, prior: Tensor) -> Tensor:
    """-log softmax(g + log prior)_y of each row (n,), in nats; g (n, C) favours no topic."""
    return _row_nll(logits, labels, prior, torch.zeros(len(labels)))


def _row_nll(logits: Tensor, labels: Tensor, prior: Tensor, chance: Tensor) -> Tensor:
    """Row NLLs (n,) if a share `chance` (n,) of each row has a topic drawn uniformly at random."""
    log_p = (logits.double() + prior.double().log()).log_softmax(-1)
    own = log_p.gather(-1, labels[:, None]).squeeze(-1)
    return -((1 - chance) * own + chance * log_p.mean(-1))


def paired_difference(losses: Tensor, others: Tensor) -> tuple[float, float]:
    """Mean and standard error of `losses - others` (n,): a paired comparison of two models."""
    differences = losses - others
    if len(differences) < 2:
        return differences.mean().item(), float("inf")
    return differences.mean().item(), (differences.std() / len(differences) ** 0.5).item()
