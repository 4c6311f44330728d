"""Doubted labels and confused topics, against numbers worked by hand."""

import math

import pytest
import torch

from unskew.balance import doubt_labels, symmetric_confusion
from unskew.common import UserError

ROWS = torch.tensor([[0.9, 0.08, 0.02], [0.02, 0.9, 0.08], [0.005, 0.5, 0.495], [math.nan] * 3]).log()


def test_the_ratio_to_the_best_other_topic():
    doubts = doubt_labels(ROWS, torch.tensor([0, 0, 0, 1]))
    assert doubts.other.tolist()[:3] == [1, 1, 1]
    assert doubts.times.tolist() == pytest.approx([0.08 / 0.9, 0.9 / 0.02, 0.5 / 0.005, 0.0], rel=1e-5)
    assert doubts.rows() == [2, 1]
    assert doubts.rows(60) == [2]


def test_a_label_that_is_impossible_is_doubted_most():
    doubts = doubt_labels(torch.tensor([[1.0, 0.0], [0.5, 0.5]]).log(), torch.tensor([1, 1]))
    assert doubts.rows() == [0]
    assert math.isfinite(doubts.times[0])


def test_rows_answered_as_the_other_topic_count_both_ways():
    rows = symmetric_confusion(ROWS, torch.tensor([1, 0, 1, 2]))
    assert rows.tolist() == [[0, 2, 0], [2, 0, 0], [0, 0, 0]]


def test_one_topic_has_no_other():
    with pytest.raises(UserError, match="do not fit"):
        doubt_labels(torch.zeros(2, 1), torch.zeros(2, dtype=torch.long))
