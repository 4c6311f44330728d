"""Labelled rows of a source in one file on disk, so that millions of them need no memory. Knows no model.

Arrow reads the file in small compressed blocks. It is not memory-mapped, because pages read from a map count as memory
of the process.
"""

import hashlib
import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock

from ..common import AnyPath, UserError, check_disk, file_sha256, fingerprint, replacing_folder, track, write_text
from .checks import check_usable, squeezed
from .hub import HubDataset
from .reading import Columns, Source, place_of, source_parts, stream
from .records import Record

BLOCK = 512  # rows that are read at a time
TEXTS = ("id", "text", "target")
_ROWS, _ABOUT, _FORMAT = "rows.arrow", "about.json", 1


@dataclass(frozen=True)
class RowStore:
    """The file of rows.

    Attributes:
        folder: The folder of the file and of what is derived from it.
        state: 64 hex digits over the source.
        rows: Number of rows.
        names: Topics, by their number in the file.
        bad: Number of rows of the source that could not be used.
        first_bad: Place and reason of the first such row.
    """

    folder: Path
    state: str
    rows: int
    names: tuple[str, ...]
    bad: int
    first_bad: str | None

    @classmethod
    def of(cls, source: Source, columns: Columns, folder: Path) -> "RowStore":
        """The labelled rows of a source, read into a subfolder of `folder` unless an earlier call has done so.

        Local files are identified by their contents, datasets on the hub by their address. Processes wait for each
        other.

        Raises:
            UserError: If the source cannot be read or has no rows, so many rows are unusable that something else must
                be wrong, or the disk is full.
        """
        parts = source_parts(source)
        contents = [part.address if isinstance(part, HubDataset) else _contents(part) for part in parts]
        state = fingerprint(_FORMAT, contents, columns)
        place = folder / f"rows-{state[:16]}"
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{place}.lock"):
            if not place.exists():
                # Compressed in blocks, rows take less space than their source files, unless those are compressed.
                check_disk(folder, sum(part.stat().st_size for part in parts if not isinstance(part, HubDataset)))
                with replacing_folder(place) as new:
                    _write(source, columns, new)
        about = json.loads((place / _ABOUT).read_text("utf-8"))
        return cls(place, state, about["rows"], tuple(about["names"]), about["bad"], about["first_bad"])

    def blocks(self, columns: Sequence[str], numbers: Sequence[int] | None = None) -> Iterator[Any]:
        """Arrow record batches of `BLOCK` rows with these columns: all of them, or those with the given numbers."""
        import pyarrow
        import pyarrow.ipc

        options = pyarrow.ipc.IpcReadOptions(included_fields=[_schema().names.index(name) for name in columns])
        with (
            pyarrow.OSFile(str(self.folder / _ROWS)) as file,
            pyarrow.ipc.open_file(file, options=options) as reader,
        ):
            for number in range(reader.num_record_batches) if numbers is None else numbers:
                yield reader.get_batch(number).select(list(columns))

    def column(self, name: str) -> np.ndarray:
        """All values (rows,) of a numeric or boolean column without missing values."""
        return np.concatenate([block.column(0).to_numpy(zero_copy_only=False) for block in self.blocks([name])])

    def texts(self, name: str) -> Iterator[list[str | None]]:
        """The strings of a column, some thousand at a time."""
        blocks = self.blocks([name])
        while some := list(islice(blocks, 16)):
            yield [value for block in some for value in block.column(0).to_pylist()]


def text_digests(texts: Sequence[str]) -> np.ndarray:
    """A 64-bit BLAKE2b digest (n,), uint64, of each text, white space aside.

    Two different texts of 20 million and 2,000 share a digest in one of 500 million cases.
    """
    digests = b"".join(hashlib.blake2b(squeezed(text).encode(), digest_size=8).digest() for text in texts)
    return np.frombuffer(digests, dtype="<u8")


def _contents(file: AnyPath) -> list[str]:
    # The names of a Hive-partitioned file's folders are values of its rows.
    return [file_sha256(file), *(name for name in file.parts[:-1] if "=" in name)]


def _schema() -> Any:
    import pyarrow

    kinds: dict[str, Any] = dict.fromkeys(TEXTS, pyarrow.large_string())
    kinds |= {"topic": pyarrow.int32(), "digest": pyarrow.uint64(), "has_target": pyarrow.bool_()}
    return pyarrow.schema(list(kinds.items()))


def _write(source: Source, columns: Columns, place: Path) -> None:
    import pyarrow
    import pyarrow.ipc

    reading = _Reading()
    records = track(reading.usable(source, columns), f"read {_described(source)}")
    numbers: dict[str, int] = {}
    schema, options = _schema(), pyarrow.ipc.IpcWriteOptions(compression="zstd")
    with (
        pyarrow.OSFile(str(place / _ROWS), "wb") as file,
        pyarrow.ipc.new_file(file, schema, options=options) as writer,
    ):
        while block := list(islice(records, BLOCK)):
            columns_of_block = {
                **{name: [getattr(record, name) for record in block] for name in TEXTS},
                "topic": [numbers.setdefault(str(record.topic), len(numbers)) for record in block],
                "digest": text_digests([record.text for record in block]),
                "has_target": [record.target is not None for record in block],
            }
            writer.write_batch(pyarrow.record_batch(columns_of_block, schema=schema))
            reading.rows += len(block)
    if reading.first_bad is not None:
        check_usable(reading.bad, reading.rows, reading.first_bad)
    if not reading.rows:
        raise UserError(f"{_described(source)} has no rows; give at least one")
    about = {"rows": reading.rows, "names": list(numbers), "bad": reading.bad, "first_bad": reading.first_bad}
    write_text(place / _ABOUT, json.dumps(about, indent=1) + "\n")


@dataclass
class _Reading:
    rows: int = 0
    bad: int = 0
    first_bad: str | None = field(default=None)

    def usable(self, source: Source, columns: Columns) -> Iterator[Record]:
        for row in stream(source, columns, needs=("text", "topic")):
            if isinstance(row, Record):
                yield row
            else:
                self.bad += 1
                self.first_bad = self.first_bad or f"{place_of(row)}: {row.reason}"


def _described(source: Source) -> str:
    listed = [source] if isinstance(source, str | os.PathLike) else source
    return ", ".join(str(os.fspath(one)) for one in listed)
