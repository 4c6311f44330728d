"""Held-out rows kept with a system: the encoder's log-probabilities and the true topics. Knows no file.

A decision for another target prior is fitted on them. They also show how much the classifier's own errors bias an
estimated prior.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from ..common import UserError
from .calibration import checked_weights

MOST_ROWS = 5000
MOST_NUMBERS = 2**21  # 4 MB
FLOOR = -1000.0  # nats


@dataclass(frozen=True, eq=False)
class HeldOutRows:
    """Rows that the encoder was not trained on.

    Attributes:
        logits: Log-probabilities (n, C) of the encoder, float16.
        labels: Topic indices (n,), int32.
        weights: Relative weights of the rows (n,), float32.

    Raises:
        UserError: If these do not fit each other, or are not log-probabilities, topics and weights.
    """

    logits: Tensor
    labels: Tensor
    weights: Tensor

    def __post_init__(self) -> None:
        if self.logits.ndim != 2 or self.labels.shape != self.logits.shape[:1] or 0 in self.logits.shape:
            raise UserError(f"held-out logits {tuple(self.logits.shape)} do not fit topics {tuple(self.labels.shape)}")
        if not (self.logits.float().isfinite().all() and self.logits.max() < 0.01):
            raise UserError("held-out logits must be log-probabilities")
        if not 0 <= int(self.labels.min()) <= int(self.labels.max()) < self.logits.shape[1]:
            raise UserError(f"held-out topics must be in 0..{self.logits.shape[1] - 1}")
        checked_weights(self.weights, len(self.labels))

    @classmethod
    def kept_of(cls, logits: Tensor, labels: Tensor, weights: Tensor | None = None, seed: int = 0) -> "HeldOutRows":
        """At most 5,000 rows and 2 million numbers of logits (n, C), labels (n,) and weights (n,), by default equal.

        Frequent topics are thinned.
        """
        logits, labels = logits.detach().cpu().float(), labels.detach().cpu().long()
        weights = checked_weights(weights, len(labels))
        kept = _thinned(labels, min(MOST_ROWS, MOST_NUMBERS // logits.shape[1]), seed)
        # float16 at worst rounds the log-probability of a sure row, such as -2e-8, to 0: its smallest number is 6e-8.
        rounded = logits[kept].log_softmax(-1).clamp(min=FLOOR).half()
        return cls(rounded, labels[kept].int(), weights[kept].float())


def _thinned(labels: Tensor, most: int, seed: int) -> Tensor:
    """Row numbers, in order: at most `most` rows, with the same cap on the rows of every topic."""
    if len(labels) <= most:
        return torch.arange(len(labels))
    shuffled = torch.randperm(len(labels), generator=torch.Generator().manual_seed(seed))
    by_topic = shuffled[labels[shuffled].argsort(stable=True)]
    rows = torch.bincount(labels)
    place = torch.arange(len(labels)) - (rows.cumsum(0) - rows)[labels[by_topic]]
    # The `most` rows with the lowest place within their topic: rare topics keep all their rows.
    return by_topic[place.argsort(stable=True)[:most]].sort().values
