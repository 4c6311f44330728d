"""Accuracy and skew of decisions, from their confusion matrix alone.

Knows nothing but counts: `rows` (..., C, D), float64, at [true topic, decided topic]. D is at least C; columns past C
count rows decided for no known topic, which are always wrong. Leading dimensions are separate matrices, so a thousand
resamples of a bootstrap are measured at once. scikit-learn's functions take rows instead of counts, one set at a time.
A value is nan where there is nothing to measure.
"""

import torch
from torch import Tensor

from ..corpus import BANDS, band
from .weights import Counts, as_counts

MIN_SPREAD = 0.2  # nats: if true and training shares differ by less, a slope means nothing
SHIFT_LEVEL = 0.01
NEWTON_STEPS = 20


def confusion(decisions: Tensor, labels: Tensor, topics: int, decidable: int | None = None) -> Tensor:
    """Counts (C, D), float64, at [true topic, decided topic], from index tensors (n,); D is C unless given."""
    decidable = topics if decidable is None else decidable
    return torch.bincount(labels * decidable + decisions, minlength=topics * decidable).view(topics, -1).double()


def accuracy(rows: Tensor) -> Tensor:
    """Share (...) of rows with the right decision."""
    return _right(rows).sum(-1) / rows.sum((-2, -1))


def recall(rows: Tensor) -> Tensor:
    """Recall (..., C) of each topic; nan for a topic without rows."""
    return _right(rows) / rows.sum(-1)


def f1(rows: Tensor) -> Tensor:
    """F1 (..., C) of each topic: 0 if it was decided but has no rows, nan if it has no rows and was not decided."""
    return 2 * _right(rows) / (_decided(rows) + rows.sum(-1))


def band_means(values: Tensor, train_counts: Counts) -> dict[str, Tensor]:
    """Mean (...) of values (..., C) over the topics of each band (by training rows); nan values are left out."""
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
    """How strongly (...) decisions lean from the true shares toward the training shares: a slope, 0 none, 1 a copy.

    Decided shares q, true shares t and training shares p are add-half smoothed. The pull is the t-weighted
    least-squares slope (with intercept) of log(q/t) on log(p/t). It exceeds 1 if decisions exaggerate the training
    shares. It is nan if p and t are nearly the same (t-weighted standard deviation of log(p/t) under 0.2, a typical
    topic moved by a fifth): there even the Bayes rule can have a slope of 2. The definition is this project's own:
    design section 2.

    t comes from `true_topic_counts`. With the raw counts, their sampling noise would be on both sides of the regression
    and look like pull.
    """
    rows = with_true_counts(rows, true_topic_counts(rows, train_counts))
    true = shares(rows.sum(-1))
    pull = (shares(torch.as_tensor(train_counts)) / true).log()
    pulled = (shares(_decided(rows)) / true).log()
    pull = pull - (true * pull).sum(-1, keepdim=True)
    spread = (true * pull**2).sum(-1)
    slope = (true * pull * pulled).sum(-1) / spread
    return slope.masked_fill(spread.sqrt() < MIN_SPREAD, torch.nan)


def true_topic_counts(rows: Tensor, train_counts: Counts) -> Tensor:
    """Expected rows (..., C) of each true topic, with the noise of a small sample taken out.

    Counts n are shrunk toward mu = exp(a + b log p), a Poisson regression on the training shares p. It covers rows like
    the training set (b = 1), rows with all topics alike (b = 0) and anything between. The result is mu (1 + f n) / (1 +
    f mu), the posterior mean of a gamma-Poisson model. f, the overdispersion, is the excess of Pearson's statistic over
    its degrees of freedom, at least 0. Where a topic has many rows, or the shares do not follow the regression, n
    hardly changes.
    """
    counts, topics = rows.sum(-1), rows.shape[-2]
    expected = _expected_counts(counts, shares(torch.as_tensor(train_counts)).log())
    statistic = ((counts - expected) ** 2 / expected).sum(-1, keepdim=True)
    excess = ((statistic - max(topics - 2, 0)) / counts.sum(-1, keepdim=True)).clamp(min=0)
    return expected * (1 + excess * counts) / (1 + excess * expected)


def with_true_counts(rows: Tensor, counts: Tensor) -> Tensor:
    """Rows (..., C, D) scaled to these true counts (..., C); the rates within each true topic stay."""
    return rows * (counts / rows.sum(-1).clamp(min=1))[..., None]


