"""Rows spread evenly over a source, whatever its format."""

import gzip
import json

import pyarrow
import pyarrow.parquet
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from unskew.corpus import BadRow, spread, stream


def lines_of(count, start=0):
    return [json.dumps({"text": f"row {number}"}) + "\n" for number in range(start, start + count)]


def write(path, count, start=0):
    lines = lines_of(count, start)
    if path.suffix == ".gz":
        path.write_bytes(gzip.compress("".join(lines).encode()))
    elif path.suffix == ".csv":
        path.write_text("text\n" + "".join(f"row {number}\n" for number in range(start, start + count)))
    elif path.suffix == ".parquet":
        table = pyarrow.table({"text": [f"row {number}" for number in range(start, start + count)]})
        pyarrow.parquet.write_table(table, path, row_group_size=7)
    else:
        path.write_text("\n".join(lines))  # with blank lines between
    return path


def numbers(rows):
    return [int(row.text.removeprefix("row ")) for row in rows]


@pytest.mark.parametrize("name", ["r.jsonl", "r.jsonl.gz", "r.csv", "r.parquet"])
@settings(max_examples=15, deadline=None)
@given(count=st.integers(1, 60), most=st.integers(1, 80))
def test_rows_come_in_order_from_the_whole_source_and_are_no_more_than_asked(tmp_path_factory, name, count, most):
    path = write(tmp_path_factory.mktemp("spread") / name, count)
    found = numbers(spread(path, most=most))
    assert found == sorted(set(found))
    assert found[0] == 0
    assert len(found) <= most
    gaps = [later - earlier for earlier, later in zip(found, [*found[1:], count], strict=True)]
    widest = -(-2 * count // most) if most < 2 * count else 1
    assert max(gaps) <= max(widest, 1) + 1


def test_several_files_are_spread_over_as_one(tmp_path):
    files = [str(write(tmp_path / f"{part}.parquet", 50, 50 * part)) for part in range(4)]
    found = numbers(spread(files, most=20))
    assert len(found) == 20
    assert [sum(50 * part <= number < 50 * part + 50 for number in found) for part in range(4)] == [5] * 4


def test_few_rows_are_all_read_the_bad_ones_too(tmp_path):
    (tmp_path / "r.jsonl").write_text('{"text": "one"}\n{"text": \n{"text": "two"}\n')
    assert list(spread(tmp_path / "r.jsonl", most=10)) == list(stream(tmp_path / "r.jsonl"))
    assert sum(isinstance(row, BadRow) for row in spread(tmp_path / "r.jsonl", most=10)) == 1
