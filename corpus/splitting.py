"""Stratified splits that keep rare topics on both sides. Knows labels only.

A split is the same on every machine for the same labels and seed, and how one topic is split does not depend on the
others.
"""

import random
from collections import defaultdict
from collections.abc import Sequence

from ..common import UserError


def stratified_split(labels: Sequence[str], share: float, seed: int) -> tuple[list[int], list[int]]:
    """Split row indices into (rest, held out), each sorted, with about `share` of every topic held out.

    A topic with one row stays in the rest; a topic with two or more has at least one row on each side.

    Raises:
        UserError: If `share` is not between 0 and 1.
    """
    if not 0 < share < 1:
        raise UserError(f"the share to hold out is {share}; give one above 0 and below 1")
    held: list[int] = []
    for rows in _shuffled_by_topic(labels, seed):
        if len(rows) > 1:
            held += rows[: min(max(round(share * len(rows)), 1), len(rows) - 1)]
    chosen = set(held)
    return [row for row in range(len(labels)) if row not in chosen], sorted(held)


def _shuffled_by_topic(labels: Sequence[str], seed: int) -> list[list[int]]:
    """The rows of each topic in random order, topics in order of their names."""
    rows_by_topic: dict[str, list[int]] = defaultdict(list)
    for row, label in enumerate(labels):
        rows_by_topic[label].append(row)
    for topic, rows in rows_by_topic.items():
        random.Random(f"{seed}:{topic}").shuffle(rows)
    return [rows_by_topic[topic] for topic in sorted(rows_by_topic)]
