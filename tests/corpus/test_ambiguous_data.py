"""Data that could mean two things: refused, or said, and never settled in silence."""

import json
import logging

import datasets
import pandas
import pyarrow
import pyarrow.parquet
import pytest

from unskew.balance import resolve_prior
from unskew.common import UserError
from unskew.corpus import BadRow, Topics, load, spellings, stream
from unskew.encoder.texts_and_labels import as_classes
from unskew.pipeline import DataSettings
from unskew.pipeline.datasets import read_sets


def test_a_wanted_column_that_occurs_twice_is_refused_in_csv_and_parquet(tmp_path):
    (tmp_path / "twice.csv").write_text("text,topic,topic\na,x,y\n")
    columns = [pyarrow.array(["a"]), pyarrow.array(["x"]), pyarrow.array(["y"])]
    pyarrow.parquet.write_table(pyarrow.table(columns, names=["text", "topic", "topic"]), tmp_path / "twice.parquet")
    for name in ("twice.csv", "twice.parquet"):
        with pytest.raises(UserError, match=rf"{name} has 2 columns 'topic'; rename or remove"):
            load(tmp_path / name)


def test_a_column_that_nobody_reads_may_occur_twice(tmp_path):
    (tmp_path / "twice.csv").write_text("text,extra,extra\na,x,y\n")
    columns = [pyarrow.array(["a"])] * 3
    pyarrow.parquet.write_table(pyarrow.table(columns, names=["text", "extra", "extra"]), tmp_path / "twice.parquet")
    assert load(tmp_path / "twice.csv")[0].text == load(tmp_path / "twice.parquet")[0].text == "a"


def test_a_name_that_occurs_twice_in_a_json_object_makes_a_broken_row(tmp_path):
    (tmp_path / "rows.jsonl").write_text(
        '{"text": "a", "topic": "x", "topic": "y"}\n{"text": "b", "topic": "x", "extra": {"k": 1, "k": 2}}\n'
    )
    first, second = stream(tmp_path / "rows.jsonl")
    assert isinstance(first, BadRow)
    assert "'topic' occurs twice" in first.reason
    assert not isinstance(second, BadRow)


def test_class_names_of_parquet_metadata_are_the_topics(tmp_path):
    features = datasets.Features(
        {"text": datasets.Value("string"), "topic": datasets.ClassLabel(names=["harvest", "harbour"])}
    )
    rows = {"text": ["a", "b", "c"], "topic": [1, 0, -1]}
    (tmp_path / "hub").mkdir()
    datasets.Dataset.from_dict(rows, features=features).to_parquet(tmp_path / "hub" / "train.parquet")
    by_file = [record.topic for record in load(tmp_path / "hub" / "train.parquet")]
    by_hub = [record.topic for record in load(f"hf://{tmp_path / 'hub'}:train")]
    assert by_file == by_hub == ["harbour", "harvest", None]


@pytest.mark.parametrize(
    "metadata", [b"", b"[]", b'{"info": {"features": 3}}', b'{"info": {"features": {"topic": {"names": "ab"}}}}']
)
def test_other_metadata_changes_nothing(tmp_path, metadata):
    table = pyarrow.table({"text": ["a"], "topic": [1]}).replace_schema_metadata({b"huggingface": metadata})
    pyarrow.parquet.write_table(table, tmp_path / "rows.parquet")
    assert load(tmp_path / "rows.parquet")[0].topic == "1"


def test_a_class_number_without_a_name_is_a_broken_row(tmp_path):
    metadata = json.dumps({"info": {"features": {"topic": {"names": ["a"], "_type": "ClassLabel"}}}}).encode()
    table = pyarrow.table({"text": ["a"], "topic": [7]}).replace_schema_metadata({b"huggingface": metadata})
    pyarrow.parquet.write_table(table, tmp_path / "rows.parquet")
    (row,) = stream(tmp_path / "rows.parquet")
    assert isinstance(row, BadRow)
    assert "class number 7 of 1" in row.reason


def test_dates_beyond_pythons_matter_only_where_they_are_read(tmp_path):
    far = pyarrow.array([2**62], type=pyarrow.timestamp("us"))
    pyarrow.parquet.write_table(pyarrow.table({"text": ["a"], "when": far}), tmp_path / "when.parquet")
    assert load(tmp_path / "when.parquet")[0].text == "a"
    pyarrow.parquet.write_table(pyarrow.table({"text": ["a"], "id": far}), tmp_path / "id.parquet")
    (row,) = stream(tmp_path / "id.parquet")
    assert isinstance(row, BadRow)
    (tmp_path / "hub").mkdir()
    pyarrow.parquet.write_table(pyarrow.table({"text": ["a"], "when": far}), tmp_path / "hub" / "train.parquet")
    assert load(f"hf://{tmp_path / 'hub'}:train")[0].text == "a"


def test_a_json_array_may_follow_blank_lines(tmp_path):
    (tmp_path / "array.json").write_text('\n  \n[{"text": "a"},\n {"text": "b"}]\n')
    assert [record.text for record in load(tmp_path / "array.json")] == ["a", "b"]


SPELT = ["Sport"] * 3 + ["sport "] * 2 + ["ＳＰＯＲＴ"] + ["city"] * 4


def write(path, topics):
    rows = [{"text": f"{path.stem} text {n}", "topic": topic} for n, topic in enumerate(topics)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def test_spellings_are_told_apart_by_their_key():
    assert spellings(SPELT) == {"city": ["city"], "sport": ["Sport", "sport ", "ＳＰＯＲＴ"]}


def test_topics_spelt_alike_are_said_and_merged_if_asked(tmp_path, caplog):
    train = write(tmp_path / "train.jsonl", SPELT)
    noisy = write(tmp_path / "noisy.jsonl", ["SPORT", "City", "other"])
    with caplog.at_level(logging.WARNING, "unskew"):
        apart = read_sets(DataSettings(train, noisy), seed=0)
    assert "'Sport' (3 rows) and 'sport ' (2 rows)" in caplog.text
    assert set(apart.topics.names) == set(SPELT)
    with caplog.at_level(logging.INFO, "unskew"):
        merged = read_sets(DataSettings(train, noisy, merge_spellings=True), seed=0)
    assert "merged spellings in 3 rows: 'sport ' as 'Sport', 'ＳＰＯＲＴ' as 'Sport'" in caplog.text
    assert set(merged.topics.names) == {"Sport", "city"}
    assert {record.topic for record in merged.noisy or ()} == {"Sport", "city"}


@pytest.mark.parametrize("name", [True, False, None, 3])
def test_yaml_values_as_topic_names_are_to_be_quoted(name):
    with pytest.raises(UserError, match="put quotes around it"):
        resolve_prior({name: 1.0}, Topics(("yes", "no"), (1, 1)))  # pyright: ignore[reportArgumentType]


def test_nullable_labels_of_pandas():
    classes, indices = as_classes(pandas.array([3, 1, 3], dtype="Int64"), 3)
    assert (classes.tolist(), indices.tolist()) == ([1, 3], [1, 0, 1])
    classes, _ = as_classes(pandas.Series(["b", "a"], dtype="string"), 2)
    assert classes.tolist() == ["a", "b"]
    for y in (pandas.array([3, None, 1], dtype="Int64"), pandas.Series(["b", None, "a"], dtype="string")):
        with pytest.raises(ValueError, match=r"1 of 3 labels are missing \(the first in row 1\)|NaN"):
            as_classes(y, 3)