def _expected_counts(counts: Tensor, log_shares: Tensor) -> Tensor:
    """exp(a + b x) (..., C) of the Poisson regression of counts (..., C) on x (C,), by Newton's method in b."""
    x, total = log_shares - log_shares.mean(), counts.sum(-1, keepdim=True)
    slope = torch.zeros_like(total)
    for _ in range(NEWTON_STEPS):
        weights = (slope * x).softmax(-1)  # a drops out: it only makes the expected counts sum to the rows
        mean = (weights * x).sum(-1, keepdim=True)
        variance = (weights * (x - mean) ** 2).sum(-1, keepdim=True)
        step = ((counts * x).sum(-1, keepdim=True) / total - mean) / variance.clamp(min=1e-12)
        slope = (slope + step.clamp(-0.5, 0.5)).clamp(-2, 2)
    return total * (slope * x).softmax(-1)


def errors_to_frequent(rows: Tensor, train_counts: Counts) -> Tensor:
    """Share (...) of the wrong decisions that went to a topic with more training rows than the true one; ties half.

    It works for any sample: true and training shares need not differ, and few rows make it imprecise but not biased.
    Compare it with `errors_to_frequent_by_chance`. Decisions for no known topic are left out.
    """
    wrong = _wrong(rows)
    return (wrong * _more_frequent(train_counts)).sum((-2, -1)) / wrong.sum((-2, -1))


def errors_to_frequent_by_chance(rows: Tensor, train_counts: Counts) -> Tensor:
    """`errors_to_frequent` (...) if each wrong decision had gone to one of the other topics at random."""
    wrong = _wrong(rows).sum(-1)
    chance = _more_frequent(train_counts).sum(-1) / (rows.shape[-2] - 1)
    return (wrong * chance).sum(-1) / wrong.sum(-1)


def shares_shifted(true_counts: Counts, train_counts: Counts) -> bool:
    """Whether the shares of rows (C,) differ from the training shares; if not, no prior pull can be measured.

    Pearson's test of homogeneity of the two rows of counts, at 1%. The distribution of the statistic is a gamma
    distribution with its exact mean and variance given the margins (Dawson 1954; Haldane 1940), since the chi-squared
    distribution is wrong where topics have few rows.
    """
    table = torch.stack([torch.as_tensor(true_counts).double(), torch.as_tensor(train_counts).double()])
    table = table[:, table.sum(0) > 0]
    if len(table.T) < 2 or (table.sum(1) == 0).any():
        return False
    total, rows, columns = table.sum(), table.sum(1), table.sum(0)
    expected = rows[:, None] * columns / total
    statistic = ((table - expected) ** 2 / expected).sum()
    mean, variance = _pearson_moments(total, rows, columns)
    shape, scale = mean**2 / variance, variance / mean
    return bool(torch.special.gammaincc(shape, statistic / scale) < SHIFT_LEVEL)


def _pearson_moments(total: Tensor, rows: Tensor, columns: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and variance of Pearson's statistic of a table with these margins, under independence."""
    mean = total / (total - 1) * (len(rows) - 1) * (len(columns) - 1)

    def terms(margin: Tensor) -> tuple[Tensor, Tensor]:
        size = len(margin)
        return (size - 1) * (total - size) / (total - 1), ((total / margin).sum() - size**2) / (total - 2)

    (v1, w1), (v2, w2) = terms(rows), terms(columns)
    return mean, 2 * total / (total - 3) * (v1 - w1) * (v2 - w2) + total**2 / (total - 1) * w1 * w2


def marginal_divergence(rows: Tensor) -> Tensor:
    """Kullback-Leibler divergence (...) KL(true shares || decided shares) in nats, both add-half smoothed."""
    true, decided = shares(rows.sum(-1)), shares(_decided(rows))
    return (true * (true / decided).log()).sum(-1)


def _right(rows: Tensor) -> Tensor:
    return rows.diagonal(dim1=-2, dim2=-1)  # [c, c], also where there are further columns


def _wrong(rows: Tensor) -> Tensor:
    topics = rows.shape[-2]
    return rows[..., :topics] * (1 - torch.eye(topics, dtype=rows.dtype))


def _more_frequent(train_counts: Counts) -> Tensor:
    """(C, C): at [i, j] 1 if topic j has more training rows than topic i, 1/2 if as many."""
    counts = torch.as_tensor(train_counts).double()
    more, alike = counts[None, :] > counts[:, None], counts[None, :] == counts[:, None]
    return more.double() + 0.5 * (alike & ~torch.eye(len(counts), dtype=torch.bool)).double()


def _decided(rows: Tensor) -> Tensor:
    return rows.sum(-2)[..., : rows.shape[-2]]
