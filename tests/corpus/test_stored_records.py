"""Rows on disk are the rows of the source: whole, in order, under the topics that a fit gives them."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from unskew.common import UserError, write_jsonl
from unskew.corpus import Columns, Record, RowStore, StoredRecords, Topics, load, subsample, topic_indices
from unskew.corpus.row_store import BLOCK


def rows(count):
    return [
        {"id": f"r{i}", "text": f"text  {i}", "topic": f"t{i % 3}", "target": None if i % 5 else f"out {i}"}
        for i in range(count)
    ]


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    path = tmp_path_factory.mktemp("store") / "noisy.jsonl"
    write_jsonl(path, rows(2 * BLOCK + 7))
    return path


@pytest.fixture(scope="module")
def stored(source):
    return StoredRecords.all_of(RowStore.of(source, Columns(), source.parent / "rows"))


def test_they_are_the_rows_of_the_source(source, stored):
    expected = load(source)
    assert list(stored) == expected
    assert [stored[i] for i in (0, BLOCK, len(stored) - 1)] == [expected[i] for i in (0, BLOCK, -1)]
    assert list(stored[5:600:7]) == expected[5:600:7]
    assert stored.have_targets.tolist() == [record.target is not None for record in expected]


@settings(max_examples=20, deadline=None)
@given(st.sets(st.integers(0, 2 * BLOCK + 6), max_size=30))
def test_chosen_rows_keep_their_order(stored, chosen):
    places = np.asarray(sorted(chosen), dtype=np.int64)
    assert [record.id for record in stored.selected(places)] == [f"r{i}" for i in places]


def test_rows_are_read_once_for_the_same_contents(source, stored, tmp_path, monkeypatch):
    moved = tmp_path / "elsewhere.jsonl"
    moved.write_bytes(source.read_bytes())
    monkeypatch.setattr("unskew.corpus.row_store.stream", lambda *_, **__: 1 / 0)
    assert RowStore.of(moved, Columns(), source.parent / "rows") == stored.store
    with pytest.raises(ZeroDivisionError):
        RowStore.of(moved, Columns(target=None), source.parent / "rows")


def test_texts_are_compared_white_space_aside(stored):
    found = stored.overlapping([Record("text 3", "a"), Record(" text\n900 ", "b"), Record("nowhere", "c")])
    assert np.flatnonzero(found).tolist() == [3, 900]


def test_topics_can_be_renamed_and_replaced(stored):
    topics = Topics(("t1", "t0"), (2, 1))
    assert topic_indices(stored, topics)[:4].tolist() == [1, 0, -1, 1]
    assert topic_indices(list(stored), topics).tolist() == topic_indices(stored, topics).tolist()
    assert [record.topic for record in stored.renamed({"t2": "t1"})[:4]] == ["t0", "t1", "t1", "t0"]
    other = stored.under(topics, np.zeros(len(stored), dtype=np.int64))
    assert {record.topic for record in other} == {"t1"}
    assert len({stored.state, other.state, stored[1:].state, stored.renamed({"t2": "t1"}).state}) == 4


def test_some_are_the_same_ones_from_disk_and_from_memory(stored):
    assert list(subsample(stored, 0, 9)) == list(subsample(list(stored), 0, 9))
    assert len(list(subsample(stored, 0, 9))) == 9 != len(set(subsample(stored, 1, 9)) & set(subsample(stored, 0, 9)))
    assert list(subsample(stored, 0)) == list(stored)


def test_bad_rows_are_counted_and_too_many_refused(tmp_path):
    good = rows(20)
    write_jsonl(tmp_path / "some.jsonl", [*good, {"id": "x", "text": "", "topic": "t0"}])
    store = RowStore.of(tmp_path / "some.jsonl", Columns(), tmp_path)
    assert (store.rows, store.bad) == (20, 1)
    assert "some.jsonl, line 21" in str(store.first_bad)
    write_jsonl(tmp_path / "most.jsonl", [*good[:3], *[{"id": "x", "text": "", "topic": "t0"}] * 3])
    with pytest.raises(UserError, match=r"line 4.*2 further rows are bad"):
        RowStore.of(tmp_path / "most.jsonl", Columns(), tmp_path)
    (tmp_path / "none.jsonl").write_text("")
    with pytest.raises(UserError, match="has no rows"):
        RowStore.of(tmp_path / "none.jsonl", Columns(), tmp_path)
    assert len(list(tmp_path.glob("rows-*/"))) == len(list(tmp_path.glob("rows-*/about.json"))) == 1


def test_a_full_disk_leaves_nothing_behind(source, tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("unskew.corpus.row_store.text_digests", full)
    with pytest.raises(UserError, match="no space left"):
        RowStore.of(source, Columns(), tmp_path)
    assert not [path for path in tmp_path.iterdir() if path.is_dir()]
