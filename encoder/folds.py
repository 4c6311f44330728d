"""Folds for cross-fitting: each fold is held out of the fit of one model.

Knows texts and labels; knows no model.
"""

import random
from collections import defaultdict
from collections.abc import Sequence

from ..corpus import Record, text_key

ALWAYS_TRAINED = -1


def folds_of(records: Sequence[Record], labels: Sequence[int], folds: int, seed: int) -> list[int]:
    """The fold (n,) of each record, see `deal_folds`; a paraphrase has the fold of its original.

    Texts that differ only in letter case or white space count as equal: a model that was fitted on one knows the other.
    """
    texts = {record.id: record.text for record in records if record.paraphrase_of is None}
    keys = [
        record.text if record.paraphrase_of is None else texts.get(record.paraphrase_of, record.text)
        for record in records
    ]
    return deal_folds([text_key(key) for key in keys], labels, folds, seed)


def deal_folds(texts: Sequence[str], labels: Sequence[int], folds: int, seed: int) -> list[int]:
    """The fold (n,) of each row, with each topic spread evenly; equal texts share a fold, whatever their topics.

    Whichever fold is held out, every topic keeps a text: without one a model could not predict it. So a topic's only
    text is never held out (`ALWAYS_TRAINED`).

    Args:
        texts: Texts of the rows.
        labels: Topics of the rows.
        folds: Number of folds, at least 2.
        seed: Random seed of the folds.
    """
    by_topic: dict[int, dict[str, None]] = defaultdict(dict)
    for text, label in zip(texts, labels, strict=True):
        by_topic[label][text] = None
    dealt = {text: ALWAYS_TRAINED for own in by_topic.values() if len(own) == 1 for text in own}
    deck: dict[int, list[str]] = defaultdict(list)
    for text, label in dict(zip(texts, labels, strict=True)).items():  # of a text's topics, the last one deals it
        if text not in dealt:
            deck[label].append(text)
    generator = random.Random(f"folds/{seed}")
    position = 0
    for label in sorted(deck):
        generator.shuffle(deck[label])
        for text in deck[label]:
            dealt[text] = position % folds
            position += 1
    for own in by_topic.values():
        if len({dealt[text] for text in own}) == 1:  # texts that other topics dealt may fall into one fold
            dealt[next(iter(own))] = ALWAYS_TRAINED
    return [dealt[text] for text in texts]
