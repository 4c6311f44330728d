"""Encodes and decodes result rows in each format, and joins shards to one file. Knows no model and no job.

Everything about an output format is here: its ending in `RowFormat`, and a branch in `encode`, `rows_of` and `join`.
The same rows give the same bytes, so two runs can be compared. Compressed shards are simply concatenated, as members of
gzip and frames of zstd may be.
"""

import csv
import gzip
import io
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import IO, Any, Literal, get_args

from ..common import AnyPath, local_or_open
from ..corpus import next_csv_row

RowFormat = Literal["jsonl", "jsonl.gz", "jsonl.zst", "csv", "parquet"]
Row = dict[str, Any]

FORMATS: tuple[RowFormat, ...] = get_args(RowFormat)
NAMES = ("id", "topic", "confidence", "topics", "output")
SET = "topic_set"
_COPIED = 2**20
_GROUP_ROWS, _GROUP_BYTES = 100_000, 2**26  # of a Parquet row group, uncompressed
_LONGEST_FIELD = 2**31 - 1  # characters, the most that `csv` takes on every system


@dataclass(frozen=True)
class Layout:
    """The format and columns of result rows.

    Attributes:
        form: Output format.
        sets: Whether rows have a `topic_set`.
        keep: Input columns to pass through: unchanged in JSON lines, elsewhere as text, with JSON for values that are
            not strings.
    """

    form: RowFormat
    sets: bool = False
    keep: tuple[str, ...] = ()

    @property
    def names(self) -> list[str]:
        """The columns, in order."""
        return [*NAMES, *([SET] if self.sets else []), *self.keep]


def format_of_name(name: str) -> RowFormat | None:
    """The format of a file's ending, if any."""
    return next((form for form in FORMATS if name.lower().endswith(f".{form}")), None)


def encode(rows: Sequence[Row], layout: Layout) -> bytes:
    """The bytes of one shard."""
    match layout.form:
        case "parquet":
            return _encode_parquet(rows, layout)
        case "csv":
            return _encode_csv(rows, layout)
        case "jsonl.gz":
            return gzip.compress(encode_lines(rows), mtime=0)
        case "jsonl.zst":
            import pyarrow as pa

            return pa.Codec("zstd").compress(encode_lines(rows), asbytes=True)
        case "jsonl":
            return encode_lines(rows)


def encode_lines(rows: Iterable[Row]) -> bytes:
    """JSON lines. A lone surrogate, which UTF-8 cannot encode, becomes a JSON escape."""
    lines = [json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n" for row in rows]
    return "".join(lines).encode("utf-8", "backslashreplace")


def rows_of(file: IO[bytes], layout: Layout) -> Iterator[Row]:
    """The rows of a shard or of joined shards; encoded again, they give the same bytes."""
    match layout.form:
        case "parquet":
            yield from _parquet_rows(file)
        case "csv":
            yield from _csv_rows(file)
        case "jsonl.gz":
            yield from map(json.loads, gzip.GzipFile(fileobj=file))
        case "jsonl.zst":
            import pyarrow as pa

            yield from map(json.loads, io.BufferedReader(pa.CompressedInputStream(file, "zstd")))  # pyright: ignore
        case "jsonl":
            yield from map(json.loads, file)


def join(parts: Iterable[AnyPath], layout: Layout, file: IO[bytes]) -> None:
    """Write the rows of all parts, in order, to one open file, with at most one row group of a part in memory."""
    paths = list(parts)
    if not paths:
        file.write(encode([], layout))
    elif layout.form == "parquet":
        _join_parquet(paths, file)
    else:
        header = len(encode([], layout)) if layout.form == "csv" else 0
        for index, part in enumerate(paths):
            with part.open("rb") as opened:
                opened.seek(header if index else 0)
                while block := opened.read(_COPIED):
                    file.write(block)


def _encode_csv(rows: Sequence[Row], layout: Layout) -> bytes:
    text = io.StringIO()
    # All texts are quoted: Python 3.11 does not quote a lone carriage return, and then cannot read it.
    writer = csv.writer(text, quoting=csv.QUOTE_NONNUMERIC, lineterminator="\n")
    writer.writerow(layout.names)
    for row in rows:
        writer.writerow([row[name] if name == "confidence" else _text(row[name]) or "" for name in layout.names])
    return text.getvalue().encode("utf-8", "backslashreplace")


def _csv_rows(file: IO[bytes]) -> Iterator[Row]:
    reader = csv.DictReader(io.TextIOWrapper(file, "utf-8", newline=""))
    while row := next_csv_row(reader, _LONGEST_FIELD):
        parsed = {name: json.loads(row[name] or "null") for name in ("topics", SET) if name in row}
        yield {**row, **parsed, "confidence": float(row["confidence"])}


def _text(value: Any) -> str | None:
    return value if value is None or isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _schema(layout: Layout) -> Any:
    import pyarrow as pa

    # A list of pairs, not a map: pandas, Polars and `datasets` read it alike, and it keeps the order.
    topics = pa.list_(pa.struct([("topic", pa.string()), ("probability", pa.float64())]))
    types = {"confidence": pa.float64(), "topics": topics, SET: pa.list_(pa.string())}
    return pa.schema([(name, types.get(name, pa.string())) for name in layout.names])


def _encode_parquet(rows: Sequence[Row], layout: Layout) -> bytes:
    import pyarrow as pa
    import pyarrow.parquet as pq

    pairs = [[{"topic": t, "probability": p} for t, p in row["topics"].items()] for row in rows]
    kept = [{name: _text(row[name]) for name in layout.keep} for row in rows]
    full = [{**row, "topics": pair, **own} for row, pair, own in zip(rows, pairs, kept, strict=True)]
    buffer = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(full, _schema(layout)), buffer)
    return buffer.getvalue()


def _parquet_rows(file: IO[bytes]) -> Iterator[Row]:
    import pyarrow.parquet as pq

    for batch in pq.ParquetFile(file).iter_batches():
        for row in batch.to_pylist():
            yield {**row, "topics": {pair["topic"]: pair["probability"] for pair in row["topics"]}}


def _join_parquet(paths: Sequence[AnyPath], file: IO[bytes]) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    with pq.ParquetWriter(file, pq.read_schema(local_or_open(paths[0]))) as writer:
        for tables in _row_groups(paths):
            writer.write_table(pa.concat_tables(tables))


def _row_groups(paths: Sequence[AnyPath]) -> Iterator[list[Any]]:
    """The rows of Parquet files in groups: one for each of many shards would make a footer that grows with them."""
    import pyarrow.parquet as pq

    held, rows, size = [], 0, 0
    for part in paths:
        with pq.ParquetFile(local_or_open(part)) as opened:
            held.append(opened.read())
        rows, size = rows + held[-1].num_rows, size + held[-1].nbytes
        if rows >= _GROUP_ROWS or size >= _GROUP_BYTES:
            yield held
            held, rows, size = [], 0, 0
    if held:
        yield held
