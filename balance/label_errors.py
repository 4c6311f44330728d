"""Labels that a classifier doubts, from its predictions on rows it was not fitted on. Knows no names and no texts."""

from dataclasses import dataclass

import torch
from torch import Tensor

from ..common import UserError

TIMES = 20.0  # a label is doubted if another topic is this many times as probable


@dataclass(frozen=True)
class DoubtedLabels:
    """Each row's given topic compared with the most probable other topic.

    Attributes:
        other: Most probable topic (n,) besides the given one.
        times: Probability of that topic over that of the given one (n,), float64; 0 if a row has no predictions.
    """

    other: Tensor
    times: Tensor

    def rows(self, at_least: float = TIMES) -> list[int]:
        """The doubted rows, the most doubtful first."""
        order = self.times.argsort(descending=True, stable=True)
        return [row for row in order.tolist() if self.times[row] >= at_least]


def doubt_labels(log_probabilities: Tensor, labels: Tensor) -> DoubtedLabels:
    """Compare each row's given topic with the most probable other one.

    The ranking follows the normalised margin of confident learning (Northcutt et al. 2021, section 3.2): the
    out-of-sample probability of the given label less that of the best other label. Here it is a ratio, because under a
    training prior a ratio means the same for rare and frequent topics. The paper's class thresholds are left out: they
    find fewer errors where the classifier is sure of frequent topics (benchmarks/results/inspection.md).

    Args:
        log_probabilities: Log-probabilities (n, C) of models not fitted on the row, under the rows' own prior; nan if
            there are none.
        labels: Given topics (n,) of the rows.

    Raises:
        UserError: If the shapes do not fit, or there is only one topic.
    """
    values, labels = log_probabilities.detach().cpu().double(), labels.detach().cpu().long()
    if values.ndim != 2 or labels.shape != values.shape[:1] or values.shape[1] < 2:
        raise UserError(f"log-probabilities {tuple(values.shape)} do not fit labels {tuple(labels.shape)}")
    own = values.gather(-1, labels[:, None]).squeeze(-1)
    best, other = values.scatter(-1, labels[:, None], -torch.inf).max(-1)
    return DoubtedLabels(other, (best - own).nan_to_num(-torch.inf, posinf=700.0).clamp(max=700.0).exp())


def symmetric_confusion(log_probabilities: Tensor, labels: Tensor) -> Tensor:
    """Rows of topic i predicted as j, plus those of j predicted as i (C, C); symmetric, 0 on the diagonal.

    Args:
        log_probabilities: Log-probabilities (n, C); nan if a row has no predictions.
        labels: Topics (n,) of the rows.
    """
    known = log_probabilities.isfinite().all(-1)
    topics = log_probabilities.shape[1]
    cells = labels[known] * topics + log_probabilities[known].argmax(-1)
    rows = torch.bincount(cells, minlength=topics**2).view(topics, topics)
    return (rows + rows.T).fill_diagonal_(0)
