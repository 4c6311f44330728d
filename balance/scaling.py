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
_CHANCE_ROWS = 0.5


def fit_scale(logits: Tensor, labels: Tensor, prior: Tensor, weights: Tensor | None = None) -> float:
    """The s that makes softmax(s g + log p) honest on held-out rows both under their own shares and with topics alike.

    Minimises the sum of two mean NLLs: of the rows as they come, under their prior, and of the rows weighted so that
    topics count alike, under a uniform prior. The first alone would be decided by the frequent topics, and leave a
    model too sure of the rare ones. Of each topic half a row more is taken to be answered by chance: a handful of rows
    that are all answered rightly does not prove that such answers are certain. Each NLL is convex in s, so that a
    ternary search over log s in [-6, 6] finds the minimum.

    Args:
        logits: g (n, C), of a model that favours no topic, on rows that it was not trained on.
        labels: Their topics (n,).
        prior: (C,) the shares that the rows were drawn with, or those that `weights` give them.
        weights: How much each row counts (n,), alike unless given.

    Raises:
        UserError: If there are no rows, or a logit is not a number.
    """
    logits, labels = logits.detach().cpu().double(), labels.detach().cpu().long()
    if len(labels) == 0 or not logits.isfinite().all():
        raise UserError(f"a scale needs rows with finite logits, got {tuple(logits.shape)}")
    prior = prior.detach().cpu().double()

    own = torch.ones(len(labels)).double() if weights is None else weights.detach().cpu().double()
    rows = torch.bincount(labels, own, minlength=len(prior))[labels]
    alike_weights = own / rows
    chance = _CHANCE_ROWS / (rows + _CHANCE_ROWS)

    def loss(log_scale: float) -> float:
        scaled = logits * math.exp(log_scale)
        natural, alike = (
            _row_nll(scaled, labels, shares, chance) for shares in (prior, torch.full_like(prior, 1 / len(prior)))
        )
        return ((own * natural).sum() / own.sum() + (alike_weights * alike).sum() / alike_weights.sum()).item()

    low, high = -_LARGEST, _LARGEST
    for _ in range(_ROUNDS):
        left, right = low + (high - low) / 3, high - (high - low) / 3
        if loss(left) < loss(right):
            high = right
        else:
            low = left
    return math.exp((low + high) / 2)


def both_nlls(logits: Tensor, labels: Tensor, prior: Tensor, weights: Tensor | None = None) -> tuple[float, float]:
    """Mean NLL in nats of rows as they come, under their prior, and with topics alike, under a uniform one.

    Args:
        logits: g (n, C), of a model that favours no topic.
        labels: Topics (n,).
        prior: (C,) the shares that the rows were drawn with, or those that `weights` give them.
        weights: How much each row counts (n,), alike unless given.
    """
    own = torch.ones(len(labels)).double() if weights is None else weights.double()
    natural = (own * row_nll(logits, labels, prior)).sum() / own.sum()
    alike = row_nll(logits, labels, torch.full_like(prior, 1 / len(prior)))
    even = own / torch.bincount(labels, own, minlength=len(prior))[labels]
    return natural.item(), ((alike * even).sum() / even.sum()).item()


def row_nll(logits: Tensor, labels: Tensor, prior: Tensor) -> Tensor:
    """-log softmax(g + log prior)_y of each row (n,), in nats; g (n, C) favours no topic."""
    return _row_nll(logits, labels, prior, torch.zeros(len(labels)))


def _row_nll(logits: Tensor, labels: Tensor, prior: Tensor, chance: Tensor) -> Tensor:
    """Row NLLs (n,) where a share `chance` (n,) of each row is of a topic drawn evenly from all."""
    log_p = (logits.double() + prior.double().log()).log_softmax(-1)
    own = log_p.gather(-1, labels[:, None]).squeeze(-1)
    return -((1 - chance) * own + chance * log_p.mean(-1))


def smaller_by(losses: Tensor, others: Tensor) -> tuple[float, float]:
    """Mean of `losses - others` (n,) over the same rows, and its standard error: two models, compared in pairs."""
    differences = losses - others
    if len(differences) < 2:
        return differences.mean().item(), float("inf")
    return differences.mean().item(), (differences.std() / len(differences) ** 0.5).item()
