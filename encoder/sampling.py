"""Which rows an epoch shows an encoder, and the prior that this and the loss teach it. Knows no model."""

from collections.abc import Sequence

import numpy as np

from ..balance import LossLink, LossSettings, TemperedDraw, implied_prior, loss_link, tempered_counts
from ..corpus import Record, Topics, record_weights, set_apart, topic_indices
from .settings import EncoderSettings


def drawn(
    records: Sequence[Record], topics: Topics, ratio: float | None, seed: int
) -> tuple[Sequence[Record], TemperedDraw | None]:
    """The records in the order that the draw numbers them in, and the rows of an epoch; None takes each once.

    Under a ratio rows repeat, and a paraphrase stands in for a repeat of its original instead of being a row.
    """
    if ratio is None:
        return records, None
    own, others, paraphrases = set_apart(records)
    targets = topics.encode(str(record.topic) for record in own)
    return [*own, *others], TemperedDraw(targets, ratio, seed=seed, paraphrases=paraphrases)


def counts_seen(records: Sequence[Record], topics: Topics, ratio: float | None) -> list[float]:
    """Rows per topic (C,) in an epoch of `drawn`, each counting its weight."""
    own = records if ratio is None else set_apart(records)[0]
    indices = topic_indices(own, topics)
    known, weights = indices[indices >= 0], record_weights(own)[indices >= 0]
    rows, weighted = (np.bincount(known, each, len(topics)) for each in (None, weights))
    if ratio is None:
        return weighted.tolist()
    return (np.asarray(tempered_counts(rows.tolist(), ratio)) * weighted / rows.clip(min=1)).tolist()


def implied_topic_prior(settings: EncoderSettings, records: Sequence[Record], topics: Topics) -> tuple[float, ...]:
    """The prior (C,) that softmax of the logits holds: that of the last phase's loss, on the rows of its epochs.

    Args:
        settings: Of the fit.
        records: The rows trained on, synthetic ones included.
        topics: In the order of the logits.
    """
    counts = counts_seen(records, topics, settings.sampling_ratio)
    return tuple(implied_prior(_last_loss(settings), counts, topics.names).tolist())


def topic_loss_link(settings: EncoderSettings, records: Sequence[Record], topics: Topics) -> LossLink:
    """What undoes the last phase's loss, where it is not proper; the arguments are those of `implied_topic_prior`."""
    return loss_link(_last_loss(settings), counts_seen(records, topics, settings.sampling_ratio))


def _last_loss(settings: EncoderSettings) -> LossSettings:
    return settings.head_loss if settings.clean.is_left_out else settings.loss
