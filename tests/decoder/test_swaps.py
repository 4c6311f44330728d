"""Which rows and tokens are learnt under another topic's text."""

from collections import Counter
from random import Random

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from unskew.decoder import swaps
from unskew.decoder.swaps import LEAST_ROWS, LEAST_SHARE, LIFT, Swaps, typical_tokens

ROWS = st.lists(st.tuples(st.integers(-1, 3), st.lists(st.integers(0, 6), min_size=1, max_size=5)), max_size=30)


def apart(rows):
    targets = [np.array(target, dtype=np.int32) for _, target in rows]
    return targets.__getitem__, np.array([topic for topic, _ in rows], dtype=int)


def by_counting(rows):
    """The definition, row by row."""
    rows = [(topic, set(target)) for topic, target in rows if topic >= 0]
    found = {}
    for topic in sorted({topic for topic, _ in rows}):
        own = [target for its, target in rows if its == topic]
        others = [target for its, target in rows if its != topic]
        inside, outside = Counter(t for one in own for t in one), Counter(t for one in others for t in one)
        typical = [
            token
            for token, count in sorted(inside.items())
            if count >= LEAST_ROWS
            and count / len(own) >= LEAST_SHARE
            and count / len(own) >= LIFT * ((outside[token] + 1) / (len(others) + 1))
        ]
        if typical:
            found[topic] = typical
    return found


@given(ROWS)
def test_typical_tokens_are_what_counting_finds(rows):
    assert {topic: tokens.tolist() for topic, tokens in typical_tokens(*apart(rows)).items()} == by_counting(rows)


def test_of_many_rows_an_even_share_is_read(monkeypatch):
    monkeypatch.setattr(swaps, "MOST_ROWS", 8)
    read = []
    target, topics = apart([(i % 2, [i % 2, 9]) for i in range(1000)])

    def watched(row):
        read.append(row)
        return target(row)

    assert set(typical_tokens(watched, topics)) <= {0, 1}
    assert len(read) == 8
    assert max(np.diff(sorted(read))) < 200


@given(ROWS, st.integers(-1, 3))
def test_a_row_drawn_is_of_another_topic_and_teaches_something(rows, topic):
    target, topics = apart(rows)
    made, typical = Swaps(target, topics), by_counting(rows)
    drawn = [found for seed in range(40) if (found := made.draw(Random(seed), topic)) is not None]
    assert bool(drawn) == bool(set(typical) - {topic})
    for row, learnt in drawn:
        own = typical[int(topics[row])]
        assert topics[row] != topic
        tokens = target(row).tolist()
        assert learnt.tolist() == [token in own for token in tokens[: len(learnt)]]
        assert learnt[-1]
        assert not set(tokens[len(learnt) :]) & set(own)


def test_every_topic_is_drawn_as_often_however_rare():
    rows = [(0, [1])] * 900 + [(1, [2])] * 90 + [(2, [3])] * 10
    target, topics = apart(rows)
    made, random = Swaps(target, topics), Random(0)
    rows = [found[0] for _ in range(3000) if (found := made.draw(random, -1)) is not None]
    drawn = Counter(topics[rows].tolist())
    assert set(drawn) == {0, 1, 2}
    assert max(drawn.values()) < 1.2 * min(drawn.values())


def test_without_another_topic_nothing_is_drawn():
    target, topics = apart([(0, [1, 2])] * 20)
    assert Swaps(target, topics).draw(Random(0), 0) is None
    assert Swaps(*apart([])).draw(Random(0), 0) is None
