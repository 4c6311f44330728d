"""Noisy rows under the topics that a fitted encoder decides on. Knows the encoder and the decider; fits nothing.

A decoder that meets wrong topic tokens beside the right target learns to follow the text and not the token; and of the
rows that a noisy set gives to a rare topic most may be strays from the frequent ones.
"""

import logging
from collections.abc import Sequence
from dataclasses import replace

from ..balance import Decider
from ..corpus import Record
from .topic_encoder import TopicEncoder

log = logging.getLogger("unskew")


def relabelled(records: Sequence[Record], encoder: TopicEncoder, decider: Decider) -> list[Record]:
    """The same rows, each under its most probable topic where topics come as often as in the training set."""
    if not records:
        return []
    probabilities = decider.aimed_at("train")(encoder.logits([record.text for record in records]))
    names = [decider.topics.names[i] for i in probabilities.argmax(dim=-1).tolist()]
    changed = sum(record.topic != name for record, name in zip(records, names, strict=True))
    log.info("noisy set: the encoder's topics replace the given ones in %d of %d rows", changed, len(records))
    return [replace(record, topic=name) for record, name in zip(records, names, strict=True)]
