"""The Lightning module of a decoder: its loss and validation measures. Knows nothing of files or tokenizers."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from ..balance.losses import TopicLoss
from ..training.phase import PhaseModule, PhaseSettings
from .adaptation import Model
from .data import Batch
from .sequences import last_logits

MONITOR = "validation/loss"


@dataclass(frozen=True)
class Predictions:
    """What a model predicts of a batch.

    Attributes:
        written: Logits (N, V) for the target tokens of all rows, row after row.
        targets: Those tokens (N,).
        rows: The row (N,) that each belongs to.
        topics: Logits (B, C) for the topic token, a distribution over topic tokens alone.
    """

    written: Tensor
    targets: Tensor
    rows: Tensor
    topics: Tensor


class DecoderModule(PhaseModule):
    """One phase of a decoder's training: next-token cross-entropy on the target, and with `topic_loss` on the topic.

    Args:
        model: A causal language model; what of it trains requires gradients.
        phase: Length and speed.
        topic_ids: Ids of the topic tokens, in the order of the topics.
        topic_loss: For the baseline's choice of a topic; None trains on the target alone.
    """

    def __init__(
        self,
        model: Model,
        phase: PhaseSettings,
        topic_ids: Sequence[int],
        topic_loss: TopicLoss | None = None,
    ) -> None:
        super().__init__(model, phase)
        self.topic_loss = topic_loss
        self._topic_ids = list(topic_ids)

    def on_train_epoch_start(self) -> None:
        """Dropout on; deferred class weights begin at their share of the phase."""
        self.model.train()
        if self.topic_loss is not None:
            self.topic_loss.set_progress(self.trainer.current_epoch / self.phase.epochs)

    def predict_batch(self, batch: Batch) -> Predictions:
        """One forward pass, with logits only where something is to be predicted."""
        written, ids = batch["written"], batch["input_ids"]
        ahead = int(written.max()) + 1  # the target, and the topic token before it
        inputs = {name: batch[name] for name in ("input_ids", "attention_mask")}
        logits = last_logits(self.model, inputs, min(ahead + 1, ids.shape[1]))
        steps = logits.shape[1] - 1
        counted = torch.arange(steps, device=ids.device) >= steps - written[:, None]
        rows = torch.arange(len(ids), device=ids.device)
        before_topic = (steps - 1 - written).clamp(min=0)
        return Predictions(
            written=logits[:, :-1][counted].float(),
            targets=ids[:, -steps:][counted],
            rows=rows[:, None].expand(-1, steps)[counted],
            topics=logits[rows, before_topic][:, self._topic_ids].float(),
        )

    def training_step(self, batch: Batch, batch_index: int) -> Tensor:
        """Sum of the target tokens' cross-entropies over the mean number of them in a batch, plus the topic's loss.

        The denominators are the same in every step, so a token weighs the same in a large and a small batch, and
        accumulated gradients are those of one large batch.
        """
        data = self.trainer.datamodule  # pyright: ignore[reportAttributeAccessIssue]
        seen = self.predict_batch(batch)
        loss = F.cross_entropy(seen.written, seen.targets, reduction="sum") / data.written_per_batch
        if self.topic_loss is not None:
            loss = loss + self.topic_loss(seen.topics, batch["topic"], denominator=data.rows_per_batch)
        self.log("train/loss", loss, on_step=True, on_epoch=False)
        return loss

    def validation_step(self, batch: Batch, batch_index: int) -> None:
        """Log `nll` per target token, `exact`, and for the baseline the topic's unweighted `topic_nll` and accuracy.

        `exact` is the share of rows whose every token is the most probable one: what greedy generation gets right.
        """
        seen = self.predict_batch(batch)
        count, rows = len(seen.targets), len(batch["written"])
        nll = F.cross_entropy(seen.written, seen.targets)
        wrong = torch.zeros(rows, device=nll.device)
        wrong.index_add_(0, seen.rows, (seen.written.argmax(dim=1) != seen.targets).float())
        self._log_mean("nll", nll, count)
        self._log_mean("exact", (wrong == 0).float().mean(), rows)
        if self.topic_loss is None:
            self._log_mean("loss", nll, count)
            return
        topic_nll = F.cross_entropy(seen.topics, batch["topic"])
        right = (seen.topics.argmax(dim=1) == batch["topic"]).float().mean()
        self._log_mean("topic_nll", topic_nll, rows)
        self._log_mean("topic_accuracy", right, rows)
        self._log_mean("loss", nll + self.topic_loss(seen.topics, batch["topic"]), rows)

    def _log_mean(self, name: str, value: Tensor, weight: int) -> None:
        self.log(f"validation/{name}", value, on_epoch=True, on_step=False, batch_size=weight, sync_dist=True)
