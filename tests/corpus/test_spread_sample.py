"""Rows spread evenly over a source, whatever its format."""

import gzip
import json

import pyarrow
import pyarrow.parquet
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from unskew.corpus import Columns, SpreadSample, sample_texts, source_parts, spread_sample


def lines_of(count, start=0):
    return [json.dumps({"text": f"row {number}"}) + "\n" for number in range(start, start + count)]


def write(path, count, start=0):
    lines = lines_of(count, start)
    if path.suffix == ".gz":
        path.write_bytes(gzip.compress("".join(lines).encode()))
    elif path.suffix == ".csv":
        path.write_text(
            'text\n"two\nlines"\n' + "".join(f"row {number}\n" for number in range(start + 1, start + count))
        )
    elif path.suffix == ".json":
        path.write_text(f"[{','.join(lines)}]")
    elif path.suffix == ".parquet":
        table = pyarrow.table({"text": [f"row {number}" for number in range(start, start + count)]})
        pyarrow.parquet.write_table(table, path, row_group_size=7)
    else:
        path.write_text("\n".join(lines))  # with blank lines between
    return path


def spread(source, most, limit=None):
    sample = SpreadSample(most, limit)
    for part in source_parts(source):
        sample_texts(part, Columns(), sample)
    return sample.taken()


def numbers(texts):
    return [int(text.removeprefix("row ").replace("two\nlines", "0")) for text in texts]


@pytest.mark.parametrize("name", ["r.jsonl", "r.jsonl.gz", "r.csv", "r.json", "r.parquet"])
@settings(max_examples=15, deadline=None)
@given(count=st.integers(1, 60), most=st.integers(1, 80), limit=st.none() | st.integers(1, 60))
def test_rows_come_in_order_from_the_whole_source_and_are_as_many_as_asked(tmp_path_factory, name, count, most, limit):
    path = write(tmp_path_factory.mktemp("spread") / name, count)
    found = numbers(spread(path, most, limit))
    shown = min(count, limit or count)
    assert found == sorted(set(found))
    assert found[0] == 0
    assert len(found) == min(most, shown)
    gaps = [later - earlier for earlier, later in zip(found, [*found[1:], shown], strict=True)]
    assert max(gaps) <= max(2 * shown / most, 1) + 1


def test_several_files_are_spread_over_as_one(tmp_path):
    files = [str(write(tmp_path / f"{part}.parquet", 50, 50 * part)) for part in range(4)]
    found = numbers(spread(files, 20))
    assert len(found) == 20
    of_each = [sum(50 * part <= number < 50 * part + 50 for number in found) for part in range(4)]
    assert all(4 <= count <= 6 for count in of_each)


def test_rows_without_a_text_keep_their_place(tmp_path):
    lines = ['{"text": "kept"}', '{"text": ']
    (tmp_path / "r.jsonl").write_text("\n".join(lines * 50))
    assert spread(tmp_path / "r.jsonl", 100) == ["kept", None] * 50
    assert spread(tmp_path / "r.jsonl", 10) == ["kept"] * 10  # every fourth was held, all of them the good ones


@pytest.mark.parametrize(("rows", "limit", "whole"), [(3, None, True), (4, None, False), (7, 3, True)])
def test_it_knows_whether_it_has_all_rows(rows, limit, whole):
    sample = SpreadSample(3, limit)
    for _ in range(rows):
        if sample.wants():
            sample.add("text")
    assert sample.is_whole == whole


def test_long_texts_are_fewer(monkeypatch):
    monkeypatch.setattr(spread_sample, "MOST_CHARACTERS", 1_000)
    sample = SpreadSample(100)
    for number in range(90):
        if sample.wants():
            sample.add(f"{number:050}")
    assert [int(text) for text in sample.taken()] == list(range(0, 90, 8))
