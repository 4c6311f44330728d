"""Targets under the text of another topic, so that a decoder heeds its topic. Knows sequences; knows no model.

Only tokens typical of the target's topic are learnt there. The others tell of the text that is gone, and learning them
would teach the decoder to invent.
"""

from collections.abc import Callable
from random import Random

import numpy as np

MOST_ROWS = 20_000  # rows, evenly spaced, whose targets show what is typical
LEAST_ROWS = 2  # targets of its topic that have a typical token
LEAST_SHARE = 0.02  # of the topic's targets
LIFT = 3.0  # times the share of other topics' targets
TRIES = 20  # topics, or rows, drawn until one serves


class Swaps:
    """Rows whose targets are learnt under another topic's text.

    Args:
        target: Gives the token ids (T,) of a row's target.
        topics: Index (n,) of each row's topic; negative without one.
    """

    def __init__(self, target: Callable[[int], np.ndarray], topics: np.ndarray) -> None:
        self._target, self._topics = target, topics
        self._typical = typical_tokens(target, topics)
        self._taught = list(self._typical)
        self._order = np.argsort(topics, kind="stable").astype(np.int32)
        ends = np.searchsorted(topics[self._order], [[topic, topic + 1] for topic in self._taught])
        self._spans = dict(zip(self._taught, ends.reshape(-1, 2).tolist(), strict=True))

    def draw(self, random: Random, topic: int) -> tuple[int, np.ndarray] | None:
        """A row of another topic, every topic equally likely, and which tokens of its target are learnt.

        Returns: The row, and for each token (T,) of its target up to the last that is learnt whether it is, bool. None
            if no row with typical tokens is found.
        """
        tried = (random.choice(self._taught) for _ in range(TRIES if self._taught else 0))
        other = next((one for one in tried if one != topic), None)
        if other is None:
            return None
        start, stop = self._spans[other]
        for _ in range(TRIES):
            row = int(self._order[random.randrange(start, stop)])
            places = np.flatnonzero(np.isin(self._target(row), self._typical[other]))
            if len(places):
                return row, np.isin(np.arange(places[-1] + 1), places)
        return None


def typical_tokens(target: Callable[[int], np.ndarray], topics: np.ndarray) -> dict[int, np.ndarray]:
    """By topic: the tokens that are in far more of its targets than of other topics'. Topics without any are left out.

    A token is typical if `LEAST_ROWS` targets of the topic and a share `LEAST_SHARE` of them have it, and if that is
    `LIFT` times the share of other topics' targets (with one more that has it, so that the share is not 0).
    """
    rows = np.unique(np.linspace(0, len(topics) - 1, min(MOST_ROWS, len(topics)), dtype=np.int64))
    rows = rows[topics[rows] >= 0]
    if not len(rows):
        return {}
    distinct = [np.unique(target(row)) for row in rows.tolist()]
    owners = np.repeat(topics[rows].astype(np.int64), [len(tokens) for tokens in distinct])
    tokens = np.concatenate(distinct).astype(np.int64)
    base = int(tokens.max()) + 1
    pairs, counts = np.unique(owners * base + tokens, return_counts=True)
    owners, tokens = np.divmod(pairs, base)
    own = np.bincount(topics[rows])[owners]
    elsewhere = (np.bincount(tokens, weights=counts)[tokens] - counts + 1) / (len(rows) - own + 1)
    kept = (counts >= LEAST_ROWS) & (counts / own >= np.maximum(LEAST_SHARE, LIFT * elsewhere))
    owners, tokens = owners[kept], tokens[kept]
    return {topic: tokens[owners == topic] for topic in np.unique(owners).tolist()}
