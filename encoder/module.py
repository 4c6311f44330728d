"""The Lightning module of an encoder: its loss and exact validation metrics. Knows nothing of files or tokenizers."""

import math
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedModel

from ..balance import TopicLoss, metrics
from ..corpus import Topics
from ..training import Batch, PhaseModule, PhaseSettings
from .layers import body_modules

MONITOR = "validation/macro_f1"


class EncoderModule(PhaseModule):
    """One phase of an encoder's training.

    Args:
        model: A sequence classifier over `topics`.
        phase: Length and speed of the phase.
        loss: Loss of the phase; it is told the progress of training each step, for deferred weights.
        topics: Names and bands for the logged recalls.
        validation_targets: Topic index of each validation row (V,).
        rates: Learning-rate factor per parameter name.
        frozen_body: Whether the body is frozen, and with it its dropout.
    """

    model: PreTrainedModel

    def __init__(
        self,
        model: PreTrainedModel,
        phase: PhaseSettings,
        loss: TopicLoss,
        topics: Topics,
        validation_targets: Sequence[int] | np.ndarray,
        *,
        rates: Mapping[str, float] | None = None,
        frozen_body: bool = False,
    ) -> None:
        super().__init__(model, phase, rates)
        self.loss = loss
        self._topics = topics
        self._targets = torch.as_tensor(validation_targets)
        self._frozen_body = frozen_body
        self._seen: list[tuple[Tensor, Tensor]] = []

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Float32 logits (B, C)."""
        return self.model(input_ids=input_ids, attention_mask=attention_mask).logits.float()

    def on_train_start(self) -> None:
        """Do what an epoch's start does, because a resumed epoch has no start."""
        self.on_train_epoch_start()

    def on_train_epoch_start(self) -> None:
        """Switch dropout on, except in a frozen body, whose features must be the same as at prediction."""
        self.model.train()
        if self._frozen_body:
            for module in body_modules(self.model):
                module.eval()

    def on_train_batch_start(self, batch: Batch, batch_idx: int) -> None:
        """Tell the loss how far the phase is, so that deferred class weights start."""
        self.loss.set_progress(self.done_share)

    def training_step(self, batch: Batch, batch_index: int) -> Tensor:
        """The loss divided by the mean rows of a step, so that a row weighs the same in a large and a small batch."""
        logits = self(batch["input_ids"], batch["attention_mask"])
        rows = self.trainer.datamodule.rows_per_batch  # pyright: ignore[reportAttributeAccessIssue]
        loss = self.loss(logits, batch["target"], denominator=rows, row_weights=batch["weight"])
        self.log("train/loss", loss, on_step=True, on_epoch=False)
        return loss

    def validation_step(self, batch: Batch, batch_index: int) -> None:
        """Keep the logits of these rows."""
        self._seen.append((batch["row"], self(batch["input_ids"], batch["attention_mask"])))

    def on_validation_epoch_end(self) -> None:
        """Gather the logits of all ranks and log the metrics, which are exact and equal on every rank.

        Those of single topics go to the loggers alone: Lightning's own account of a metric takes longer than a topic's
        rows.
        """
        values = validation_metrics(self._gathered().cpu(), self._targets, self._topics)
        of_topics = {f"validation/{name}": values.pop(name) for name in [*values] if "/" in name}
        self.log_dict({f"validation/{name}": value for name, value in values.items()}, sync_dist=True)
        for logger in self.trainer.loggers:
            logger.log_metrics(of_topics, self.trainer.global_step)

    def _gathered(self) -> Tensor:
        """Validation logits (V, C) in row order; a row that a rank repeats to fill its share counts once."""
        rows, logits = (torch.cat(parts) for parts in zip(*self._seen, strict=True))
        self._seen.clear()
        total = logits.new_zeros(len(self._targets), logits.shape[1] + 1)
        total[rows] = torch.cat([logits, logits.new_ones(len(rows), 1)], dim=1)
        total = self.trainer.strategy.reduce(total, reduce_op="sum")
        return total[:, :-1] / total[:, -1:].clamp(min=1)


def validation_metrics(logits: Tensor, labels: Tensor, topics: Topics) -> dict[str, float]:
    """Metrics of logits (V, C) against labels (V,), both on the CPU.

    Returns:
        `macro_f1`, `accuracy`, `balanced_accuracy`, `nll` (nats a row), `recall_BAND` (mean over the topics of the
        band) and `recall/TOPIC`; bands and topics without a row are left out.
    """
    rows = logits.double().softmax(dim=-1), labels
    values = {
        "macro_f1": metrics.macro_f1(*rows),
        "accuracy": metrics.accuracy(*rows),
        "balanced_accuracy": metrics.balanced_accuracy(*rows),
        "nll": metrics.negative_log_likelihood(*rows),  # NaN if a logit is NaN, which stops the run
    }
    recalls = {f"recall_{band}": recall for band, recall in metrics.band_recall(*rows, topics.counts).items()}
    each = metrics.topic_recall(*rows).tolist()
    recalls |= {f"recall/{name}": recall for name, recall in zip(topics.names, each, strict=True)}
    return values | {name: recall for name, recall in recalls.items() if not math.isnan(recall)}
