"""The result of fitting an encoder: the model and its held-out predictions. Plain data that knows no training."""

from dataclasses import dataclass, field

from torch import Tensor

from ..balance import LossLink
from .topic_encoder import TopicEncoder


@dataclass(frozen=True)
class HeldOut:
    """Predictions of models for rows that they were not fitted on.

    Attributes:
        logits: Logits (n, C), float32.
        labels: Topic indices (n,).
        weights: Weights of the rows (n,), float64.
    """

    logits: Tensor
    labels: Tensor
    weights: Tensor


@dataclass(frozen=True)
class FittedEncoder:
    """A fitted topic classifier.

    Attributes:
        encoder: Topic classifier.
        model_prior: Prior (C,) of the softmax of its logits.
        held_out: Held-out predictions to calibrate on; None if no row was held out.
        notes: Choices made and their reasons, a line each.
        link: Link that undoes the training loss if it is not proper.
    """

    encoder: TopicEncoder
    model_prior: tuple[float, ...]
    held_out: HeldOut | None
    notes: tuple[str, ...] = ()
    link: LossLink = field(default_factory=LossLink)
