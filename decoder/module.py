"""The Lightning module of a decoder: its loss and validation metrics. Knows nothing of files or tokenizers."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from ..balance import TopicLoss
from ..training import Batch, PhaseModule, PhaseSettings
from .adaptation import Model
from .stored_sequences import NO_TOPIC
from .target_logits import target_logits

MONITOR = "validation/loss"


@dataclass(frozen=True)
class Predictions:
    """The predictions of a model for a batch.

    Attributes:
        written: Logits (N, V) for the target tokens of all rows, concatenated.
        targets: The target tokens (N,).
        rows: The row (N,) of each target token.
        topics: Logits (B, C) of the topic tokens at the topic's position.
        naming: Negative log-probability (B,) that the token there is a topic token at all.
    """

    written: Tensor
    targets: Tensor
    rows: Tensor
    topics: Tensor
    naming: Tensor


class DecoderModule(PhaseModule):
    """One phase of a decoder's training: next-token cross-entropy on the target, and with `topic_loss` on the topic.

    The topic's part is the topic loss among topic tokens, plus the cross-entropy of the event that a topic token comes
    at all. Unweighted, their sum is the cross-entropy over the vocabulary. So class weights affect only the choice of
    the topic, and a decoder that writes freely still names one.

    Args:
        model: Causal language model; its trained parameters require gradients.
        phase: Length and speed of the phase.
        topic_ids: Ids of the topic tokens, in the order of the topics.
        topic_loss: Loss of the baseline's choice of a topic; None trains on the target alone.
        fair_loss: The same for rows with `<force_fairness>`; None if there are no such rows.
        shown: Frequency of each topic in training relative to held-out rows: weights (2, C) for rows without and with
            the token, so that the validation loss matches the training loss; None gives equal weights.
        rates: Learning-rate factor per parameter name.
        shared: Number of tokens that every row begins with and that are read once for all rows, see `shared_tokens`.
    """

    def __init__(
        self,
        model: Model,
        phase: PhaseSettings,
        topic_ids: Sequence[int],
        topic_loss: TopicLoss | None = None,
        fair_loss: TopicLoss | None = None,
        shown: Sequence[Sequence[float]] | None = None,
        *,
        rates: Mapping[str, float] | None = None,
        shared: int = 0,
    ) -> None:
        super().__init__(model, phase, rates)
        self._shared = shared
        self.topic_loss, self.fair_loss = topic_loss, fair_loss
        self._shown = shown or [[1.0] * len(topic_ids)] * 2
        self._topic_ids = list(topic_ids)

    def on_train_epoch_start(self) -> None:
        """Switch dropout on."""
        self.model.train()

    def on_train_batch_start(self, batch: Batch, batch_idx: int) -> None:
        """Tell the losses how far the phase is, so that deferred class weights start."""
        for loss in (self.topic_loss, self.fair_loss):
            if loss is not None:
                loss.set_progress(self.done_share)

    def predict_batch(self, batch: Batch) -> Predictions:
        """One forward pass, with logits only at predicted positions."""
        written, ids = batch["written"], batch["input_ids"]
        columns = torch.arange(ids.shape[1], device=ids.device)
        before_topic = columns == (ids.shape[1] - 2 - written[:, None]).clamp(min=0)
        counted = F.pad(batch["learnt"][:, 1:], (0, 1))
        wanted = before_topic | counted
        inputs = {name: batch[name] for name in ("input_ids", "attention_mask")}
        logits = target_logits(self.model, inputs, wanted, self._shared).float()
        first = logits[before_topic[wanted]]
        topics = first[:, self._topic_ids]
        return Predictions(
            written=logits[counted[wanted]],
            targets=ids[:, 1:][counted[:, :-1]],
            rows=torch.arange(len(ids), device=ids.device)[:, None].expand_as(counted)[counted],
            topics=topics,
            naming=first.logsumexp(dim=1) - topics.logsumexp(dim=1),
        )

    def training_step(self, batch: Batch, batch_index: int) -> Tensor:
        """The target tokens' summed cross-entropy divided by their mean number in a batch, plus the topic's loss.

        The denominators are the same in every step. So a token weighs the same in a large and a small batch, and
        accumulated gradients equal those of one large batch.
        """
        data = self.trainer.datamodule  # pyright: ignore[reportAttributeAccessIssue]
        seen = self.predict_batch(batch)
        loss = F.cross_entropy(seen.written, seen.targets, reduction="sum") / data.written_per_batch
        if self.topic_loss is not None:
            loss = loss + self._topic_part(seen, batch, data.rows_per_batch)
        self.log("train/loss", loss, on_step=True, on_epoch=False)
        return loss

    def validation_step(self, batch: Batch, batch_index: int) -> None:
        """Log `nll` per target token, `exact`, and for the baseline the topic's unweighted `topic_nll` and accuracy.

        `exact` is the share of rows in which every token is the most probable one, so that greedy generation gets the
        row right.
        """
        seen = self.predict_batch(batch)
        count, rows = len(seen.targets), len(batch["written"])
        nll = F.cross_entropy(seen.written, seen.targets)
        wrong = nll.new_zeros(rows)  # not torch.zeros: `precision: bf16-true` changes its type
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
        self._log_mean("loss", nll + self._held_out_topic_part(seen, batch), rows)

    def _topic_part(self, seen: Predictions, batch: Batch, denominator: float) -> Tensor:
        """The summed topic losses of the rows with a topic, each under the loss for its kind, over the denominator."""
        known = batch["topic"] != NO_TOPIC
        total = seen.naming[known].sum() / denominator
        for loss, kind in ((self.topic_loss, known & ~batch["fair"]), (self.fair_loss, known & batch["fair"])):
            if loss is not None and kind.any():
                total = total + loss(seen.topics[kind], batch["topic"][kind], denominator=denominator)
        return total

    def _held_out_topic_part(self, seen: Predictions, batch: Batch) -> Tensor:
        """The mean over the rows, weighted by how often training shows the row's topic in its kind."""
        rows = len(batch["topic"])
        total = seen.naming.mean()
        for fair, loss in enumerate((self.topic_loss, self.fair_loss)):
            if loss is None:
                continue
            kind = batch["fair"] == bool(fair)
            for topic in batch["topic"][kind].unique().tolist():
                own = kind & (batch["topic"] == topic)
                part = loss(seen.topics[own], batch["topic"][own], denominator=rows)
                total = total + self._shown[fair][topic] * part
        return total

    def _log_mean(self, name: str, value: Tensor, weight: int) -> None:
        self.log(f"validation/{name}", value, on_epoch=True, on_step=False, batch_size=weight, sync_dist=True)
