"""Token-budgeted batches: what a training loop and a DDP job rely on."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unskew.common import UserError
from unskew.runtime import TokenBudgetBatches, group_by_length

LENGTHS = st.lists(st.integers(0, 40), min_size=1, max_size=120)


@given(LENGTHS, st.integers(1, 100), st.one_of(st.none(), st.integers(1, 7)))
def test_groups_hold_every_row_once_within_the_budget(lengths, tokens, max_rows):
    batches = group_by_length(range(len(lengths)), lengths, tokens, max_rows)
    assert sorted(row for batch in batches for row in batch) == list(range(len(lengths)))
    for batch in batches:
        assert len(batch) == 1 or len(batch) * max(lengths[row] for row in batch) <= tokens
        assert max_rows is None or len(batch) <= max_rows
    longest = [max(lengths[row] for row in batch) for batch in batches]
    assert longest == sorted(longest, reverse=True)


@given(LENGTHS, st.integers(1, 100), st.integers(1, 4), st.integers(0, 3))
def test_ranks_share_an_epoch_equally(lengths, tokens, world, epoch):
    ranks = [
        TokenBudgetBatches(lengths, tokens, shuffle=True, seed=3, rank=rank, world_size=world) for rank in range(world)
    ]
    for rank in ranks:
        rank.set_epoch(epoch)
    assert len({len(rank) for rank in ranks}) == 1
    seen = Counter(row for rank in ranks for batch in rank for row in batch)
    assert set(seen) == set(range(len(lengths)))
    alone = TokenBudgetBatches(lengths, tokens, shuffle=True, seed=3)
    alone.set_epoch(epoch)
    assert Counter(row for batch in alone for row in batch) == Counter(range(len(lengths)))


def test_epochs_differ_and_repeat_exactly():
    lengths = list(range(1, 60))
    batches = TokenBudgetBatches(lengths, 120, shuffle=True, seed=1)
    first = list(batches)
    batches.set_epoch(1)
    second = list(batches)
    batches.set_epoch(0)
    assert first == list(batches)
    assert first != second


def test_rows_of_similar_length_share_a_batch():
    lengths = [5, 100] * 200
    padding = sum(
        max(lengths[r] for r in batch) * len(batch) for batch in TokenBudgetBatches(lengths, 400, shuffle=True)
    )
    assert padding < 1.1 * sum(lengths)


def test_drawn_rows_repeat():
    batches = TokenBudgetBatches([3, 3, 3], 6, shuffle=True, sampler=lambda epoch: [0, 0, 0, 1, 2])
    assert Counter(row for batch in batches for row in batch) == {0: 3, 1: 1, 2: 1}


def test_refuses_an_empty_budget():
    with pytest.raises(UserError, match="tokens_per_batch"):
        TokenBudgetBatches([1], 0, shuffle=False)
