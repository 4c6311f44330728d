"""Metrics of a classifier's accuracy, calibration and skew, from its probabilities and the true topics.

Knows probabilities (n, C), topic indices (n,) and training counts (C,); knows nothing of files or names. torchmetrics
and scikit-learn have accuracy, F1 and calibration error; this room needs only torch, so these are written here in a few
lines and tested against both. The decision is the most probable topic unless given. Where there is nothing to measure
(no row of a topic or band), a function gives nan and `topic_metrics` gives None.
"""

import math

import torch
from torch import Tensor

from ..common import UserError
from ..corpus import BANDS
from . import confusion as counted
from .confusion import topic_bands
from .weights import Counts, as_counts

CURVE_BINS = 10  # of a reliability curve
BINS = 15  # of the expected calibration error, as in Guo et al. 2017


def topic_recall(probabilities: Tensor, labels: Tensor, decided: Tensor | None = None) -> Tensor:
    """Recall of each topic (C,); nan for a topic without rows. For `decided` see `topic_metrics`."""
    return counted.recall(_confusion(probabilities, labels, decided))


def accuracy(probabilities: Tensor, labels: Tensor) -> float:
    """Share of rows with the right decision."""
    return (probabilities.argmax(-1) == labels).double().mean().item()


def balanced_accuracy(probabilities: Tensor, labels: Tensor) -> float:
    """Mean recall over the topics that have rows; topics absent from the rows are left out."""
    return topic_recall(probabilities, labels).nanmean().item()


def macro_f1(probabilities: Tensor, labels: Tensor) -> float:
    """Mean F1 over the topics that have rows or were decided, as scikit-learn averages it.

    A topic that was decided but has no rows counts as 0. A topic without rows that was not decided is left out.
    """
    return counted.f1(_confusion(probabilities, labels)).nanmean().item()


def band_recall(probabilities: Tensor, labels: Tensor, train_counts: Counts) -> dict[str, float]:
    """Mean recall of each band (by training rows), over its topics that have rows."""
    means = counted.band_means(topic_recall(probabilities, labels), train_counts)
    return {name: mean.item() for name, mean in means.items()}


def negative_log_likelihood(probabilities: Tensor, labels: Tensor) -> float:
    """Mean -log p(true topic) in nats; a probability of zero counts as the smallest float32 (87 nats)."""
    own = probabilities.double().gather(-1, labels[:, None])
    return -own.clamp(min=torch.finfo(torch.float32).tiny).log().mean().item()


def calibration_error(probabilities: Tensor, labels: Tensor) -> float:
    """Expected calibration error of the decided topic: Guo et al. 2017, eq. 3, 15 bins of equal width.

    ``sum_b (rows in b / n) |share right in b - mean confidence in b|``.
    """
    if len(labels) == 0:
        return math.nan
    confidence, decisions = probabilities.double().max(-1)
    edges = torch.linspace(0, 1, BINS + 1, dtype=torch.float64)[1:-1]
    bins = torch.bucketize(confidence, edges)
    gaps = (decisions == labels).double() - confidence
    return torch.zeros(BINS, dtype=torch.float64).index_add_(0, bins, gaps).abs().sum().item() / len(labels)


def reliability(confidence: Tensor, right: Tensor) -> list[tuple[float, float, int]]:
    """A reliability curve: (mean confidence, share right, rows) of each non-empty bin of ten with equal width.

    Args:
        confidence: Confidence of the decisions (n,).
        right: Whether each decision is right (n,), bool.
    """
    bins = (confidence * CURVE_BINS).long().clamp(max=CURVE_BINS - 1)
    return [
        (confidence[own].mean().item(), right[own].double().mean().item(), int(own.sum()))
        for own in (bins == number for number in range(CURVE_BINS))
        if own.any()
    ]


def band_calibration_error(probabilities: Tensor, labels: Tensor, train_counts: Counts) -> dict[str, float]:
    """Calibration error within the rows decided for a topic of each band.

    Rows are grouped by decided topic, not by true topic: grouped by truth, even a perfect model looks miscalibrated.
    """
    bands, decisions = topic_bands(train_counts), probabilities.argmax(-1)
    errors = {}
    for name in BANDS:
        rows = torch.tensor([own == name for own in bands])[decisions]
        errors[name] = calibration_error(probabilities[rows], labels[rows])
    return errors


def prior_pull(probabilities: Tensor, labels: Tensor, train_counts: Counts) -> float:
    """How strongly decisions lean from the true shares toward the training shares: a slope, 0 none, 1 a copy.

    See `judged_prior_pull`.
    """
    return judged_prior_pull(_confusion(probabilities, labels), train_counts)


