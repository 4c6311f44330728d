"""Rows of token ids in a file, made once from the texts of a `RowStore`. Knows no tokenizer and no model.

Each row is read when needed, with `pread` instead of mmap, because touched pages of a map count as the process's
memory.
"""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Any, overload

import numpy as np
from filelock import FileLock

from ..common import fingerprint, replacing_folder, show_progress
from ..corpus import RowStore, StoredRecords

Encode = Callable[[list[str]], Sequence[Sequence[int]]]
_LENGTHS, _SMALL, _LARGE = "lengths.int32", "tokens.uint16", "tokens.int32"


@dataclass(frozen=True, eq=False)
class TokenFile(Sequence[np.ndarray]):
    """Rows of token ids, int32 (T_i,); only their positions and lengths are in memory.

    Attributes:
        file: File, open for reading.
        dtype: Data type of an id in the file.
        starts: Start of each row (n,), in ids.
        lengths: Number of ids of each row (n,), int32.
    """

    file: Any
    dtype: np.dtype
    starts: np.ndarray
    lengths: np.ndarray

    def __len__(self) -> int:
        return len(self.starts)

    @overload
    def __getitem__(self, index: int) -> np.ndarray: ...
    @overload
    def __getitem__(self, index: slice) -> "TokenFile": ...
    def __getitem__(self, index: int | slice) -> "np.ndarray | TokenFile":
        if isinstance(index, slice):
            return replace(self, starts=self.starts[index], lengths=self.lengths[index])
        size, start = self.dtype.itemsize, int(self.starts[index])
        found = os.pread(self.file.fileno(), int(self.lengths[index]) * size, start * size)
        return np.frombuffer(found, self.dtype).astype(np.int32)


def token_file(records: StoredRecords, column: str, kind: Any, largest_id: int, encode: Encode) -> TokenFile:
    """The tokens of each record, made once for the whole store by the first process; others wait for it.

    Args:
        records: Records of a store.
        column: Column to tokenise, "text" or "target"; a missing value counts as empty.
        kind: Everything besides the strings that the tokens depend on, as JSON values.
        largest_id: Upper bound of the ids, which decides the bytes per id.
        encode: Function from at least one string to token ids.

    Raises:
        UserError: If the disk is full.
    """
    store = records.store
    place = store.folder / f"{column}-{fingerprint(kind)[:16]}"
    name = _SMALL if largest_id < 2**16 else _LARGE
    with FileLock(f"{place}.lock"):
        if not place.exists():
            with replacing_folder(place) as new:
                _write(new, name, store, column, encode)
    lengths = np.fromfile(place / _LENGTHS, dtype=np.int32)
    starts = np.cumsum(lengths, dtype=np.int64) - lengths
    file = (place / name).open("rb")
    return TokenFile(file, np.dtype(name.partition(".")[2]), starts[records.rows], lengths[records.rows])


def _write(place: Path, name: str, store: RowStore, column: str, encode: Encode) -> None:
    dtype = np.dtype(name.partition(".")[2])
    with (
        (place / name).open("wb") as tokens,
        (place / _LENGTHS).open("wb") as lengths,
        show_progress("auto", f"tokenise {column}s", store.rows) as tell,
    ):
        # Tokenizers written in Rust divide the texts of one call among all cores.
        for texts in store.texts(column):
            rows = encode([text or "" for text in texts])
            np.fromiter(chain.from_iterable(rows), dtype=dtype).tofile(tokens)
            np.fromiter(map(len, rows), dtype=np.int32).tofile(lengths)
            tell(len(rows), 0)
