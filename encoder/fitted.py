"""What fitting an encoder gives: the model, and what it said of rows that it had not seen. Plain data."""

from dataclasses import dataclass, field

from torch import Tensor

from ..balance import LossLink
from .topic_encoder import TopicEncoder


@dataclass(frozen=True)
class HeldOut:
    """What models said of rows that they were not fitted on.

    Attributes:
        logits: (n, C) float32.
        labels: Topic indices (n,).
        weights: How much each row counts (n,), float64.
    """

    logits: Tensor
    labels: Tensor
    weights: Tensor


@dataclass(frozen=True)
class FittedEncoder:
    """A fitted topic classifier.

    Attributes:
        encoder: The classifier.
        model_prior: The prior (C,) that the softmax of its logits holds.
        held_out: What was said of rows held out, on which it is calibrated; None where there were none.
        notes: What was chosen and why, a line each.
        link: Undoes the loss that it was trained with, where that is not proper.
    """

    encoder: TopicEncoder
    model_prior: tuple[float, ...]
    held_out: HeldOut | None
    notes: tuple[str, ...] = ()
    link: LossLink = field(default_factory=LossLink)