def judged_prior_pull(rows: Tensor, train_counts: Counts) -> float:
    """`confusion.prior_pull` of rows (C, D); nan if their true shares do not differ from the training shares.

    In that case the slope would reflect only chance and ordinary classifier errors; other rows are needed.
    """
    if not counted.shares_shifted(rows.sum(-1), train_counts):
        return math.nan
    return counted.prior_pull(rows, train_counts).item()


def marginal_divergence(probabilities: Tensor, labels: Tensor) -> float:
    """Kullback-Leibler divergence KL(true shares || decided shares) in nats, both add-half smoothed."""
    return counted.marginal_divergence(_confusion(probabilities, labels)).item()


def skew(rows: Tensor, train_counts: Counts) -> dict[str, float]:
    """How much decisions lean toward frequent topics, from counts (C, D) at [true, decided]; nan if unknown."""
    return {
        "prior_pull": judged_prior_pull(rows, train_counts),
        "errors_to_frequent": counted.errors_to_frequent(rows, train_counts).item(),
        "errors_to_frequent_by_chance": counted.errors_to_frequent_by_chance(rows, train_counts).item(),
    }


def topic_metrics(
    probabilities: Tensor, labels: Tensor, train_counts: Counts, decided: Tensor | None = None
) -> dict[str, float | None]:
    """Every metric of probabilities (n, C) against labels (n,), as plain floats fit for JSON.

    Macro averages of recall leave out topics without rows. Macro-F1 counts a topic that was decided but has no rows as
    0, as scikit-learn does. A metric is None if there is nothing to measure it on.

    Args:
        probabilities: Probabilities of the rows.
        labels: Topics of the rows.
        train_counts: Training rows of each topic (C,).
        decided: Decided topics (n,), -1 for undecided; the most probable topics unless given. Undecided rows count only
            for NLL and calibration error; their share is "undecided".

    Raises:
        UserError: If there are no rows, shapes do not fit, or the rows are not probabilities.
    """
    probabilities, labels = probabilities.detach().cpu().double(), labels.detach().cpu().long()
    _check(probabilities, labels, train_counts)
    rows = _confusion(probabilities, labels, decided)
    recall = counted.recall(rows)
    known = recall[~recall.isnan()].tolist()
    values = {
        "accuracy": counted.accuracy(rows).item(),
        "balanced_accuracy": recall.nanmean().item(),
        "macro_f1": counted.f1(rows).nanmean().item(),
        "worst_topic_recall": min(known, default=math.nan),
        "nll": negative_log_likelihood(probabilities, labels),
        "ece": calibration_error(probabilities, labels),
        "marginal_kl": counted.marginal_divergence(rows).item(),
        **skew(rows, train_counts),
    }
    if decided is not None:
        values["undecided"] = (decided < 0).double().mean().item()
    recalls = counted.band_means(recall, train_counts)
    errors = band_calibration_error(probabilities, labels, train_counts)
    values |= {f"recall_{name}": recalls[name].item() for name in BANDS}
    values |= {f"ece_{name}": errors[name] for name in BANDS}
    return {name: None if math.isnan(value) else value for name, value in values.items()}


def _confusion(probabilities: Tensor, labels: Tensor, decided: Tensor | None = None) -> Tensor:
    decided = probabilities.argmax(-1) if decided is None else decided.cpu()
    sure = decided >= 0
    return counted.confusion(decided[sure], labels[sure], probabilities.shape[-1])


def _check(probabilities: Tensor, labels: Tensor, train_counts: Counts) -> None:
    if probabilities.ndim != 2 or labels.shape != probabilities.shape[:1]:
        raise UserError(f"probabilities {tuple(probabilities.shape)} do not fit targets {tuple(labels.shape)}")
    rows, topics = probabilities.shape
    if rows == 0:
        raise UserError("there are no rows to measure")
    if len(as_counts(train_counts)) != topics:
        raise UserError(f"{len(as_counts(train_counts))} training counts for {topics} topics")
    if labels.min() < 0 or labels.max() >= topics:
        raise UserError(f"labels must be in 0..{topics - 1}")
    sums = probabilities.sum(-1)
    wrong = ~((sums - 1).abs() < 1e-2) | (probabilities < 0).any(-1)
    if wrong.any():
        row = int(wrong.nonzero()[0])
        raise UserError(f"row {row} of the probabilities sums to {sums[row].item():.4g}, not 1: not probabilities")
