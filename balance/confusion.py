"""How well, and how skewed, decisions are, from their confusion matrix alone.

Knows counts: rows (..., C, D), float64, at [true topic, decided topic]. D is C or more: the columns past C are rows
decided for no known topic, which are wrong and nothing else. Leading dimensions are matrices of their own, so that
the thousand resamples of a bootstrap are measured at once. scikit-learn's functions take rows and not counts, one set
at a time. Where there is nothing to measure the value is nan.
"""

import math

import torch
from torch import Tensor

from ..corpus import BANDS, band
from .weights import Counts, as_counts

MIN_SPREAD = 0.05  # nats: where true and training shares differ by less, there is nothing to be pulled toward


def confusion(decisions: Tensor, targets: Tensor, topics: int, decidable: int | None = None) -> Tensor:
    """Rows (C, D), float64, at [true topic, decided topic], of index tensors (n,); D is C unless given."""
    decidable = topics if decidable is None else decidable
    return torch.bincount(targets * decidable + decisions, minlength=topics * decidable).view(topics, -1).double()


def accuracy(rows: Tensor) -> Tensor:
    """Share (...) of rows decided rightly."""
    return _right(rows).sum(-1) / rows.sum((-2, -1))


def recall(rows: Tensor) -> Tensor:
    """Recall (..., C) of each topic, nan for a topic without rows."""
    return _right(rows) / rows.sum(-1)


def f1(rows: Tensor) -> Tensor:
    """F1 (..., C) of each topic; 0 for one decided without having rows, nan for one neither present nor decided."""
    return 2 * _right(rows) / (_decided(rows) + rows.sum(-1))


def band_means(values: Tensor, train_counts: Counts) -> dict[str, Tensor]:
    """Mean (...) over the topics of each band, by training rows, that have a value (..., C)."""
    bands = topic_bands(train_counts)
    return {name: values[..., torch.tensor([own == name for own in bands])].nanmean(-1) for name in BANDS}


def topic_bands(train_counts: Counts) -> list[str]:
    """The band of each topic."""
    return [band(int(count)) for count in as_counts(train_counts).tolist()]


def shares(counts: Tensor) -> Tensor:
    """Add-half smoothed shares (..., C) of counts (..., C): (n_c + 1/2) / (N + C/2)."""
    smoothed = counts.double() + 0.5
    return smoothed / smoothed.sum(-1, keepdim=True)


def prior_pull(rows: Tensor, train_counts: Counts) -> Tensor:
    """How far (...) decisions are dragged from the true shares toward the training shares: 0 none, 1 a copy.

    With decided shares q, true shares t and training shares p, each add-half smoothed: the t-weighted
    least-squares slope (with intercept) of log(q/t) on log(p/t). nan where p and t are nearly the same (t-weighted
    standard deviation of log(p/t) under 0.05). The definition is this project's own: design section 2.
    """
    true = shares(rows.sum(-1))
    pull = (shares(torch.as_tensor(train_counts)) / true).log()
    pulled = (shares(_decided(rows)) / true).log()
    pull = pull - (true * pull).sum(-1, keepdim=True)
    spread = (true * pull**2).sum(-1)
    slope = (true * pull * pulled).sum(-1) / spread
    return slope.masked_fill(spread.sqrt() < MIN_SPREAD, torch.nan)


def shares_shifted(true_counts: Counts, train_counts: Counts) -> bool:
    """Whether the shares of some rows (C,) can be told from the training shares, and so a prior pull from chance.

    Where both sets come from the same shares, the t-weighted variance of log(p/t) times n N / (n + N), with n and N
    their rows, is about chi-squared with C - 1 degrees of freedom (delta method); its mean and two standard deviations
    are what it must exceed.
    """
    true, train = torch.as_tensor(true_counts).double(), as_counts(train_counts)
    shown = shares(true)
    pull = (shares(train) / shown).log()
    variance = (shown * pull**2).sum() - (shown * pull).sum() ** 2
    freedom = len(true) - 1
    rows = true.sum() * train.sum() / (true.sum() + train.sum())
    return bool(variance * rows > freedom + 2 * math.sqrt(2 * freedom))


def marginal_divergence(rows: Tensor) -> Tensor:
    """Kullback-Leibler divergence (...) KL(true shares || decided shares) in nats, both add-half smoothed."""
    true, decided = shares(rows.sum(-1)), shares(_decided(rows))
    return (true * (true / decided).log()).sum(-1)


def _right(rows: Tensor) -> Tensor:
    return rows.diagonal(dim1=-2, dim2=-1)  # of a matrix with further columns, still [c, c]


def _decided(rows: Tensor) -> Tensor:
    return rows.sum(-2)[..., : rows.shape[-2]]
