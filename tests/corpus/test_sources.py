"""Which files and datasets a source names."""

import json
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest

from unskew.common import UserError, write_jsonl
from unskew.corpus import BadRow, Columns, Record, load, source_files, stream


def test_sources_are_found_in_order_or_refused_at_once(tmp_path: Path) -> None:
    for name in ("b.jsonl", "a.jsonl", "odd[1].jsonl"):
        write_jsonl(tmp_path / name, [{"text": "oil prices rose"}])
    found = source_files([tmp_path / "b.jsonl", str(tmp_path / "[ab].jsonl"), tmp_path / "odd[1].jsonl"])
    assert [path.name for path in found] == ["b.jsonl", "a.jsonl", "odd[1].jsonl"]
    assert source_files("hf://owner/name") == []
    (tmp_path / "notes.txt").touch()
    for source, reason in {
        tmp_path / "gone.jsonl": "there is no file",
        tmp_path / "*.csv": "there is no file",
        tmp_path: "is a folder",
        tmp_path / "notes.txt": "cannot tell the format",
    }.items():
        with pytest.raises(UserError, match=reason):
            stream(source)


def test_a_dataset_folder_is_streamed(tmp_path: Path) -> None:
    write_jsonl(tmp_path / "train.jsonl", [{"text": "x", "topic": 1, "id": 5}, {"text": "", "topic": 0, "id": 6}])
    (tmp_path / "README.md").write_text(
        "---\ndataset_info:\n  features:\n  - name: text\n    dtype: string\n  - name: id\n    dtype: int64\n"
        "  - name: topic\n    dtype:\n      class_label:\n        names:\n"
        "          '0': grain\n          '1': crude\n---\n"
    )
    for address in (f"hf://{tmp_path}:train", f"hf://{tmp_path}"):
        first, second = stream(address)
        assert first == Record("x", "5", "crude")
        assert isinstance(second, BadRow)
        assert (second.line, second.id, second.file) == (2, "6", address)
    write_jsonl(tmp_path / "test.jsonl", [{"text": "x", "topic": 1, "id": 5}])
    with pytest.raises(UserError, match="splits train, test; name one"):
        load(f"hf://{tmp_path}")
    with pytest.raises(UserError, match=r"cannot read hf://\./no/such.*check the name"):
        load("hf://./no/such")


def test_a_hive_partitioned_folder(tmp_path):
    for place, text in {"year=2024/topic=oil%20gas": "one", "year=2025/topic=sea": "two"}.items():
        folder = tmp_path / "data" / place
        folder.mkdir(parents=True)
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist([{"text": text}]), folder / "part-0.parquet")
        (folder / "_SUCCESS").write_text("")
    rows = list(stream(tmp_path / "data", Columns(id="year"), needs=("text", "topic")))
    assert [(row.text, row.topic, row.id) for row in rows] == [("one", "oil gas", "2024"), ("two", "sea", "2025")]
    (tmp_path / "data" / "year=2025" / "topic=sea" / "more").mkdir()
    for place in ("extra", ".hidden", "year=2025/late", "year=2025/topic=sea/more/deep"):
        (tmp_path / "data" / f"{place}.jsonl").write_text(json.dumps({"text": place, "topic": "given"}))
    assert [(row.text, row.topic) for row in stream(tmp_path / "data")] == [
        ("extra", "given"),
        ("one", "oil gas"),
        ("year=2025/late", "given"),
        ("year=2025/topic=sea/more/deep", "given"),
        ("two", "sea"),
    ]
    (tmp_path / "plain").mkdir()
    (tmp_path / "plain" / "rows.jsonl").write_text("{}")
    with pytest.raises(UserError, match="is a folder; name its files"):
        list(stream(tmp_path / "plain"))


def test_a_file_that_is_named_twice_is_read_once_in_its_first_place(tmp_path, monkeypatch, caplog):
    monkeypatch.chdir(tmp_path)
    for name in ("a", "ab", "b"):
        (tmp_path / f"{name}.jsonl").write_text(json.dumps({"text": name}))
    (tmp_path / "link.jsonl").symlink_to("b.jsonl")
    named = ["ab.jsonl", "a*.jsonl", "link.jsonl", str(tmp_path / "b.jsonl"), "./ab.jsonl"]
    assert [record.text for record in load(named)] == ["ab", "a", "b"]
    assert f"named more than once and read once: {tmp_path.resolve() / 'ab.jsonl'} and 2 more" in caplog.text
    caplog.clear()
    assert len(load("a*.jsonl")) == 2
    assert not caplog.text
