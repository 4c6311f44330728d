"""Losses for skewed and noisy topics, chosen by one settings object.

Knows logits, topic indices and training counts; knows nothing of models or training loops. Everything is computed in
float32 (float64 for float64 logits), so bf16 logits and counts from 1 to 10^8 are safe. Cross-entropy is torch's; torch
has none of the others, and torchvision's focal loss is for binary targets.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..common import UserError
from .noise import checked_noise, forward_noise_rows, noise_from_rate
from .settings import LossSettings
from .weights import Counts, as_counts, class_weights, describe_weights

IGNORED = -100  # label of rows to leave out, as in torch's cross-entropy


def focal_rows(logits: Tensor, labels: Tensor, gamma: float, label_smoothing: float = 0.0) -> Tensor:
    """Row losses (B,): (1 - p_t)^gamma * CE, Lin et al. 2017, eq. 4; p_t is of the unweighted distribution."""
    log_p = logits.log_softmax(-1).gather(-1, labels[:, None]).squeeze(-1)
    # The floor keeps the gradient finite where p_t rounds to 1 and gamma is under 1.
    miss = (-torch.expm1(log_p)).clamp(min=1e-12)
    return miss**gamma * F.cross_entropy(logits, labels, reduction="none", label_smoothing=label_smoothing)


def logit_adjusted_rows(
    logits: Tensor, labels: Tensor, counts: Tensor, tau: float = 1.0, label_smoothing: float = 0.0
) -> Tensor:
    """Row losses (B,): CE(f + tau log pi), Menon et al. 2021, eq. 10; at tau = 1 Ren et al. 2020.

    At inference the logits are used as they are: with tau = 1 they have a uniform prior.
    """
    log_prior = (counts / counts.sum()).log().to(logits.dtype)
    return F.cross_entropy(logits + tau * log_prior, labels, reduction="none", label_smoothing=label_smoothing)


def ldam_margins(counts: Tensor, max_margin: float) -> Tensor:
    """Margins (C,) proportional to n_c^-1/4, the largest being `max_margin`: Cao et al. 2019, section 3.2."""
    return max_margin * (counts / counts.min()) ** -0.25


def ldam_rows(logits: Tensor, labels: Tensor, margins: Tensor) -> Tensor:
    """Row losses (B,): CE after the true topic's logit is lowered by its margin, Cao et al. 2019, section 3.2.

    The published code computes CE(s (z - margin)) on cosines z. Here logits = s z and margins are s times as
    large, which is the same number, and softmax(logits) stays the model's distribution at inference.
    """
    own = F.one_hot(labels, logits.shape[-1]).to(logits.dtype)
    return F.cross_entropy(logits - own * margins.to(logits.dtype), labels, reduction="none")


def generalised_cross_entropy_rows(logits: Tensor, labels: Tensor, q: float) -> Tensor:
    """Row losses (B,): (1 - p_t^q) / q, bounded, so wrong topics pull little: Zhang & Sabuncu 2018."""
    log_p = logits.log_softmax(-1).gather(-1, labels[:, None]).squeeze(-1)
    return -torch.expm1(q * log_p) / q


class TopicLoss(nn.Module):
    """The loss of one `LossSettings` for one set of training counts.

    Called with logits (B, C) and labels (B,), it gives sum_i w_{y_i} row_loss_i / denominator, a scalar. The
    denominator is B unless given. Under gradient accumulation, or with uneven batches, give every call the same
    denominator (the expected rows of a whole step); the accumulated gradient is then that of one large batch. Weights
    have a mean of 1 per training row, so the denominator counts rows, not weights.

    Args:
        settings: Settings of the loss.
        counts: Rows per topic (C,) of the training set.
        names: Names of the topics (C,), needed for weights given as {topic: weight}.
        noise: Noise matrix (C, C) for forward_noise, for example from `noise_matrix`; None makes it from the noise
            rate.
    """

    def __init__(
        self, settings: LossSettings, counts: Counts, names: Sequence[str] | None = None, noise: Tensor | None = None
    ):
        super().__init__()
        self.settings = settings
        rows = as_counts(counts)
        if names is not None and len(names) != len(rows):
            raise UserError(f"{len(names)} topic names for {len(rows)} counts")
        options = {"beta": settings.beta, "exponent": settings.exponent, "names": names}
        self.description = f"{settings.name}, {describe_weights(settings.scheme, rows, **options)}"
        # Plain attributes, not buffers: a module cast to bf16 would round a log count of 18 by 0.06.
        self._counts = rows.float()
        self._weights = class_weights(settings.scheme, rows, **options).float()
        self._noise: Tensor | None = None
        if settings.name == "forward_noise":
            given = noise_from_rate(rows, settings.value("noise_rate")) if noise is None else noise
            self._noise = checked_noise(given, len(rows)).float()
        elif noise is not None:
            raise UserError(f"a noise matrix has no effect with {settings.name}; give the loss forward_noise")
        self._progress = 0.0

    @property
    def weights(self) -> Tensor:
        """The class weights (C,) in force at this point of the training."""
        start = self.settings.reweight_from
        if start is None:
            start = 0.8 if self.settings.name == "ldam" else 0.0
        return self._weights if self._progress >= start else torch.ones_like(self._weights)

    def set_progress(self, share: float) -> None:
        """Tell the loss what share of the training is done, in [0, 1]; deferred weights start at their share."""
        self._progress = share

    def row_losses(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Unweighted loss of each row (B,)."""
        settings, smoothing = self.settings, self.settings.value("label_smoothing")
        match settings.name:
            case "cross_entropy":
                return F.cross_entropy(logits, labels, reduction="none", label_smoothing=smoothing)
            case "focal":
                return focal_rows(logits, labels, settings.value("gamma"), smoothing)
            case "logit_adjusted" | "balanced_softmax":
                return logit_adjusted_rows(logits, labels, self._counts, settings.value("tau"), smoothing)
            case "ldam":
                margins = ldam_margins(self._counts, settings.value("max_margin") * settings.value("scale"))
                return ldam_rows(logits, labels, margins)
            case "generalised_cross_entropy":
                return generalised_cross_entropy_rows(logits, labels, settings.value("q"))
            case "forward_noise":
                assert self._noise is not None
                return forward_noise_rows(logits, labels, self._noise)

    def forward(
        self,
        logits: Tensor,
        labels: Tensor,
        denominator: float | None = None,
        row_weights: Tensor | None = None,
    ) -> Tensor:
        """The loss, a scalar in float32 (float64 for float64 logits).

        A row with weight w counts w times; row weights (B,) have a mean of 1 over the training set.

        Rows with label -100, torch's `ignore_index`, are left out and not counted. A batch without rows has a loss of
        0.
        """
        if logits.ndim != 2 or logits.shape[1] != len(self._counts):
            raise ValueError(f"logits {tuple(logits.shape)} for {len(self._counts)} topics")
        if self._counts.device != logits.device:
            self._counts, self._weights = self._counts.to(logits.device), self._weights.to(logits.device)
            self._noise = None if self._noise is None else self._noise.to(logits.device)
        logits = logits if logits.dtype == torch.float64 else logits.float()
        counted = labels != IGNORED
        logits, labels = logits[counted], labels[counted].long()
        rows = self.row_losses(logits, labels) * self.weights.to(logits.dtype)[labels]
        rows = rows if row_weights is None else rows * row_weights.to(logits.dtype)[counted]
        return rows.sum() / (max(1, len(labels)) if denominator is None else denominator)

    def extra_repr(self) -> str:
        """What `print(loss)` shows."""
        return self.description


def make_loss(
    settings: LossSettings, counts: Counts, names: Sequence[str] | None = None, noise: Tensor | None = None
) -> TopicLoss:
    """The loss for training counts (C,); see `TopicLoss` for `names` (C,) and `noise` (C, C)."""
    return TopicLoss(settings, counts, names, noise)
