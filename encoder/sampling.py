"""The rows of an encoder's epoch, and the prior that they and the loss teach. Knows no model."""

from collections.abc import Sequence

import numpy as np

from ..balance import LossLink, LossSettings, TemperedSampler, loss_link, prior_from_loss, tempered_counts
from ..corpus import Record, Topics, record_weights, split_paraphrases, topic_indices
from .settings import EncoderSettings


def make_sampler(
    records: Sequence[Record], topics: Topics, ratio: float | None, seed: int
) -> tuple[Sequence[Record], TemperedSampler | None]:
    """The records in the sampler's numbering, and the sampler; a sampler of None takes each row once.

    With a ratio, rows repeat, and a paraphrase replaces a repeat of its original instead of being a row itself.
    """
    if ratio is None:
        return records, None
    own, others, paraphrases = split_paraphrases(records)
    labels = topics.encode(str(record.topic) for record in own)
    return [*own, *others], TemperedSampler(labels, ratio, seed=seed, paraphrases=paraphrases)


def epoch_counts(records: Sequence[Record], topics: Topics, ratio: float | None) -> list[float]:
    """Weighted rows per topic (C,) in an epoch of `make_sampler`."""
    own = records if ratio is None else split_paraphrases(records)[0]
    indices = topic_indices(own, topics)
    known, weights = indices[indices >= 0], record_weights(own)[indices >= 0]
    rows, weighted = (np.bincount(known, each, len(topics)) for each in (None, weights))
    if ratio is None:
        return weighted.tolist()
    return (np.asarray(tempered_counts(rows.tolist(), ratio)) * weighted / rows.clip(min=1)).tolist()


def topic_prior_from_loss(settings: EncoderSettings, records: Sequence[Record], topics: Topics) -> tuple[float, ...]:
    """The prior (C,) of the softmax of the logits, from the last phase's loss on the rows of its epochs.

    Args:
        settings: Settings of the fit.
        records: Training rows, including synthetic ones.
        topics: Topics, in the order of the logits.
    """
    counts = epoch_counts(records, topics, settings.sampling_ratio)
    return tuple(prior_from_loss(_last_loss(settings), counts, topics.names).tolist())


def topic_loss_link(settings: EncoderSettings, records: Sequence[Record], topics: Topics) -> LossLink:
    """The link that undoes the last phase's loss if it is not proper. Arguments as in `topic_prior_from_loss`."""
    return loss_link(_last_loss(settings), epoch_counts(records, topics, settings.sampling_ratio))


def _last_loss(settings: EncoderSettings) -> LossSettings:
    return settings.head_loss if settings.clean.is_left_out else settings.loss
