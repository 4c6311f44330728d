"""Links: from the softmax of a model trained with a loss that is not proper back to the exact posterior.

Knows logits, loss settings and counts; knows no model. At the minimum of focal loss, LDAM, generalised cross-entropy or
label smoothing, softmax(logits) is a distorted posterior. Priors can be exchanged only in a true posterior, so the
distortion has to be undone first.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from .losses import ldam_margins
from .settings import LossSettings
from .weights import Counts, as_counts

LOWEST = -1000.0  # nats: the value for the log of an exact 0
LEAST = 1e-3  # share that is kept of a probability that smoothing fully explains: keeps the order and avoids a log of 0


@dataclass(frozen=True)
class LossLink:
    """Called with logits (n, C), it gives log-posteriors (n, C), float32, under the prior of `prior_from_loss`.

    Let q = softmax(logits + adjustment). For the rows that the loss saw, each times its class weight, the posterior is
    proportional to

    - focal loss with label smoothing e: u - v sum(u m) / (1 + sum(v m)), where m = (1 - q)^gamma, u = q / A, v = e /
      (C A), A = gamma q (1 - q)^(gamma - 1) S + (1 - e) m, and S is the smoothed cross-entropy of each topic. Without
      smoothing this is q / A (Charoenphakdee et al. 2021, theorem 11), with gamma 0 it is q - e / C;
    - LDAM: q (1 - q (1 - exp(-margin)));
    - generalised cross-entropy: q^(1 - power).

    The last two formulas, and the first with both gamma and smoothing, follow from setting the derivative of the
    expected loss to 0. The adjustment is subtracted again, as `prior_from_loss` assumes.

    Attributes:
        gamma: Gamma of focal loss.
        smoothing: Label smoothing.
        adjustment: Additive adjustment of the logits (C,); empty for none.
        margins: Margins of LDAM (C,); empty for none.
        power: The q of generalised cross-entropy, in [0, 1).
    """

    gamma: float = 0.0
    smoothing: float = 0.0
    adjustment: tuple[float, ...] = ()
    margins: tuple[float, ...] = ()
    power: float = 0.0

    def __call__(self, logits: Tensor) -> Tensor:
        """Log-posteriors (n, C)."""
        if self == LossLink():
            return logits.float().log_softmax(-1)
        shift = torch.tensor(self.adjustment or [0.0], dtype=torch.float64, device=logits.device)
        log_q = (logits.double() + shift).log_softmax(-1).clamp(min=LOWEST)
        undone = self._undone(log_q)
        return (undone - shift).log_softmax(-1).float()

    def _undone(self, log_q: Tensor) -> Tensor:
        if self.margins:
            lost = -torch.expm1(-torch.tensor(self.margins, dtype=torch.float64, device=log_q.device))
            return log_q + torch.log1p(-lost * log_q.exp())
        if self.power:
            return (1 - self.power) * log_q
        return _focal_and_smoothing(log_q, self.gamma, self.smoothing)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, fit for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> "LossLink":
        """The inverse of `to_dict`."""
        given: dict[str, Any] = {
            name: tuple(value) if isinstance(value, Sequence) else value for name, value in stored.items()
        }
        return cls(**given)


def loss_link(settings: LossSettings, counts: Counts) -> LossLink:
    """The link of a loss made for these training rows per topic (C,).

    Mean absolute error (generalised cross-entropy with q of 1) learns only which topic is likeliest; it is left as it
    is.
    """
    rows, smoothing = as_counts(counts), settings.value("label_smoothing")
    match settings.name:
        case "focal":
            return LossLink(settings.value("gamma"), smoothing)
        case "logit_adjusted" | "balanced_softmax" if smoothing:
            return LossLink(0.0, smoothing, tuple((settings.value("tau") * (rows / rows.sum()).log()).tolist()))
        case "ldam":
            return LossLink(
                margins=tuple(ldam_margins(rows, settings.value("max_margin") * settings.value("scale")).tolist())
            )
        case "generalised_cross_entropy":
            power = settings.value("q")
            return LossLink(power=power if power < 1 else 0.0)
    return LossLink(0.0, smoothing)


def _focal_and_smoothing(log_q: Tensor, gamma: float, smoothing: float) -> Tensor:
    topics, q = log_q.shape[-1], log_q.exp()
    log_miss = (-torch.expm1(log_q)).clamp(min=1e-15).log()
    entropy = -(1 - smoothing) * log_q - smoothing / topics * log_q.sum(-1, keepdim=True)
    # A without its factor (1 - q)^(gamma - 1), which is 0 or infinite where q is 1.
    factor = gamma * q * entropy + (1 - smoothing) * log_miss.exp()
    log_u = log_q - factor.clamp(min=1e-300).log() - (gamma - 1) * log_miss
    if not smoothing:
        return log_u
    log_v = log_u - log_q + torch.log(torch.tensor(smoothing / topics, dtype=torch.float64))
    log_m = gamma * log_miss
    log_share = (log_u + log_m).logsumexp(-1, keepdim=True) - torch.nn.functional.softplus(
        (log_v + log_m).logsumexp(-1, keepdim=True)
    )
    explained = (log_v + log_share - log_u).exp()  # of u, by the smoothing alone
    return log_u + (1 - explained).clamp(min=LEAST).log()
