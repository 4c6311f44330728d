"""Noisy topics: a matrix of how labels go wrong, and the loss that corrects for it.

Knows logits, probabilities, topic indices and counts; knows nothing of models. A noise matrix T (C, C) has P(noisy
topic j | true topic i) at [i, j]; its rows sum to 1. cleanlab estimates one too, from counts of confident decisions
over NumPy arrays; this room needs only torch.
"""

import torch
from torch import Tensor

from ..common import UserError
from .calibration import checked_probabilities
from .weights import Counts, as_counts


def forward_noise_rows(logits: Tensor, labels: Tensor, noise: Tensor) -> Tensor:
    """Row losses (B,): -log((T^T softmax(f))_y), the forward correction of Patrini et al. 2017.

    The model's probabilities are passed through the noise before they are compared with the noisy topic. The minimiser
    of the mean loss is therefore the posterior of the true topics. The identity matrix gives cross-entropy.
    """
    into = noise.to(logits.dtype).log()[:, labels].T  # (B, C): log P(the row's noisy topic | true topic)
    return -(logits.log_softmax(-1) + into).logsumexp(-1)


def noise_from_rate(counts: Counts, rate: float) -> Tensor:
    """The noise matrix (C, C) if a share `rate` of the labels is redrawn from the noisy set's own shares.

    T = (1 - rate) I + rate 1 q^T, with q the shares of `counts`. A wrong label is drawn in proportion to topic
    frequency, which is how a careless labeller or a skewed model errs. T^T q = q, so the true topics have the shares q
    too, whatever the rate, and no topic's implied share is negative, as it can be under other matrices. A label redrawn
    as itself is right: if a share w of all labels is wrong, rate = w / (1 - sum_c q_c^2).

    Args:
        counts: Noisy rows per topic.
        rate: Share of labels redrawn, in [0, 1).
    """
    if not 0 <= rate < 1:
        raise UserError(f"the share of redrawn labels must be in [0, 1), got {rate}")
    shares = as_counts(counts) / as_counts(counts).sum()
    return (1 - rate) * torch.eye(len(shares), dtype=torch.float64) + rate * shares


def noise_matrix(probabilities: Tensor, labels: Tensor) -> Tensor:
    """The noise matrix (C, C), estimated from clean rows: gold loss correction, Hendrycks et al. 2018.

    Row i is the mean prediction, on clean rows of topic i, of a model trained on the noisy set with plain
    cross-entropy. Where topics overlap, it includes the model's doubt and so overstates the noise. With only a few
    clean rows of a topic, its row of the matrix is imprecise.

    Args:
        probabilities: Probabilities of the clean rows (n, C), by the model trained on the noisy set.
        labels: True topics (n,) of these rows; every topic must occur.
    """
    rows, labels = checked_probabilities(probabilities), labels.detach().cpu().long()
    if rows.ndim != 2 or labels.shape != rows.shape[:1]:
        raise UserError(f"probabilities {tuple(rows.shape)} do not fit targets {tuple(labels.shape)}")
    counts = torch.bincount(labels, minlength=rows.shape[1])
    if (counts == 0).any():
        absent = (counts == 0).nonzero().flatten().tolist()
        raise UserError(f"a noise matrix needs clean rows of every topic, but topics {absent[:5]} have none")
    summed = torch.zeros(len(counts), len(counts), dtype=torch.float64).index_add_(0, labels, rows)
    return summed / summed.sum(-1, keepdim=True)


def checked_noise(noise: Tensor, topics: int) -> Tensor:
    """The matrix (C, C), float64 on the CPU.

    Raises:
        UserError: If it is not square over the topics, a row is not a distribution, or a topic can never be observed.
    """
    values = torch.as_tensor(noise).detach().to("cpu", torch.float64)
    if values.shape != (topics, topics):
        raise UserError(f"a noise matrix of shape {tuple(values.shape)} for {topics} topics")
    if not (values.isfinite().all() and values.min() >= 0 and ((values.sum(-1) - 1).abs() < 1e-3).all()):
        raise UserError("each row of a noise matrix must be shares that sum to 1: P(noisy topic | true topic)")
    if (values.sum(0) == 0).any():
        raise UserError(
            "a noise matrix has a column of zeros: no true topic is ever labelled as topic "
            f"{int(values.sum(0).argmin())}"
        )
    return values


def denoised_labels(probabilities: Tensor, labels: Tensor, rounds: int = 3) -> Tensor:
    """Posterior (n, C) of each noisy row's true topic, given its text and its label; rows sum to 1.

    Expectation maximisation over one annotator whose errors depend on the true topic alone (Dawid and Skene 1979), with
    the classifier's posterior instead of the topics' shares. The two steps are T_jl ~ sum_i q_ij [label_i = l] for the
    noise matrix, and q_ij ~ p_ij T_j,label_i. A row of T with little evidence leans toward the labels' own shares,
    under which a label says nothing.

    Args:
        probabilities: Probabilities p (n, C) of a classifier trained on clean rows, under the noisy set's own prior.
        labels: Given topics (n,) of the rows.
        rounds: Number of rounds of the two steps.
    """
    rows, labels = checked_probabilities(probabilities), labels.detach().cpu().long()
    if rows.ndim != 2 or labels.shape != rows.shape[:1] or len(labels) == 0:
        raise UserError(f"probabilities {tuple(rows.shape)} do not fit labels {tuple(labels.shape)}")
    topics = rows.shape[1]
    shares = torch.bincount(labels, minlength=topics).double() / len(labels)
    posterior = rows
    for _ in range(rounds):
        counts = torch.zeros(topics, topics, dtype=torch.float64).index_add_(0, labels, posterior).T
        smoothed = counts + 0.5 * shares  # positive in the column of every label that occurs
        noise = smoothed / smoothed.sum(-1, keepdim=True)
        posterior = rows * noise[:, labels].T
        posterior = posterior / posterior.sum(-1, keepdim=True).clamp(min=torch.finfo(torch.float64).tiny)
    return posterior
