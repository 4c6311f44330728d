"""Result rows as bytes: JSON lines or Parquet, a shard at a time, and shards joined. Knows no model and no job.

The same rows give the same bytes, which is how two runs can be compared.
"""

import io
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import IO, Any, Literal

RowFormat = Literal["jsonl", "parquet"]
Row = dict[str, Any]

_COPIED = 2**20


def encode(rows: Sequence[Row], form: RowFormat, sets: bool = False) -> bytes:
    """The bytes of one shard; `sets` says whether its rows have a `topic_set`."""
    return encode_lines(rows) if form == "jsonl" else _encode_parquet(rows, sets)


def encode_lines(rows: Iterable[Row]) -> bytes:
    """JSON lines. A lone surrogate, which UTF-8 cannot hold, becomes its JSON escape."""
    lines = [json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n" for row in rows]
    return "".join(lines).encode("utf-8", "backslashreplace")


def join(parts: Iterable[Path], form: RowFormat, file: IO[bytes]) -> None:
    """Write the rows of all parts, in order, to one open file; holds one part's row group at most."""
    if form == "parquet":
        _join_parquet(parts, file)
        return
    for part in parts:
        with part.open("rb") as opened:
            while block := opened.read(_COPIED):
                file.write(block)


def _schema(sets: bool) -> Any:
    import pyarrow as pa

    # A list of pairs and not a map: pandas, Polars and `datasets` read it alike, and it keeps the order.
    topics = pa.list_(pa.struct([("topic", pa.string()), ("probability", pa.float64())]))
    names = [("id", pa.string()), ("topic", pa.string()), ("confidence", pa.float64())]
    more = [("topic_set", pa.list_(pa.string()))] if sets else []
    return pa.schema([*names, ("topics", topics), ("output", pa.string()), *more])


def _encode_parquet(rows: Sequence[Row], sets: bool) -> bytes:
    import pyarrow as pa
    import pyarrow.parquet as pq

    pairs = [[{"topic": t, "probability": p} for t, p in row["topics"].items()] for row in rows]
    full = [{**row, "topics": pair} for row, pair in zip(rows, pairs, strict=True)]
    table = pa.Table.from_pylist(full, _schema(sets))
    buffer = io.BytesIO()
    pq.write_table(table, buffer)
    return buffer.getvalue()


def _join_parquet(parts: Iterable[Path], file: IO[bytes]) -> None:
    import pyarrow.parquet as pq

    paths = list(parts)
    schema = pq.read_schema(paths[0]) if paths else _schema(sets=False)
    with pq.ParquetWriter(file, schema) as writer:
        for part in paths:
            with pq.ParquetFile(part) as opened:
                for index in range(opened.num_row_groups):
                    writer.write_table(opened.read_row_group(index))
