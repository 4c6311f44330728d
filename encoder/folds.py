"""Folds for cross-fitting: each fold is held out of the fit of one model.

Knows texts and labels; knows no model.
"""

import random
from collections import defaultdict
from collections.abc import Sequence

from ..corpus import Record

ALWAYS_TRAINED = -1


def folds_of(records: Sequence[Record], labels: Sequence[int], folds: int, seed: int) -> list[int]:
    """The fold (n,) of each record, see `deal_folds`; a paraphrase has the fold of its original."""
    texts = {record.id: record.text for record in records if record.paraphrase_of is None}
    keys = [texts.get(record.paraphrase_of or "", record.text) for record in records]
    return deal_folds(keys, labels, folds, seed)


def deal_folds(texts: Sequence[str], labels: Sequence[int], folds: int, seed: int) -> list[int]:
    """The fold (n,) of each row, with each topic spread evenly; equal texts share a fold.

    A topic's only text is never held out (`ALWAYS_TRAINED`): without it a model could not predict the topic.

    Args:
        texts: Texts of the rows.
        labels: Topics of the rows.
        folds: Number of folds, at least 2.
        seed: Random seed of the folds.
    """
    by_topic: dict[int, list[str]] = defaultdict(list)
    for text, label in dict(zip(texts, labels, strict=True)).items():
        by_topic[label].append(text)
    generator = random.Random(f"folds/{seed}")
    dealt: dict[str, int] = {}
    position = 0
    for label in sorted(by_topic):
        own = by_topic[label]
        if len(own) == 1:
            dealt[own[0]] = ALWAYS_TRAINED
            continue
        generator.shuffle(own)
        for text in own:
            dealt[text] = position % folds
            position += 1
    return [dealt[text] for text in texts]
