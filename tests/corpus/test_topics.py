import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unskew.common import UserError
from unskew.corpus import BANDS, Topics, band


def test_order_is_by_count_then_by_name() -> None:
    topics = Topics.from_labels(["b", "a", "c", "c", "c", "b", "a"])
    assert topics.names == ("c", "a", "b")
    assert topics.counts == (3, 2, 2)
    assert topics.prior == pytest.approx((3 / 7, 2 / 7, 2 / 7))
    assert len(topics) == 3
    assert "a" in topics
    assert "d" not in topics


@pytest.mark.parametrize(
    ("count", "expected"),
    [(0, "few"), (1, "few"), (19, "few"), (20, "medium"), (100, "medium"), (101, "many"), (10**6, "many")],
)
def test_bands_at_their_edges(count: int, expected: str) -> None:
    assert band(count) == expected
    assert expected in BANDS


def test_bands_of_topics() -> None:
    assert Topics(("a", "b", "c"), (101, 20, 1)).bands == ("many", "medium", "few")


@given(st.lists(st.text(min_size=1), min_size=1))
def test_encoding_and_storing_lose_nothing(labels: list[str]) -> None:
    topics = Topics.from_labels(labels)
    assert [topics.names[position] for position in topics.encode(labels)] == labels
    assert Topics.from_dict(topics.to_dict()) == topics
    assert sum(topics.prior) == pytest.approx(1)


def test_counts_of_weighted_rows_are_stored_as_they_are() -> None:
    topics = Topics(("a", "b"), (2.5, 0.0033))
    assert Topics.from_dict(json.loads(json.dumps(topics.to_dict()))) == topics
    assert json.dumps(Topics(("a",), (3,)).to_dict()) == '{"names": ["a"], "counts": [3]}'


def test_unknown_topic_names_the_nearest() -> None:
    topics = Topics.from_labels(["crude", "grain"])
    with pytest.raises(UserError, match=r"'crdue'.*'crude'"):
        topics.encode(["grain", "crdue"])
    with pytest.raises(UserError, match=r"'ship'.*crude, grain"):
        topics.index("ship")


@pytest.mark.parametrize(
    ("names", "counts"),
    [
        ((), ()),
        (("a",), (1, 2)),
        (("a", "a"), (1, 2)),
        (("",), (1,)),
        (("a",), (-1,)),
        (("a",), (0,)),
        (("a",), (math.nan,)),
    ],
)
def test_impossible_topics_are_refused(names: tuple[str, ...], counts: tuple[int, ...]) -> None:
    with pytest.raises(UserError):
        Topics(names, counts)


@pytest.mark.parametrize("stored", [{}, {"names": ["a"]}, {"names": 3, "counts": 3}, {"names": ["a"], "counts": ["3"]}])
def test_damaged_storage_is_refused(stored: dict) -> None:
    with pytest.raises(UserError, match="names"):
        Topics.from_dict(stored)
