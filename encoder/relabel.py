"""Relabels noisy rows with a fitted encoder. Knows the encoder and the corrector; fits nothing.

A decoder that sees wrong topic tokens beside right targets learns to follow the text instead of the token. And most
rows that a noisy set gives to a rare topic may belong to frequent topics.
"""

import logging
from collections.abc import Sequence
from dataclasses import replace
from itertools import islice

import numpy as np

from ..balance import PosteriorCorrector
from ..common import show_progress
from ..corpus import Record, StoredRecords, topic_indices
from .topic_encoder import TopicEncoder

log = logging.getLogger("unskew")

_AT_ONCE = 16_384


def relabel_rows(records: Sequence[Record], encoder: TopicEncoder, corrector: PosteriorCorrector) -> Sequence[Record]:
    """The same rows, each with its most probable topic under the training prior.

    Records on disk stay on disk; only a few thousand texts and probabilities are in memory at once.
    """
    if not records:
        return []
    likely, topics = corrector.with_target_prior("train"), corrector.topics
    decided, rows = [], iter(records)
    with show_progress("auto", "noisy set: the encoder's topics", len(records)) as tell:
        while some := [row.text for row in islice(rows, _AT_ONCE)]:
            decided.append(likely(encoder.logits(some)).argmax(dim=-1).numpy())
            tell(len(some), 0)
    indices = np.concatenate(decided)
    changed = int((indices != topic_indices(records, topics)).sum())
    log.info("noisy set: the encoder's topics replace the given ones in %d of %d rows", changed, len(records))
    if isinstance(records, StoredRecords):
        return records.under(topics, indices)
    return [replace(record, topic=topics.names[i]) for record, i in zip(records, indices.tolist(), strict=True)]
