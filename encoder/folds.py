"""Folds for cross-fitting: which rows a model is not fitted on, so that what it says of them is held out.

Knows texts and labels; no model.
"""

import random
from collections import defaultdict
from collections.abc import Sequence

ALWAYS_TRAINED = -1


def deal_folds(texts: Sequence[str], labels: Sequence[int], folds: int, seed: int) -> list[int]:
    """The fold (n,) of each row, each topic spread evenly; equal texts share a fold, so that none is in two.

    A topic's only text is in no fold (`ALWAYS_TRAINED`): without it nothing could be said of the topic.

    Args:
        texts: Texts of the rows.
        labels: Their topics.
        folds: At least 2.
        seed: Random seed of the dealing.
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
