"""The encoder with its calibration and target prior in one graph, for runtimes that know neither.

Knows tensors and the steps of `PosteriorCorrector`; knows no format.
"""

import math
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from ..balance import FLOOR, PosteriorCorrector, prior_from_counts

INPUTS = ("input_ids", "attention_mask")
OUTPUTS = ("logits", "log_probabilities")


class EncoderGraph(nn.Module):
    """A module from input_ids and attention_mask (B, T), int64, to logits and log-probabilities (B, C), float32.

    The log-probabilities are those of `PosteriorCorrector.log_probabilities`, without its checks, which a graph cannot
    contain. The graph undoes the distortion of the loss, exchanges the model's prior for the training prior, applies
    the calibration, and exchanges the training prior for the target prior.

    Args:
        model: Classifier without prepacked layers.
        corrector: Corrector of its logits.
    """

    def __init__(self, model: PreTrainedModel, corrector: PosteriorCorrector) -> None:
        super().__init__()
        self.model = model.eval()
        self._link = corrector.link
        train, model_prior, target = (
            prior_from_counts(corrector.topics.counts),
            torch.tensor(corrector.model_prior, dtype=torch.float64),
            torch.tensor(corrector.target, dtype=torch.float64),
        )
        self._to_training: Any = nn.Buffer((train / model_prior).log().float())
        self._to_target: Any = nn.Buffer((target / train).log().float())
        self._scale: Any = nn.Buffer(
            torch.tensor([math.exp(-value) for value in corrector.calibration.log_temperature])
        )
        self._bias: Any = nn.Buffer(torch.tensor(corrector.calibration.bias or [0.0]))

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> dict[str, Tensor]:
        """Logits and log-probabilities (B, C), by the names in `OUTPUTS`."""
        logits = self.model(input_ids=input_ids, attention_mask=attention_mask).logits.float()
        log_p = _exchanged(self._link(logits), self._to_training)
        log_p = (log_p.clamp(min=FLOOR) * self._scale + self._bias).log_softmax(-1)
        return {"logits": logits, "log_probabilities": _exchanged(log_p, self._to_target)}


def _exchanged(log_p: Tensor, shift: Tensor) -> Tensor:
    """Log-probabilities (B, C) under another prior, whose log-ratio to the present one is `shift` (C,)."""
    return (log_p.log_softmax(-1).clamp(min=FLOOR) + shift).log_softmax(-1)
