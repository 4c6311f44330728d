import pickle
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.data import DataLoader

from unskew.balance import SampledRow, TemperedSampler, span_dropout, tempered_counts
from unskew.common import UserError
from unskew.runtime import TokenBudgetBatches

COUNTS = st.lists(st.integers(1, 10**8), min_size=1, max_size=15)
SKEWED = [0] * 60 + [1] * 9 + [2] * 2


@given(COUNTS, st.floats(1, 50), st.one_of(st.none(), st.integers(1, 10**6)))
def test_the_ratio_holds_for_any_counts(counts, ratio, total):
    draws = tempered_counts(counts, ratio, total)
    assert min(draws) >= 1
    assert max(draws) <= ratio * min(draws)


@given(COUNTS, st.floats(1, 50))
def test_more_rows_never_mean_fewer_draws(counts, ratio):
    draws = [sampler for _, sampler in sorted(zip(counts, tempered_counts(counts, ratio), strict=True))]
    assert draws == sorted(draws)


@given(st.lists(st.integers(100, 299), min_size=1, max_size=10))
def test_counts_within_the_ratio_stay_as_they_are(counts):
    assert tempered_counts(counts, 3) == counts


def test_tempering_by_hand():
    # a = log 3 / log 100: 100:10:1 becomes 3 : sqrt 3 : 1, of 111 rows.
    assert tempered_counts([100, 10, 1]) == [57, 34, 19]
    assert tempered_counts([100, 10, 1], total=1000) == [522, 302, 174]


def test_full_balance_only_when_asked():
    assert tempered_counts([90, 9, 0], ratio=1) == [50, 50, 0]
    assert tempered_counts([9] * 100, total=10) == [1] * 100  # no topic goes without


def test_an_epoch_has_the_drawn_counts_and_every_row_as_often():
    sampler = TemperedSampler(SKEWED, seed=3)
    rows = sampler(0)
    assert len(rows) == len(sampler)
    by_topic = Counter(SKEWED[row] for row in rows)
    assert [by_topic[topic] for topic in range(3)] == tempered_counts([60, 9, 2])
    for topic in range(3):
        times = Counter(int(row) for row in rows if SKEWED[row] == topic)
        own = [times[row] for row, target in enumerate(SKEWED) if target == topic]
        assert max(own) - min(own) <= 1


@settings(max_examples=30)
@given(st.lists(st.integers(0, 4), min_size=1, max_size=60), st.integers(0, 20), st.floats(1, 5))
def test_no_view_stands_twice_in_an_epoch(labels, epoch, ratio):
    rows = TemperedSampler(labels, ratio)(epoch)
    assert len({(int(row), row.repeat) for row in rows}) == len(rows)
    repeats = {}
    for row in rows:
        assert 0 <= row < len(labels)
        repeats.setdefault(int(row), []).append(row.repeat)
    assert all(sorted(own) == list(range(len(own))) for own in repeats.values())


def test_an_undersampled_topic_is_seen_whole_over_the_epochs():
    sampler = TemperedSampler(SKEWED)
    once = sum(SKEWED[row] == 0 for row in sampler(0))
    assert once < 60
    assert len({int(row) for epoch in range(3) for row in sampler(epoch) if SKEWED[row] == 0}) == 60


def test_an_epoch_depends_on_seed_and_number_alone():
    first = TemperedSampler(SKEWED, seed=1)
    first(0)
    again = TemperedSampler(SKEWED, seed=1)
    as_seen = [(int(row), row.repeat, row.seed) for row in first(4)]
    assert [(int(row), row.repeat, row.seed) for row in again(4)] == as_seen
    assert list(first(5)) != list(first(4))
    assert list(TemperedSampler(SKEWED, seed=2)(4)) != list(first(4))


def test_paraphrases_stand_in_for_repeats():
    rows = TemperedSampler([0] * 9 + [1], paraphrases={9: [10, 11]})(0)
    rare = sorted((int(row), row.repeat) for row in rows if row >= 9)
    assert len(rare) == tempered_counts([9, 1])[1] == 2
    assert rare == [(9, 0), (10, 0)]
    another = TemperedSampler([0] * 9 + [1], paraphrases={9: [10, 11]})(1)
    assert {int(row) for row in another if row >= 9} == {9, 11}
    many = TemperedSampler([0] * 30 + [1], paraphrases={30: [31]})(0)
    assert sorted((int(row), row.repeat) for row in many if row >= 30)[:4] == [(30, 0), (30, 1), (30, 2), (30, 3)]


class Rows:
    """A dataset that hands on the index itself."""

    def __len__(self):
        return len(SKEWED)

    def __getitem__(self, index):
        return index


def test_views_reach_the_collate_function_through_batches_and_workers():
    sampler = TemperedSampler(SKEWED, seed=0)
    batches = TokenBudgetBatches([5] * len(SKEWED), 50, shuffle=True, sampler=sampler)
    loader = DataLoader(Rows(), batch_sampler=batches, collate_fn=list)  # pyright: ignore[reportArgumentType]
    seen = [view for batch in loader for view in batch]
    assert sorted((int(view), view.repeat) for view in seen) == sorted((int(view), view.repeat) for view in sampler(0))
    copied = pickle.loads(pickle.dumps(SampledRow(3, 2, "s")))
    assert (copied, copied.repeat, copied.seed) == (3, 2, "s")


TOKENS = st.lists(st.integers(0, 50), min_size=0, max_size=80)


@given(TOKENS, st.integers(0, 20), st.integers(0, 99), st.floats(0.01, 0.99))
def test_a_view_is_the_text_without_some_of_it(tokens, repeat, seed, share):
    view = span_dropout(tokens, repeat, seed, share)
    rest = iter(tokens)
    assert all(token in rest for token in view)
    if repeat == 0 or len(tokens) < 2:
        assert view == tokens
    else:
        assert 0 < len(view) < len(tokens)


@settings(max_examples=30)
@given(st.integers(6, 80), st.integers(0, 99))
def test_views_of_a_text_all_differ(length, seed):
    views = {tuple(span_dropout(range(length), repeat, seed)) for repeat in range(40)}
    assert len(views) == 40


def test_a_short_text_gives_all_the_views_it_has():
    assert len({tuple(span_dropout("abcd", repeat, 0)) for repeat in range(15)}) == 15  # pyright: ignore[reportArgumentType]


def test_the_share_is_what_is_dropped():
    kept = [len(span_dropout(range(300), 1, seed, share=0.2)) for seed in range(50)]
    assert sum(kept) / len(kept) == pytest.approx(240, rel=0.03)


def test_views_repeat_with_the_seed_and_change_with_it():
    assert span_dropout(range(60), 2, "1/0/7") == span_dropout(range(60), 2, "1/0/7")
    assert span_dropout(range(60), 2, "1/0/7") != span_dropout(range(60), 2, "1/1/7")


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: tempered_counts([3, 1], ratio=0.5), "at least 1, got 0.5"),
        (lambda: tempered_counts([]), "counts must be"),
        (lambda: tempered_counts([0, 0]), "counts must be"),
        (lambda: tempered_counts([3, 1], total=0), "at least one row"),
        (lambda: TemperedSampler([0, 1], paraphrases={0: [1]}), "must come after"),
        (lambda: span_dropout([1, 2], 1, 0, share=1.0), "share in"),
    ],
)
def test_mistakes_are_named(call, message):
    with pytest.raises(UserError, match=message):
        call()
