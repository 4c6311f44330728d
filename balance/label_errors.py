"""Labels that a classifier doubts, from what it said of rows that it was not fitted on. Knows no names and no texts."""

from dataclasses import dataclass

import torch
from torch import Tensor

from ..common import UserError

TIMES = 20.0  # more probable than the given topic: from there on a label is doubted


@dataclass(frozen=True)
class DoubtedLabels:
    """How the rows' own topics compare with the most probable other one.

    Attributes:
        other: The most probable topic (n,) besides the given one.
        times: How many times as probable it is (n,), float64; 0 where nothing is known of a row.
    """

    other: Tensor
    times: Tensor

    def rows(self, at_least: float = TIMES) -> list[int]:
        """The doubted rows, the most doubtful first."""
        order = self.times.argsort(descending=True, stable=True)
        return [row for row in order.tolist() if self.times[row] >= at_least]


def doubt_labels(log_probabilities: Tensor, labels: Tensor) -> DoubtedLabels:
    """Compare each row's given topic with the most probable other one.

    The ranking is the normalised margin of confident learning (Northcutt et al. 2021, section 3.2): out-of-sample
    probability of the given label less that of the best other, here as a ratio, since a constant ratio means the same
    for rare and frequent topics under a training prior. Its class thresholds are left out: they find fewer errors where
    frequent topics are sure (benchmarks/results/inspection.md).

    Args:
        log_probabilities: (n, C) of models that were not fitted on the row, under the rows' own prior; nan where none.
        labels: The topics (n,) that the rows came with.

    Raises:
        UserError: If the shapes do not fit, or there is only one topic.
    """
    values, labels = log_probabilities.detach().cpu().double(), labels.detach().cpu().long()
    if values.ndim != 2 or labels.shape != values.shape[:1] or values.shape[1] < 2:
        raise UserError(f"log-probabilities {tuple(values.shape)} do not fit labels {tuple(labels.shape)}")
    own = values.gather(-1, labels[:, None]).squeeze(-1)
    best, other = values.scatter(-1, labels[:, None], -torch.inf).max(-1)
    return DoubtedLabels(other, (best - own).nan_to_num(-torch.inf, posinf=700.0).clamp(max=700.0).exp())


def exchanged(log_probabilities: Tensor, labels: Tensor) -> Tensor:
    """How many rows of topic i are answered as j or the other way round (C, C), symmetric, 0 on the diagonal.

    Args:
        log_probabilities: (n, C), nan where nothing is known of a row.
        labels: Topics (n,).
    """
    known = log_probabilities.isfinite().all(-1)
    topics = log_probabilities.shape[1]
    cells = labels[known] * topics + log_probabilities[known].argmax(-1)
    rows = torch.bincount(cells, minlength=topics**2).view(topics, topics)
    return (rows + rows.T).fill_diagonal_(0)
