import csv
import datetime
import gzip
import json
import os
import subprocess
import sys
import tracemalloc
from collections import deque
from collections.abc import Callable, Sequence
from decimal import Decimal
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from unskew.common import UserError
from unskew.corpus import (
    BadRow,
    Columns,
    Record,
    count_lines,
    lines,
    load,
    load_usable,
    stream,
    stream_located,
)

ROWS = [
    {"id": "a", "text": "oil prices rose", "topic": "crude", "target": "Oil up"},
    {"id": "b", "text": 'wheat, "the" grain\nof choice', "topic": "grain", "target": "Wheat"},
    {"id": "c", "text": "null \x00 and 😀 and שלום עולם", "topic": "crude", "target": "مرحبا"},
]
RECORDS = [Record(**row) for row in ROWS]


def write_jsonl(path: Path, rows: Sequence[dict]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def write_csv(path: Path, rows: Sequence[dict]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def write_parquet(path: Path, rows: Sequence[dict]) -> None:
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(list(rows)), path)


def write_array(path: Path, rows: Sequence[dict]) -> None:
    path.write_text(json.dumps(rows, indent=1, ensure_ascii=False), encoding="utf-8")


WRITERS: dict[str, Callable[[Path, Sequence[dict]], None]] = {
    "rows.jsonl": write_jsonl,
    "lines.json": write_jsonl,
    "array.json": write_array,
    "rows.csv": write_csv,
    "rows.parquet": write_parquet,
}
every_format = pytest.mark.parametrize("name", list(WRITERS))


def bad(path: Path, content: bytes, **options) -> list[tuple[int, str]]:
    """The line and reason of every bad row of a file."""
    path.write_bytes(content)
    return [(row.line, row.reason) for row in stream(path, **options) if isinstance(row, BadRow)]


@every_format
def test_every_format_gives_the_same_records(tmp_path: Path, name: str) -> None:
    WRITERS[name](tmp_path / name, ROWS)
    assert load(tmp_path / name) == RECORDS


@pytest.mark.parametrize("name", ["rows.jsonl", "array.json", "rows.csv"])
def test_gzip(tmp_path: Path, name: str) -> None:
    WRITERS[name](tmp_path / name, ROWS)
    packed = tmp_path / (name + ".gz")
    packed.write_bytes(gzip.compress((tmp_path / name).read_bytes()))
    assert load(packed) == RECORDS
    WRITERS[name](tmp_path / name, ROWS * 5_000)
    packed.write_bytes(gzip.compress((tmp_path / name).read_bytes())[:-20])
    with pytest.raises(UserError, match=r"gz beyond line \d+.*fetch it again"):
        load(packed)


@every_format
def test_columns_are_renamed(tmp_path: Path, name: str) -> None:
    renamed = [
        {"key": row["id"], "body": row["text"], "label": row["topic"], "headline": row["target"]} for row in ROWS
    ]
    WRITERS[name](tmp_path / name, renamed)
    assert load(tmp_path / name, Columns(text="body", id="key", topic="label", target="headline")) == RECORDS


@pytest.mark.parametrize(("mark", "said"), [(";", "semicolons"), ("\t", "tabs")])
def test_a_csv_with_other_separators_is_said_to_be_one(tmp_path: Path, mark: str, said: str) -> None:
    (tmp_path / "rows.csv").write_text(f"id{mark}text\n1{mark}a ship\n")
    with pytest.raises(
        UserError, match=f"no column 'text'; .*they seem to be separated by {said}; separate them by comm"
    ):
        load(tmp_path / "rows.csv")


@every_format
def test_a_missing_column_lists_the_columns_found(tmp_path: Path, name: str) -> None:
    WRITERS[name](tmp_path / name, [{"key": "1", "body": "x"}] * 3)
    with pytest.raises(UserError, match=r"no column 'text'; its columns are 'key', 'body'; .* with columns.text$"):
        load(tmp_path / name)
    with pytest.raises(UserError, match="no column 'topic'.* with columns.topic$"):
        load(tmp_path / name, Columns(text="body"), needs=("text", "topic"))
    with pytest.raises(UserError, match="no column 'ID'.* with columns.id$"):
        load(tmp_path / name, Columns(text="body", id="ID"))
    with pytest.raises(UserError, match="no column 'text'"):
        next(stream(tmp_path / name))


@every_format
def test_rows_without_an_id_are_numbered_across_files(tmp_path: Path, name: str) -> None:
    for part in ("1-", "2-"):
        WRITERS[name](tmp_path / (part + name), [{"text": "x"}, {"text": "y"}])
    ids = [record.id for record in load(str(tmp_path / ("*-" + name)))]
    assert ids == ["1", "2", "3", "4"]


@every_format
def test_own_ids_are_kept_as_strings_or_left_by_choice(tmp_path: Path, name: str) -> None:
    WRITERS[name](tmp_path / name, [{"id": 70, "text": "x", "topic": 3}, {"id": 7, "text": "y", "topic": 4}])
    assert load(tmp_path / name) == [Record("x", "70", "3"), Record("y", "7", "4")]
    assert [record.id for record in load(tmp_path / name, Columns(id=None))] == ["1", "2"]


def test_whole_numbers_stored_as_floats_by_pandas(tmp_path: Path) -> None:
    write_parquet(tmp_path / "a.parquet", [{"id": 70.0, "text": "x"}, {"id": float("nan"), "text": "y"}])
    assert [record.id for record in load(tmp_path / "a.parquet")] == ["70", "2"]


@every_format
def test_empty_and_blank_text_costs_the_row(tmp_path: Path, name: str) -> None:
    WRITERS[name](tmp_path / name, [{"id": "a", "text": "x"}, {"id": "b", "text": ""}, {"id": "c", "text": " \n\t"}])
    good, *rest = stream(tmp_path / name)
    assert good == Record("x", "a")
    assert [(row.id, "is empty" in row.reason) for row in rest if isinstance(row, BadRow)] == [("b", True), ("c", True)]


def test_broken_json_lines_cost_themselves_only(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    lines = [
        b'\xef\xbb\xbf{"text": "byte-order mark"}',
        b'{"text": "cut',
        b"",
        b'{"text": "caf\xe9"}',
        b'["text"]',
        b'{"text": 3}',
        b'{"text": null}',
        b'{"text": ["a"]}',
        b'{"body": "x"}',
        b'{"text": "half \\ud83d"}',
        b"[" * 100_000,
        b'{"text": "x", "id": ' + b"9" * 5000 + b"}",
        b'{"text": "x", "topic": ["a", "b"]}',
        b'{"text": "x", "id": {"a": 1}}',
        b"\x00\x00",
        b'{"text": "raw \x00 null"}',
        b'{"text": "last without line end"}',
    ]
    path.write_bytes(b"\n".join(lines))
    rows = list(stream(path))
    good = [row for row in rows if isinstance(row, Record)]
    assert good == [
        Record("byte-order mark", "1"),
        Record("raw \x00 null", "15"),
        Record("last without line end", "16"),
    ]
    reasons = {row.line: row.reason for row in rows if isinstance(row, BadRow)}
    expected = {
        2: "not a JSON object on one line",
        4: "not UTF-8 (byte 0xe9 at position 14",
        5: "not a JSON object",
        6: "is a number, not a string",
        7: "is missing",
        8: "is a list",
        9: "no column 'text' among 'body'",
        10: "surrogate",
        11: "not usable JSON",
        12: "not usable JSON",
        13: "'topic' has a list",
        14: "'id' has an object",
        15: "not a JSON object on one line",
    }
    assert reasons.keys() == expected.keys()
    for line, part in expected.items():
        assert part in reasons[line], line


def test_broken_csv_rows_cost_themselves_only(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    lines = [
        b"id,text,topic",
        b"a,first,crude",
        b'b,"open quote,crude',
        b'c,"two',
        b'lines",grain',
        b"d,caf\xe9,crude",
        b"e,too,many,fields",
        b"",
        b"f,few",
        b'g,"quoted" badly,crude',
        b"h,null \x00 byte,crude",
        b'i,"never closed,crude',
        b"j,last,grain",
    ]
    path.write_bytes(b"\r\n".join(lines))
    rows = list(stream(path))
    assert [row for row in rows if isinstance(row, Record)] == [
        Record("first", "a", "crude"),
        Record("two\r\nlines", "c", "grain"),
        Record("null \x00 byte", "h", "crude"),
        Record("last", "j", "grain"),
    ]
    reasons = [(row.line, row.reason.split(";")[0].split("(")[0]) for row in rows if isinstance(row, BadRow)]
    assert [line for line, _ in reasons] == [3, 6, 7, 9, 10, 12]
    assert reasons[1:4] == [
        (6, "not UTF-8 "),
        (7, "4 fields where the first line names 3 columns"),
        (9, "2 fields where the first line names 3 columns"),
    ]


def test_many_unclosed_quotes_stay_cheap(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text("id,text\n" + '1,"a\n2,b\n3,"c\n' * 20_000)
    rows = list(stream(path))
    assert sum(isinstance(row, Record) for row in rows) == 20_000
    assert sum(isinstance(row, BadRow) for row in rows) == 40_000


def test_a_field_beyond_the_limit_costs_one_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    limit = csv.field_size_limit(1000)
    monkeypatch.setattr("unskew.corpus.formats.LARGEST_FIELD", 1000)
    try:
        path = tmp_path / "rows.csv"
        path.write_text('id,text\n1,"open\n' + "2,plain\n" * 1000)
        rows = list(stream(path))
    finally:
        csv.field_size_limit(limit)
    assert [type(row) for row in rows] == [BadRow] + [Record] * 1000


def test_broken_parquet_text_costs_the_row(tmp_path: Path) -> None:
    path = tmp_path / "rows.parquet"
    offsets = pyarrow.py_buffer(b"".join(n.to_bytes(4, "little") for n in (0, 1, 2, 3)))
    column = pyarrow.StringArray.from_buffers(3, offsets, pyarrow.py_buffer(b"a\xe9c"))
    pyarrow.parquet.write_table(pyarrow.table({"text": column}), path)
    first, second, third = stream(path)
    assert (first, third) == (Record("a", "1"), Record("c", "3"))
    assert isinstance(second, BadRow)
    assert (second.line, "not UTF-8" in second.reason) == (2, True)


def test_a_cut_parquet_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "rows.parquet"
    write_parquet(path, ROWS)
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(UserError, match=r"rows\.parquet beyond row 0.*write it again"):
        load(path)


def test_a_broken_json_array_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text('[{"text": "x"},')
    with pytest.raises(UserError, match="is a broken JSON array.*one object per line"):
        load(tmp_path / "a.json")


@pytest.mark.parametrize("name", ["rows.jsonl", "rows.csv"])
def test_utf16_is_refused_with_the_remedy(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text('{"text": "x"}', encoding="utf-16")
    with pytest.raises(UserError, match="iconv -f UTF-16"):
        load(tmp_path / name)


@pytest.mark.parametrize("name", ["rows.jsonl", "rows.json", "rows.csv"])
@pytest.mark.parametrize("content", [b"", b"\n \n"])
def test_an_empty_file_is_refused(tmp_path: Path, name: str, content: bytes) -> None:
    if name == "rows.csv" and content:
        content = b"id,text\n"
    (tmp_path / name).write_bytes(content)
    assert list(stream(tmp_path / name)) == []
    with pytest.raises(UserError, match=rf"{name} has no rows"):
        load(tmp_path / name)


def test_strict_loading_names_file_line_and_the_number_of_bad_rows(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text('{"text": "x"}\n{"text": ""}\n{"text": "y"}\n\n{"text": 1}\n')
    with pytest.raises(UserError, match=r"rows\.jsonl, line 2: .*empty; fix or remove this row \(1 further"):
        load(path)
    records, rest = load_usable(path)
    assert [record.id for record in records] == ["1", "3"]
    assert [(row.line, row.id, row.file) for row in rest] == [(2, "2", str(path)), (5, "4", str(path))]


def test_what_is_needed_must_be_there(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    assert bad(path, b"text,topic\nx,a\ny,\n", needs=("text", "topic")) == [(3, "no topic in the column 'topic'")]
    assert bad(path, b"text,topic\nx,a\ny,\n") == []


def test_a_column_left_out_cannot_spoil_a_row(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    content = b'{"text": "x", "topic": ["a", "b"], "target": 1.5}\n'
    assert len(bad(path, content)) == 1
    assert bad(path, content, columns=Columns(topic=None, target=None)) == []


def test_the_limit_counts_good_and_bad_rows(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"text": "x"}\nbroken\n{"text": "y"}\n')
    assert [type(row) for row in stream(tmp_path / "a.jsonl", limit=2)] == [Record, BadRow]


def test_a_text_of_a_hundred_thousand_words(tmp_path: Path) -> None:
    text = "word " * 100_000
    for name, write in WRITERS.items():
        write(tmp_path / name, [{"id": "1", "text": text}])
        assert load(tmp_path / name) == [Record(text, "1")], name


texts = st.text(st.characters(exclude_categories=["Cs"]), min_size=1).filter(lambda text: not text.isspace())


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=st.lists(texts, min_size=1, max_size=5))
def test_any_unicode_text_comes_back_unchanged(tmp_path: Path, rows: list[str]) -> None:
    for name, write in WRITERS.items():
        write(tmp_path / name, [{"id": str(number), "text": text} for number, text in enumerate(rows)])
        assert [record.text for record in load(tmp_path / name)] == rows, name


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(junk=st.lists(st.binary(max_size=30), max_size=6), name=st.sampled_from(["a.jsonl", "a.csv"]))
def test_junk_never_breaks_the_stream_nor_hides_a_good_row_before_it(
    tmp_path: Path, junk: list[bytes], name: str
) -> None:
    start = b'{"text": "good", "id": "g"}\n' if name == "a.jsonl" else b"id,text\ng,good\n"
    (tmp_path / name).write_bytes(start + b"\n".join(junk))
    rows = list(stream(tmp_path / name))
    assert rows[0] == Record("good", "g")
    lines = [row.line for row in rows if isinstance(row, BadRow)]
    assert lines == sorted(set(lines))


@pytest.mark.parametrize("name", ["rows.jsonl", "rows.csv", "rows.parquet"])
def test_memory_stays_flat(tmp_path: Path, name: str) -> None:
    def peak(count: int) -> int:
        WRITERS[name](tmp_path / name, [{"id": number, "text": "some words of news " * 5} for number in range(count)])
        tracemalloc.start()
        last = deque(stream(tmp_path / name), maxlen=1)
        top = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert last[0] == Record("some words of news " * 5, str(count - 1))
        return top

    peak(300)
    # All rows at once would be some 8 MB; when garbage is collected moves a peak by 0.1 MB.
    assert peak(20_000) < peak(1_000) + 500_000


def test_reading_text_imports_nothing_heavy() -> None:
    script = (
        "import sys, unskew.corpus\n"
        "heavy = {'datasets', 'pandas', 'pyarrow', 'torch', 'numpy'} & set(sys.modules)\n"
        "sys.exit(str(heavy) if heavy else 0)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("name", ["pipe.jsonl", "pipe.csv", "pipe.parquet"])
def test_a_named_pipe_is_refused_and_not_waited_for(tmp_path, name):
    os.mkfifo(tmp_path / name)
    with pytest.raises(UserError, match="not a regular file"):
        list(stream(tmp_path / name))


@pytest.mark.parametrize("name", ["r.jsonl", "r.jsonl.gz", "r.json", "r.csv"])
def test_an_endless_line_is_a_bad_row(tmp_path, monkeypatch, name):
    monkeypatch.setattr(lines, "LONGEST_LINE", 1000)
    monkeypatch.setattr(lines, "BLOCK", 64)
    rows = ["text"] * (name == "r.csv") + [
        text if name == "r.csv" else json.dumps({"text": text}) for text in ("first", "x" * 5000, "last", "y" * 1001)
    ]
    content = "\n".join(rows).encode()
    (tmp_path / name).write_bytes(gzip.compress(content) if name.endswith(".gz") else content)
    first, long, last, cut = stream(tmp_path / name)
    assert (first.text, last.text) == ("first", "last")
    assert (long.line, cut.line) == ((3, 5) if name == "r.csv" else (2, 4))
    assert all("over 1,000 bytes" in row.reason for row in (long, cut))


def test_an_array_on_one_line_may_be_long(tmp_path, monkeypatch):
    monkeypatch.setattr(lines, "LONGEST_LINE", 100)
    (tmp_path / "r.json").write_text("\n  " + json.dumps([{"text": "a" * 50}] * 9))
    assert len(list(stream(tmp_path / "r.json"))) == 9


NESTED = [
    {"key": 1, "doc": {"body": "first", "meta": {"id": "a"}}},
    {"key": 2, "doc": {"body": "second", "meta": None}},
]


@pytest.mark.parametrize("name", ["r.jsonl", "r.parquet"])
def test_nested_columns_by_dotted_name(tmp_path, name):
    if name == "r.parquet":
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(NESTED), tmp_path / name)
    else:
        (tmp_path / name).write_text("\n".join(map(json.dumps, NESTED)))
    columns = Columns(text="doc.body", id="doc.meta.id")
    assert [(row.text, row.id) for row in stream(tmp_path / name, columns)] == [("first", "a"), ("second", "2")]
    with pytest.raises(UserError, match=r"no column 'doc.title'; its columns are 'key', 'doc'"):
        list(stream(tmp_path / name, Columns(text="doc.title")))


def test_a_name_with_a_dot_comes_before_a_nested_column(tmp_path):
    (tmp_path / "r.jsonl").write_text(json.dumps({"a.b": "flat", "a": {"b": "deep"}}))
    assert next(stream(tmp_path / "r.jsonl", Columns(text="a.b"))).text == "flat"


def test_columns_kept_are_plain_values(tmp_path):
    day = datetime.date(2024, 2, 29)
    table = pyarrow.Table.from_pylist([{"text": "one", "day": day, "n": float("nan"), "tags": [1, 2]}])
    pyarrow.parquet.write_table(table, tmp_path / "r.parquet")
    ((row, _, _),) = stream_located([tmp_path / "r.parquet"], keep=["day", "n", "tags"])
    assert row.kept == {"day": "2024-02-29", "n": None, "tags": [1, 2]}
    assert "kept" not in row.to_row()


@pytest.mark.parametrize("broken", [False, True])
def test_zstandard_files(tmp_path, broken):
    content = b"".join(json.dumps({"text": f"row {i}"}).encode() + b"\n" for i in range(5))
    frames = b"".join(pyarrow.Codec("zstd").compress(part, asbytes=True) for part in (content, content))
    (tmp_path / "r.jsonl.zst").write_bytes(frames[:-9] if broken else frames)
    assert count_lines(tmp_path / "r.jsonl.zst") == (None if broken else 10)
    if broken:
        with pytest.raises(UserError, match="cannot read"):
            list(stream(tmp_path / "r.jsonl.zst"))
    else:
        assert len(list(stream(tmp_path / "r.jsonl.zst"))) == 10


@pytest.mark.parametrize(
    ("rows", "said"), [(100, "no column 'topic' in its first 100 rows; its"), (99, "'topic'; its")]
)
def test_a_column_is_looked_for_in_the_first_rows_of_json(tmp_path, rows, said):
    write_jsonl(tmp_path / "x.jsonl", [{"text": "a"}] * rows)
    with pytest.raises(UserError, match=said):
        load(tmp_path / "x.jsonl", needs=("topic",))


def test_carriage_returns_alone_as_line_ends_are_told_what_to_do(tmp_path):
    (tmp_path / "x.csv").write_bytes(b"text,topic\ra,t\rb,t\r")
    with pytest.raises(
        UserError, match=r"line 1: the column names cannot be read: .*a carriage return.*end lines with"
    ):
        load(tmp_path / "x.csv")


def test_what_is_no_string_is_named_by_its_type(tmp_path):
    table = pyarrow.table({"text": ["a"], "topic": [Decimal("1.5")]})
    pyarrow.parquet.write_table(table, tmp_path / "x.parquet")
    with pytest.raises(UserError, match="the column 'topic' has a value of type Decimal, not a string"):
        load(tmp_path / "x.parquet", needs=("topic",))


@pytest.mark.parametrize("name", ["rows.jsonl", "*.jsonl"])
def test_a_link_to_nothing_is_named_with_what_it_points_to(tmp_path: Path, name: str) -> None:
    (tmp_path / "rows.jsonl").symlink_to("gone.jsonl")
    with pytest.raises(UserError, match=r"rows\.jsonl is a link to gone\.jsonl, which does not exist"):
        list(stream(tmp_path / name))
