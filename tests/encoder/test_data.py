"""What a batch holds, and what sampling does to it."""

from collections import Counter

import pytest

from unskew.balance import TemperedSampler, tempered_counts
from unskew.common import UserError
from unskew.corpus import Record
from unskew.encoder.data import EncoderData, Rows
from unskew.encoder.sampling import epoch_counts, make_sampler
from unskew.encoder.tokens import pad_id_of


@pytest.fixture
def rows(train, topics, encoder):
    return Rows.from_records(train, topics, encoder.tokenizer, encoder.max_tokens)


def data(rows, encoder, **options):
    return EncoderData(rows, rows, pad_id=pad_id_of(encoder.tokenizer), tokens_per_batch=256, seed=0, **options)


def test_batches_hold_every_row_with_its_own_tokens_and_target(rows, encoder):
    seen = []
    for batch in data(rows, encoder).train_dataloader():
        assert batch["input_ids"].numel() <= 256
        for row, target, ids, mask, _ in zip(*batch.values(), strict=True):
            seen.append(int(row))
            assert int(target) == rows.labels[row]
            assert ids[mask.bool()].tolist() == rows.tokens[row].tolist()
    assert sorted(seen) == list(range(len(rows)))


def test_rows_per_batch_is_the_mean(rows, encoder):
    source = data(rows, encoder)
    batches = list(source.train_dataloader())
    assert source.rows_per_batch == pytest.approx(sum(len(batch["row"]) for batch in batches) / len(batches))


def test_repeats_of_a_row_are_other_views_between_the_same_marks(rows, encoder):
    sampler = TemperedSampler(rows.labels, ratio=2.0, seed=0)
    views, topics = [], Counter()
    for batch in data(rows, encoder, sampler=sampler).train_dataloader():
        for row, target, ids, mask, _ in zip(*batch.values(), strict=True):
            tokens = ids[mask.bool()].tolist()
            assert tokens[0] == encoder.tokenizer.cls_token_id
            assert tokens[-1] == encoder.tokenizer.sep_token_id
            views.append((int(row), *tokens))
            topics[int(target)] += 1
    assert max(topics.values()) <= 2 * min(topics.values())
    assert len(set(views)) == len(views) > len({row for row, *_ in views})


def test_an_unknown_topic_is_named(topics, encoder):
    with pytest.raises(UserError, match="weather"):
        Rows.from_records([Record("rain", "1", "weather")], topics, encoder.tokenizer, 32)


def test_paraphrases_come_in_the_place_of_repeats_and_make_no_topic_more_frequent(topics):
    names = topics.names
    clean = [Record(f"row {i}", str(i), names[0]) for i in range(30)] + [Record("rare", "r", names[1])]
    others = [Record(f"rare, said otherwise {i}", f"s{i}", names[1], paraphrase_of="r") for i in range(2)]
    ordered, sampler = make_sampler([*others, *clean], topics, 3.0, 0)
    assert sampler is not None
    assert [record.id for record in ordered[-2:]] == ["s0", "s1"]
    rare = [(ordered[view].id, view.repeat) for view in sampler(0) if ordered[view].topic == names[1]]
    assert sorted(rare)[:2] == [("r", 0), ("r", 1)]
    assert sorted(rare)[-2:] == [("s0", 0), ("s1", 0)]
    assert epoch_counts(ordered, topics, 3.0)[:2] == tempered_counts([30, 1])
    assert epoch_counts(ordered, topics, None)[:2] == [30, 3]
    assert make_sampler(ordered, topics, None, 0) == (ordered, None)
